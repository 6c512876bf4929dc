"""Paired statistics of two models on the same frames, with the target as what was sampled.

A frame counts +1 where only the first model is right, -1 where only the second is, 0 otherwise. The sum over all frames, divided by their
number, is the difference in accuracy; the sums over each target are what the test and the interval work with, because frames of one
target succeed and fail together.

Test: under the hypothesis that the models are alike, the sum of every target may as well have the other sign (Fisher's randomisation test
of pairs, 1935, with the target as the unit). All ``2**G`` patterns are counted, none is sampled: the sums are whole numbers, so their
distribution follows from one convolution a target (Pagano & Tritchler 1983).

Interval: delete-one-target jackknife of the difference, Student's t with degrees of freedom for unequal targets, as in `zoo.intervals`
but not on the logit scale, since a difference may be negative. ``benchmarks/bench_compare.py`` measures both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.errors import UsageError
from zoo.intervals import LEVEL, Interval, degrees_of_freedom, no_interval

TEST = "sign flips of whole targets, exact, two-sided"
INTERVAL = "delete-one-target jackknife of the difference, Student's t with degrees of freedom for unequal targets"


def target_sums(first: ArrayLike, second: ArrayLike, targets: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each target in the order of the sorted names, the sum of ``first - second`` and the number of frames.

    Args:
        first, second: ``(N,)`` bool, whether each frame was called right. targets: of each frame.

    Raises:
        UsageError: there are no frames, or the lengths differ.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.size == 0 or one.shape != two.shape or len(targets) != one.size:
        raise UsageError(f"got {one.size} and {two.size} outcomes and {len(targets)} targets, expected the same number, at least one")
    index = np.unique(np.asarray(targets), return_inverse=True)[1]
    sums = np.zeros(int(index.max()) + 1, dtype=np.int64)
    np.add.at(sums, index, one.astype(np.int64) - two.astype(np.int64))
    return sums, np.bincount(index).astype(np.int64)


def sign_flip_p(sums: ArrayLike) -> float:
    """Return the share of sign patterns whose total is at least as far from 0 as that of ``sums``; 1 where all are 0.

    Args:
        sums: ``(G,)`` integers, the difference of each target in frames.
    """
    given = np.asarray(sums, dtype=np.int64)
    steps = np.abs(given[given != 0])
    reach = int(steps.sum())
    chance = np.zeros(2 * reach + 1)  # of a total of -reach ... reach
    chance[reach] = 1.0
    for step in steps:
        moved = np.zeros_like(chance)
        moved[step:] = chance[:-step]
        moved[:-step] += chance[step:]
        chance = moved / 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(given.sum()))
    return min(1.0, float(chance[far].sum()))


def smallest_p(sums: ArrayLike) -> float:
    """Return the p-value of `sign_flip_p` if one model were ahead in every target with a difference: no data like these can give less."""
    return float(min(1.0, 2.0 ** (1 - np.count_nonzero(np.asarray(sums)))))


def difference_interval(sums: ArrayLike, counts: ArrayLike, *, level: float = LEVEL) -> Interval:
    """Return the difference in accuracy and its interval; the ends are cut to [-1, 1].

    Args:
        sums, counts: ``(G,)``, from `target_sums`. level: nominal coverage, in (0, 1).

    Raises:
        UsageError: ``level`` is not in (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie in (0, 1), got {level}")
    total, n = np.asarray(sums, dtype=np.int64), np.asarray(counts, dtype=np.int64)
    estimate, groups = float(total.sum() / n.sum()), total.size
    if groups < 2:
        return no_interval(estimate, groups, "fewer than 2 targets")
    without = (total.sum() - total) / (n.sum() - n)
    if np.ptp(without) <= 1e-12:
        return no_interval(estimate, groups, "every target has the same difference, so the jackknife variance is 0")
    from scipy.special import stdtrit

    variance = (groups - 1) / groups * float(np.sum((without - without.mean()) ** 2))
    half = float(stdtrit(degrees_of_freedom(n.astype(np.float64)), 0.5 + level / 2)) * variance**0.5
    return Interval(estimate, max(-1.0, estimate - half), min(1.0, estimate + half), groups)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test, which takes every frame for itself; 1 where neither count is above 0.

    Equal to ``scipy.stats.binomtest(only_first, only_first + only_second).pvalue``.
    """
    from scipy.special import bdtr

    count = only_first + only_second
    return min(1.0, 2.0 * float(bdtr(min(only_first, only_second), count, 0.5))) if count else 1.0
