"""Gradients of the blur by the image and by sigma, written with an op that has such gradients itself: ``zoo::blur_derivative``."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.ops.blur_kernels import check_sigma, run_taps
from zoo.ops.blur_reference import compute_dtype, gaussian_taps
from zoo.ops.library import register_op

_IDEAL_TRUNCATE = 6.0  # 2e-9 of a Gaussian lies beyond it


def _run(image: Tensor, sigma: Tensor, down: int, across: int, border: str, truncate: float, out: Tensor) -> None:
    """The derivative by sigma, of orders ``down`` and ``across``, of the blurred image; a constant border is 0."""
    if image.numel() == 0:
        return
    check_sigma(sigma, truncate)
    taps, radii = gaussian_taps(sigma, truncate, compute_dtype(image.dtype), (down, across))
    run_taps(image, taps, radii, border, 0.0, "propagate", 0.0, False, out)


def _allocate(image: Tensor, *_: object) -> Tensor:
    """The uninitialised result, real or fake."""
    return torch.empty_like(image, memory_format=torch.contiguous_format)


register_op(
    "blur_derivative",
    "Tensor image, Tensor sigma, int down, int across, str border, float truncate",
    "",
    allocate=_allocate,
    write=_run,
)


class _Form(NamedTuple):
    """Which kernel approximates the Gaussian."""

    truncate: float
    method: str


def _linear(image: Tensor, sigma: Tensor, orders: tuple[int, int], mode: str, form: _Form) -> Tensor:
    """The blur of an image without treatment of NaN, or its derivative by sigma; a constant border is 0."""
    if orders == (0, 0) and form.method != "direct":
        return _plain(image, sigma, mode, 0.0, form)
    # Where a method approximates the ideal Gaussian, derivatives need not be faster, but as near to it.
    truncate = form.truncate if form.method == "direct" else _IDEAL_TRUNCATE
    result: Tensor = torch.ops.zoo.blur_derivative(image, sigma, *orders, mode, truncate)
    return result


def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep what the gradient of ``zoo::blur`` needs; the image only for its NaN, or for the gradient by sigma."""
    image, sigma, *options = inputs
    ctx.options = options
    ctx.save_for_backward(sigma, *([image] if options[3] != "propagate" or sigma.requires_grad else []))


