"""From raw bytes or a linear image to the network's input in one call: decode, regions, limits, stretch and clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.errors import InputShapeError, UsageError
from zoo.ops.buffers import empty_for
from zoo.ops.library import register_op
from zoo.ops.limits import Limits, Percentile
from zoo.ops.native import DTYPE_CODES
from zoo.ops.raw import (
    SOURCE_SCHEMA,
    Encoding,
    Region,
    Saturated,
    Source,
    check_memory,
    check_out,
    describe_source,
    frame_source,
    kernels_for,
    reference_values,
    result_shape,
)
from zoo.ops.statistics import FrameStatistics, Per, check_per, find_limits, frame_statistics
from zoo.ops.stretch import Asinh, Stretch, reference_stretch, stretch_arguments

__all__ = ["FrameStatistics", "frame_statistics", "normalize"]

Invalid = float | Literal["zero", "nan"]

_OPTIONS_SCHEMA = "Tensor limits, str stretch, float a, bool clip, float fill"


def reference_normalize(image: Tensor, source: Source, limits: Tensor, stretch: str, a: float, clip: bool, fill: float) -> Tensor:
    """The op in pure torch, computed and returned in float64: the fallback, and what the tests hold the kernels against."""
    values, saturated = reference_values(image, source)
    vmin = limits[..., 0, None, None]
    span = limits[..., 1, None, None] - vmin
    t = (values - vmin) / torch.where(span == 0.0, 1.0, span)
    if clip:
        t = t.clamp(0.0, 1.0)
    result = reference_stretch(t, stretch, a)
    result = torch.where(torch.isnan(result), fill, result)
    if saturated is not None and source.saturated == "top":
        result = torch.where(saturated, 1.0, result)
    return result


def _allocate_normalized(image: Tensor, *arguments: Any) -> Tensor:
    """Uninitialised result of ``zoo::normalize``; the last argument is its dtype."""
    bitpix, geometry, dtype = arguments[0], arguments[4], arguments[-1]
    return empty_for(image, result_shape(image, bitpix, geometry), dtype)


def _write_normalized(image: Tensor, *arguments: Any, out: Tensor) -> None:
    """Kernel of ``zoo::normalize.out``."""
    source = Source(*arguments[: len(Source._fields)])
    limits, stretch, a, clip, fill = arguments[len(Source._fields) :]
    check_memory(image, out)
    if out.numel() == 0:
        return
    module = kernels_for(image, source)
    if module is None:
        out.copy_(reference_normalize(image, source, limits, stretch, a, clip, fill))
        return
    image, limits = image.contiguous(), limits.contiguous()
    target = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    top = source.saturated == "top" and source.saturation is not None
    described = frame_source(module, image, source, mark_saturated=top)
    code, factor, scale, sign, lowest = _stretch_factors(stretch, a)
    parameters = module.NormalizeParameters(clip=clip, mark_saturated=top, lowest=lowest, fill=fill, a=factor, scale=scale, sign=sign)
    call = (described, limits.data_ptr(), code, parameters, DTYPE_CODES[out.dtype], target.data_ptr())
    if image.is_cuda:
        with torch.cuda.device(image.device):
            module.normalize_cuda(*call, torch.cuda.current_stream().cuda_stream)
    else:
        module.normalize_cpu(*call, torch.get_num_threads())
    if target is not out:
        out.copy_(target)


def _stretch_factors(name: str, a: float) -> tuple[int, float, float, float, float]:
    """Code, factor, scale and sign of csrc/stretch.hpp, and the lowest place that the stretch is defined for."""
    if name == "sqrt":
        return 1, 1.0, 1.0, 1.0, 0.0
    if name == "log":
        return 2, a, 1.0 / math.log1p(a), 1.0, -1.0 / a
    if name == "asinh":
        return 3, 1.0 / a, 1.0 / math.asinh(1.0 / a), 1.0, -math.inf
    if name == "sinh":
        return 4, 1.0 / a, 1.0 / math.expm1(-2.0 / a), 1.0, -math.inf
    if name == "power":
        return 5, a, 1.0, -1.0 if a % 2.0 == 1.0 else 1.0, -math.inf if a.is_integer() else 0.0
    return 0, 1.0, 1.0, 1.0, -math.inf


register_op("normalize", f"{SOURCE_SCHEMA}, {_OPTIONS_SCHEMA}", "ScalarType dtype", allocate=_allocate_normalized, write=_write_normalized)


def _fill_value(invalid: Invalid) -> float:
    """The number that stands for a pixel without a value."""
    if invalid == "zero":
        return 0.0
    if invalid == "nan":
        return math.nan
    if not isinstance(invalid, (int, float)) or not math.isfinite(invalid):
        raise UsageError(f"invalid must be 'zero', 'nan' or a finite number, got {invalid!r}")
    return float(invalid)


def normalize(
    image: Tensor,
    encoding: Encoding | None = None,
    *,
    regions: Sequence[Region] | None = None,
    limits: Limits | Tensor | None = None,
    stretch: Stretch | None = None,
    clip: bool = True,
    invalid: Invalid = "zero",
    saturation: float | None = None,
    saturated: Saturated = "top",
    per: Per = "frame",
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
    limits_out: Tensor | None = None,
) -> Tensor:
    """Bring frames to [0, 1]: decode, cut regions, find limits, scale, clip and stretch, without a linear copy in between.

    ``result = stretch((value - vmin) / (vmax - vmin))``. Where ``vmax == vmin`` the quotient is ``value - vmin``, as in
    astropy. Pixels that are NaN, infinite or BLANK, and without ``clip`` those whose stretch has no real value, become ``invalid``; so does
    a whole frame of them. The image is never written. Not differentiable.

    Args:
        image: ``(..., H, W)`` native tensor, or ``(..., H, W * itemsize)`` uint8 raw bytes with ``encoding``; need not be contiguous.
        encoding: what the raw bytes mean; ``None`` for a native tensor.
        regions: rectangles to cut out and calibrate (one per amplifier), the same for all frames; ``None`` or empty for the whole image.
        limits: a rule, or given limits: a float64 tensor ``(..., 2)`` of vmin and vmax that broadcasts to the leading dimensions. ``None``:
            ``Percentile(1, 99)``.
        stretch: ``None``: ``Asinh(0.1)``.
        clip: cut to [0, 1] before the stretch.
        invalid: ``"zero"``, ``"nan"`` or a finite number, in stretched units.
        saturation: threshold in decoded DN, before bias and gain; ``None``: no pixel is saturated.
        saturated: what pixels at or above ``saturation`` become. ``"top"``: exactly 1, and valid for the limits: bright, not missing.
            ``"keep"``: nothing special. ``"invalid"``: left out of the limits and treated as ``invalid``.
        per: ``"frame"``, or ``"batch"``: one pair of limits from all frames together.
        dtype: float32, bfloat16 or float16; not looked at when ``out`` is given.
        out: result to write into, ``(..., H', W')`` in one of those dtypes; must not overlap ``image``.
        limits_out: float64 ``(..., 2)``, ``(2,)`` with ``per="batch"``: receives the limits; NaN for a frame without a valid pixel.

    Returns:
        ``(..., H', W')``, dimensionless: ``out``, or a new tensor on the device of ``image``. H' and W' are H and W without regions.

    Raises:
        UsageError: (a ``ValueError``) if an argument has a value or dtype that it cannot have.
        InputShapeError: (a ``UsageError``) if a shape does not fit the encoding, the regions or the result.

    References: formulas of ``astropy.visualization``: its intervals and stretches.

    Example:
        >>> normalize(torch.arange(12.0).reshape(1, 3, 4), limits=MinMax(), stretch=Linear()).shape
        torch.Size([1, 3, 4])
    """
    source = describe_source(image, encoding, regions, saturation, saturated)
    per_batch = check_per(per)
    fill = _fill_value(invalid)
    name, a = stretch_arguments(Asinh() if stretch is None else stretch)
    lead = image.shape[:-2]
    if isinstance(limits, Tensor):
        found = _check_limits(limits, image, per_batch)
    else:
        found = find_limits(image, source, Percentile() if limits is None else limits, per_batch)
    if limits_out is not None:
        check_out(limits_out, tuple(found.shape), (torch.float64,), image, name="limits_out")
        limits_out.copy_(found)
    pairs = found.expand(*lead, 2)
    if out is None:
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise UsageError(f"dtype must be torch.float32, torch.bfloat16 or torch.float16, got {dtype}")
        result: Tensor = torch.ops.zoo.normalize(image, *source, pairs, name, a, clip, fill, dtype)
        return result
    check_out(out, result_shape(image, source.bitpix, source.geometry), (torch.float32, torch.bfloat16, torch.float16), image)
    torch.ops.zoo.normalize.out(image, *source, pairs, name, a, clip, fill, out=out)
    return out


def _check_limits(limits: Tensor, image: Tensor, per_batch: bool) -> Tensor:
    """Given limits, expanded to one pair per frame or one for the batch."""
    if limits.dtype != torch.float64:
        raise UsageError(f"given limits must be float64, got {limits.dtype}; call limits.double()")
    if limits.device != image.device:
        raise UsageError(f"given limits must be on the device of the image, {image.device}, got {limits.device}")
    lead = () if per_batch else tuple(image.shape[:-2])
    shape = tuple(limits.shape)
    fits = len(shape) >= 1 and shape[-1] == 2 and len(shape) - 1 <= len(lead)
    if not fits or any(n not in (1, m) for n, m in zip(shape[-2::-1], lead[::-1], strict=False)):
        raise InputShapeError(f"given limits must broadcast to {(*lead, 2)}, got shape {shape}")
    return limits.expand(*lead, 2)
