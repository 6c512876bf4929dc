"""The least memory that a model needs, computed without running it.

Tensors are what the same operations allocate when they are run, so their sum bounds the real peak from below; what a kernel takes for
itself (workspaces, reordered copies) and what the allocator wastes come on top. `zoo.estimate` adds what is known of that.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from zoo.costs.fitting import optimizer_bytes
from zoo.costs.tape import find_peak
from zoo.costs.trace import record_step


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
    momentum = optimizer_bytes(model, "sgd") if training else 0
    tape, complete = record_step(model, input_shape, batch=batch, training=training, precision=precision, optimizer_bytes=momentum)
    at_rest = sum(change.size for change in tape if change.phase == "rest")
    return MemoryBound(
        peak=max(find_peak(tape).total, at_rest + momentum),  # before the optimizer's step all gradients are there, whatever was followed
        weights=sum(change.size for change in tape if change.phase == "rest" and change.kind == "weights"),
        optimizer=momentum,
        kept=sum(change.size for change in tape if change.phase == "forward") if training else 0,
        complete=complete,
    )
