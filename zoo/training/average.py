"""An exponential moving average of the weights, which is what a run with ``ema`` validates and saves."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class WeightAverage:
    """A copy of the model whose weights follow those of training: ``average += (1 - decay) * (weights - average)`` after each step.

    The running statistics of BatchNorm are averaged like the weights, as timm's ``ModelEmaV3`` does, because the raw ones belong to other
    weights. All other buffers are copied, as ``torch.optim.swa_utils.AveragedModel`` does: they are constants or counters.

    Step t, counted from 0, uses the smaller of ``decay`` and (1 + t) / (10 + t), as TensorFlow's ``ExponentialMovingAverage`` does: with
    0.999 from the start, a run of a hundred steps would end near its initial weights.

    It costs one more copy of the weights and buffers in memory, and in each checkpoint.

    Args:
        model: copied, on its device and in its memory layout; torch's random numbers stay as they were.
        decay: > 0 and < 1.

    Attributes:
        model: the average, in eval mode; no part of it asks for a gradient.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take the weights after step ``step`` (from 0) in; they have to be finite."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for (own, averaged), (new, _) in zip(_tensors(self.model), _tensors(model), strict=True):
            if averaged:
                own.lerp_(new, weight)
            else:
                own.copy_(new)


def _tensors(model: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """Every parameter and buffer, and whether it is averaged."""
    for parameter in model.parameters():
        yield parameter, True
    for module in model.modules():
        for buffer in module.buffers(recurse=False):
            yield buffer, isinstance(module, _NormBase) and buffer.is_floating_point()
