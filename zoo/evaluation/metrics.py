"""Scores of a classifier, for any number of classes. numpy only.

Labels and predictions are class indices, ``(N,)`` integers. A score that the frames do not define (the recall of a class without frames)
is NaN, never 0, and no function warns. Equal to scikit-learn's (``zero_division=nan``) within 1e-12, which the tests check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.errors import UsageError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Metrics:
    """The scores of one set of frames.

    With two classes ``precision``, ``recall``, ``f1``, ``roc_auc`` and ``average_precision`` are those of class 1, the positive one; with
    more they are means over the classes. ``per_class`` holds each class's own; ``confusion[i][j]`` counts frames of class ``i`` that were
    called ``j``.
    """

    n_frames: int
    n_targets: int
    accuracy: float
    balanced_accuracy: float
    macro_target_accuracy: float
    precision: float
    recall: float
    f1: float
    roc_auc: float
    average_precision: float
    log_loss: float
    brier: float
    calibration_error: float
    majority_share: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]


def score(labels: ArrayLike, probabilities: ArrayLike, targets: Sequence[str], names: Sequence[str]) -> Metrics:
    """Compute every score of this module; the predicted class is the one of highest probability, the first of equals.

    Args:
        labels: ``(N,)`` class indices, N >= 1.
        probabilities: ``(N, K)``, rows that sum to 1.
        targets: the target of each frame.
        names: the K class names, by index.

    Raises:
        UsageError: N is 0, the lengths differ, or a probability is not finite.
    """
    truth, chances = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if truth.size == 0 or chances.shape != (truth.size, len(names)) or len(targets) != truth.size:
        raise UsageError(
            f"got {truth.size} labels, probabilities {chances.shape}, {len(targets)} targets and {len(names)} classes; "
            "expected (N,), (N, K), N and K with N >= 1"
        )
    if not np.isfinite(chances).all():
        raise UsageError("probabilities must be finite; leave out the frames for which the model gave NaN")
    called = chances.argmax(axis=1)
    matrix = confusion_matrix(truth, called, len(names))
    p, r, f = precision(matrix), recall(matrix), f1(matrix)
    areas = np.array([roc_auc(truth == index, chances[:, index]) for index in range(len(names))])
    averages = np.array([average_precision(truth == index, chances[:, index]) for index in range(len(names))])
    counts = matrix.sum(axis=1)
    per_class = {
        name: {
            "frames": int(counts[i]),
            "targets": len({t for t, label in zip(targets, truth, strict=True) if label == i}),
            "precision": float(p[i]),
            "recall": float(r[i]),
            "f1": float(f[i]),
            "roc_auc": float(areas[i]),
            "average_precision": float(averages[i]),
        }
        for i, name in enumerate(names)
    }
    return Metrics(
        n_frames=int(truth.size),
        n_targets=len(set(targets)),
        accuracy=accuracy(truth, called),
        balanced_accuracy=balanced_accuracy(matrix),
        macro_target_accuracy=macro_target_accuracy(truth, called, targets),
        precision=headline(p),
        recall=headline(r),
        f1=headline(f),
        roc_auc=headline(areas),
        average_precision=headline(averages),
        log_loss=log_loss(truth, chances),
        brier=brier(truth, chances),
        calibration_error=calibration_error(truth, chances),
        majority_share=float(counts.max() / truth.size),
        per_class=per_class,
        confusion=matrix.tolist(),
    )


def headline(per_class: Floats) -> float:
    """Reduce ``(K,)`` class scores to one: that of class 1 when K is 2, else the mean over the classes (NaN if one is NaN)."""
    return float(per_class[1]) if per_class.size == 2 else float(per_class.mean())


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Return the fraction of frames that were called right; NaN for no frames."""
    right = np.asarray(labels) == np.asarray(predictions)
    return float(right.mean()) if right.size else float("nan")


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> Integers:
    """Return ``(K, K)`` counts, row = true class, column = predicted class. Raises: UsageError: an index is not in ``[0, K)``."""
    truth, called = np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    for name, values in (("labels", truth), ("predictions", called)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise UsageError(f"{name} must lie in 0..{num_classes - 1}, got {values.min()}..{values.max()}")
    counts = np.bincount(truth * num_classes + called, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def precision(matrix: Integers) -> Floats:
    """Return ``(K,)``: of the frames called a class, the fraction that are of it. NaN where none was called so."""
    return _ratio(np.diag(matrix), matrix.sum(axis=0))


def recall(matrix: Integers) -> Floats:
    """Return ``(K,)``: of the frames of a class, the fraction that were called so. NaN where there are none."""
    return _ratio(np.diag(matrix), matrix.sum(axis=1))


def f1(matrix: Integers) -> Floats:
    """Return ``(K,)``: the harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``. NaN where that divides by 0."""
    return _ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def balanced_accuracy(matrix: Integers) -> float:
    """Return the mean recall of the classes that have frames; NaN for no frames."""
    values = recall(matrix)
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def macro_target_accuracy(labels: ArrayLike, predictions: ArrayLike, targets: Sequence[str]) -> float:
    """Return the mean over targets of each target's accuracy, so that a target of many exposures counts as one. NaN for no frames."""
    right = np.asarray(labels) == np.asarray(predictions)
    if not right.size:
        return float("nan")
    index = np.unique(np.asarray(targets), return_inverse=True)[1]
    return float((np.bincount(index, weights=right) / np.bincount(index)).mean())


def roc_auc(positive: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve: the chance that a positive frame scores above a negative one, equal scores counting half.

    Args:
        positive: ``(N,)`` bool.
        scores: ``(N,)``, higher = more positive.

    Returns: NaN unless both classes have a frame.
    """
    truth, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    n_positive = int(truth.sum())
    n_negative = truth.size - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2.0  # of tied scores, from 1
    total = mid_ranks[index][truth].sum()
    return float((total - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative))


def average_precision(positive: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean precision over the positive frames, each at the threshold of its own score: the area under the steps of the PR curve.

    Args:
        positive: ``(N,)`` bool.
        scores: ``(N,)``, higher = more positive. Frames of one score pass the threshold together.

    Returns: NaN without a positive frame.
    """
    truth, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    if not truth.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    last = np.append(values[order][1:] != values[order][:-1], True)  # of the frames of one score
    found, called = np.cumsum(truth[order])[last], np.arange(1, truth.size + 1)[last]
    return float((np.diff(found, prepend=0) * (found / called)).sum() / truth.sum())


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean of ``-log p(true class)`` in nats; probabilities are clipped to ``[eps, 1 - eps]`` of float64. NaN for no frames."""
    truth, chances = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if not truth.size:
        return float("nan")
    eps = np.finfo(np.float64).eps
    return float(-np.log(np.clip(chances[np.arange(truth.size), truth], eps, 1.0 - eps)).mean())


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared difference of the probabilities from 1 for the true class and 0 for the others; NaN for no frames.

    With two classes it is that of one of them (Brier 1950 sums over both, which is twice as much); with more the sum over the classes.
    """
    truth, chances = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if not truth.size:
        return float("nan")
    squares = ((chances - np.eye(chances.shape[1])[truth]) ** 2).sum(axis=1)
    return float(squares.mean() / (2.0 if chances.shape[1] == 2 else 1.0))


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error: how far the probability of the called class is from how often it is right.

    Frames go into ``bins`` equal bins by that probability, (0, 1/bins], ..., and the distances between mean probability and accuracy are
    averaged with the frames of a bin as weight (Guo et al. 2017, arXiv:1706.04599, equation 3, with their 15 bins). NaN for no frames. Of
    few frames it lies above 0 even for a perfectly calibrated model.
    """
    truth, chances = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if not truth.size:
        return float("nan")
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    place = confidence_bin(confidence, bins)
    excess = np.bincount(place, weights=right, minlength=bins) - np.bincount(place, weights=confidence, minlength=bins)
    return float(np.abs(excess).sum() / truth.size)


def confidence_bin(confidence: Floats, bins: int) -> Integers:
    """Return ``(N,)``, which of ``bins`` equal bins holds each probability; an upper end belongs to its bin, 0 to the first."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _ratio(above: Integers, below: Integers) -> Floats:
    """Divide, NaN where ``below`` is 0."""
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
