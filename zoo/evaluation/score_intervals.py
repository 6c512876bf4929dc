"""The intervals of every score of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.evaluation import metrics
from zoo.intervals import DEFAULT, Interval, accuracy_interval, jackknife, macro_interval, no_interval, not_offered


def score_intervals(
    labels: NDArray[np.int64], chances: NDArray[np.float64], targets: Sequence[str], names: Sequence[str], *, method: str = DEFAULT
) -> dict[str, Interval]:
    """Return the 95 % intervals of every score in [0, 1].

    Recall and precision of a class are accuracies of the frames that are, or are called, of it, and count only the targets of those frames.
    In the other scores a frame counts by its class, of which all together weigh the same, as far as degrees of freedom are concerned.

    Args:
        labels: ``(N,)`` class indices. chances: ``(N, K)``. targets: of each frame. names: the classes, by index.
        method: one of `zoo.intervals.METHODS`; scores that are no share of frames have an interval by the jackknife alone.
    """
    called = chances.argmax(axis=1)
    right = called == labels
    held = np.asarray(targets)
    weights = 1.0 / np.bincount(labels, minlength=len(names))[labels]

    def general(statistic: Callable[[NDArray[np.bool_]], float]) -> Interval:
        if method == "jackknife":
            return jackknife(statistic, targets, weights=weights)
        return not_offered(statistic(np.ones(labels.size, dtype=bool)), len(set(targets)), method)

    def matrix_score(reduce: Callable[[NDArray[np.int64]], float]) -> Interval:
        return general(lambda mask: reduce(metrics.confusion_matrix(labels[mask], called[mask], len(names))))

    def ranking_score(rank: Callable[[ArrayLike, ArrayLike], float]) -> Interval:
        return general(
            lambda mask: metrics.headline(np.array([rank(labels[mask] == index, chances[mask, index]) for index in range(len(names))]))
        )

    def among(mask: NDArray[np.bool_]) -> Interval:
        if not mask.any():
            return no_interval(float("nan"), 0, "no frames", method=method)
        return accuracy_interval(right[mask], held[mask].tolist(), method=method)

    recalls = {f"recall:{name}": among(labels == index) for index, name in enumerate(names)}
    two = len(names) == 2
    return {
        "accuracy": accuracy_interval(right, targets, method=method),
        "balanced_accuracy": matrix_score(metrics.balanced_accuracy),
        "macro_target_accuracy": macro_interval(right, targets, method=method),
        "precision": among(called == 1) if two else matrix_score(lambda matrix: metrics.headline(metrics.precision(matrix))),
        "recall": among(labels == 1) if two else matrix_score(lambda matrix: metrics.headline(metrics.recall(matrix))),
        "f1": matrix_score(lambda matrix: metrics.headline(metrics.f1(matrix))),
        "roc_auc": ranking_score(metrics.roc_auc),
        "average_precision": ranking_score(metrics.average_precision),
        **recalls,
    }
