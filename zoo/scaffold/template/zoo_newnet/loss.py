"""newnet-loss: a loss to start from."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from zoo.errors import UsageError


def build(*, class_weights: torch.Tensor | None, temperature: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A function of logits ``(N, K)`` and labels ``(N,)`` to a scalar; ``class_weights`` is ``(K,)`` or None."""
    if temperature <= 0:
        raise UsageError(f"newnet-loss: temperature must be > 0, got {temperature}")

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits / temperature, labels, class_weights)

    return loss
