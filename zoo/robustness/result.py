"""What a robustness measurement found: a curve per axis, where it has lost 5 points, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.intervals import Interval

POINTS = 0.05
"""The loss of accuracy that a curve is searched for."""


@dataclass(frozen=True)
class Point:
    """The frames of a curve at one level.

    Attributes:
        level: in the unit of the axis; the first point of a curve is the frame as it is.
        accuracy: with its 95 % interval by target.
        drop: accuracy of the frames as they are minus this one, on the same frames, with its interval by target; 0 for the first point.
        n_frames, n_targets: the same at every level of a curve.
        n_changed: frames for which the model sees something else than without the degradation; a PSF that the camera has already, for
            instance, changes nothing.
        n_flipped: frames whose class is another than without the degradation.
        probability: mean probability of the true class.
    """

    level: float
    accuracy: Interval
    drop: Interval
    n_frames: int
    n_targets: int
    n_changed: int
    n_flipped: int
    probability: float


@dataclass(frozen=True)
class Crossing:
    """Where a curve has lost `POINTS` for the first time, between two levels by a straight line.

    Attributes:
        level: of the loss; ``None`` where it is not within the range.
        first: the mildest level at which the interval of the drop no longer excludes such a loss; ``None``: excluded within the range.
        last: the mildest level at which the interval of the drop lies wholly above it; ``None``: not certain within the range.
        reason: why there is no ``level``; empty where there is one.
    """

    level: float | None
    first: float | None
    last: float | None
    reason: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A frame to which the degradations of an axis cannot be applied, and why."""

    path: str
    hdu: int | None
    plane: int | None
    code: str
    message: str


@dataclass(frozen=True)
class Curve:
    """Accuracy against the levels of one axis.

    Attributes:
        axis, label, unit, step, physical, marks: as in `zoo.robustness.axes.Axis`.
        points: the frames as they are, then the levels, the mildest first; empty where the axis applies to no frame.
        lost5: where 5 points are lost.
        left_out: frames that are in no point of this curve.
    """

    axis: str
    label: str
    unit: str
    step: str
    physical: bool
    points: tuple[Point, ...]
    lost5: Crossing
    marks: Mapping[str, float]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Robustness:
    """The outcome of `zoo.robustness.measure_robustness`.

    Attributes:
        run, model, domain, data, split, data_domain, labels, seen: as in `zoo.evaluation.Evaluation`.
        evaluation: name of the stored evaluation of the same frames; empty where none was stored.
        n_frames: frames that were degraded. n_available: frames of the evaluation that could be scored.
        seed: of what is drawn. precision, geometry, device: of the model's passes.
        passes: images that went through the model. time_s: for all of it.
        curves: one per axis.
        notes: what a reader should know, one line each.
        path: where it is stored, or ``None``.
    """

    run: Path
    model: str
    domain: str
    data: str
    split: str
    data_domain: str
    labels: tuple[str, ...]
    seen: tuple[str, ...]
    evaluation: str
    n_frames: int
    n_available: int
    seed: int
    precision: str
    geometry: str
    device: str
    passes: int
    time_s: float
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = ()
    path: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; NaN stays NaN."""
        plain = asdict(self)
        plain["curves"] = [{**asdict(curve), "marks": dict(curve.marks)} for curve in self.curves]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Robustness:
        """The measurement that `to_dict` wrote, after JSON; keys that are not its own are passed over."""
        held = {name: plain[name] for name in cls.__dataclass_fields__}
        held["curves"] = tuple(_curve(curve) for curve in plain["curves"])
        for name in ("labels", "seen", "notes"):
            held[name] = tuple(plain[name])
        return cls(**{**held, "run": Path(plain["run"]), "path": None if plain["path"] is None else Path(plain["path"])})


def find_crossing(points: Sequence[Point], lost: float = POINTS) -> Crossing:
    """Return where a curve has lost so much accuracy.

    The interval comes from the intervals of the drop at each level: its mild end is where their upper ends reach the loss, its other end
    where their lower ends do. A level whose drop has no interval excludes nothing and proves nothing.

    Args:
        points: of a curve, the frames as they are first. lost: between 0 and 1.
    """
    levels = [point.level for point in points]
    drops = [point.drop for point in points]
    level = _first_above(levels, [drop.estimate for drop in drops], lost)
    first = _first_above(levels, [math.inf if drop.reason else drop.upper for drop in drops], lost)
    last = _first_above(levels, [-math.inf if drop.reason else drop.lower for drop in drops], lost)
    if level is not None:
        return Crossing(level, first, last)
    if not drops:
        return Crossing(None, first, last, "no frames")
    ends = [drop.upper for drop in drops if not drop.reason]
    worst, upper = max(drop.estimate for drop in drops), f"{100 * max(ends):.1f}" if ends else "n/a"
    return Crossing(None, first, last, f"not within the range: at most {100 * worst:.1f} points are lost (95 %: up to {upper})")


def _first_above(levels: Sequence[float], values: Sequence[float], threshold: float) -> float | None:
    """Return where values, joined by straight lines, first reach a threshold; the milder level where a neighbour is infinite."""
    for index, value in enumerate(values):
        # A rounding step below counts: 1 of 20 frames is 5 points, whatever 1 - 0.95 is in binary.
        if value < threshold - 1e-12:
            continue
        before = index - 1
        if before < 0 or value - values[before] <= 0:
            return levels[index]
        if not math.isfinite(value):
            return levels[before]
        if not math.isfinite(values[before]):
            return levels[index]
        share = (threshold - values[before]) / (value - values[before])
        return levels[before] + min(share, 1.0) * (levels[index] - levels[before])
    return None


def _curve(plain: Mapping[str, Any]) -> Curve:
    points = tuple(
        Point(**{**point, **{name: _interval(point[name]) for name in ("accuracy", "drop")}, "probability": _number(point["probability"])})
        for point in plain["points"]
    )
    left_out = tuple(LeftOut(**frame) for frame in plain["left_out"])
    return Curve(**{**plain, "points": points, "lost5": Crossing(**plain["lost5"]), "left_out": left_out})


def _interval(plain: Mapping[str, Any]) -> Interval:
    """The interval, whose numbers that JSON has no form for are NaN."""
    held: dict[str, Any] = {name: math.nan if value is None else value for name, value in plain.items()}
    return Interval(**held)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
