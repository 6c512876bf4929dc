"""What is asked of models: which they are, and settings that are checked before any process is started for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zoo.costs.target import Target, parse_target
from zoo.errors import UsageError
from zoo.registry import BUILTIN_OWNER, Registry, get_registry

PRECISIONS = ("fp32", "bf16")

Models = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Request(NamedTuple):
    """A checked request.

    Attributes:
        targets: the models, in the order asked for.
        settings: ``batch``, ``input_shape``, ``precision`` and ``threads``, as they were given.
        plugins: name and source of those that a child has to load.
    """

    targets: tuple[Target, ...]
    settings: dict[str, Any]
    plugins: list[tuple[str, str]]


def read_request(
    models: Models,
    *,
    batch: int,
    precision: str,
    threads: int | None,
    input_shape: tuple[int, int, int] | None,
    options: Mapping[str, object] | None,
) -> Request:
    """Check what is asked of each of some models.

    Args:
        models: names (``hrcn``, ``hrcn[padding=same]``, ``owner:name``), or run or model directories, ``"latest"`` for ``runs/latest``.
        batch: frames per step.
        precision: ``fp32``, or ``bf16`` for bfloat16 autocast.
        threads: of torch; ``None`` leaves the choice to it.
        input_shape: ``(C, H, W)`` of one frame; ``None`` for that of each model.
        options: options of the model, where ``models`` is a single one.

    Raises:
        UsageError: an argument has a value that it cannot have, or a plugin cannot be loaded by another process. UnknownNameError: no such
            model or option.
    """
    names = [models] if isinstance(models, str | os.PathLike) else list(models)
    if options and len(names) != 1:
        raise UsageError(f"got options and {len(names)} models; write them beside the name instead, as in 'hrcn[padding=same]'")
    check_choice("precision", precision, PRECISIONS)
    for what, count in (("batch", batch), ("threads", 1 if threads is None else threads)):
        if count < 1:
            raise UsageError(f"{what} must be >= 1, got {count}")
    if input_shape is not None and (len(input_shape) != 3 or min(input_shape) < 1):
        raise UsageError(f"input_shape must be three positive integers (channels, height, width), got {input_shape!r}")
    registry = get_registry()
    targets = tuple(parse_target(os.fspath(name), registry, options) for name in names)
    settings = {"batch": batch, "input_shape": input_shape, "precision": precision, "threads": threads}
    return Request(targets, settings, list_plugins(registry))


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Raise: UsageError: a setting is none of its choices."""
    if value not in choices:
        raise UsageError(f"{what} must be one of {', '.join(choices)}, got {value!r}")


def list_plugins(registry: Registry) -> list[tuple[str, str]]:
    """Return name and source of all plugins but the built-in ones. Raises: UsageError: one exists in this process only."""
    third = [plugin for plugin in registry.plugins if plugin.name != BUILTIN_OWNER]
    for plugin in third:
        if plugin.source == "object":
            raise UsageError(f"plugin {plugin.name!r} exists in this process only, and each model gets a new one; load it from a file")
    return [(plugin.name, plugin.source) for plugin in third]
