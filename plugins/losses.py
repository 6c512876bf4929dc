"""Losses for ``zoo train --loss``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def cross_entropy(*, class_weights: Tensor | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return softmax cross-entropy, averaged over the frames of a batch; with weights, over their sum of weights.

    Args:
        class_weights: ``(K,)`` float, one weight >= 0 per class, on the device of the logits; ``None`` weighs all frames the same.

    Returns: a function of logits ``(N, K)`` float and labels ``(N,)`` int64 to a scalar. NaN logits give NaN.
    """
    return nn.CrossEntropyLoss(weight=class_weights)
