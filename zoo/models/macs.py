"""Multiply-accumulates and sizes of a model, counted without running it on data."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameter elements; shared parameters count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_buffers(model: nn.Module) -> int:
    """Return the number of buffer elements, such as BatchNorm's statistics."""
    return sum(buffer.numel() for buffer in model.buffers())


def count_macs(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of convolutions and matrix products for one frame in eval mode; other layers count as 0.

    Shapes alone are propagated (meta tensors): nothing of the size of a feature map is allocated, whatever the frame. The model, which
    may itself be on the meta device, is left as it is.

    Args:
        model: takes ``(N, C, H, W)``; any device.
        input_shape: ``(C, H, W)`` of one frame.

    Raises:
        InputShapeError: the model was built for another shape.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shells = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    dtype = next((tensor.dtype for tensor in shells.values() if tensor.is_floating_point()), torch.float32)
    image = torch.empty(1, *input_shape, device="meta", dtype=dtype)
    modes = [(module, module.training) for module in model.modules()]
    counter = FlopCounterMode(display=False)
    try:
        model.eval()
        with torch.no_grad(), counter:
            torch.func.functional_call(model, shells, (image,))
    finally:
        for module, training in modes:
            module.training = training
    return int(counter.get_total_flops()) // 2
