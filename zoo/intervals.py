"""Confidence intervals that take a target, not a frame, as what was sampled.

Estimand: the score over all frames of *new* targets, drawn as these were. Frames of one target share their subject, and labels belong to
targets, so an interval by frame is far too narrow: with the cluster sizes of the LCID test list it covers 23-47 % where it claims 95 %.

Method: delete-one-target jackknife on the logit scale, Student's t with G - 1 degrees of freedom. With ``theta = logit(score)`` and
``theta_g`` the same without target ``g``, the variance is ``(G - 1) / G * sum((theta_g - mean(theta_g))**2)`` (Efron & Stein 1981; Efron &
Tibshirani 1993, ch. 11), and the ends are transformed back, so that they stay in (0, 1). ``benchmarks/bench_intervals.py`` measures how
often it holds the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.errors import UsageError

LEVEL = 0.95
METHOD = "delete-one-target jackknife, logit scale, t(G-1)"


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval by target.

    Attributes:
        estimate: the score on all frames.
        lower, upper: the ends; NaN where the jackknife degenerates.
        n_targets: how many targets the score depends on.
        reason: why there is no interval; empty when there is one.
        floor: for an accuracy without an interval, a bound that stands in for ``lower``; NaN otherwise. It is the lower Clopper-Pearson
            end of the chance that *every* frame of a target is right, which is at most the accuracy over targets: conservative.
    """

    estimate: float
    lower: float
    upper: float
    n_targets: int
    reason: str = ""
    floor: float = float("nan")

    @property
    def bound(self) -> float:
        """The lower end, or the exact floor where there is no interval; NaN where there is neither."""
        return self.floor if self.reason else self.lower

    def __str__(self) -> str:
        if not self.reason:
            return f"{self.lower:.4f}-{self.upper:.4f}"
        return f"n/a ({self.reason})"


def accuracy_interval(correct: ArrayLike, targets: Sequence[str], *, level: float = LEVEL) -> Interval:
    """Return the interval of a frame accuracy.

    Args:
        correct: ``(N,)`` bool, whether each frame was called right.
        targets: the target of each frame.
        level: nominal coverage, in (0, 1).

    Raises:
        UsageError: there are no frames, the lengths differ, or ``level`` is not in (0, 1).
    """
    right = np.asarray(correct, dtype=bool)
    index, _ = _groups(targets, right.size, level)
    names = np.unique(np.asarray(targets)).tolist()
    return count_interval(np.bincount(index, weights=right), np.bincount(index), names, level=level)


