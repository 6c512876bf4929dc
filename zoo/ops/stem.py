"""The streamed stem: convolution, BatchNorm, ReLU and max-pool without the full-resolution map between them.

Two torch ops do the work. ``zoo::stem`` is ``max_pool2d(relu(conv2d(image, weight, bias)))``; for its backward pass it keeps where in each
window the maximum was, one byte for each pooled value. ``zoo::stem_moments`` gives mean and variance of the convolution's map. BatchNorm
between them is arithmetic on one number per channel: it scales the weight and shifts the bias, and autograd takes care of the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import zoo.ops.stem_kernels  # noqa: F401 - defines the ops
from zoo.errors import UsageError
from zoo.ops.checks import check_gradient
from zoo.ops.native import DTYPE_CODES
from zoo.ops.raw import check_out
from zoo.ops.stem_strips import Geometry, Pair


def stem(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    pool: int | Pair,
    pool_stride: int | Pair | None = None,
    pool_padding: int | Pair = 0,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    strip: int | None = None,
    reduce: Callable[[Tensor], Tensor] | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``max_pool2d(relu(batch_norm(conv2d(image, weight, bias), ...)))``, the full-resolution map never being in memory.

    Names and meaning are those of ``torch.nn.functional``. Differentiable once, with respect to image, weight, bias, gamma and beta. Sums
    and statistics are float64; under autocast the result has autocast's dtype, float64 images excepted, as with torch's own layers. NaN
    spreads to all windows above it, and in training through the statistics to the whole result.

    Args:
        image: ``(N, C, H, W)`` float32, float64, bfloat16 or float16.
        weight: ``(K, C, h, w)``. bias: ``(K,)``; where BatchNorm takes the mean of the batch away, it gets a gradient of exactly 0.
        gamma, beta: ``(K,)``, BatchNorm's weight and bias; 1 and 0 if absent.
        running_mean, running_var: ``(K,)``: used if not ``training``; updated in place otherwise, the variance unbiased. Without them
            there is no BatchNorm unless ``training``.
        stride, padding: of the convolution, pixels; zeros are padded. A number, or a pair (vertical, horizontal).
        pool, pool_stride, pool_padding: side, stride and padding of the max-pool; the stride is the side if absent.
        training: use the statistics of this batch, rows and columns that no window covers included.
        momentum: share of this batch in the running statistics.
        eps: added to the variance.
        strip: pooled rows at a time, where strips are computed by torch; chosen for about 32 MiB if absent.
        reduce: adds up a float64 tensor over the processes that share a batch, differentiable; the statistics are then those of all
            processes together.
        out: where to write the result, without a copy on the CPU if it lies in channels_last; contiguous in ``torch.compile``;
            not overlapping the image, and not where a gradient is required.

    Returns: ``(N, K, rows, columns)``: ``out``, or a new tensor, on the CPU in channels_last order.

    Raises:
        UsageError: (a ``ValueError``) an argument has a type, shape or value that it cannot have.
    """
    geometry = Geometry(
        _pair("stride", stride, 1),
        _pair("padding", padding, 0),
        _pair("pool", pool, 1),
        _pair("pool_stride", pool if pool_stride is None else pool_stride, 1),
        _pair("pool_padding", pool_padding, 0),
    )
    _check_tensors(image, weight, {"bias": bias, "gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var})
    _check_sizes(image, weight, geometry)
    if strip is not None and strip < 1:
        raise UsageError(f"strip must be at least 1 pooled row, got {strip}")
    if (running_mean is None) != (running_var is None):
        raise UsageError("running_mean and running_var belong together, got one of them")
    dtype = _result_dtype(image)
    if out is not None:
        check_gradient(image, weight, bias, gamma, beta, out)
        check_out(out, (image.shape[0], weight.shape[0], *geometry.pooled_size(image, weight)), (dtype,), image)
    exact = weight.double()
    zero = torch.zeros(weight.shape[0], dtype=torch.float64, device=weight.device)
    shift = zero if bias is None else bias.double()
    if training:
        mean, variance, _ = torch.ops.zoo.stem_moments(image, exact, geometry.stride, geometry.padding, dtype)
        rows, columns = geometry.map_size(image, weight)
        mean, variance, count = _merge(mean, variance, image.shape[0] * rows * columns, reduce)
        if running_mean is not None and running_var is not None:
            _update(running_mean, running_var, mean + shift, variance * (count / (count - 1)), momentum)
        shift = zero if bias is None else _NoGradient.apply(zero, bias)  # type: ignore[no-untyped-call]
    elif running_mean is not None and running_var is not None:
        mean, variance = running_mean.double(), running_var.double()
    if training or running_mean is not None:
        scale = (variance + eps).rsqrt() * (1.0 if gamma is None else gamma.double())
        shift = (shift - mean) * scale + (0.0 if beta is None else beta.double())
        exact = exact * scale.view(-1, 1, 1, 1)
    elif gamma is not None or beta is not None:
        raise UsageError("gamma and beta need statistics to normalise by, got neither training=True nor running_mean and running_var")
    if out is not None:
        torch.ops.zoo.stem.out(image, exact, shift, *geometry, strip or 0, out=out)
        return out
    keep = torch.is_grad_enabled() and (image.requires_grad or exact.requires_grad or shift.requires_grad)
    result: Tensor = torch.ops.zoo.stem(image, exact, shift, *geometry, dtype, keep, strip or 0)[0]
    return result


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or any(isinstance(side, bool) or not isinstance(side, (int, torch.SymInt)) or side < least for side in pair):
        raise UsageError(f"{name} must be an integer >= {least} or a pair of them (vertical, horizontal), got {value!r}")
    return pair[0], pair[1]


def _check_tensors(image: Tensor, weight: Tensor, vectors: dict[str, Tensor | None]) -> None:
    if image.dim() != 4 or image.dtype not in DTYPE_CODES:
        raise UsageError(f"image must be (N, C, H, W) float32, float64, bfloat16 or float16, got {tuple(image.shape)} {image.dtype}")
    if weight.dim() != 4 or weight.shape[1] != image.shape[1]:
        raise UsageError(f"weight must be (K, {image.shape[1]}, h, w) for images of {image.shape[1]} channels, got {tuple(weight.shape)}")
    for name, vector in vectors.items():
        if vector is not None and vector.shape != weight.shape[:1]:
            raise UsageError(f"{name} must have shape ({weight.shape[0]},), one number per channel, got {tuple(vector.shape)}")


def _check_sizes(image: Tensor, weight: Tensor, geometry: Geometry) -> None:
    if any(2 * pad > side for pad, side in zip(geometry.pool_padding, geometry.pool, strict=True)):
        raise UsageError(f"pool_padding must be at most half of the pool {geometry.pool}, got {geometry.pool_padding}")
    if geometry.pool[0] * geometry.pool[1] > torch.iinfo(torch.int16).max:
        raise UsageError(f"pool must have at most {torch.iinfo(torch.int16).max} pixels, got {geometry.pool}")
    if image.shape[0] < 1 or min(geometry.map_size(image, weight)) < 1 or min(geometry.pooled_size(image, weight)) < 1:
        raise UsageError(
            f"image {tuple(image.shape)} leaves nothing behind a kernel of {tuple(weight.shape[2:])} and a pool of {geometry.pool}"
        )


def _result_dtype(image: Tensor) -> torch.dtype:
    if torch.is_autocast_enabled(image.device.type) and image.dtype != torch.float64:
        return torch.get_autocast_dtype(image.device.type)
    return image.dtype


def _merge(mean: Tensor, variance: Tensor, count: int, reduce: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor, float]:
    """The statistics of all processes together, and how many values they are of."""
    total = float(count)
    if reduce is not None:
        sums = reduce(torch.cat([mean * count, mean.new_full((1,), count)]))
        shared = sums[:-1] / sums[-1]
        variance = reduce((variance + (mean - shared).square()) * count) / sums[-1].detach()
        mean, total = shared, float(sums[-1].detach())
    if total <= 1:
        raise UsageError(f"expected more than 1 value per channel in training, got {total:.0f}")
    return mean, variance, total


@torch.no_grad()
def _update(running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor, momentum: float) -> None:
    for running, value in ((running_mean, mean), (running_var, variance)):
        running.copy_((1 - momentum) * running.double() + momentum * value)


class _NoGradient(torch.autograd.Function):
    """Passes its first argument on; the second has no influence, and gets a gradient of 0 that says so."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, unused: Tensor) -> Tensor:
        ctx.save_for_backward(unused)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], torch.zeros_like(ctx.saved_tensors[0])
