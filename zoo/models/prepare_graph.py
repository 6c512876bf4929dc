"""What inference needs not do: BatchNorm folded into the layer before it, ReLU behind max-pooling and in place, sums in place.

The changes are found in the graph that torch.fx traces, so they hold for any architecture that can be traced, whatever its layers are
called. Folding is that of B. Jacob et al. 2018 (arXiv:1712.05877, section 3.2); scale and shift are computed in float64.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.errors import UsageError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
FRESH = (*CONVOLUTIONS, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.MaxPool2d, nn.AvgPool2d)  # give memory of their own
LAYOUT_READERS = {"as_strided", "as_strided_", "stride", "is_contiguous", "storage_offset", "data_ptr"}


class Tracer(fx.Tracer):
    """Takes layers of torch and what derives from them as they are, and looks into everything else.

    Args:
        leaves: modules that are taken as they are too.
    """

    def __init__(self, leaves: tuple[nn.Module, ...] = ()) -> None:
        super().__init__()
        self._leaves = {id(module) for module in leaves}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the module becomes one node."""
        known = isinstance(m, (*CONVOLUTIONS, nn.Linear, _BatchNorm)) or id(m) in self._leaves
        return known or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, leaves: tuple[nn.Module, ...] = ()) -> fx.GraphModule:
    """Return the graph of a model in eval mode; it uses the model's own layers.

    Raises:
        UsageError: what the graph would leave out, or do otherwise in another memory layout. Whatever forward raises on a symbolic input.
    """
    if model._forward_hooks or model._forward_pre_hooks:
        raise UsageError("it has forward hooks of its own, which a traced graph leaves out")
    graph = fx.GraphModule(model, Tracer(leaves).trace(model), type(model).__name__)
    for node in graph.graph.nodes:
        if node.op == "call_method" and node.target in LAYOUT_READERS:
            raise UsageError(f"it calls Tensor.{node.target}, whose result depends on the memory layout")
    return graph


def note_shapes(graph: fx.GraphModule, input_shape: tuple[int, int, int], dtype: torch.dtype | None) -> None:
    """Write shape and dtype of every tensor of one frame into ``meta["value"]`` of its node; of none where the code looks at values.

    Args:
        graph: any device, the meta device too; nothing is computed.
        input_shape: ``(C, H, W)`` of a frame.
        dtype: of autocast, ``None`` without.
    """
    tensors = {**dict(graph.named_parameters()), **dict(graph.named_buffers())}
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        shells = {f"graph.{name}": torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in tensors.items()}
        try:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                torch.func.functional_call(_Noting(graph), shells, (torch.empty(1, *input_shape),))
        except Exception:  # a plugin's code may raise anything on tensors without values; then less is known, and less is changed
            return


class _Noting(nn.Module):
    """Runs a graph node by node."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, image: Tensor) -> Any:
        """Write down what every node gives."""

        class Noting(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                result = super().run_node(n)
                if isinstance(result, Tensor):
                    n.meta["value"] = (tuple(result.shape), result.dtype)
                return result

        return Noting(self.graph).run(image)


def simplify(graph: fx.GraphModule) -> int:
    """Change the graph and its layers in place, so that the same logits take less time and memory; return how many layers were folded.

    Layers whose tensors change get new ones: none that another model may share is written to.
    """
    uses = Counter(id(graph.get_submodule(str(node.target))) for node in graph.graph.nodes if node.op == "call_module")
    folded = 0
    for node in list(graph.graph.nodes):
        if _fold(graph, node, uses):
            folded += 1
        elif _is_relu(graph, node):
            _improve_relu(graph, node)
        elif node.op == "call_function" and node.target is operator.add:
            _add_in_place(graph, node)
        elif node.op == "call_method" and node.target in ("view", "view_as") and not _is_dtype(node):
            node.target = {"view": "reshape", "view_as": "reshape_as"}[node.target]  # view refuses channels_last
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
    return folded


def fold_norm(layer: nn.Module, norm: _BatchNorm) -> None:
    """Give a convolution or linear layer new weights with which it does what both layers do in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = cast(Tensor, layer.weight).detach(), cast("Tensor | None", layer.bias)
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() if bias is None else bias.detach().double() - norm.running_mean.double()
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    wide = weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter(wide.to(weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)


def _fold(graph: fx.GraphModule, node: fx.Node, uses: Counter[int]) -> bool:
    """Fold this node into the layer before it, if it is a BatchNorm of which that is true; say whether it was."""
    norm = _module(graph, node)
    if not isinstance(norm, _BatchNorm) or type(norm).forward is not _BatchNorm.forward or norm.running_mean is None or _hooked(norm):
        return False
    before = node.args[0] if node.args else None
    layer = _module(graph, before) if isinstance(before, fx.Node) else None
    if layer is None or not isinstance(before, fx.Node) or len(before.users) != 1 or uses[id(layer)] != 1 or _hooked(layer):
        return False
    if type(layer) is nn.Linear:
        shape = before.meta.get("value", ((),))[0]
        if len(shape) != 2:  # of (N, L, C) the norm takes the second axis and the layer gives the third
            return False
    elif type(layer) not in CONVOLUTIONS:
        return False
    fold_norm(layer, norm)
    node.replace_all_uses_with(before)
    graph.graph.erase_node(node)
    return True


def _improve_relu(graph: fx.GraphModule, node: fx.Node) -> None:
    """Let a ReLU work in place, after the max-pool that follows it if there is one: the same numbers, since both keep the order."""
    before = cast(fx.Node, node.args[0] if node.args else node.kwargs["input"])
    if not _is_private(graph, before):
        return
    followers = list(node.users)
    last = followers[0] if len(followers) == 1 and _is_pool(graph, followers[0]) else node
    with graph.graph.inserting_after(last):
        relu = graph.graph.call_function(F.relu, (before,), {"inplace": True})
    relu.meta.update(last.meta)
    last.replace_all_uses_with(relu)
    if last is not node:
        last.replace_input_with(node, before)
        relu.args = (last,)
    graph.graph.erase_node(node)


def _add_in_place(graph: fx.GraphModule, node: fx.Node) -> None:
    """Add into the first summand where nobody else reads it; tracing has lost the ``+=`` of the model."""
    if len(node.args) != 2 or not all(isinstance(summand, fx.Node) for summand in node.args):
        return
    for left, right in (node.args, node.args[::-1]):
        left, right = cast(fx.Node, left), cast(fx.Node, right)
        known = left.meta.get("value"), right.meta.get("value")
        if left is not right and known[0] is not None and known[0] == known[1] and _is_private(graph, left):
            node.target, node.args = operator.iadd, (left, right)
            return


def _is_private(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the result of a node is new memory that only one other node reads."""
    fresh = type(_module(graph, node)) in FRESH or (node.op == "call_function" and node.target in (operator.add, operator.iadd))
    return fresh and len(node.users) == 1


def _is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(_module(graph, node)) is nn.ReLU
    functions: tuple[Callable[..., Any], ...] = (F.relu, torch.relu, torch.relu_)
    return (node.op == "call_function" and node.target in functions) or (node.op == "call_method" and node.target in ("relu", "relu_"))


def _is_pool(graph: fx.GraphModule, node: fx.Node) -> bool:
    pool = _module(graph, node)
    return type(pool) is nn.MaxPool2d and not pool.return_indices and not _hooked(pool) and len(node.args) == 1


def _is_dtype(node: fx.Node) -> bool:
    return any(isinstance(argument, torch.dtype) for argument in (*node.args, *node.kwargs.values()))


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
