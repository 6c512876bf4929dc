"""Recording the memory of a step without running it: fake tensors have shapes and storages, and no bytes behind them.

The dispatcher tells of every operation, weak references tell when a storage is released, and hooks of modules and of autograd's graph tell
which layer is at work and what is kept for the backward pass. torch's own `MemTracker` does the like in a private module; the method is
its, the code is not.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.costs.kernels import Copies
from zoo.costs.tape import Change
from zoo.ops.library import kernel_of


def record_step(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    batch: int,
    training: bool,
    precision: str = "fp32",
    optimizer_bytes: int = 0,
    accumulate: bool = False,
    more_weights: int = 0,
    copies: Copies | None = None,
) -> tuple[list[Change], bool]:
    """Record one inference, or one training step as `zoo.train` makes it: forward, cross entropy, backward, the optimizer's state at rest.

    The step is one of the steady state: the optimizer's state exists before it. Gradients live until the tape ends, so that its end is the
    instant of the update. The model, which may be on the meta device, is left as it is.

    Args:
        model: takes ``(N, C, H, W)`` float32 and gives logits ``(N, K)``; any device.
        input_shape: ``(C, H, W)`` of one frame.
        batch: frames.
        training: a training step instead of an inference.
        precision: ``fp32``, or ``bf16`` for bfloat16 autocast; parameters keep their dtype.
        optimizer_bytes: the optimizer's state, which is there before the step.
        accumulate: the gradients of an earlier batch exist already.
        more_weights: bytes of other weights that are kept beside the model's.
        copies: what each operation holds beside its result, as `zoo.costs.kernels` gives it; by default nothing.

    Returns: the tape, and whether the model could be followed to the end (not if its code looks at the values of its tensors).

    Raises:
        InputShapeError: the model was built for another shape.
    """
    recorder = _Recorder(copies)
    # On a build without CUDA fake CUDA tensors abort the process, so the sizes are those of the CPU's operations.
    with FakeTensorMode(allow_non_fake_inputs=True), _mode_of(model, training=training), recorder.follow(model):
        shells = {id(tensor): _shell(tensor, training) for tensor in (*model.parameters(), *model.buffers())}
        learned = [shell for shell in shells.values() if shell.requires_grad]
        images, labels = torch.empty(batch, *input_shape), torch.zeros(batch, dtype=torch.long)
        for shell in shells.values():
            recorder.hold(shell, "weights")
        recorder.add(more_weights, "weights")
        recorder.hold(images, "input")
        if training:
            recorder.hold(labels, "input")
            recorder.add(optimizer_bytes, "optimizer")
            for shell in learned:
                if accumulate:
                    shell.grad = torch.empty_like(shell)
                    recorder.hold(shell.grad, "gradients")
                shell.register_post_accumulate_grad_hook(recorder.learn)  # type: ignore[no-untyped-call]
        recorder.phase = "forward"
        try:
            with (
                _replaced(model, shells),
                recorder,
                torch.set_grad_enabled(training),
                torch.autograd.graph.saved_tensors_hooks(recorder.keep, lambda kept: kept),
            ):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                    logits = model(images)
                if training:
                    recorder.layer = "loss"
                    loss = F.cross_entropy(logits.float(), labels)
                    recorder.phase = "backward"
                    loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError:
            return list(recorder.tape), False
        return list(recorder.tape), True


class _Recorder(TorchDispatchMode):
    """Writes the tape of what runs inside it.

    A storage counts from the operation that returns it until nothing refers to it any more; views share one.
    """

    def __init__(self, copies: Copies | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._copies = copies
        self.tape: list[Change] = []
        self.layer, self.phase = "", "rest"
        self._held: dict[int, tuple[weakref.ref[Any], str]] = {}

    def add(self, size: int, kind: str, layer: str | None = None) -> None:
        """Write one change; by default of the layer that is at work."""
        self.tape.append(Change(size, kind, self.layer if layer is None else layer, self.phase))

    def hold(self, tensor: Tensor, kind: str = "transient") -> None:
        """Count the storage of a tensor from now on, or as another kind than before."""
        storage = tensor.untyped_storage()
        key, size, layer = storage._cdata, storage.nbytes(), self.layer
        if key in self._held:
            reference, before = self._held[key]
            if kind != before and before == "transient":
                self.add(-size, before)
                self.add(size, kind)
                self._held[key] = (reference, kind)
            return

        def released(_: object) -> None:
            _, kind = self._held.pop(key)
            self.add(-size, kind, layer)

        self._held[key] = (weakref.ref(storage, released), kind)
        self.add(size, kind)

    def keep(self, tensor: Tensor) -> Tensor:
        """Count what autograd keeps for the backward pass as saved, weights and input excepted."""
        self.hold(tensor, "saved")
        return tensor

    def learn(self, parameter: Tensor) -> None:
        """Count the gradient of a parameter as such."""
        if parameter.grad is not None:
            self.hold(parameter.grad, "gradients")

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kernel = kernel_of(func) if func.namespace == "zoo" else None
        if kernel is None:
            result = func(*args, **(kwargs or {}))
        else:
            with self:  # an op that is made of others, which hold memory in between
                result = kernel(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.hold(leaf)
        if self._copies is not None:
            for size in self._copies(func, args, result):
                self.add(size, "transient")
                self.add(-size, "transient")
        return result

    @contextlib.contextmanager
    def follow(self, model: nn.Module) -> Iterator[None]:
        """Know the layer that is at work inside the block, in the forward and in the backward pass."""
        stack: list[str] = []
        seen: set[Any] = set()

        def claim(values: Any, layer: str) -> None:
            """All of the graph behind these values that belongs to no layer yet is the work of this one."""

            def at_work(_: Any) -> None:
                self.layer = layer

            if (
                self.phase == "backward"
            ):  # a block that is computed again: nobody runs this graph, and to hold it would be to hold its tensors
                return
            nodes = [leaf.grad_fn for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
            while nodes:
                node = nodes.pop()
                if node is not None and node not in seen:
                    seen.add(node)
                    node.register_prehook(at_work)
                    nodes.extend(before for before, _ in node.next_functions)

        def enter(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any) -> None:
                claim(args, self.layer)
                stack.append(self.layer)
                self.layer = name

            return hook

        def leave(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                claim(output, name)
                self.layer = stack.pop()

            return hook

        handles = []
        for name, module in model.named_modules():
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextlib.contextmanager
def _mode_of(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Training or eval mode inside the block; every module then has its own again."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


@contextlib.contextmanager
def _replaced(model: nn.Module, shells: Mapping[int, Tensor]) -> Iterator[None]:
    """Other tensors in the place of parameters and buffers inside the block, in the backward pass too, where blocks may run again.

    Args:
        model: gets its own tensors back. shells: ``id`` of a parameter or buffer -> what takes its place.
    """
    tables: list[dict[str, Any]] = [table for module in model.modules() for table in (module._parameters, module._buffers)]
    own = [dict(table) for table in tables]
    try:
        for table in tables:
            table.update({name: shells[id(tensor)] for name, tensor in table.items() if tensor is not None})
        yield
    finally:
        for table, tensors in zip(tables, own, strict=True):
            table.update(tensors)


def _shell(tensor: Tensor, training: bool) -> Tensor:
    """A fake tensor in the place of a parameter or buffer; for training, kernels lie in channels_last as `zoo.train` has them."""
    if training and tensor.ndim == 4:
        shell = torch.empty(tensor.shape, dtype=tensor.dtype, memory_format=torch.channels_last)
    else:
        shell = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return shell.requires_grad_(tensor.requires_grad and training)
