"""Rules that guess a class from one column, or from all of them, and are learned again without each target in turn.

All counts are taken once; leaving a target out subtracts its own. So nothing is fitted twice, and a list of 100,000 frames takes a fraction
of a second a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.auditing.table import Floats, Integers

BINS = 8  # of a number, where all columns are used together
_MOST_CUTS = 2048
_WORK = 20_000_000  # targets x cuts x classes held at once


@dataclass(frozen=True)
class Guess:
    """What a rule guesses, ``(N,)`` class indices each.

    Attributes:
        inside: learned from all frames. outside: for the frames of each target, learned from those of the others.
        text: the rule learned from all frames, for a reader; empty where it does not fit in a line.
    """

    inside: Integers
    outside: Integers
    text: str


@dataclass(frozen=True)
class Problem:
    """What is to be guessed.

    Attributes:
        labels: ``(N,)`` class indices. targets: ``(N,)`` target indices. names: of the classes, the most frequent first, so that a rule
            that cannot decide says the most frequent class. target_names: of the targets.
    """

    labels: Integers
    targets: Integers
    names: tuple[str, ...]
    target_names: tuple[str, ...]

    @property
    def n_targets(self) -> int:
        """How many targets there are."""
        return len(self.target_names)


def by_value(problem: Problem, values: Integers, names: Sequence[str]) -> Guess:
    """Guess the most frequent class of the frames with the same value; of a value that no other target has, the most frequent class.

    Args:
        problem: N frames. values: ``(N,)``, -1 for unknown, which counts as a value. names: of the values.
    """
    shifted, k = values + 1, len(problem.names)
    counts = _counts(shifted, problem.labels, len(names) + 1, k)
    pair, member = np.unique(problem.targets * (len(names) + 1) + shifted, return_inverse=True)
    own = _counts(member, problem.labels, pair.size, k)
    rest = counts[pair % (len(names) + 1)] - own
    others = _counts(np.zeros_like(shifted), problem.labels, 1, k) - _counts(problem.targets, problem.labels, problem.n_targets, k)
    fallback = others.argmax(axis=1)[pair // (len(names) + 1)]
    outside = np.where(rest.sum(axis=1) > 0, rest.argmax(axis=1), fallback)
    best = counts.argmax(axis=1)
    said = [f"{name or 'unknown'}: {problem.names[best[place]]}" for place, name in enumerate(("", *names)) if counts[place].any()]
    return Guess(
        best[shifted], outside[member], ", ".join(said) if len(said) <= 4 else f"the most frequent class of each of {len(said)} values"
    )


def by_threshold(problem: Problem, values: Floats, name: str, unit: str = "") -> Guess:
    """Guess one class below a threshold and one above it; the threshold is where that is right most often, unknown values are a third side.

    Thresholds lie between neighbouring values; of more than 2048 values, or where targets are very many, at that many evenly spaced ones.

    Args:
        problem: N frames. values: ``(N,)``, NaN for unknown. name, unit: for the text.
    """
    k, known = len(problem.names), np.isfinite(values)
    distinct = np.unique(values[known])
    most = int(min(_MOST_CUTS, max(16, _WORK // (problem.n_targets * k))))
    places = np.unique(np.linspace(0, distinct.size - 2, min(most, distinct.size - 1)).astype(np.int64))
    cuts = (distinct[places] + distinct[places + 1]) / 2
    bins = np.where(known, np.searchsorted(cuts, values, side="right"), cuts.size + 1)
    width = cuts.size + 2  # the last one is unknown
    total = _counts(bins, problem.labels, width, k)
    cut, sides = _best_cut(total[None])
    inside = sides[0][_side(bins, cut[0], width)]
    outside = np.empty_like(inside)
    order = np.argsort(problem.targets, kind="stable")
    step = max(1, _WORK // (width * k))
    for first in range(0, problem.n_targets, step):
        last = min(first + step, problem.n_targets)
        low, high = np.searchsorted(problem.targets[order], [first, last])
        rows = order[low:high]
        own = _counts((problem.targets[rows] - first) * width + bins[rows], problem.labels[rows], (last - first) * width, k)
        cut_of, sides_of = _best_cut(total - own.reshape(last - first, width, k))
        place = problem.targets[rows] - first
        outside[rows] = sides_of[place, _side(bins[rows], cut_of[place], width)]
    below, above = (problem.names[side] for side in sides[0][:2])
    return Guess(inside, outside, f"{name} < {cuts[cut[0]]:.6g}{unit and ' ' + unit}: {below}, else {above}")


def by_all(problem: Problem, columns: Sequence[Integers]) -> Guess:
    """Guess from all columns at once, as if they were independent within a class (naive Bayes with add-one counts).

    Args:
        problem: N frames. columns: ``(N,)`` each, values from 0.
    """
    k = len(problem.names)
    of_target = _counts(problem.targets, problem.labels, problem.n_targets, k)
    total = of_target.sum(axis=0)
    rest = (total - of_target)[problem.targets]
    inside = np.tile(np.log(total + 1.0), (problem.labels.size, 1))
    outside = np.log(rest + 1.0)
    for column in columns:
        width = int(column.max()) + 1
        counts = _counts(column, problem.labels, width, k)
        _, member = np.unique(problem.targets * width + column, return_inverse=True)
        own = _counts(member, problem.labels, int(member.max()) + 1, k)
        inside += np.log(counts + 1.0)[column] - np.log(total + width)
        outside += np.log(counts[column] - own[member] + 1.0) - np.log(rest + width)
    return Guess(inside.argmax(axis=1), outside.argmax(axis=1), f"{len(columns)} columns as if independent (naive Bayes)")


def by_ridge(problem: Problem, features: Floats) -> Guess:
    """Guess the class whose indicator a ridge regression gives the largest value; the penalty equals the variance of N frames.

    Args:
        problem: N frames. features: ``(N, D)``, finite.
    """
    spread = features.std(axis=0)
    design = np.column_stack([(features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.ones(len(features))])
    wanted = np.eye(len(problem.names))[problem.labels]
    gram, moment = design.T @ design, design.T @ wanted
    ridge = np.diag(np.r_[np.full(features.shape[1], float(len(features))), 1e-9])  # the constant is not held back
    inside = (design @ np.linalg.solve(gram + ridge, moment)).argmax(axis=1)
    outside = np.empty_like(inside)
    order = np.argsort(problem.targets, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(problem.targets[order])) + 1):
        own = design[rows]
        weights = np.linalg.solve(gram - own.T @ own + ridge, moment - own.T @ wanted[rows])
        outside[rows] = (own @ weights).argmax(axis=1)
    return Guess(inside, outside, f"ridge regression on {features.shape[1]} numbers")


def binned(values: Floats) -> Integers:
    """Put numbers into `BINS` bins of equal counts; unknown ones into a bin of their own, the last."""
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.asarray(np.where(known, np.searchsorted(edges, values, side="right"), edges.size + 1), dtype=np.int64)


def _counts(groups: Integers, labels: Integers, n_groups: int, classes: int) -> Integers:
    """``(n_groups, classes)``: frames of each class in each group."""
    return np.bincount(groups * classes + labels, minlength=n_groups * classes).reshape(n_groups, classes).astype(np.int64)


def _best_cut(counts: Integers) -> tuple[Integers, Integers]:
    """For ``(T, bins + unknown, K)`` counts the best cut ``(T,)`` and the classes below, above and unknown, ``(T, 3)``."""
    below = counts[:, :-2].cumsum(axis=1)
    above = counts[:, :-1].sum(axis=1, keepdims=True) - below
    cut = (below.max(axis=2) + above.max(axis=2)).argmax(axis=1)
    each = np.arange(len(counts))
    sides = (below[each, cut].argmax(axis=1), above[each, cut].argmax(axis=1), counts[:, -1].argmax(axis=1))
    return cut, np.column_stack(sides)


def _side(bins: Integers, cut: Integers, width: int) -> Integers:
    """0 below the cut, 1 above it, 2 for unknown."""
    return np.asarray(np.where(bins == width - 1, 2, bins > cut), dtype=np.int64)
