"""Statistics of the valid pixels of frames: moments, order statistics, sigma clipping and z-scale, from raw bytes or native tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.ops.library import register_op
from zoo.ops.limits import Limits, Manual, MedianMAD, MinMax, Percentile, SigmaClip, ZScale
from zoo.ops.raw import SOURCE_SCHEMA, Encoding, Region, Saturated, Source, check_memory, describe_source, frame_source, kernels_for
from zoo.ops.statistics_reference import BASIC, CLIP, COLUMNS, MAD, MEDIAN, MOMENTS, ZSCALE, reference_statistics

Per = Literal["frame", "batch"]

MAD_TO_STD = 1.482602218505602  # 1 / (the 75th percentile of the standard normal distribution), as in astropy.stats.mad_std

_OPTIONS_SCHEMA = "float[] quantiles, int wanted, float[] clip, float[] zscale, bool per_batch"


@dataclass(frozen=True)
class FrameStatistics:
    """Statistics of the valid pixels of each frame, in the unit of the pixels. Shapes are ``(...)``, or ``()`` with ``per="batch"``.

    A frame without a valid pixel has count 0 and NaN everywhere else. All but ``count`` (int64) are float64.

    Attributes:
        count: valid pixels.
        min, max: extremes.
        mean, std: mean and population standard deviation.
        median, mad: median and median absolute deviation from it (unscaled).
        clipped_count, clipped_low, clipped_high: pixels left by sigma clipping and its last bounds; 0 and NaN unless asked for.
        clipped_mean, clipped_median, clipped_std: statistics of those pixels; NaN unless asked for.
        zscale: ``(..., 2)`` z-scale limits; NaN unless asked for.
        quantiles: ``(..., Q)``, in the order asked for.
    """

    count: Tensor
    min: Tensor
    max: Tensor
    mean: Tensor
    std: Tensor
    median: Tensor
    mad: Tensor
    clipped_count: Tensor
    clipped_low: Tensor
    clipped_high: Tensor
    clipped_mean: Tensor
    clipped_median: Tensor
    clipped_std: Tensor
    zscale: Tensor
    quantiles: Tensor


def _allocate_table(image: Tensor, *arguments: Any) -> Tensor:
    """Uninitialised result of ``zoo::frame_statistics``: a row of figures per frame."""
    quantiles, per_batch = arguments[len(Source._fields)], arguments[-1]
    return image.new_empty((*(() if per_batch else image.shape[:-2]), COLUMNS + len(quantiles)), dtype=torch.float64)


def _write_table(image: Tensor, *arguments: Any, out: Tensor) -> None:
    """Kernel of ``zoo::frame_statistics.out``."""
    source = Source(*arguments[: len(Source._fields)])
    quantiles, wanted, clip, zscale, per_batch = arguments[len(Source._fields) :]
    check_memory(image, out)
    if out.numel() == 0:
        return
    if image.numel() == 0:
        out.fill_(math.nan)
        out[..., 0] = out[..., 7] = 0.0  # the two counts
        return
    module = kernels_for(image, source)
    if module is None:
        out.copy_(reference_statistics(image, source, quantiles, wanted, clip, zscale, per_batch))
        return
    image = image.contiguous()
    target = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    request = module.StatisticsRequest(quantiles=quantiles, wanted=wanted, clip=clip, zscale=zscale)
    pooled = math.prod(image.shape[:-2]) if per_batch else 1
    described = frame_source(module, image, source)
    if image.is_cuda:
        scratch = image.new_empty(module.statistics_cuda_scratch_bytes(described, request, pooled), dtype=torch.uint8)
        with torch.cuda.device(image.device):
            stream = torch.cuda.current_stream().cuda_stream
            module.statistics_cuda(described, request, pooled, target.data_ptr(), scratch.data_ptr(), stream)
    else:
        module.statistics_cpu(described, request, pooled, target.data_ptr(), torch.get_num_threads())
    if target is not out:
        out.copy_(target)


register_op("frame_statistics", f"{SOURCE_SCHEMA}, {_OPTIONS_SCHEMA}", "", allocate=_allocate_table, write=_write_table)


def check_per(per: str) -> bool:
    """Whether statistics are shared by the batch."""
    if per not in ("frame", "batch"):
        raise UsageError(f"per must be 'frame' or 'batch', got {per!r}")
    return per == "batch"


def _clip_arguments(clip: SigmaClip) -> list[float]:
    return [float(clip.sigma), float(clip.maxiters)]


def _zscale_arguments(zscale: ZScale) -> list[float]:
    return [
        float(zscale.n_samples), float(zscale.contrast), float(zscale.max_reject), float(zscale.min_npixels), float(zscale.krej),
        float(zscale.max_iterations),
    ]  # fmt: skip


def frame_statistics(
    image: Tensor,
    encoding: Encoding | None = None,
    *,
    regions: Sequence[Region] | None = None,
    quantiles: Sequence[float] = (0.01, 0.99),
    sigma_clip: SigmaClip | None = None,
    zscale: ZScale | None = None,
    saturation: float | None = None,
    saturated: Saturated = "keep",
    per: Per = "frame",
) -> FrameStatistics:
    """Measure the valid pixels of each frame, or of the whole batch as one.

    Pixels are the float64 values that ``decode(..., dtype=torch.float64)`` gives; NaN, infinite and BLANK ones are left out. Order
    statistics are exact: they equal ``numpy.quantile`` and ``numpy.median`` of those values bit for bit. Mean and standard deviation are
    accumulated in float64; they and what derives from them equal numpy's and astropy's within rounding (1e-12). The result is the same at
    any number of threads.

    Args:
        image: ``(..., H, W)`` native tensor, or ``(..., H, W * itemsize)`` uint8 raw bytes with ``encoding``.
        encoding: what the raw bytes mean; ``None`` for a native tensor.
        regions: rectangles to cut out and calibrate; ``None`` or empty for the whole image.
        quantiles: in [0, 1]; may be empty.
        sigma_clip: also clip, with its ``sigma`` and ``maxiters``, as ``astropy.stats.sigma_clipped_stats`` does.
        zscale: also find the limits of ``astropy.visualization.ZScaleInterval``.
        saturation: threshold in decoded DN, before bias and gain.
        saturated: ``"invalid"`` leaves pixels at or above ``saturation`` out; ``"keep"`` and ``"top"`` count them like any other.
        per: ``"frame"``, or ``"batch"`` to pool all frames.

    Returns:
        :class:`FrameStatistics`, on the device of ``image``, newly allocated.

    Raises:
        UsageError: (a ``ValueError``) if an argument has a value or dtype that it cannot have.
        InputShapeError: (a ``UsageError``) if the shape of ``image`` does not fit the encoding or the regions.

    References: ``numpy.quantile``; ``astropy.stats.sigma_clipped_stats``; ``astropy.visualization.ZScaleInterval``.
    """
    source = describe_source(image, encoding, regions, saturation, saturated)
    per_batch = check_per(per)
    wanted = BASIC | MOMENTS | MEDIAN | MAD
    points = [float(q) for q in quantiles]
    if not all(0.0 <= q <= 1.0 for q in points):
        raise UsageError(f"quantiles must lie in [0, 1], got {points}")
    clip_list: list[float] = []
    zscale_list: list[float] = []
    if sigma_clip is not None:
        wanted |= CLIP
        clip_list = _clip_arguments(sigma_clip)
    if zscale is not None:
        wanted |= ZSCALE
        zscale_list = _zscale_arguments(zscale)
    table = torch.ops.zoo.frame_statistics(image, *source, points, wanted, clip_list, zscale_list, per_batch)
    figures = [*table.unbind(-1)[:13], table[..., 13:15], table[..., COLUMNS:]]
    figures[0], figures[7] = figures[0].to(torch.int64), figures[7].to(torch.int64)  # the two counts
    return FrameStatistics(*figures)


def find_limits(image: Tensor, source: Source, limits: Limits, per_batch: bool) -> Tensor:
    """Limits ``(..., 2)`` float64 of each frame, or ``(2,)`` of the batch, by a rule; NaN where no pixel is valid."""
    if isinstance(limits, Manual):
        result = torch.empty(2, dtype=torch.float64, device=image.device)
        result[0] = float(limits.vmin)  # filled by a kernel: building it from a list would wait for the device
        result[1] = float(limits.vmax)
        return result.expand(*(() if per_batch else image.shape[:-2]), 2)
    quantiles: list[float] = []
    clip: list[float] = []
    zscale: list[float] = []
    if isinstance(limits, MinMax):
        wanted = BASIC
    elif isinstance(limits, Percentile):
        wanted = 0
        quantiles = [float(limits.lower) / 100.0, float(limits.upper) / 100.0]
    elif isinstance(limits, ZScale):
        wanted, zscale = ZSCALE, _zscale_arguments(limits)
    elif isinstance(limits, SigmaClip):
        wanted, clip = CLIP, _clip_arguments(limits)
    elif isinstance(limits, MedianMAD):
        wanted = MEDIAN | MAD
    else:
        raise UsageError(f"limits must be a Manual, MinMax, Percentile, ZScale, SigmaClip, MedianMAD or a (..., 2) tensor, got {limits!r}")
    table: Tensor = torch.ops.zoo.frame_statistics(image, *source, quantiles, wanted, clip, zscale, per_batch)
    if isinstance(limits, MinMax):
        return table[..., 1:3]
    if isinstance(limits, Percentile):
        return table[..., COLUMNS:]
    if isinstance(limits, ZScale):
        return table[..., 13:15]
    if isinstance(limits, SigmaClip):
        center, scale = table[..., 11], table[..., 12]
    else:
        center, scale = table[..., 5], table[..., 6] * MAD_TO_STD
    return torch.stack((center - scale * limits.lower, center + scale * limits.upper), dim=-1)
