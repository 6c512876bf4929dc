"""The options that say which degradations to try, of ``zoo evaluate --robustness`` and of ``zoo stress``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click


def axes_options(prefix: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--PREFIXaxes`` and ``--PREFIXlevels``.

    Args:
        prefix: ``"robustness-"``, or nothing.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        options = (
            click.option(f"--{prefix}axes", metavar="A,B", help="What to make worse, such as psf,sky.  [default: every axis]"),
            click.option(
                f"--{prefix}levels", multiple=True, metavar="AXIS=LEVELS", help="Own levels of an axis, as psf=0.1,0.15; may be repeated."
            ),
        )
        for option in reversed(options):
            function = option(function)
        return function

    return add


def chosen_axes(axes: str | None, levels: Sequence[str]) -> tuple[list[str] | None, dict[str, tuple[float, ...]]]:
    """Return the names of the axes, ``None`` for all, and their own levels, as the library takes them."""
    from zoo.robustness import parse_levels

    names = None if axes is None else [word.strip() for word in axes.split(",") if word.strip()]
    return names, parse_levels(levels)