def count_interval(hits: ArrayLike, counts: ArrayLike, names: Sequence[str], *, level: float = LEVEL) -> Interval:
    """Return the interval of a frame accuracy from the counts of each target, as `accuracy_interval` does from frames.

    Args:
        hits, counts: ``(G,)``, the frames of each target that were called right, and all of them, at least one each.
        names: the G targets.
        level: nominal coverage, in (0, 1).
    """
    right, n = np.asarray(hits, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    estimate = float(right.sum() / n.sum())
    interval = _logit_interval(estimate, _without_each(right, n), names, level)
    if not interval.reason:
        return interval
    floor = _exact_lower(int((right == n).sum()), len(names), level)
    return Interval(estimate, interval.lower, interval.upper, len(names), interval.reason, floor)


def exceeding_p(hits: ArrayLike, counts: ArrayLike, names: Sequence[str], value: float) -> float:
    """Return the one-sided p-value of a frame accuracy against "the accuracy over new targets is at most ``value``".

    It is the p at which the lower end of the interval of level ``1 - 2 p``, or the floor where there is no interval, equals ``value``.

    Args:
        hits, counts, names: as for `count_interval`. value: in (0, 1); for any other nothing can exceed it, and p is 1.
    """
    right, n = np.asarray(hits, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if not 0.0 < value < 1.0:
        return 1.0
    from scipy.special import betainc, logit, stdtr

    estimate, without = float(right.sum() / n.sum()), _without_each(right, n)
    if _degenerate(estimate, without, names):
        whole = int((right == n).sum())
        return float(betainc(whole, len(names) - whole + 1, value)) if whole else 1.0
    theta, count = logit(without), len(names)
    variance = (count - 1) / count * float(np.sum((theta - theta.mean()) ** 2))
    return float(stdtr(count - 1, float(logit(value) - logit(estimate)) / variance**0.5))


def macro_interval(correct: ArrayLike, targets: Sequence[str], *, level: float = LEVEL) -> Interval:
    """Return the interval of the mean over targets of each target's accuracy. Arguments and Raises: as `accuracy_interval`."""
    right = np.asarray(correct, dtype=bool)
    index, _ = _groups(targets, right.size, level)
    return share_interval(np.bincount(index, weights=right) / np.bincount(index), np.unique(np.asarray(targets)).tolist(), level=level)


def share_interval(each: ArrayLike, names: Sequence[str], *, level: float = LEVEL) -> Interval:
    """Return the interval of the mean of one score per target, ``(G,)`` in [0, 1], as `macro_interval` does from frames."""
    values = np.asarray(each, dtype=np.float64)
    return _logit_interval(float(values.mean()), _without_each(values, np.ones(values.size)), names, level)


def jackknife(statistic: Callable[[NDArray[np.bool_]], float], targets: Sequence[str], *, level: float = LEVEL) -> Interval:
    """Return the interval of any score in [0, 1].

    Args:
        statistic: takes an ``(N,)`` bool mask of the frames to use and returns the score, NaN where they do not define it.
        targets: the target of each frame.
        level: nominal coverage, in (0, 1).

    Raises:
        UsageError: there are no frames, or ``level`` is not in (0, 1).
    """
    index, n_targets = _groups(targets, len(targets), level)
    estimate = statistic(np.ones(len(targets), dtype=bool))
    without = np.array([statistic(index != g) for g in range(n_targets)] if n_targets > 1 else [np.nan])
    return _logit_interval(estimate, without, np.unique(np.asarray(targets)).tolist(), level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all of the tests together (Holm, Scand. J. Statist. 6, 65, 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _without_each(hits: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(G,)``: the accuracy without each target, NaN where nothing is left."""
    out = np.full(hits.size, np.nan)
    rest = counts.sum() - counts
    np.divide(hits.sum() - hits, rest, out=out, where=rest > 0)
    return out


def _groups(targets: Sequence[str], size: int, level: float) -> tuple[NDArray[np.intp], int]:
    """Check the arguments and return the index of each frame's target, in the order of the sorted names, and how many targets there are."""
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie in (0, 1), got {level}")
    if size == 0 or len(targets) != size:
        raise UsageError(f"got {size} frames and {len(targets)} targets, expected the same number, at least one")
    index = np.unique(np.asarray(targets), return_inverse=True)[1]
    return index, int(index.max()) + 1


def _logit_interval(estimate: float, without: NDArray[np.float64], names: Sequence[str], level: float) -> Interval:
    """Turn the estimate and the delete-one estimates, ordered as ``names``, into an interval or the reason why there is none."""
    reason = _degenerate(estimate, without, names)
    if reason:
        return Interval(estimate, float("nan"), float("nan"), len(names), reason)
    from scipy.special import expit, logit, stdtrit

    theta, count = logit(without), len(names)
    variance = (count - 1) / count * float(np.sum((theta - theta.mean()) ** 2))
    half = float(stdtrit(count - 1, 0.5 + level / 2)) * variance**0.5
    centre = float(logit(estimate))
    return Interval(estimate, float(expit(centre - half)), float(expit(centre + half)), count)


def _degenerate(estimate: float, without: NDArray[np.float64], names: Sequence[str]) -> str:
    """Say why the jackknife gives no interval, or return an empty string."""
    if np.isnan(estimate):
        return "these frames do not define it"
    if len(names) < 2:
        return "fewer than 2 targets"
    if estimate in (0.0, 1.0):
        return f"the score is {estimate:.0f}"
    undefined = np.flatnonzero(np.isnan(without))
    if undefined.size:
        return f"not defined without target {names[undefined[0]]}"
    extreme = np.flatnonzero((without <= 0.0) | (without >= 1.0))
    if extreme.size:
        return f"without target {names[extreme[0]]} the score is {without[extreme[0]]:.0f}"
    if np.ptp(without) <= 1e-12:
        return "every target has the same score, so the jackknife variance is 0"
    return ""


def _exact_lower(hits: int, count: int, level: float) -> float:
    """Return the lower Clopper-Pearson end of ``hits`` of ``count`` with the tail of a two-sided interval."""
    if hits == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(hits, count - hits + 1, (1.0 - level) / 2))
