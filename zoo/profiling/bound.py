"""The least memory that a model needs, computed without running it.

The forward and backward pass run on fake tensors, which have shapes but no memory, and every storage is counted from its first use to its
release. That is what the same operations allocate when they are run, so it bounds the real peak from below; what a kernel takes for itself
(workspaces, reordered copies) and what the allocator wastes come on top.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class MemoryBound:
    """Lower bounds in bytes at the instant of the peak and of its parts.

    Attributes:
        peak: weights, buffers, optimizer state, input, and all that is alive at the worst instant of the step.
        weights: parameters and buffers; shared ones count once.
        optimizer: the momentum of SGD, one number per parameter; 0 without training.
        kept: what the forward pass leaves for the backward pass, input and weights not counted; 0 without training.
        complete: whether the whole step could be followed; otherwise ``peak`` is that of the part before.
    """

    peak: int
    weights: int
    optimizer: int
    kept: int
    complete: bool


def memory_bound(
    model: nn.Module, input_shape: tuple[int, int, int], *, batch: int = 1, training: bool = False, precision: str = "fp32"
) -> MemoryBound:
    """Bound the memory of one inference, or of one training step: cross entropy, backward, SGD with momentum.

    Nothing of the size of a feature map is allocated. The model, which may be on the meta device, is left as it is. A model whose code
    looks at the values of its tensors is followed up to that place.

    Args:
        model: takes ``(N, C, H, W)`` float32 and gives logits ``(N, K)``; any device.
        input_shape: ``(C, H, W)`` of one frame.
        batch: frames.
        training: a training step instead of an inference.
        precision: ``fp32``, or ``bf16`` for bfloat16 autocast; parameters keep their dtype.

    Raises:
        InputShapeError: the model was built for another shape.
    """
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    weights = sum(_bytes(tensor) for tensor in (*parameters.values(), *buffers.values()))
    learned = sum(_bytes(parameter) for parameter in parameters.values() if parameter.requires_grad) if training else 0
    live = _LiveBytes()
    kept, complete = 0, True
    # On a build without CUDA fake CUDA tensors abort the process, so the sizes are those of the CPU's operations.
    with FakeTensorMode(allow_non_fake_inputs=True), _mode_of(model, training=training):
        image = torch.empty(batch, *input_shape)
        shells = {name: _shell(parameter, parameter.requires_grad and training) for name, parameter in parameters.items()}
        shells |= {name: _shell(buffer, False) for name, buffer in buffers.items()}
        for tensor in (image, *shells.values()):
            live.hold(tensor)
        at_rest = live.now
        try:
            with live, torch.set_grad_enabled(training):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                    logits = torch.func.functional_call(model, shells, (image,))
                if training:
                    loss = F.cross_entropy(logits.float(), torch.zeros(batch, dtype=torch.long))
                    kept = live.now - at_rest
                    loss.backward()  # type: ignore[no-untyped-call]
        except (NotImplementedError, RuntimeError):
            complete = False
    # Before the optimizer's step all gradients are there, whatever could be followed.
    peak = max(live.peak, at_rest + learned) + learned
    return MemoryBound(peak=peak, weights=weights, optimizer=learned, kept=kept, complete=complete)


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that are alive.

    A storage counts from the operation that returns it until nothing refers to it any more; views share one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._held: dict[int, weakref.ref[Any]] = {}

    def hold(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, unless it counts already."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return

        def released(_: object) -> None:
            del self._held[key]
            self.now -= size

        self._held[key] = weakref.ref(storage, released)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.hold(leaf)
        return result


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


def _shell(tensor: Tensor, requires_grad: bool) -> Tensor:
    """A fake tensor in the place of a parameter or buffer."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, requires_grad=requires_grad)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
