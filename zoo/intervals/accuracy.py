"""Intervals of accuracies and of other scores in [0, 1], and the p-values that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.errors import UsageError
from zoo.intervals.bootstrap import bootstrap_interval
from zoo.intervals.interval import DEFAULT, LEVEL, Interval, check_request, no_interval
from zoo.intervals.jackknife import Floats, logit_interval, spread, why_degenerate, without_each


def accuracy_interval(correct: ArrayLike, targets: Sequence[str], *, level: float = LEVEL, method: str = DEFAULT) -> Interval:
    """Return the interval of a frame accuracy.

    Args:
        correct: ``(N,)`` bool, whether each frame was called right.
        targets: the target of each frame.
        level: nominal coverage, in (0, 1).
        method: one of `METHODS`.

    Raises:
        UsageError: there are no frames, the lengths differ, ``level`` is not in (0, 1), or the method is unknown.
    """
    right = np.asarray(correct, dtype=bool)
    index, names = _groups(targets, right.size)
    return count_interval(np.bincount(index, weights=right), np.bincount(index), names, level=level, method=method)


def count_interval(hits: ArrayLike, counts: ArrayLike, names: Sequence[str], *, level: float = LEVEL, method: str = DEFAULT) -> Interval:
    """Return the interval of a frame accuracy from the counts of each target, as `accuracy_interval` does from frames.

    Args:
        hits, counts: ``(G,)``, the frames of each target that were called right, and all of them, at least one each.
        names: the G targets.
        level: nominal coverage, in (0, 1). method: one of `METHODS`.

    Raises:
        UsageError: ``level`` is not in (0, 1), or the method is unknown.
    """
    check_request(level, method)
    right, n = np.asarray(hits, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if method == "frame":
        return _wilson(float(right.sum()), float(n.sum()), len(names), level)
    interval = _by_target(right, n, names, level, method)
    return replace(interval, floor=_exact_lower(int((right == n).sum()), len(names), level)) if interval.reason else interval


def exceeding_p(hits: ArrayLike, counts: ArrayLike, names: Sequence[str], value: float) -> float:
    """Return the one-sided p-value of a frame accuracy against "the accuracy over new targets is at most ``value``".

    It is the p at which the lower end of the jackknife interval of level ``1 - 2 p``, or the floor where there is none, equals ``value``.

    Args:
        hits, counts, names: as for `count_interval`. value: in (0, 1); for any other nothing can exceed it, and p is 1.
    """
    right, n = np.asarray(hits, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if not 0.0 < value < 1.0:
        return 1.0
    from scipy.special import betainc, logit, stdtr

    estimate, without = float(right.sum() / n.sum()), without_each(right, n)
    if why_degenerate(estimate, without, names):
        whole = int((right == n).sum())
        return float(betainc(whole, len(names) - whole + 1, value)) if whole else 1.0
    error, degrees = spread(without, n)
    return float(stdtr(degrees, float(logit(value) - logit(estimate)) / error))


def macro_interval(correct: ArrayLike, targets: Sequence[str], *, level: float = LEVEL, method: str = DEFAULT) -> Interval:
    """Return the interval of the mean over targets of each target's accuracy. Arguments and Raises: as `accuracy_interval`."""
    right = np.asarray(correct, dtype=bool)
    index, names = _groups(targets, right.size)
    return share_interval(np.bincount(index, weights=right) / np.bincount(index), names, level=level, method=method)


def share_interval(each: ArrayLike, names: Sequence[str], *, level: float = LEVEL, method: str = DEFAULT) -> Interval:
    """Return the interval of the mean of one score per target, ``(G,)`` in [0, 1], as `macro_interval` does from frames."""
    check_request(level, method)
    values = np.asarray(each, dtype=np.float64)
    if method == "frame":
        return not_offered(float(values.mean()), len(names), method)
    return _by_target(values, np.ones(values.size), names, level, method)


def jackknife(
    statistic: Callable[[NDArray[np.bool_]], float], targets: Sequence[str], *, level: float = LEVEL, weights: ArrayLike | None = None
) -> Interval:
    """Return the interval of any score in [0, 1].

    Args:
        statistic: takes an ``(N,)`` bool mask of the frames to use and returns the score, NaN where they do not define it.
        targets: the target of each frame.
        level: nominal coverage, in (0, 1).
        weights: ``(N,)``, how much each frame counts in the score, for the degrees of freedom; by default all the same.

    Raises:
        UsageError: there are no frames, or ``level`` is not in (0, 1).
    """
    check_request(level, "jackknife")
    index, names = _groups(targets, len(targets))
    estimate = statistic(np.ones(len(targets), dtype=bool))
    without = np.array([statistic(index != g) for g in range(len(names))] if len(names) > 1 else [np.nan])
    share = np.bincount(index, weights=None if weights is None else np.asarray(weights, dtype=np.float64)).astype(np.float64)
    return logit_interval(estimate, without, share, names, level)


def not_offered(estimate: float, n_targets: int, method: str) -> Interval:
    """Return a score that is no share of frames, for which only the jackknife gives an interval."""
    return no_interval(estimate, n_targets, f"--interval {method} is for shares of frames", method=method)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all of the tests together (Holm, Scand. J. Statist. 6, 65, 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _by_target(hits: Floats, counts: Floats, names: Sequence[str], level: float, method: str) -> Interval:
    """The interval of a ratio of sums over targets."""
    if method == "bootstrap":
        return bootstrap_interval(hits, counts, level)
    return logit_interval(float(hits.sum() / counts.sum()), without_each(hits, counts), counts, names, level)


def _groups(targets: Sequence[str], size: int) -> tuple[NDArray[np.intp], list[str]]:
    """Check the lengths and return the index of each frame's target, and the sorted names of the targets."""
    if size == 0 or len(targets) != size:
        raise UsageError(f"got {size} frames and {len(targets)} targets, expected the same number, at least one")
    names, index = np.unique(np.asarray(targets), return_inverse=True)
    return index, names.tolist()


def _wilson(hits: float, count: float, n_targets: int, level: float) -> Interval:
    """Wilson's score interval (J. Am. Stat. Assoc. 22, 209, 1927)."""
    from scipy.special import ndtri

    square, share = float(ndtri(0.5 + level / 2)) ** 2, hits / count
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = (square * share * (1 - share) / count + (square / (2 * count)) ** 2) ** 0.5 / (1 + square / count)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), n_targets, method="frame")


def _exact_lower(hits: int, count: int, level: float) -> float:
    """Return the lower Clopper-Pearson end of ``hits`` of ``count`` with the tail of a two-sided interval."""
    if hits == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(hits, count - hits + 1, (1.0 - level) / 2))
