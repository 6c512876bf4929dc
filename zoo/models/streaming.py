"""Streaming the stem of a network: its first convolution, BatchNorm, ReLU and max-pool run as one `zoo.ops.stem`.

The stem is found in the traced graph of the network, whatever its modules are called. Modules keep their names, parameters, buffers and
state dict: only their classes change, so that the convolution does the work of the whole stem and the others pass its result on. Streaming
can therefore be switched on and off at any time, for any checkpoint, and copies of the model behave alike.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.ops.relu_pool import relu_pool
from zoo.ops.stem import stem
from zoo.ops.stem_strips import Pair

_RELU_CALLS = (F.relu, F.relu_, torch.relu, torch.relu_)


class _Chain(NamedTuple):
    """The modules of a stem; ``relu`` is ``None`` where the network calls a function instead, or uses the module elsewhere too."""

    conv: nn.Conv2d
    norm: _BatchNorm | None
    relu: nn.ReLU | None
    pool: nn.MaxPool2d


def stream_stem(model: nn.Module, enabled: bool = True, *, pools: bool = False) -> list[str]:
    """Let the stem of a network run in strips, in training and in eval mode; or, with ``enabled=False``, as it was built.

    A stem is a convolution behind which come, with nothing else in between and each used once, an optional BatchNorm, ReLU and a max-pool,
    and before which no layer with parameters comes. Where a module of it is frozen or in eval mode it behaves as before: BatchNorm has its
    running statistics then. Logits and gradients differ by rounding alone.

    Args:
        model: changed in place; any device and dtype. What has been traced or compiled from it before keeps its old code.
        enabled: stream, or undo it.
        pools: for training, let every other max-pool behind a ReLU of its own work together with it too, so that neither keeps its map.

    Returns: the names of the modules that are streamed now (``enabled``) or no longer are, in their order in the model; empty where it has
        no such stem, or cannot be traced by ``torch.fx``.

    Example: >>> stream_stem(zoo.create_model("resnet18"))  ->  ['conv1', 'bn1', 'relu', 'maxpool']
    """
    names = {id(module): name for name, module in model.named_modules()}
    streamed: list[nn.Module] = [module for module in model.modules() if isinstance(module, _Streamed)]
    if enabled and not streamed:
        for chain in _find_chains(model):
            present: list[nn.Module] = [module for module in chain if module is not None]
            for module in present:
                module.__class__ = _streamed_class(_StreamedConv if module is chain.conv else _Passed, type(module))
            chain.conv.__dict__["_chain"] = chain  # not a child: it would appear in the state dict
            streamed.extend(present)
        for pair in _find_pairs(model) if pools else ():
            for base, layer in zip((_Passed, _ReluPool), pair, strict=True):
                layer.__class__ = _streamed_class(base, type(layer))
                streamed.append(layer)
    elif not enabled:
        for module in streamed:
            module.__class__ = cast(_Streamed, module).built_class
            module.__dict__.pop("_chain", None)
    return [names[id(module)] for module in streamed]


class _Streamed(nn.Module):
    """Stands before the class that a module was built with, in the method resolution order."""

    built_class: type[nn.Module]


class _Passed(_Streamed):
    """A module whose work the convolution of its stem does."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the pooled map as it is."""
        return input


class _ReluPool(_Streamed):
    """A max-pool that does the work of the ReLU before it."""

    kernel_size: Any
    stride: Any
    padding: Any

    def forward(self, input: Tensor) -> Tensor:
        """Return the pooled map of a map that ReLU has not seen."""
        return relu_pool(input, _pair(self.kernel_size), _pair(self.stride), _pair(self.padding))


class _StreamedConv(_Streamed):
    """The convolution of a stem, which does the work of the whole chain."""

    _chain: _Chain

    def forward(self, input: Tensor) -> Tensor:
        """Return the pooled map ``(N, K, rows, columns)`` of images ``(N, C, H, W)``."""
        conv, norm, _, pool = self._chain
        options: dict[str, Any] = {
            "stride": conv.stride,
            "padding": _padding(conv),
            "pool": pool.kernel_size,
            "pool_stride": pool.stride,
            "pool_padding": pool.padding,
        }
        if norm is None:
            return stem(input, conv.weight, conv.bias, **options)
        batch = norm.training or norm.running_mean is None
        update = batch and norm.track_running_stats and norm.running_mean is not None
        momentum = 0.0 if norm.momentum is None else norm.momentum
        if update and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:
                momentum = 1.0 / float(norm.num_batches_tracked)
        running = (norm.running_mean, norm.running_var) if update or not batch else (None, None)
        return stem(
            input,
            conv.weight,
            conv.bias,
            norm.weight,
            norm.bias,
            *running,
            training=batch,
            momentum=momentum,
            eps=norm.eps,
            reduce=getattr(norm, "sum_over_ranks", None) if norm.training else None,
            **options,
        )


