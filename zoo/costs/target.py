"""Which model is meant: a registered name with its options, or a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import UnknownNameError, UsageError
from zoo.registry import Registry
from zoo.settings import add_options


@dataclass(frozen=True)
class Target:
    """A model that something is asked of.

    Attributes:
        text: how it was asked for, with all given options.
        name, options: of a registered model; ``options`` holds what was given, parsed.
        run: a run or model directory instead.
    """

    text: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    run: str = ""

    def aim(self) -> dict[str, Any]:
        """Return the part of a job that says which model it is about."""
        return {"name": self.name, "options": dict(self.options), "run": self.run}


def parse_target(text: str, registry: Registry, options: Mapping[str, object] | None = None) -> Target:
    """Read ``hrcn``, ``hrcn[padding=same]``, ``owner:name``, ``runs/hrcn-sky-001`` or ``latest``.

    A registered name goes before a folder of that name, which ``./name`` means.

    Args:
        text: the words of the user.
        registry: where names are looked up.
        options: further options of a registered model.

    Raises:
        UnknownNameError: neither a registered model nor a folder, or no such option. UsageError: a bad option, or options of a run.
    """
    name, given = add_options(text, {key: str(value) for key, value in (options or {}).items()})
    try:
        entry = registry.get("models", name)
    except UnknownNameError:
        if Path(text).is_dir() or text == "latest":
            if options:
                raise UsageError(f"{text} is a run, whose model has its options already; got {', '.join(map(str, options))}") from None
            return Target(text, run=text)
        if "/" in text:
            raise UsageError(f"{text}: no such run; expected a run or model directory, or a name of 'zoo models list'") from None
        raise
    parsed = entry.parse_options(given)
    return Target(entry.label(parsed), name=name, options={key: parsed[key] for key in given})


def parse_shape(text: str) -> tuple[int, int, int]:
    """Read ``1x2048x4096`` as (channels, height, width), and ``2048x4096`` as one channel.

    Raises:
        UsageError: any other form, or a side below 1.
    """
    words = text.lower().split("x")
    sides = [int(word) for word in words if word.isdecimal()]
    if len(sides) != len(words) or len(sides) not in (2, 3) or min(sides) < 1:
        raise UsageError(f"a shape is CHANNELSxHEIGHTxWIDTH or HEIGHTxWIDTH, such as 1x2048x4096; got {text!r}")
    channels, height, width = sides if len(sides) == 3 else (1, *sides)
    return channels, height, width
