"""BatchNorm statistics measured once more over the training frames, when the weights are final."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_running_statistics(model: nn.Module, *, frozen: Sequence[str] = ()) -> bool:
    """Whether any layer of ``model`` outside the ``frozen`` modules keeps running statistics."""
    return any(True for _ in _layers(model, frozen))


def measure_norm_statistics(
    model: nn.Module, batches: Iterable[Tensor], forward: Callable[[Tensor], Tensor], *, frozen: Sequence[str] = ()
) -> int:
    """Replace the running mean and variance of every BatchNorm layer by their plain average over ``batches``.

    The running statistics of training are an exponential average over weights that kept changing; in a run of a hundred steps they lag
    behind the final weights. Here every batch weighs the same, so batches should have equal length. All other layers are in eval mode. A
    batch that would make a statistic NaN or infinite is left out.

    Args:
        model: changed in place; every module's mode is put back.
        batches: ``(N, C, H, W)`` each, preprocessed without augmentation.
        forward: runs the model on a batch, as in training (device, autocast).
        frozen: names of modules whose layers keep the statistics that they have.

    Returns: the number of batches that were used; with 0 the statistics stay as they were.
    """
    layers = list(_layers(model, frozen))
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    before = _statistics(layers)
    count = 0
    try:
        model.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's spelling of the plain average
            layer.train()
        with torch.no_grad():
            for batch in batches:
                kept = _statistics(layers)
                forward(batch)
                if all(bool(torch.isfinite(tensor).all()) for tensor in _buffers(layers)):
                    count += 1
                else:
                    _restore(layers, kept)
    finally:
        if count == 0:
            _restore(layers, before)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training
    return count


def _layers(model: nn.Module, frozen: Sequence[str]) -> Iterator[_BatchNorm]:
    inside = tuple(f"{name}." for name in frozen)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats and not f"{name}.".startswith(inside):
            yield module


def _buffers(layers: Iterable[nn.Module]) -> Iterator[Tensor]:
    return (buffer for layer in layers for buffer in layer.buffers(recurse=False))


def _statistics(layers: Iterable[nn.Module]) -> list[Tensor]:
    return [buffer.clone() for buffer in _buffers(layers)]


def _restore(layers: Iterable[nn.Module], kept: Iterable[Tensor]) -> None:
    for buffer, value in zip(_buffers(layers), kept, strict=True):
        buffer.copy_(value)
