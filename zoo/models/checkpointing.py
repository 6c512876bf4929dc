"""Activation checkpointing: blocks keep their input only and compute what is inside them a second time in the backward pass.

The method is that of Chen, Xu, Zhang and Guestrin 2016 (arXiv:1604.06174), with ``torch.utils.checkpoint``. As with the streamed stem only
classes of modules change: names, parameters, buffers and state dict stay, so it can be switched on and off at any time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(model: nn.Module, enabled: bool = True) -> list[str]:
    """Let the blocks of a network keep their input only while it trains; or, with ``enabled=False``, let it run as it was built.

    A block is a member of an ``nn.Sequential`` or ``nn.ModuleList`` that has layers of its own, the outermost where they nest. A plain row
    of convolutions without such members is cut behind each of its pools. Gradients are the same bits where the kernels repeat theirs:
    dropout draws the same numbers again, and running statistics move once. Without gradients, and to ``torch.fx``, nothing changes.

    Args:
        model: changed in place; any device and dtype.
        enabled: checkpoint, or undo it.

    Returns: the names of the modules that are checkpointed now (``enabled``) or no longer are; empty where the network has no such blocks.

    Example: >>> checkpoint_blocks(zoo.create_model("resnet18"))[:3]  ->  ['layer1.0', 'layer1.1', 'layer2.0']
    """
    names = {id(module): name for name, module in model.named_modules()}
    changed: list[nn.Module] = [module for module in model.modules() if isinstance(module, _Checkpointed)]
    if enabled and not changed:
        changed = list(_find_blocks(model))
        for module in changed:
            kind: Any = type(module)
            module.__class__ = _checkpointed_class(_CheckpointedRow if _is_row(module) else _CheckpointedBlock, kind)
    elif not enabled:
        for module in changed:
            module.__class__ = cast(_Checkpointed, module).plain_class
    return [names[id(module)] for module in changed]


class _Checkpointed(nn.Module):
    """Stands before the class that a module was built with, in the method resolution order."""

    plain_class: type[nn.Module]


class _CheckpointedBlock(_Checkpointed):
    """A block that keeps its arguments only."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the block returns."""
        return _run(self, functools.partial(self.plain_class.forward, self), *args, **kwargs)


class _CheckpointedRow(_Checkpointed):
    """A sequence of layers that keeps what stands between its parts only; a part ends with a pool."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what the last layer returns."""
        part: list[nn.Module] = []
        for layer in self.children():
            part.append(layer)
            if _is_pool(layer):
                input, part = _run(self, _chain(part), input), []
        return _run(self, _chain(part), input) if part else input


def _chain(layers: list[nn.Module]) -> Callable[[Tensor], Tensor]:
    def run(value: Tensor) -> Tensor:
        for layer in layers:
            value = layer(value)
        return value

    return run


def _run(module: nn.Module, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function, keeping nothing but its arguments for the backward pass."""
    if not torch.is_grad_enabled() or any(isinstance(value, fx.Proxy) for value in args):
        return function(*args, **kwargs)

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), _frozen_statistics(module)

    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextlib.contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Inside the block running statistics are those before it: the second pass over a batch must not count."""
    norms = [each for each in module.modules() if isinstance(each, _NormBase) and each.training]
    before = [[None if buffer is None else buffer.clone() for buffer in _statistics(norm)] for norm in norms]
    try:
        yield
    finally:
        with torch.no_grad():
            for norm, values in zip(norms, before, strict=True):
                for buffer, value in zip(_statistics(norm), values, strict=True):
                    if buffer is not None and value is not None:
                        buffer.copy_(value)


def _statistics(norm: _NormBase) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return norm.running_mean, norm.running_var, norm.num_batches_tracked


@functools.cache
def _checkpointed_class(base: type[_Checkpointed], kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"Checkpointed{kind.__name__}", (base, kind), {"__module__": kind.__module__, "plain_class": kind})


def _find_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost blocks and rows, in the order of the modules."""
    if _is_row(model):
        yield model
        return
    for child in model.children():
        if isinstance(model, nn.Sequential | nn.ModuleList) and any(True for _ in child.children()):
            yield child
        else:
            yield from _find_blocks(child)


def _is_row(module: nn.Module) -> bool:
    """Whether this is a plain sequence of layers, convolutions among them, that pools cut into parts."""
    if not isinstance(module, nn.Sequential):
        return False
    layers = list(module)
    plain = not any(True for layer in layers for _ in layer.children())
    return plain and sum(_is_pool(layer) for layer in layers) > 1 and any(isinstance(layer, nn.Conv2d) for layer in layers)


def _is_pool(layer: nn.Module) -> bool:
    return "Pool" in type(layer).__name__
