"""The ops behind `zoo.ops.stem`: schemas, kernels, shapes of their results, and gradients. Arguments are checked in ``zoo.ops.stem``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.ops import stem_strips
from zoo.ops.library import define_op, define_out
from zoo.ops.raw import check_memory
from zoo.ops.stem_native import is_compiled, patch_moments, pool_compiled, pool_compiled_backward
from zoo.ops.stem_strips import Geometry

_CONV = "int[] stride, int[] padding"
_SIZES = f"{_CONV}, int[] pool, int[] pool_stride, int[] pool_padding"


def _geometry(*pairs: Any) -> Geometry:
    """torch gives lists of integers."""
    return Geometry(*((pair[0], pair[1]) for pair in pairs))


def _stem(image: Tensor, weight: Tensor, bias: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    *sizes, _, _, strip = options
    out, places = _empty_stem(image, weight, bias, *options)
    _fill_stem(image, weight, bias, _geometry(*sizes), strip, out, places)
    return out, places


def _fill_stem(image: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, strip: int, out: Tensor, places: Tensor) -> None:
    if is_compiled(image, weight, out.dtype):
        pool_compiled(image, weight, bias, geometry, out, places)
        return
    with torch.autocast(image.device.type, enabled=False):
        stem_strips.pool_strips(image, weight, bias, geometry, strip, out, places)


def _write_stem(image: Tensor, weight: Tensor, bias: Tensor, *options: Any, out: Tensor) -> None:
    *sizes, strip = options
    check_memory(image, out)
    ordered = out.is_contiguous(memory_format=torch.channels_last) or not is_compiled(image, weight, out.dtype)
    target = out if ordered else torch.empty_like(out, memory_format=torch.channels_last)
    _fill_stem(image, weight, bias, _geometry(*sizes), strip, target, out.new_empty(0, dtype=torch.uint8))
    if target is not out:
        out.copy_(target)


def _empty_stem(image: Tensor, weight: Tensor, bias: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    *sizes, dtype, keep_places, _ = options
    geometry = _geometry(*sizes)
    shape = (image.shape[0], weight.shape[0], *geometry.pooled_size(image, weight))
    layout = torch.channels_last if image.device.type == "cpu" else torch.contiguous_format
    out = torch.empty(shape, dtype=dtype, device=image.device, memory_format=layout)
    places = torch.empty_like(out, dtype=geometry.place_dtype()) if keep_places else out.new_empty(0, dtype=geometry.place_dtype())
    return out, places


def _stem_backward(grad: Tensor, places: Tensor, image: Tensor, weight: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    *sizes, for_image, strip = options
    geometry = _geometry(*sizes)
    compiled = is_compiled(image, weight, grad.dtype)
    if compiled and not for_image:
        return image.new_empty(0), *pool_compiled_backward(grad, places, image, weight, geometry)
    with torch.autocast(image.device.type, enabled=False):
        gradients = stem_strips.pool_strips_backward(grad, places, image, weight, geometry, strip, for_image=for_image)
    return (gradients[0], *pool_compiled_backward(grad, places, image, weight, geometry)) if compiled else gradients


def _empty_stem_backward(grad: Tensor, places: Tensor, image: Tensor, weight: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    return image.new_empty(image.shape if options[-2] else 0), torch.empty_like(weight), weight.new_empty(weight.shape[0])


def _moments(image: Tensor, weight: Tensor, stride: Any, padding: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance, patches = _empty_moments(image, weight, stride, padding, dtype)
    if is_compiled(image, weight, dtype):
        patches = patch_moments(image, weight, tuple(stride), tuple(padding))
        kernel = weight.flatten(1).to(patches.dtype)
        mean.copy_(kernel @ patches[0])
        variance.copy_(((kernel @ patches[1:]) * kernel).sum(1).clamp_(min=0))
        return mean, variance, patches
    with torch.autocast(image.device.type, enabled=False):
        return *stem_strips.moments(image, weight, tuple(stride), tuple(padding), dtype), patches


def _empty_moments(image: Tensor, weight: Tensor, stride: Any, padding: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    channels, taps = weight.shape[0], weight.shape[1] * weight.shape[2] * weight.shape[3]
    shape = (taps + 1, taps) if is_compiled(image, weight, dtype) else (0,)
    mean, variance, patches = (weight.new_empty(size, dtype=torch.float64) for size in ((channels,), (channels,), shape))
    return mean, variance, patches


def _moments_backward(
    grad_mean: Tensor,
    grad_variance: Tensor,
    mean: Tensor,
    patches: Tensor,
    image: Tensor,
    weight: Tensor,
    stride: Any,
    padding: Any,
    dtype: torch.dtype,
    for_image: bool,
) -> tuple[Tensor, Tensor]:
    arguments = (grad_mean, grad_variance, mean, image, weight, tuple(stride), tuple(padding), dtype)
    if patches.numel() > 0:
        kernel = weight.flatten(1).to(patches.dtype)
        slopes = grad_mean[:, None] * patches[0] + 2 * grad_variance[:, None] * (kernel @ patches[1:])
        for_weight = slopes.view(weight.shape).to(weight.dtype)
        if not for_image:
            return image.new_empty(0), for_weight
    with torch.autocast(image.device.type, enabled=False):
        gradients = stem_strips.moments_backward(*arguments, for_image=for_image)
    return (gradients[0], for_weight) if patches.numel() > 0 else gradients


def _empty_moments_backward(
    grad_mean: Tensor, grad_variance: Tensor, mean: Tensor, patches: Tensor, image: Tensor, weight: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    return image.new_empty(image.shape if options[-1] else 0), torch.empty_like(weight)


define_op(
    f"stem(Tensor image, Tensor weight, Tensor bias, {_SIZES}, ScalarType dtype, bool keep_places, int strip) -> (Tensor, Tensor)",
    _stem,
    _empty_stem,
)
define_out(f"stem.out(Tensor image, Tensor weight, Tensor bias, {_SIZES}, int strip, *, Tensor(a!) out) -> ()", _write_stem)
define_op(
    f"stem_backward(Tensor grad, Tensor places, Tensor image, Tensor weight, {_SIZES}, bool for_image, int strip)"
    " -> (Tensor, Tensor, Tensor)",
    _stem_backward,
    _empty_stem_backward,
)
define_op(f"stem_moments(Tensor image, Tensor weight, {_CONV}, ScalarType dtype) -> (Tensor, Tensor, Tensor)", _moments, _empty_moments)
define_op(
    "stem_moments_backward(Tensor grad_mean, Tensor grad_variance, Tensor mean, Tensor patches, Tensor image, Tensor weight, "
    f"{_CONV}, ScalarType dtype, bool for_image) -> (Tensor, Tensor)",
    _moments_backward,
    _empty_moments_backward,
)


def _save_stem(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    image, weight, _, *ctx.options = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(image, weight, output[1])


def _stem_gradient(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    image, weight, places = ctx.saved_tensors
    *sizes, _, keep_places, strip = ctx.options
    if not keep_places:
        raise RuntimeError("zoo::stem was called with keep_places=False, which leaves nothing to find the gradient by")
    for_image = ctx.needs_input_grad[0]
    grad_image, grad_weight, grad_bias = torch.ops.zoo.stem_backward(grad, places, image, weight, *sizes, for_image, strip)
    return grad_image if for_image else None, grad_weight, grad_bias, *[None] * len(ctx.options)


def _save_moments(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    image, weight, *ctx.options = inputs
    mean, _, patches = output
    ctx.mark_non_differentiable(patches)
    ctx.save_for_backward(mean, patches, image, weight)


def _moments_gradient(ctx: Any, grad_mean: Tensor, grad_variance: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    mean, patches, image, weight = ctx.saved_tensors
    for_image = ctx.needs_input_grad[0]
    arguments = (grad_mean, grad_variance, mean, patches, image, weight, *ctx.options, for_image)
    grad_image, grad_weight = torch.ops.zoo.stem_moments_backward(*arguments)
    return grad_image if for_image else None, grad_weight, *[None] * len(ctx.options)


torch.library.register_autograd("zoo::stem", _stem_gradient, setup_context=_save_stem)
torch.library.register_autograd("zoo::stem_moments", _moments_gradient, setup_context=_save_moments)
