"""Blurs with a large sigma at two rates: each axis is thinned out, blurred on the coarse grid, and interpolated again."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.ops.blur_kernels import run_taps
from zoo.ops.blur_reference import compute_dtype, gaussian_taps
from zoo.ops.borders import BORDERS, beyond
from zoo.ops.native import DTYPE_CODES, native

# Both agree with csrc/multirate.hpp.
_REACH = 5  # coarse pixels that a pixel is made of, along an axis
_MOST_STEP = 8

# Sigma in coarse pixels, at least: what decides the error. Worst gain of any wave in any direction, beside the ideal Gaussian's:
# 2e-9 for step 2 and 3, 3.2e-8 for 4, 5.6e-8 for 8.
_COARSE_SIGMA = 4.0
_TRUNCATE = 6.0  # of the blur on the coarse grid; 2e-9 of a Gaussian lies beyond it
_LEAST_WEIGHT = 1e-4  # of valid pixels under the kernel; the error of a quotient is about 1e-7 over its weight


class _Axis(NamedTuple):
    """How an axis is blurred."""

    step: int  # pixels of a coarse one
    taps: Tensor  # (_REACH * step,) float64: both thinning out and, times step, interpolation
    coarse_taps: Tensor  # (radius + 1,) float64: half of the kernel on the coarse grid
    margin: int  # coarse pixels before the one at the first pixel


@functools.lru_cache(maxsize=256)
def _axis(sigma: float) -> _Axis:
    """Design the filters of an axis.

    The taps minimise what waves that look alike on the coarse grid add to each other, weighted by the Gaussian that follows: a quadratic
    form under the condition that they sum to 1. What the taps take from the waves that remain, the kernel on the coarse grid gives back.
    """
    step = min(int(sigma / _COARSE_SIGMA), _MOST_STEP)
    if step < 2:
        half, _ = gaussian_taps(torch.tensor([[sigma]], dtype=torch.float64), _TRUNCATE, torch.float64, (0,))
        identity = torch.zeros(_REACH, dtype=torch.float64)
        identity[_REACH // 2] = 1.0
        return _Axis(1, identity, half[0, 0], half.shape[2] + 1)
    count = _REACH * step
    place = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    kept = torch.linspace(-1.5, 1.5, 201, dtype=torch.float64) / sigma  # cycles per pixel; 6e-10 of the Gaussian's gain is left at the end
    alias = (torch.arange(1, step, dtype=torch.float64)[:, None] / step + kept).reshape(-1)
    waves = torch.cos(2 * math.pi * torch.outer(place[: (count + 1) // 2], alias)) * _gain(kept, sigma).repeat(step - 1)
    size = torch.full((len(waves),), 2.0, dtype=torch.float64)  # how often a tap stands in the symmetric kernel
    if count % 2:
        size[-1] = 1.0
    waves *= size[:, None]
    form = waves @ waves.T
    form += 1e-16 * form.trace() / len(form) * torch.eye(len(form), dtype=torch.float64)
    half = torch.linalg.solve(form, size)
    half /= half @ size
    taps = torch.cat([half, half[: count // 2].flip(0)])
    radius = math.ceil(_TRUNCATE * sigma / step)
    frequency = torch.arange(-2048, 2048, dtype=torch.float64) / 4096  # cycles per coarse pixel
    response = torch.cos(2 * math.pi * torch.outer(frequency / step, place)) @ taps
    target = _gain(frequency / step, sigma) / response.square().clamp(min=1e-3)
    kernel = torch.cos(2 * math.pi * torch.outer(torch.arange(radius + 1, dtype=torch.float64), frequency)) @ target / len(frequency)
    return _Axis(step, taps, kernel, radius + _REACH // 2)


def _gain(frequency: Tensor, sigma: float) -> Tensor:
    """What an ideal Gaussian leaves of waves, in cycles per pixel."""
    return torch.exp(-2.0 * (math.pi * sigma * frequency) ** 2)


def run_multirate(
    image: Tensor, sigma: Tensor, mode: str, cval: float, nan_treatment: str, fill_value: float, preserve_nan: bool, out: Tensor
) -> None:
    """Blur into ``out`` with an approximation of the ideal Gaussian; arguments as in :func:`zoo.ops.blur`.

    Args:
        image: ``(..., H, W)``, not empty.
        sigma: ``(1, 2)`` or ``(frames, 2)`` float64 in CPU memory.
        out: shape, dtype and device of the image, sharing no memory with it.
    """
    frames = image.reshape(-1, *image.shape[-2:])
    results = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    targets = results.view(frames.shape)
    if len(sigma) == 1:
        _blur(frames, sigma[0], mode, cval, nan_treatment, fill_value, targets)
    else:
        for i in range(len(frames)):
            _blur(frames[i : i + 1], sigma[i], mode, cval, nan_treatment, fill_value, targets[i : i + 1])
    if preserve_nan:
        targets.masked_fill_(frames.isnan(), torch.nan)
    if results is not out:
        out.copy_(results)


def _blur(frames: Tensor, sigma: Tensor, mode: str, cval: float, nan_treatment: str, fill_value: float, out: Tensor) -> None:
    """Blur frames ``(n, H, W)`` alike."""
    down, across = (_axis(float(value)) for value in sigma)
    if nan_treatment == "propagate" or (bool(frames.sum(dtype=compute_dtype(frames.dtype)).isfinite()) and not math.isnan(cval)):
        _blur_plain(frames, down, across, mode, cval, out)
        return
    invalid = frames.isnan()
    if nan_treatment == "fill":
        _blur_plain(frames.masked_fill(invalid, fill_value), down, across, mode, fill_value if math.isnan(cval) else cval, out)
        return
    valid = invalid.logical_not().to(compute_dtype(frames.dtype))
    outside, outside_weight = (0.0, 0.0) if math.isnan(cval) else (cval, 1.0)
    weights, sums = torch.empty_like(valid), torch.empty_like(valid)
    _blur_plain(valid, down, across, mode, outside_weight, weights)
    _blur_plain(frames.to(valid.dtype).masked_fill(invalid, 0.0), down, across, mode, outside, sums)
    out.copy_(torch.where(weights > _LEAST_WEIGHT, sums / weights, torch.nan))


def _blur_plain(frames: Tensor, down: _Axis, across: _Axis, mode: str, cval: float, out: Tensor) -> None:
    """Blur without treatment of NaN, into a contiguous tensor."""
    dtype = compute_dtype(frames.dtype)
    count, height, width = frames.shape
    sizes = [-(-size // axis.step) + 2 * axis.margin for size, axis in ((height, down), (width, across))]
    coarse = torch.empty(count, *sizes, dtype=dtype, device=frames.device)
    module = native() if frames.device.type == "cpu" else None
    if module is None:
        coarse.copy_(_decimate(_decimate(frames.to(dtype), down, 1, mode, cval), across, 2, mode, cval))
        out.copy_(_interpolate(_interpolate(_blur_coarse(coarse, down, across), down, 1, height), across, 2, width))
        return
    source = frames.contiguous()
    taps = [axis.taps.to(dtype) for axis in (down, across)]
    axes = [
        module.MultirateAxis(taps=values.data_ptr(), step=axis.step, margin=axis.margin, coarse=size)
        for values, axis, size in zip(taps, (down, across), sizes, strict=True)
    ]

    def arguments(coarse: Tensor) -> object:
        return module.MultirateArguments(
            image=source.data_ptr(),
            coarse=coarse.data_ptr(),
            out=out.data_ptr(),
            frames=count,
            height=height,
            width=width,
            dtype=DTYPE_CODES[frames.dtype],
            border=BORDERS[mode],
            cval=cval,
            down=axes[0],
            across=axes[1],
        )

    threads = torch.get_num_threads()
    scratch = torch.empty(module.multirate_scratch_bytes(arguments(coarse), threads), dtype=torch.uint8)
    module.multirate_decimate(arguments(coarse), scratch.data_ptr(), threads)
    blurred = _blur_coarse(coarse, down, across)
    module.multirate_interpolate(arguments(blurred), scratch.data_ptr(), threads)


def _blur_coarse(coarse: Tensor, down: _Axis, across: _Axis) -> Tensor:
    """Blur on the coarse grid; only what is at least a radius away from the ends is used."""
    halves = (down.coarse_taps, across.coarse_taps)
    taps = torch.zeros(1, 2, max(map(len, halves)), dtype=coarse.dtype)
    for axis, half in enumerate(halves):
        taps[0, axis, : len(half)] = half.to(coarse.dtype)
        taps[0, axis, 0] = 1.0 - 2.0 * taps[0, axis, 1:].double().sum()
    radii = torch.tensor([[len(half) - 1 for half in halves]])
    blurred = torch.empty_like(coarse)
    run_taps(coarse, taps, radii, "nearest", 0.0, "propagate", 0.0, False, blurred)
    return blurred


def _decimate(frames: Tensor, axis: _Axis, dim: int, mode: str, cval: float) -> Tensor:
    """Thin out an axis, with coarse pixels around the frame."""
    size, step = frames.shape[dim], axis.step
    count = -(-size // step) + 2 * axis.margin
    first = -(axis.margin + _REACH // 2) * step
    index = beyond(torch.arange(first, first + (count + _REACH - 1) * step), size, mode).to(frames.device)
    extended = frames.index_select(dim, index.clamp(min=0))
    if mode == "constant":
        extended.index_fill_(dim, (index < 0).nonzero()[:, 0], cval)
    result = torch.zeros_like(extended.narrow(dim, 0, count))
    for k, tap in enumerate(axis.taps.tolist()):
        places = torch.arange(k, k + (count - 1) * step + 1, step, device=frames.device)
        result.add_(extended.index_select(dim, places), alpha=tap)
    return result


def _interpolate(coarse: Tensor, axis: _Axis, dim: int, size: int) -> Tensor:
    """The pixels of an axis between coarse ones."""
    step, count = axis.step, -(-size // axis.step)
    taps = (axis.step * axis.taps).tolist()
    phases = []
    for p in range(step):
        phase = torch.zeros_like(coarse.narrow(dim, 0, count))
        for t in range(_REACH):
            phase.add_(coarse.narrow(dim, axis.margin - _REACH // 2 + t, count), alpha=taps[(_REACH - 1 - t) * step + p])
        phases.append(phase)
    return torch.stack(phases, dim + 1).flatten(dim, dim + 1).narrow(dim, 0, size)
