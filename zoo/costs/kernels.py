"""What torch's CPU kernels allocate for themselves, beyond the tensors that the dispatcher sees.

Convolutions run in oneDNN, which works in a layout of its own, blocks of channels, and torch allocates the copies. The rules below were
read off torch's record of allocations (torch 2.13, AVX-512 with bfloat16). What cuDNN takes on a GPU is not known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

FLAT_CHANNELS = 3  # up to which a convolution reads a frame as it lies

# torch itself computes convolutions of one frame with kernels of side 3 or less and so few numbers, without copies worth counting.
SMALL_INPUT = 20480

_CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.conv2d.default)  # the second where autograd is not looking

Copies = Callable[[Any, Sequence[Any], Any], tuple[int, ...]]


def onednn_copies(threads: int) -> Copies:
    """Return a function of (operation, arguments, result) that gives the bytes held beside the result while it is made, stage by stage.

    Args:
        threads: of torch; some scratch memory exists once per thread.
    """

    def copies(operation: Any, arguments: Sequence[Any], result: Any) -> tuple[int, ...]:
        if operation in _CONVOLUTIONS:
            stride = arguments[3] if len(arguments) > 3 else (1, 1)
            return _forward_copies(arguments[0], arguments[1], stride, result, threads)
        if operation is torch.ops.aten.convolution_backward.default and result[1] is not None:
            # The gradient of a kernel is copied to a plain layout, and from there to the kernel's own.
            return ((1 if result[1].is_contiguous() else 2) * _bytes(result[1]),)
        return ()

    return copies


def _forward_copies(source: Tensor, kernel: Tensor, stride: Sequence[int], result: Tensor, threads: int) -> tuple[int, ...]:
    """What is held beside the result: kernel and scratch memory, and where the result lies in NCHW also copies in oneDNN's layout.

    There oneDNN holds the input in its layout while it computes; then the output is copied from its layout to ours.
    """
    small = source.dtype == torch.float32 and source.shape[0] == 1 and max(kernel.shape[2:]) <= 3 and source.numel() <= SMALL_INPUT
    if source.ndim != 4 or small:
        return ()
    if result.is_contiguous(memory_format=torch.channels_last) and not result.is_contiguous():
        unfolded = _unfolded_bytes(source, kernel, stride, result) if source.shape[1] == 1 else 0
        return (threads * unfolded + _bytes(kernel),)
    scratch = 0
    if kernel.shape[2:] == (1, 1):
        if source.dtype == torch.bfloat16:
            scratch += 4 * result.numel()  # sums are float32
        if max(stride) > 1:
            scratch += _bytes(source) * result.shape[2] * result.shape[3] // (source.shape[2] * source.shape[3])  # the pixels that count
    working = threads * scratch + _bytes(kernel)
    if source.shape[1] > FLAT_CHANNELS:
        working += _bytes(source)
    return working, _bytes(result)


def _unfolded_bytes(source: Tensor, kernel: Tensor, stride: Sequence[int], result: Tensor) -> int:
    """Rows of a frame of one channel that each thread lays out anew, every pixel once for each place in the kernel that it meets.

    How many rows is fitted to measured sizes: kernels of side 3 to 11, strides 1, 2 and 4, right to 30 %.
    """
    side, step = kernel.shape[2], max(stride)
    return int(2 * step**2 * side**2 * max(side - step / 2, 0)) * result.shape[3] * source.element_size()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
