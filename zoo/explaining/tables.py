"""The error rate against what is known of the frames: tabulated, with no claim about causes.

The paper names three reasons for the errors of its network: similarity of the classes, too few features, and noise. Each fact here has to
do with one of them, or with none; that a rate rises with a fact says that the two go together in these frames, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.evaluation import metrics
from zoo.explaining.result import Bin, ErrorTable, FrameFacts
from zoo.intervals import Interval, accuracy_interval, jackknife

BINS = 5
LEAST = 8
"""Frames that a bin holds at least, unless there are fewer in all."""

FACTS = {
    "ratio": ("distance to the nearest frame of another class, over that to the nearest of its own", "", "similarity of the classes"),
    "distance_other": ("distance to the nearest frame of another class", "", "similarity of the classes"),
    "filled": ("share of the frame that is filled with sources", "", "too few features"),
    "signal_to_noise": ("signal-to-noise", "", "noise"),
    "offset_arcmin": (
        "offset of the frame from its target",
        "arcmin",
        "none: a label is that of the target, of which a frame far out may show little",
    ),
    "loss": ("loss", "nat", "none: a large loss is what being wrong means; it shows how wrong"),
}
"""Fact -> what it is in words, its unit, and which reason of the paper it has to do with."""


def tabulate_errors(frames: Sequence[FrameFacts]) -> tuple[ErrorTable, ...]:
    """Return the error rate against every fact."""
    wrong = np.array([frame.wrong for frame in frames], dtype=bool)
    targets = np.array([frame.target for frame in frames])
    return tuple(_tabulate(name, np.array([getattr(frame, name) for frame in frames], dtype=np.float64), wrong, targets) for name in FACTS)


def _tabulate(name: str, values: NDArray[np.float64], wrong: NDArray[np.bool_], targets: NDArray[np.str_]) -> ErrorTable:
    """The table of one fact, of the frames of which it is known; infinity is known, and the largest."""
    known = ~np.isnan(values)
    values, wrong, targets = values[known], wrong[known], targets[known]
    label, unit, speaks_to = FACTS[name]
    rows = tuple(_bin(values[inside], wrong[inside], targets[inside]) for inside in quantile_bins(values))
    return ErrorTable(name, label, unit, speaks_to, rows, int((~known).sum()), _separation(values, wrong, targets))


def quantile_bins(values: NDArray[np.float64], most: int = BINS, least: int = LEAST) -> list[NDArray[np.bool_]]:
    """Return masks of bins with about as many values each, from the smallest values to the largest.

    Equal values are in one bin, so there are fewer bins where many are equal. No bin but a single one holds fewer than ``least``.

    Args:
        values: ``(N,)``, no NaN. most: bins at most. least: values in a bin at least.
    """
    if not values.size:
        return []
    count = max(1, min(most, values.size // least))
    ordered = np.sort(values)
    edges = sorted({float(ordered[values.size * number // count]) for number in range(1, count)} - {float(ordered[0])})
    groups = np.searchsorted(np.array(edges), values, side="right")
    sizes = np.bincount(groups, minlength=len(edges) + 1)
    for number in range(len(sizes) - 1):  # ties can leave a bin too small: it joins the next one, the last one the one before
        if sizes[number] < least:
            groups[groups == number] = number + 1
            sizes[number + 1] += sizes[number]
    kept = np.unique(groups)
    if len(kept) > 1 and sizes[kept[-1]] < least:
        groups[groups == kept[-1]] = kept[-2]
    return [groups == number for number in np.unique(groups)]


def _bin(values: NDArray[np.float64], wrong: NDArray[np.bool_], targets: NDArray[np.str_]) -> Bin:
    lower, upper = float(values.min()), float(values.max())
    name = " to ".join(f"{float(f'{value:.3g}'):g}" for value in dict.fromkeys((lower, upper)))  # three digits, without an exponent
    interval = accuracy_interval(wrong, targets.tolist())
    return Bin(name, lower, upper, wrong.size, len(np.unique(targets)), int(wrong.sum()), interval.estimate, interval)


def _separation(values: NDArray[np.float64], wrong: NDArray[np.bool_], targets: NDArray[np.str_]) -> Interval:
    """How well the fact tells wrong frames from right ones: the area under its ROC curve, with its interval by target."""
    if not wrong.any() or wrong.all():
        kind = "no wrong frames" if not wrong.any() else "no right frames"
        return Interval(float("nan"), float("nan"), float("nan"), len(np.unique(targets)), kind)
    return jackknife(lambda mask: metrics.roc_auc(wrong[mask], values[mask]), targets.tolist())
