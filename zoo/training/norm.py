"""BatchNorm statistics measured once more over the training frames, when the weights are final."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_running_statistics(model: nn.Module) -> bool:
    """Whether any layer of ``model`` keeps running statistics."""
    return any(_layers(model))


def measure_norm_statistics(model: nn.Module, batches: Iterable[Tensor], forward: Callable[[Tensor], Tensor]) -> int:
    """Replace the running mean and variance of every BatchNorm layer by their plain average over ``batches``.

    The running statistics of training are an exponential average over weights that kept changing; in a run of a hundred steps they lag
    behind the final weights. Here every batch weighs the same, so batches should have equal length. All other layers are in eval mode.

    Args:
        model: changed in place; every module's mode is put back.
        batches: ``(N, C, H, W)`` each, preprocessed without augmentation.
        forward: runs the model on a batch, as in training (device, autocast).

    Returns: the number of batches; with 0 the statistics stay as they were.
    """
    layers = list(_layers(model))
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    count = 0
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                if count == 0:
                    for layer in layers:
                        layer.reset_running_stats()
                        layer.momentum = None  # torch's spelling of the plain average
                        layer.train()
                forward(batch)
                count += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training
    return count


def _layers(model: nn.Module) -> Iterable[_BatchNorm]:
    return (module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats)
