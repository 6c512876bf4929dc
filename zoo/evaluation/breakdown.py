"""The accuracy of the frames that have something in common: a target, a camera, a filter, a chip, an exposure time, a place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from zoo.evaluation.result import FrameResult, Group
from zoo.intervals import DEFAULT, accuracy_interval

UNKNOWN = "unknown"

FEWEST = 8
"""Targets of a class below which its figures are said to rest on few."""

# Ends of the bins. Hubble's exposures are set in rounds of an orbit, and a chip is about 3 arcmin wide.
EXPTIME_S = (100.0, 300.0, 600.0, 1200.0)
OFFSET_ARCMIN = (0.5, 1.0, 2.0, 4.0)


def group_frames(frames: Sequence[FrameResult], *, method: str = DEFAULT) -> dict[str, list[Group]]:
    """Return the accuracy by target, instrument, filter, chip, exposure time and offset from the target.

    Names come in order, bins from the least to the most, and what is not known last, as ``unknown``.

    Args:
        frames: those that were scored. method: of the intervals, one of `zoo.intervals.METHODS`.
    """
    return {grouping: _groups(frames, place, method) for grouping, place in _PLACES.items()}


def name_few(labels: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Say which classes have fewer than `FEWEST` targets, in one line or none; ``labels`` and ``targets``: of each frame."""
    counts = Counter(label for label, _ in set(zip(labels, targets, strict=True)))
    few = ", ".join(f"{label} {counts[label]}" for label in dict.fromkeys(labels) if counts[label] < FEWEST)
    return [f"fewer than {FEWEST} targets: {few}; what is said of such a class may change with one more target"] if few else []


def _groups(frames: Sequence[FrameResult], place: Callable[[FrameResult], tuple[int, str]], method: str) -> list[Group]:
    """Groups of equal place, in the order of the places."""
    members: dict[tuple[int, str], list[FrameResult]] = {}
    for frame in frames:
        members.setdefault(place(frame), []).append(frame)
    return [_group(name, members[order, name], method) for order, name in sorted(members)]


def _group(name: str, frames: Sequence[FrameResult], method: str) -> Group:
    right = [frame.predicted == frame.label for frame in frames]
    targets = [frame.target for frame in frames]
    interval = accuracy_interval(right, targets, method=method)
    labels = " ".join(sorted({frame.label for frame in frames}))
    shortcut = float(np.mean([frame.shortcut == frame.label for frame in frames])) if all(frame.shortcut for frame in frames) else np.nan
    return Group(name, labels, len(frames), len(set(targets)), interval.estimate, interval, shortcut)


def _named(name: str) -> tuple[int, str]:
    return (0, name) if name else (1, UNKNOWN)


def _binned(value: float, ends: Sequence[float], unit: str) -> tuple[int, str]:
    """The bin that holds a value, its lower end in it, its upper end not."""
    if math.isnan(value):
        return len(ends) + 1, UNKNOWN
    place = sum(value >= end for end in ends)
    if place == 0:
        return place, f"below {ends[0]:g} {unit}"
    return place, f"from {ends[-1]:g} {unit}" if place == len(ends) else f"{ends[place - 1]:g} to {ends[place]:g} {unit}"


_PLACES: dict[str, Callable[[FrameResult], tuple[int, str]]] = {
    "target": lambda frame: _named(frame.target),
    "instrument": lambda frame: _named(frame.instrument),
    "filter": lambda frame: _named(frame.filter),
    "chip": lambda frame: _named(frame.chip),
    "exposure time": lambda frame: _binned(frame.exptime, EXPTIME_S, "s"),
    "offset": lambda frame: _binned(frame.offset_arcmin, OFFSET_ARCMIN, "arcmin"),
}
GROUPINGS = tuple(_PLACES)