def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of ``zoo::blur``: the transposed blur, and what its derivatives by sigma give."""
    sigma, *saved = ctx.saved_tensors
    mode, cval, truncate, nan_treatment, fill_value, preserve_nan, method = ctx.options
    form = _Form(truncate, method)
    dtype = grad.dtype
    grad = grad.to(compute_dtype(dtype))
    image, invalid, blurred, weights = None, None, None, None
    if saved:
        image = saved[0].to(grad.dtype)
        invalid = image.isnan()
    if image is not None and invalid is not None and nan_treatment != "propagate":
        filling = fill_value if nan_treatment == "fill" else 0.0
        outside, outside_weight = cval, 1.0
        if math.isnan(cval):
            outside, outside_weight = (fill_value, 1.0) if nan_treatment == "fill" else (0.0, 0.0)
        image, cval = image.masked_fill(invalid, filling), outside
        if nan_treatment == "interpolate":
            valid = (~invalid).to(grad.dtype)
            weights = _plain(valid, sigma, mode, outside_weight, form)
            grad = torch.where(weights > 0, grad / weights, 0.0)
        if preserve_nan:
            grad = grad.masked_fill(invalid, 0.0)
    by_sigma = None
    if image is not None and ctx.needs_input_grad[1]:
        slopes = _by_sigma(grad, image, cval, sigma, (0, 0), mode, form)
        if weights is not None:  # of the quotient N / W: (N' - N / W * W') / W, and W stands in the gradient already
            blurred = torch.where(weights > 0, _plain(image, sigma, mode, cval, form) / weights, 0.0)
            slopes = slopes - _by_sigma(grad * blurred, valid, outside_weight, sigma, (0, 0), mode, form)
        by_sigma = slopes
    by_image = None
    if ctx.needs_input_grad[0]:
        by_image = _transposed(grad, sigma, (0, 0), mode, form)
        if invalid is not None and nan_treatment != "propagate":
            by_image = by_image.masked_fill(invalid, 0.0)
        by_image = by_image.to(dtype)
    return by_image, by_sigma, *[None] * 7


def _plain(image: Tensor, sigma: Tensor, mode: str, cval: float, form: _Form) -> Tensor:
    """The blur without treatment of NaN."""
    result: Tensor = torch.ops.zoo.blur(image, sigma, mode, cval, form.truncate, "propagate", 0.0, False, form.method)
    return result


def _by_sigma(grad: Tensor, image: Tensor, outside: float, sigma: Tensor, orders: tuple[int, int], mode: str, form: _Form) -> Tensor:
    """The gradient by sigma, ``(sets, 2)`` float64 in CPU memory, of a blur or a derivative of it with that gradient."""
    if mode == "constant" and outside != 0.0:
        image = image - outside  # derivatives of a kernel sum to 0: a constant everywhere changes nothing
    slopes = []
    for steps in ((1, 0), (0, 1)):
        slope = _linear(image, sigma, (orders[0] + steps[0], orders[1] + steps[1]), mode, form)
        sums = (grad * slope).sum((-2, -1), dtype=torch.float64).reshape(-1)
        slopes.append(sums.sum(0, keepdim=True) if len(sigma) == 1 else sums)
    return torch.stack(slopes, 1).to(sigma.device)


def _transposed(grad: Tensor, sigma: Tensor, orders: tuple[int, int], mode: str, form: _Form) -> Tensor:
    """Multiply by the transpose of the matrix of the blur or of a derivative of it.

    The matrix is symmetric for reflect, wrap and constant. Mirror counts the pixels at the ends once where a symmetric matrix would
    count them twice. Nearest adds everything outside to the pixels at the ends.
    """
    if mode == "mirror":
        scale = _end_weights(grad.shape[-2], grad)[:, None] * _end_weights(grad.shape[-1], grad)
        return _linear(grad / scale, sigma, orders, mode, form) * scale
    if mode == "nearest":
        zero = torch.zeros_like(sigma[:, :1])
        down = _transposed_nearest(grad, torch.cat([sigma[:, :1], zero], 1), orders[0], form)
        across = _transposed_nearest(down.mT, torch.cat([sigma[:, 1:], zero], 1), orders[1], form)
        return across.mT.contiguous()
    return _linear(grad, sigma, orders, mode, form)


def _end_weights(size: int, like: Tensor) -> Tensor:
    """``(size,)``: 1/2 at both ends, 1 between; 1 where there is one pixel only."""
    weights = torch.ones(size, dtype=like.dtype, device=like.device)
    if size > 1:
        weights[0] = weights[-1] = 0.5
    return weights


def _transposed_nearest(grad: Tensor, sigma: Tensor, order: int, form: _Form) -> Tensor:
    """The transpose of the vertical blur with mode nearest."""
    size = grad.shape[-2]
    if grad.numel() == 0 or (size < 2 and order == 0):
        return grad
    if size < 2:
        return torch.zeros_like(grad)
    # What a pixel at an end gives to each row is the blurred image of that pixel alone.
    frames = len(sigma)
    ends = torch.zeros(frames, size, 2, dtype=grad.dtype, device=grad.device)
    ends[:, 0, 0] = ends[:, -1, 1] = 1.0
    shares = _linear(ends, sigma, (order, 0), "nearest", form)
    shares = shares.reshape(*grad.shape[:-2], size, 2) if frames > 1 else shares[0]
    first, last = ((shares[..., end, None] * grad).sum(-2, keepdim=True) for end in (0, 1))
    inner = _linear(grad, sigma, (order, 0), "constant", form)[..., 1:-1, :]
    return torch.cat([first, inner, last], -2)


def _save_derivative(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, sigma, *options = inputs
    ctx.options = options
    ctx.save_for_backward(sigma, *([image] if sigma.requires_grad else []))


def _backward_derivative(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    sigma, *saved = ctx.saved_tensors
    down, across, mode, truncate = ctx.options
    dtype = grad.dtype
    grad = grad.to(compute_dtype(dtype))
    by_image, by_sigma = None, None
    if ctx.needs_input_grad[0]:
        by_image = _transposed(grad, sigma, (down, across), mode, _Form(truncate, "direct")).to(dtype)
    if saved and ctx.needs_input_grad[1]:
        by_sigma = _by_sigma(grad, saved[0].to(grad.dtype), 0.0, sigma, (down, across), mode, _Form(truncate, "direct"))
    return by_image, by_sigma, *[None] * 4


torch.library.register_autograd("zoo::blur_derivative", _backward_derivative, setup_context=_save_derivative)