def built_class(module: nn.Module) -> type[nn.Module]:
    """Return the class that a module has while it is not streamed."""
    return module.built_class if isinstance(module, _Streamed) else type(module)


def set_built_class(module: nn.Module, kind: type[nn.Module]) -> None:
    """Give a module another class, streamed or not.

    For code that changes the class of BatchNorm layers, as training with several processes does. The statistics of a streamed BatchNorm are
    summed by its attribute ``sum_over_ranks``, if it has one: a differentiable function of one tensor.
    """
    module.__class__ = _streamed_class(_Passed, kind) if isinstance(module, _Passed) else kind


def _streamed_class(base: type[_Streamed], kind: type[nn.Module]) -> type[nn.Module]:
    # torch.fx takes modules of torch.nn for leaves by the place of their class.
    return type(f"Streamed{kind.__name__}", (base, kind), {"__module__": kind.__module__, "built_class": kind})


def _trace(model: nn.Module) -> tuple[list[fx.Node], dict[str, nn.Module], Counter[int]]:
    """The steps of the forward pass, none if it cannot be traced, the modules by name, and how often each, by its id, is called."""
    modules = dict(model.named_modules())
    try:
        nodes = list(fx.Tracer().trace(model).nodes)
    except Exception:  # whatever a network's own forward does with values that are not there yet
        nodes = []
    return nodes, modules, Counter(id(modules[str(node.target)]) for node in nodes if node.op == "call_module")


def _find_pairs(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Every ReLU and max-pool that are used once, one behind the other."""
    nodes, modules, calls = _trace(model)
    pairs: list[tuple[nn.Module, nn.Module]] = []
    for node in nodes:
        if node.op != "call_module" or len(node.users) != 1:
            continue
        after = next(iter(node.users))
        relu, pool = modules[str(node.target)], modules[str(after.target)] if after.op == "call_module" else None
        if type(relu) is nn.ReLU and type(pool) is nn.MaxPool2d and _plain_pool(pool) and calls[id(relu)] == calls[id(pool)] == 1:
            pairs.append((relu, pool))
    return pairs


def _find_chains(model: nn.Module) -> list[_Chain]:
    """The stems of a model; usually one."""
    nodes, modules, calls = _trace(model)
    chains, behind = [], set[fx.Node]()  # behind: nodes that a layer with parameters comes before
    for node in nodes:
        before = any(source in behind for source in node.all_input_nodes)
        module = modules[str(node.target)] if node.op == "call_module" else None
        if before or node.op == "get_attr" or (module is not None and any(True for _ in module.parameters())):
            behind.add(node)
        if isinstance(module, nn.Conv2d) and not before and (chain := _follow(node, module, modules, calls)):
            chains.append(chain)
    return chains


def _follow(node: fx.Node, conv: nn.Conv2d, modules: dict[str, nn.Module], calls: Counter[int]) -> _Chain | None:
    """The chain that begins at a convolution, if it is one."""
    if type(conv).forward is not nn.Conv2d.forward or conv.padding_mode != "zeros":
        return None
    if conv.groups != 1 or conv.dilation != (1, 1) or _padding(conv) is None:
        return None
    norm, relu, active = None, None, False
    step = node
    while calls[id(conv)] == 1 and len(step.users) == 1:
        step = next(iter(step.users))
        if _is_relu_call(step):
            active = True
            continue
        module = modules[cast(str, step.target)] if step.op == "call_module" else None
        once = module is not None and calls[id(module)] == 1
        if isinstance(module, nn.Identity):
            continue
        if isinstance(module, nn.BatchNorm2d) and once and not norm and not active and _plain_norm(module):
            norm = module
        elif isinstance(module, nn.ReLU) and not active:
            relu, active = (module if once else None), True
        elif isinstance(module, nn.MaxPool2d) and once and active and _plain_pool(module):
            return _Chain(conv, norm, relu, module)
        else:
            return None
    return None


def _is_relu_call(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in _RELU_CALLS
    return node.op == "call_method" and node.target in ("relu", "relu_")


def _plain_norm(norm: nn.BatchNorm2d) -> bool:
    return type(norm).forward is _BatchNorm.forward or hasattr(norm, "sum_over_ranks")


def _plain_pool(pool: nn.MaxPool2d) -> bool:
    return type(pool).forward is nn.MaxPool2d.forward and pool.dilation in (1, (1, 1)) and not pool.ceil_mode and not pool.return_indices


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def _padding(conv: nn.Conv2d) -> Pair | None:
    """The convolution's padding in pixels; ``None`` where it differs between the sides, which "same" does behind an even kernel."""
    if isinstance(conv.padding, str):
        if conv.padding == "same" and not all(side % 2 for side in conv.kernel_size):
            return None
        rows, columns = (side // 2 if conv.padding == "same" else 0 for side in conv.kernel_size)
        return rows, columns
    return conv.padding[0], conv.padding[1]
