"""Axes of robustness: what is made worse, by which step, in which unit, and how far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from zoo.errors import UnknownNameError, UsageError


@dataclass(frozen=True)
class Axis:
    """One way in which frames get worse.

    Attributes:
        name: on the command line and in files.
        label: in tables and figures. unit: of the levels.
        step, option: the step that is put into the run's pipeline, and the option that holds the level.
        levels: those taken by default, the mildest first.
        start: the level that stands for the frame as it is.
        electrons: whether the step counts electrons in the pixels of the detector, so that noise stays that of an observation.
        random: whether it draws, so that it has a seed.
        physical: whether it does what an instrument could do; a bare blur does not.
        whole: whether levels are whole numbers.
        marks: levels worth a line in a figure.
    """

    name: str
    label: str
    unit: str
    step: str
    option: str
    levels: tuple[float, ...]
    start: float = 0.0
    electrons: bool = True
    random: bool = True
    physical: bool = True
    whole: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)

    def spec(self, level: float, seed: int) -> dict[str, Any]:
        """Return the step at a level, as pipelines write it."""
        seeded = {"seed": seed} if self.random else {}
        return {"step": self.step, self.option: int(level) if self.whole else level, **seeded}

    def check(self, levels: Sequence[float]) -> tuple[float, ...]:
        """Return levels in order, the mildest first, each once. Raises: UsageError: one is out of range, or there are none."""
        if not levels:
            raise UsageError(f"{self.name}: got no levels, expected numbers such as {self.name}={','.join(f'{x:g}' for x in self.levels)}")
        falling = self.levels[0] < self.start
        for level in levels:
            inside = 0 < level < self.start if falling else level > self.start
            if not (math.isfinite(level) and inside) or (self.whole and level != int(level)):
                expected = f"above 0 and below {self.start:g}" if falling else f"above {self.start:g}"
                kind = "a whole number" if self.whole else "a number"
                raise UsageError(f"{self.name}: got the level {level:g}, expected {kind} {expected} ({self.unit})")
        return tuple(sorted(set(levels), reverse=falling))


_ALL = (
    # CSST's survey camera: radius of 80 % of the light in the mean of simulations and as required (arXiv:2312.04948).
    Axis(
        "psf",
        "PSF, radius of 80 % of the light",
        "arcsec",
        "psf",
        "total",
        (0.114, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2),
        marks=MappingProxyType({"CSST, mean of simulations": 0.114, "CSST, required": 0.15}),
    ),
    Axis("jitter", "pointing jitter, rms per direction", "arcsec", "jitter", "rms", (0.02, 0.05, 0.1, 0.2, 0.4)),
    Axis("sky", "sky added", "e-/pixel", "sky", "electrons", (30.0, 100.0, 300.0, 1000.0, 3000.0)),
    Axis(
        "readnoise",
        "read noise",
        "e-",
        "readnoise",
        "electrons",
        (10.0, 20.0, 40.0, 80.0, 160.0),
        marks=MappingProxyType({"CSST": 5.0}),
    ),
    Axis("cosmics", "cosmic rays added", "1/s/cm2", "cosmics", "rate", (1.0, 3.0, 10.0, 30.0, 100.0)),
    Axis("exposure", "exposure time", "of the frame's own", "exposure", "factor", (0.5, 0.2, 0.1, 0.03, 0.01), start=1.0),
    Axis(
        "rebin",
        "rebinning, side of a pixel",
        "pixels of the file",
        "rebin",
        "factor",
        (2.0, 4.0, 8.0, 16.0),
        start=1.0,
        electrons=False,
        random=False,
        whole=True,
    ),
    Axis(
        "blur",
        "bare Gaussian blur, not a PSF test",
        "pixels",
        "blur",
        "sigma",
        (0.5, 1.0, 2.0, 4.0, 8.0),
        electrons=False,
        random=False,
        physical=False,
    ),
)

AXES: Mapping[str, Axis] = MappingProxyType({axis.name: axis for axis in _ALL})

Ladder = tuple[Axis, tuple[float, ...]]
"""An axis and the levels to try on it."""


def choose_axes(names: Sequence[str] | None = None, levels: Mapping[str, Sequence[float]] | None = None) -> list[Ladder]:
    """Return the axes to measure with their levels, in the order of `AXES`.

    Args:
        names: of the axes; ``None`` for all.
        levels: own levels of some of them, by name.

    Raises:
        UnknownNameError: an axis is unknown. UsageError: a level is out of range, or levels are given for an axis that is not measured.
    """
    own = dict(levels or {})
    for name in (*(names or ()), *own):
        if name not in AXES:
            raise UnknownNameError("axis of robustness", name, AXES, remedy=f"There are {', '.join(AXES)}.")
    wanted = set(AXES if names is None else names)
    if not wanted:
        raise UsageError(f"got no axes, expected some of {', '.join(AXES)}")
    if others := [name for name in own if name not in wanted]:
        raise UsageError(f"got levels for {', '.join(others)}, which is not among the axes {', '.join(sorted(wanted))}")
    return [(axis, axis.check(own.get(name, axis.levels))) for name, axis in AXES.items() if name in wanted]


def parse_levels(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Read ``psf=0.1,0.15`` of the command line, one text per axis.

    Raises:
        UsageError: a text has no ``=``, an axis is named twice, or a level is not a number.
    """
    found: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, equals, numbers = (word.strip() for word in text.partition("="))
        if not equals or not name or name in found:
            fault = "the axis twice" if name in found else "no AXIS=LEVELS"
            raise UsageError(f"cannot read the levels {text!r}: {fault}; write them as psf=0.1,0.15,0.2")
        try:
            found[name] = tuple(float(word) for word in numbers.split(",") if word.strip())
        except ValueError:
            raise UsageError(f"cannot read the levels {text!r}: expected numbers, as psf=0.1,0.15,0.2") from None
    return found
