"""Temperature scaling: one number by which the logits are divided so that probabilities mean what they say.

Networks are surer of themselves than they are right (Guo, Pleiss, Sun & Weinberger 2017, "On calibration of modern neural networks"). The
temperature that minimises the log loss on frames the network has not learned from corrects that, and never changes which class is called.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from zoo.errors import DataError, UsageError

Array = NDArray[np.float64]

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds of a fitted temperature: where every frame is called right, the log loss falls for ever as the temperature goes to 0."""


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Array:
    """Return the probabilities of logits divided by a temperature.

    Args:
        logits: ``(..., K)``. temperature: > 0; 1 is the plain softmax.

    Returns: ``(..., K)`` float64; a row with NaN or infinity is NaN.

    Raises:
        UsageError: the temperature is not a positive number.
    """
    if not 0 < temperature < np.inf:
        raise UsageError(f"temperature must be a number > 0, got {temperature}")
    values = np.array(logits, dtype=np.float64)
    values[~np.isfinite(values).all(axis=-1)] = np.nan
    values = (values - values.max(axis=-1, keepdims=True)) / temperature
    powers = np.exp(values)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def log_loss(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike, temperature: float = 1.0) -> float:
    """Return the weighted mean of -log p of the true class, computed without underflow.

    Args:
        logits: ``(N, K)``. labels: ``(N,)`` class indices. weights: ``(N,)``, not all 0. temperature: > 0.
    """
    values = np.asarray(logits, dtype=np.float64) / temperature
    values = values - values.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(values, np.asarray(labels, dtype=np.int64)[:, None], axis=1)[:, 0]
    return float(np.average(np.log(np.exp(values).sum(axis=1)) - chosen, weights=np.asarray(weights, dtype=np.float64)))


def target_weights(targets: Sequence[str]) -> Array:
    """Return ``(N,)``, the share of each frame where every target counts the same; they add up to 1."""
    _, index, counts = np.unique(np.asarray(targets), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(counts) * counts[index]))


def fit_temperature(logits: ArrayLike, labels: ArrayLike, targets: Sequence[str]) -> float:
    """Return the temperature of the least log loss, from `LOWEST` to `HIGHEST`.

    Every target has the same weight and shares it among its frames, because the frames of one target are right or wrong together: a target
    of a hundred exposures would otherwise decide alone.

    Args:
        logits: ``(N, K)`` of frames that the model has not learned from. labels: ``(N,)`` class indices. targets: of each frame.

    Raises:
        DataError: there are no frames, or logits are NaN or infinite. UsageError: the lengths differ.
    """
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if values.ndim != 2 or not len(values) == len(truth) == len(targets):
        raise UsageError(f"got logits {values.shape}, {len(truth)} labels and {len(targets)} targets, expected (N, K), N and N")
    if not len(values) or not np.isfinite(values).all():
        raise DataError("a temperature needs frames with finite logits, got none" if not len(values) else "got logits of NaN or infinity")
    weights = target_weights(targets)
    # In the logarithm of the temperature the loss has one minimum, for it is convex in its inverse.
    bounds = (float(np.log(LOWEST)), float(np.log(HIGHEST)))
    found = minimize_scalar(
        lambda power: log_loss(values, truth, weights, float(np.exp(power))), bounds=bounds, method="bounded", options={"xatol": 1e-6}
    )
    candidates = [*bounds, float(found.x)]
    best = np.exp(min(candidates, key=lambda power: log_loss(values, truth, weights, float(np.exp(power)))))
    return float(np.clip(best, LOWEST, HIGHEST))
