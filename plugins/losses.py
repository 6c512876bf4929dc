"""Losses for ``zoo train --loss``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.errors import UsageError


def cross_entropy(*, class_weights: Tensor | None = None, label_smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """Return softmax cross-entropy, averaged over the frames of a batch; with weights, over their sum of weights.

    Args:
        class_weights: ``(K,)`` float, one weight >= 0 per class, on the device of the logits; ``None`` weighs all frames the same.
        label_smoothing: share of each frame's label that is spread evenly over all classes, >= 0 and < 1 (Szegedy et al. 2016,
            arXiv:1512.00567). With weights, each class's part of the label is weighed by that class, as torch does.

    Returns: a function of logits ``(N, K)`` float and labels ``(N,)`` int64 to a scalar. NaN logits give NaN.

    Raises:
        UsageError: ``label_smoothing`` is out of range.
    """
    if not 0 <= label_smoothing < 1:
        raise UsageError(f"cross_entropy: option label_smoothing must be >= 0 and < 1, got {label_smoothing}")
    return nn.CrossEntropyLoss(weight=class_weights, label_smoothing=label_smoothing)


class FocalLoss(nn.Module):
    """Focal loss of Lin et al. 2017 (arXiv:1708.02002): cross-entropy times ``(1 - p)**gamma``, p the probability of the true class.

    Frames that the network is sure of count less, so that the hard ones make the gradient. ``gamma = 0`` is cross-entropy. The mean is
    taken as there: over the frames, with class weights (the paper's alpha) over their sum of weights.

    Args:
        class_weights: ``(K,)`` float, one weight >= 0 per class, on the device of the logits; ``None`` weighs all frames the same.
        gamma: >= 0; the paper uses 2.

    Raises:
        UsageError: ``gamma`` is negative or not finite.
    """

    class_weights: Tensor | None

    def __init__(self, *, class_weights: Tensor | None = None, gamma: float = 2.0) -> None:
        super().__init__()
        if not 0 <= gamma < float("inf"):
            raise UsageError(f"focal: option gamma must be >= 0, got {gamma}")
        self.register_buffer("class_weights", class_weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return a scalar for logits ``(N, K)`` float and labels ``(N,)`` int64; NaN logits give NaN."""
        log_p = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
        # 1 - p without cancellation. The bound keeps the slope of x**gamma finite where p rounds to 1 and gamma is below 1.
        rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        each = -(rest**self.gamma) * log_p
        if self.class_weights is None:
            return each.mean()
        weights = self.class_weights[labels]
        return (weights * each).sum() / weights.sum()
