"""Sets of classes that hold the true one for a stated share of frames of new targets, whatever the model is like.

Split conformal prediction (Vovk, Gammerman & Shafer 2005) asks how many calibration frames fit their class as badly as the new frame would
fit a class, and keeps the classes for which that is common enough. It needs exchangeable frames, and frames of one target are not; targets
are. One frame drawn from each calibration target would do, but the answer would depend on the draw. Repeating the draw and averaging
(Dunn, Wasserman & Ramdas 2022, "Distribution-free prediction sets for two-layer hierarchical models") has a limit in closed form, in which
every target has the mass ``1 / (n + 1)`` and shares it among its frames; that set covers frames of new targets at the stated level
(Lee, Barber & Willett 2023, "Distribution-free inference with hierarchical data").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_ROUNDING = 1e-9  # 1 - 0.95 is a little more than 1/20


def scores_of(logits: Array, temperature: float) -> Array:
    """Return ``(N, K)``, how badly each class fits: -log of its probability, which makes the least ambiguous sets (Sadinle, Lei &
    Wasserman 2019). With two classes its order, and so the sets, do not depend on the temperature.
    """
    values = logits / temperature
    values = values - values.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(values).sum(axis=1, keepdims=True)) - values)


def needed_targets(level: float) -> int:
    """Return how many calibration targets a level needs, so that a set can ever leave out a class: 19 for 0.95."""
    return int(np.ceil(1 / (1 - level) - 1 - _ROUNDING))


def attainable_level(targets: int) -> float:
    """Return the highest level of which sets can leave out a class, ``n / (n + 1)``."""
    return targets / (targets + 1)


def p_values(scores: Array, calibration: Array, targets: Indices) -> Array:
    """Return how common a fit as bad as each score is among calibration targets, each of which counts 1 whatever its frames.

    Args:
        scores: any shape, of the new frames. calibration: ``(N,)``, of the calibration frames with their true class.
        targets: ``(N,)``, the target of each by index from 0, without gaps.

    Returns: the shape of ``scores``, in (0, 1]: ``(1 + sum of each target's share of frames that fit as badly or worse) / (n + 1)``.
    """
    counts = np.bincount(targets)
    order = np.argsort(calibration, kind="stable")
    weights = (1.0 / counts[targets])[order]
    above = np.append(np.cumsum(weights[::-1])[::-1], 0.0)  # the mass from each place on
    place = np.searchsorted(calibration[order], scores, side="left")
    return np.asarray((1.0 + above[place]) / (len(counts) + 1))


def sets_of(scores: Array, calibration: Array, truth: Indices, targets: Indices, level: float, *, by_class: bool) -> NDArray[np.bool_]:
    """Return ``(M, K)``, which classes are in the set of each frame.

    A frame for which no class is left fits none as the calibration frames fit theirs; it gets all of them, for it cannot be decided.

    Args:
        scores: ``(M, K)`` of the new frames, see `scores_of`. calibration: ``(N, K)`` of the calibration frames.
        truth: ``(N,)`` their classes. targets: ``(N,)`` their targets by index. level: wanted coverage.
        by_class: compare with the calibration targets of the class in question alone (Mondrian), so that the level holds for each
            class; each then needs `needed_targets` of its own. Otherwise it holds over the classes together.
    """
    own = np.take_along_axis(calibration, truth[:, None], axis=1)[:, 0]
    if by_class:
        columns = []
        for label in range(scores.shape[1]):
            mine = truth == label
            _, index = np.unique(targets[mine], return_inverse=True)
            columns.append(p_values(scores[:, label], own[mine], index))
        chances = np.stack(columns, axis=1)
    else:
        chances = p_values(scores, own, targets)
    kept = chances > 1 - level + _ROUNDING
    kept[~kept.any(axis=1)] = True
    return np.asarray(kept)
