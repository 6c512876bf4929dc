"""How often the probabilities come true, before and after the temperature of the model: a reliability diagram in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.evaluation import metrics
from zoo.intervals import DEFAULT, Interval, accuracy_interval

BINS = 15  # those of the expected calibration error


@dataclass(frozen=True)
class ReliabilityBin:
    """Frames whose called class has a probability in (``lower``, ``upper``].

    Attributes:
        count, n_targets: how many frames, and of how many targets. confidence: mean probability of the called class.
        accuracy: share that was called right. interval: of the accuracy, by target.
    """

    lower: float
    upper: float
    count: int
    n_targets: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Reliability:
    """Probabilities against what happened. *Before*: the softmax of the logits; *after*: of the logits divided by the temperature.

    Attributes:
        temperature: of the model; 1 for a model without one, where before and after are the same.
        fitted_targets: how many targets the temperature was fitted on; 0 for a model without one.
        n_frames, n_targets: those evaluated.
        log_loss_before, ...: as in `zoo.evaluation.metrics`.
        bins, bins_before: those that hold frames, from the lowest probability.
    """

    temperature: float
    fitted_targets: int
    n_frames: int
    n_targets: int
    log_loss_before: float
    log_loss_after: float
    brier_before: float
    brier_after: float
    calibration_error_before: float
    calibration_error_after: float
    bins: tuple[ReliabilityBin, ...]
    bins_before: tuple[ReliabilityBin, ...]


def measure_reliability(
    labels: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
    targets: Sequence[str],
    *,
    temperature: float = 1.0,
    fitted_targets: int = 0,
    method: str = DEFAULT,
) -> Reliability:
    """Compare probabilities with what the frames are.

    Args:
        labels: ``(N,)`` class indices. before, after: ``(N, K)`` probabilities without and with the temperature. targets: of each frame.
        temperature, fitted_targets: of the model. method: of the intervals, one of `zoo.intervals.METHODS`.
    """
    truth = np.asarray(labels, dtype=np.int64)
    first, last = (np.asarray(values, dtype=np.float64) for values in (before, after))
    return Reliability(
        temperature=temperature,
        fitted_targets=fitted_targets,
        n_frames=int(truth.size),
        n_targets=len(set(targets)),
        log_loss_before=metrics.log_loss(truth, first),
        log_loss_after=metrics.log_loss(truth, last),
        brier_before=metrics.brier(truth, first),
        brier_after=metrics.brier(truth, last),
        calibration_error_before=metrics.calibration_error(truth, first, BINS),
        calibration_error_after=metrics.calibration_error(truth, last, BINS),
        bins=_bins(truth, last, targets, method),
        bins_before=_bins(truth, first, targets, method),
    )


def _bins(truth: NDArray[np.int64], chances: NDArray[np.float64], targets: Sequence[str], method: str) -> tuple[ReliabilityBin, ...]:
    """The bins of one set of probabilities."""
    confidence, right, held = chances.max(axis=1), chances.argmax(axis=1) == truth, np.asarray(targets)
    place = metrics.confidence_bin(confidence, BINS)
    bins = []
    for index in np.unique(place).tolist():
        mine = place == index
        interval = accuracy_interval(right[mine], held[mine].tolist(), method=method)
        bins.append(
            ReliabilityBin(
                lower=index / BINS,
                upper=(index + 1) / BINS,
                count=int(mine.sum()),
                n_targets=interval.n_targets,
                confidence=float(confidence[mine].mean()),
                accuracy=interval.estimate,
                interval=interval,
            )
        )
    return tuple(bins)
