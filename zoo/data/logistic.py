"""Ridge logistic regression in numpy: small, exact, and stored as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.split import draw

Array = NDArray[np.float64]

PENALTIES = tuple(10.0**power for power in range(-2, 5))
"""Values of the penalty among which cross-validation chooses."""

_FALLBACK = 10.0  # used where a class has one target, so that nothing can be held out
_FOLDS = 5
_TOLERANCE = 1e-10  # on the Newton decrement, relative to the objective


def fit_binary(features: Array, positive: NDArray[np.bool_], penalty: float) -> tuple[Array, float]:
    """Minimise ``sum(log(1 + exp(-s * (x @ w + b)))) + penalty / 2 * w @ w`` with s = +-1; the intercept b is not penalised.

    Newton's method (iteratively reweighted least squares; Bishop 2006, section 4.3.3) with halved steps where the objective would rise.
    It equals ``sklearn.linear_model.LogisticRegression(C=1 / penalty)``.

    Args:
        features: ``(N, D)``, finite. positive: ``(N,)``. penalty: > 0.

    Returns: weights ``(D,)`` and intercept. With one class only: zero weights and the smoothed log odds.
    """
    count = len(positive)
    if positive.all() or not positive.any():
        hits = float(positive.sum())
        return np.zeros(features.shape[1]), float(np.log((hits + 0.5) / (count - hits + 0.5)))
    if features.shape[1] > count:
        # The penalty does not see rotations, and the data span at most N dimensions: fit there.
        left, stretch, axes = np.linalg.svd(features, full_matrices=False)
        weights, intercept = fit_binary(left * stretch, positive, penalty)
        return weights @ axes, intercept
    design = np.hstack([features, np.ones((count, 1))])
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0.0
    sign = np.where(positive, 1.0, -1.0)

    def objective(beta: Array) -> float:
        return float(np.logaddexp(0.0, -sign * (design @ beta)).sum() + 0.5 * (ridge * beta * beta).sum())

    beta = np.zeros(design.shape[1])
    value = objective(beta)
    for _ in range(100):
        probability = _sigmoid(design @ beta)
        gradient = design.T @ (probability - positive) + ridge * beta
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design
        curvature[np.diag_indices_from(curvature)] += ridge
        curvature[-1, -1] += 1e-12  # probabilities of exactly 0 and 1 leave nothing there
        step = np.linalg.solve(curvature, gradient)
        decrement = float(gradient @ step)
        if decrement <= _TOLERANCE * (1 + value):
            break
        length = 1.0
        while length > 1e-6 and objective(beta - length * step) > value - 1e-4 * length * decrement:
            length /= 2
        beta = beta - length * step
        value = objective(beta)
    return beta[:-1], float(beta[-1])


@dataclass(frozen=True)
class Logistic:
    """A fitted regression on standardised features; one against the rest where there are more than two classes.

    Attributes:
        mean, scale: ``(D,)``, from the training rows; a constant feature has scale 1.
        weights: ``(M, D)`` and intercepts ``(M,)``; M = 1 for two classes (of class 1), else one row per class.
        classes: number of classes. penalty: chosen by cross-validation.
    """

    mean: Array
    scale: Array
    weights: Array
    intercepts: Array
    classes: int
    penalty: float

    @classmethod
    def fit(cls, features: Array, labels: NDArray[np.int64], groups: Sequence[str], *, classes: int, seed: int = 0) -> Logistic:
        """Fit with the penalty of the lowest held-out log loss; whole groups are held out, of every class in turn.

        Args:
            features: ``(N, D)``; NaN stands for unknown and counts as the mean.
            labels: ``(N,)`` class indices. groups: ``(N,)`` names, such as targets.
            classes: number of classes. seed: of the folds.
        """
        folds = _folds(labels, groups, seed)
        losses = []
        for penalty in PENALTIES if folds is not None else ():
            loss = 0.0
            for fold in range(int(folds.max()) + 1):  # type: ignore[union-attr]  # the loop is empty without folds
                held = np.asarray(folds == fold)
                model = cls._fit(features[~held], labels[~held], classes, penalty)
                chance = model.predict(features[held])[np.arange(int(held.sum())), labels[held]]
                loss -= float(np.log(np.maximum(chance, 1e-12)).sum())
            losses.append(loss)
        # The largest of equally good penalties.
        penalty = (
            max((p for p, loss in zip(PENALTIES, losses, strict=True) if loss <= min(losses)), default=_FALLBACK) if losses else _FALLBACK
        )
        return cls._fit(features, labels, classes, penalty)

    @classmethod
    def _fit(cls, features: Array, labels: NDArray[np.int64], classes: int, penalty: float) -> Logistic:
        """Standardise and fit with a given penalty."""
        known = np.isfinite(features)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, features, 0.0).sum(axis=0) / count
        scale = np.sqrt((np.where(known, features - mean, 0.0) ** 2).sum(axis=0) / count)
        scale = np.where(scale > 1e-12 * np.maximum(1.0, np.abs(mean)), scale, 1.0)
        standard = _standardise(features, mean, scale)
        fits = [fit_binary(standard, labels == k, penalty) for k in (range(classes) if classes != 2 else (1,))]
        return cls(
            mean, scale, np.stack([weights for weights, _ in fits]), np.array([intercept for _, intercept in fits]), classes, penalty
        )

    def predict(self, features: Array) -> Array:
        """Probabilities ``(N, classes)``, each row summing to 1; NaN features count as the training mean."""
        chance = _sigmoid(_standardise(features, self.mean, self.scale) @ self.weights.T + self.intercepts)
        if self.classes == 2:
            return np.hstack([1 - chance, chance])
        return np.asarray(chance / chance.sum(axis=1, keepdims=True), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "scale", "weights", "intercepts")}
        return {**arrays, "classes": self.classes, "penalty": self.penalty}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Logistic:
        """The inverse of :meth:`to_dict`. Raises: KeyError, ValueError, TypeError: something is missing or no number."""
        arrays = {name: np.asarray(stored[name], dtype=np.float64) for name in ("mean", "scale", "weights", "intercepts")}
        if arrays["mean"].shape != arrays["scale"].shape or arrays["weights"].shape != (*arrays["intercepts"].shape, *arrays["mean"].shape):
            raise ValueError("the lengths of mean, scale, weights and intercepts disagree")
        return cls(**arrays, classes=int(stored["classes"]), penalty=float(stored["penalty"]))


def _standardise(features: Array, mean: Array, scale: Array) -> Array:
    standard: Array = np.where(np.isfinite(features), (features - mean) / scale, 0.0)
    return standard


def _sigmoid(logit: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)), dtype=np.float64)


def _folds(labels: NDArray[np.int64], groups: Sequence[str], seed: int) -> NDArray[np.int64] | None:
    """Fold of every row: whole groups, every class spread evenly; None where a class has one group."""
    held: dict[int, set[str]] = {}
    for label, group in zip(labels.tolist(), groups, strict=True):
        held.setdefault(label, set()).add(group)
    folds = min(_FOLDS, *(len(members) for members in held.values()), _FOLDS)
    if folds < 2:
        return None
    fold: dict[tuple[int, str], int] = {}
    for label, members in held.items():
        for place, group in enumerate(sorted(members, key=lambda member, label=label: (draw(seed, "fold", label, member), member))):  # type: ignore[misc]
            fold[label, group] = place % folds
    return np.array([fold[label, group] for label, group in zip(labels.tolist(), groups, strict=True)], dtype=np.int64)
