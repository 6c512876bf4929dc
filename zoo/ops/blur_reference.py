"""The Gaussian blur in pure torch: the fallback where there is no compiled kernel, and what the tests hold the kernels against."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.ops.borders import border_indices

_LEAST_SIGMA = 1e-15  # below it scipy leaves an axis as it is
_PART_TERMS = 16  # summed apart: rounding errors grow with the longest chain of additions


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of taps and sums for images of ``dtype``."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def gaussian_taps(sigma: Tensor, truncate: float, dtype: torch.dtype, orders: tuple[int, ...] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Return the halves of normalised Gaussian kernels, or of their derivatives by sigma, computed in float64, and their radii.

    Args:
        sigma: ``(sets, axes)`` float64 in CPU memory, pixels, finite and >= 0.
        truncate: radius in units of sigma.
        dtype: float32 or float64.
        orders: of the derivative by sigma, for each axis; the radius counts as constant. 0 where sigma is 0.

    Returns:
        Taps ``(sets, axes, R + 1)`` of ``dtype``, contiguous: entry k is the weight at distance k, 0 beyond the radius of its axis; R is
        the largest radius. Radii ``(sets, axes)`` int64, contiguous. Both in CPU memory. A kernel sums to 1, and a derivative to 0, as
        exactly as its smallest tap allows: the centre takes what rounding the others to ``dtype`` has changed.

    References:
        ``scipy.ndimage.gaussian_filter1d``.
    """
    blurred = sigma > _LEAST_SIGMA
    radii = torch.where(blurred, truncate * sigma + 0.5, 0.0).long()
    distance = torch.arange(int(radii.max()) + 1, dtype=torch.float64)
    scale = torch.where(blurred, sigma, 1.0)[..., None]
    weights = torch.exp(-0.5 * (distance / scale) ** 2) * (distance <= radii[..., None])
    exact = weights / (2.0 * weights.sum(-1, keepdim=True) - weights[..., :1])
    for axis, order in enumerate(orders):
        if order:
            exact[:, axis] = _derivative(exact[:, axis], distance, scale[:, axis], order)
    taps = exact.to(dtype)
    total = torch.tensor([0.0 if order else 1.0 for order in orders], dtype=torch.float64)[: taps.shape[1]]
    taps[..., 0] = total - 2.0 * taps[..., 1:].double().sum(-1)
    return taps.contiguous(), radii.contiguous()


def _derivative(weights: Tensor, distance: Tensor, sigma: Tensor, order: int) -> Tensor:
    """The derivative by sigma of halves ``(sets, R + 1)`` of normalised kernels: w' = w (u - sum of w u), u = distance^2 / sigma^3."""
    slopes, logs, terms = [weights], [], []
    for n in range(order):
        terms.append(distance**2 * (-1) ** n * (math.factorial(n + 2) / 2) / sigma ** (3 + n))
        products = sum(math.comb(n, i) * slopes[i] * terms[n - i] for i in range(n + 1))
        logs.append(terms[n] - 2.0 * torch.as_tensor(products).sum(-1, keepdim=True))  # u is 0 at the centre
        slopes.append(torch.as_tensor(sum(math.comb(n, i) * slopes[i] * logs[n - i] for i in range(n + 1))))
    return slopes[order]


def _blur_axis(image: Tensor, taps: Tensor, radius: int, axis: int, mode: str, outside: float) -> Tensor:
    """Correlate ``image`` along ``axis`` with a symmetric kernel, the far, small terms first."""
    if radius == 0:
        return image if taps[0] == 1.0 else image * float(taps[0])
    size = image.shape[axis]
    index = border_indices(radius, size, mode).to(image.device)
    extended = image.index_select(axis, index.clamp(min=0))
    if mode == "constant":
        shape = [1] * image.dim()
        shape[axis] = -1
        extended = torch.where((index < 0).reshape(shape), outside, extended)
    total = torch.zeros_like(image)
    for start in range(radius, 0, -_PART_TERMS):
        part = torch.zeros_like(image)
        for k in range(start, max(start - _PART_TERMS, 0), -1):
            part += float(taps[k]) * (extended.narrow(axis, radius - k, size) + extended.narrow(axis, radius + k, size))
        total += part
    return total + float(taps[0]) * extended.narrow(axis, radius, size)


def _blur_both(image: Tensor, taps: Tensor, radii: list[int], mode: str, outside: float) -> Tensor:
    """Blur ``(n, H, W)`` along x, then along y."""
    rows = _blur_axis(image, taps[1], radii[1], 2, mode, outside)
    return _blur_axis(rows, taps[0], radii[0], 1, mode, outside)


def blur_reference(
    image: Tensor,
    taps: Tensor,
    radii: Tensor,
    mode: str,
    cval: float,
    nan_treatment: str,
    fill_value: float,
    preserve_nan: bool,
) -> Tensor:
    """Return the blurred image, arguments as in :func:`zoo.ops.blur` with kernels from :func:`gaussian_taps`.

    Args:
        image: ``(..., H, W)``, not empty.
        taps: ``(1, 2, R + 1)``, or ``(frames, 2, R + 1)`` with one pair (vertical, horizontal) per frame.
        radii: ``(1, 2)`` or ``(frames, 2)``.

    Returns:
        ``(..., H, W)``, dtype and device of the image, newly allocated.
    """
    frames = image.reshape(-1, *image.shape[-2:]).to(compute_dtype(image.dtype))
    outside, outside_weight = cval, 1.0
    invalid = frames.isnan()
    if nan_treatment == "fill":
        frames = torch.where(invalid, fill_value, frames)
        outside = fill_value if cval != cval else cval
    elif nan_treatment == "interpolate":
        frames = torch.where(invalid, 0.0, frames)
        if cval != cval:
            outside, outside_weight = 0.0, 0.0
    parts = [frames] if len(taps) == 1 else [frame[None] for frame in frames]
    valid = (~invalid).to(frames.dtype)
    weights = [valid] if len(taps) == 1 else [frame[None] for frame in valid]
    results = []
    for part, weight, kernel, radius in zip(parts, weights, taps, radii.tolist(), strict=True):
        result = _blur_both(part, kernel, radius, mode, outside)
        if nan_treatment == "interpolate":
            total = _blur_both(weight, kernel, radius, mode, outside_weight)
            result = torch.where(total > 0, result / total, torch.nan)
        results.append(result)
    blurred = torch.cat(results)
    if preserve_nan:
        blurred = torch.where(invalid, torch.nan, blurred)
    return blurred.reshape(image.shape).to(image.dtype)
