"""The compiled kernels of the stem, for images of one channel on the CPU; everything else goes through ``stem_strips``.

Given fake tensors, the functions allocate what they would and compute nothing: predictions of memory record that.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from zoo.ops.native import DTYPE_CODES, native
from zoo.ops.stem_strips import Geometry, Pair, conv_size

_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


def is_compiled(image: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the compiled kernels take these arguments, real or fake: one channel on the CPU, not in float64."""
    if image.device.type != "cpu" or image.shape[1] != 1 or image.dtype not in _SINGLE or dtype not in _SINGLE:
        return False
    module = native()
    return module is not None and max(weight.shape[2:]) <= module.stem_longest_kernel()


def pool_compiled(image: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, out: Tensor, places: Tensor) -> None:
    """As `stem_strips.pool_strips`, with sums in float32 whatever the dtypes; ``out`` and ``places`` in channels_last."""
    module = _module()
    source, arguments = _arguments(module, image, weight, geometry)
    channels = weight.shape[0]
    block = module.stem_channel_block()
    padded = -(-channels // block) * block
    kernel = torch.zeros(weight[0].numel(), padded)
    kernel[:, :channels] = weight.flatten(1).t()
    offset = torch.zeros(padded)
    offset[:channels] = bias
    threads = torch.get_num_threads()
    scratch = torch.empty(module.stem_forward_scratch_bytes(arguments, threads), dtype=torch.uint8)
    if is_fake(image):
        return
    results = (out.data_ptr(), places.data_ptr() if places.numel() else 0, DTYPE_CODES[out.dtype], places.dtype.itemsize)
    module.stem_forward_cpu(arguments, kernel.data_ptr(), offset.data_ptr(), *results, scratch.data_ptr(), threads)
    del source  # alive until here, since the kernel reads its memory


def pool_compiled_backward(grad: Tensor, places: Tensor, image: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """As `stem_strips.pool_strips_backward`, gradients of weight and bias only."""
    module = _module()
    source, arguments = _arguments(module, image, weight, geometry)
    grad = grad.contiguous(memory_format=torch.channels_last)
    for_weight, for_bias = weight.new_empty(weight.shape, dtype=torch.float64), weight.new_empty(weight.shape[0], dtype=torch.float64)
    threads = torch.get_num_threads()
    scratch = torch.empty(module.stem_backward_scratch_bytes(arguments, threads), dtype=torch.uint8)
    if is_fake(image):
        return for_weight.to(weight.dtype), for_bias.to(weight.dtype)
    given = (grad.data_ptr(), places.data_ptr(), DTYPE_CODES[grad.dtype], places.dtype.itemsize)
    module.stem_backward_cpu(arguments, *given, for_weight.data_ptr(), for_bias.data_ptr(), scratch.data_ptr(), threads)
    del source
    return for_weight.to(weight.dtype), for_bias.to(weight.dtype)


def patch_moments(image: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Mean and covariance of the pixels under the kernel over all its positions, ``(taps + 1, taps)`` float64, the mean first.

    Mean and variance of any convolution of this size follow from them: ``w @ mean`` and ``w @ covariance @ w``. That costs a tenth of the
    convolution itself, and rounds in float64 only.
    """
    module = _module()
    taps = weight[0].numel()
    source, arguments = _arguments(module, image, weight, Geometry(stride, padding, (1, 1), (1, 1), (0, 0)))
    moments = torch.empty(taps + 1, taps, dtype=torch.float64)
    threads = torch.get_num_threads()
    scratch = torch.empty(module.stem_patches_scratch_bytes(arguments, threads), dtype=torch.uint8)
    if is_fake(image):
        return moments
    pivot = float(image[..., ::16, ::16].mean(dtype=torch.float64))  # near the mean, so that squares do not drown the variance
    module.stem_patches_cpu(arguments, pivot, moments.data_ptr(), moments[1:].data_ptr(), scratch.data_ptr(), threads)
    del source
    rows, columns = conv_size(image, weight, stride, padding)
    moments /= image.shape[0] * rows * columns
    moments[1:] -= moments[0].outer(moments[0])
    moments[0] += pivot
    return moments


def _module() -> ModuleType:
    module = native()
    assert module is not None, "is_compiled was true"
    return module


def _arguments(module: ModuleType, image: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Any]:
    """The image as the kernels take it, which has to stay alive while they run, and their description of it."""
    source = image if image.stride(3) == 1 and image.stride(2) >= 0 else image.contiguous()
    map_size, pooled = geometry.map_size(image, weight), geometry.pooled_size(image, weight)
    axes = [
        (image.shape[2 + axis], weight.shape[2 + axis], *(pair[axis] for pair in geometry), map_size[axis], pooled[axis]) for axis in (0, 1)
    ]
    arguments = module.StemArguments(
        image=0 if is_fake(source) else source.data_ptr(),
        frames=source.shape[0],
        frame_stride=source.stride(0),
        row_stride=source.stride(2),
        dtype=DTYPE_CODES[source.dtype],
        vertical=axes[0],
        horizontal=axes[1],
        channels=weight.shape[0],
    )
    return source, arguments
