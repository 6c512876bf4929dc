"""Pure-torch statistics of frames: the fallback without compiled kernels, and what the tests hold those against."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.ops.raw import Source, reference_values

# Figures that an op call can ask for; BASIC is count, minimum and maximum.
BASIC, MOMENTS, MEDIAN, MAD, CLIP, ZSCALE = 1, 2, 4, 8, 16, 32

# Figures in a row before the quantiles: count, min, max, mean, std, median, MAD; count, low, high, mean, median and std of sigma clipping;
# the two z-scale limits.
COLUMNS = 15


def reference_statistics(
    image: Tensor, source: Source, quantiles: list[float], wanted: int, clip: list[float], zscale: list[float], per_batch: bool
) -> Tensor:
    """The table of ``zoo::frame_statistics``: float64 ``(..., COLUMNS + len(quantiles))``, NaN where a figure was not asked for."""
    values, _ = reference_values(image, source)
    lead = () if per_batch else values.shape[:-2]
    frames = values.reshape(math.prod(lead), -1) if values.numel() else values.new_empty(math.prod(lead), 0)
    rows = [_row(frame[~torch.isnan(frame)], quantiles, wanted, clip, zscale) for frame in frames]
    width = COLUMNS + len(quantiles)
    table = torch.tensor(rows, dtype=torch.float64).reshape(*lead, width)
    return table.to(image.device)


def _row(valid: Tensor, quantiles: list[float], wanted: int, clip: list[float], zscale: list[float]) -> list[float]:
    """The figures of one frame from its valid pixels in row order."""
    ordered = valid.sort().values
    count = ordered.numel()
    row = [math.nan] * (COLUMNS + len(quantiles))
    row[0] = row[7] = 0.0
    if count == 0:
        return row
    if wanted & BASIC:
        row[:3] = float(count), ordered[0].item(), ordered[-1].item()
    if wanted & MOMENTS:
        row[3], row[4] = _moments(ordered)
    if wanted & (MEDIAN | MAD):
        row[5] = _median(ordered)
    if wanted & MAD:
        row[6] = _median((ordered - row[5]).abs().sort().values)
    if wanted & CLIP:
        row[7:13] = _clipped(ordered, sigma=clip[0], maxiters=int(clip[1]))
    if wanted & ZSCALE:
        row[13:15] = _zscale(valid, zscale)
    row[COLUMNS:] = [_quantile(ordered, q) for q in quantiles]
    return row


def _moments(values: Tensor) -> tuple[float, float]:
    """Mean and population standard deviation."""
    mean = values.mean()
    return mean.item(), (values - mean).square().mean().sqrt().item()


def _median(ordered: Tensor) -> float:
    """Median as numpy has it: the mean of the two middle values."""
    n = ordered.numel()
    high = ordered[n // 2].item()
    return high if n % 2 else (ordered[n // 2 - 1].item() + high) / 2.0


def _quantile(ordered: Tensor, q: float) -> float:
    """numpy's method "linear" with its order of operations: equal to the last bit."""
    n = ordered.numel()
    place = (n - 1) * q
    if place >= n - 1:
        return ordered[-1].item()
    rank = math.floor(place)
    fraction = place - rank
    a, b = ordered[rank].item(), ordered[rank + 1].item()
    return b - (b - a) * (1.0 - fraction) if fraction >= 0.5 else a + (b - a) * fraction


def _clipped(ordered: Tensor, *, sigma: float, maxiters: int) -> list[float]:
    """Count, last bounds, mean, median and standard deviation after clipping about the median."""
    low = high = math.nan
    for _ in range(maxiters):
        size = ordered.numel()
        if size == 0:
            return [0.0, *[math.nan] * 5]
        median, std = _median(ordered), _moments(ordered)[1]
        low, high = median - std * sigma, median + std * sigma
        ordered = ordered[(ordered >= low) & (ordered <= high)]
        if ordered.numel() == size:
            break
    if ordered.numel() == 0:
        return [0.0, low, high, math.nan, math.nan, math.nan]
    mean, std = _moments(ordered)
    return [float(ordered.numel()), low, high, mean, _median(ordered), std]


def _zscale(valid: Tensor, parameters: list[float]) -> list[float]:
    """Limits of ``astropy.visualization.ZScaleInterval``, the line fitted in closed form."""
    wanted, min_npixels, max_iterations = int(parameters[0]), int(parameters[3]), int(parameters[5])
    contrast, max_reject, krej = parameters[1], parameters[2], parameters[4]
    stride = int(max(1.0, valid.numel() / wanted))
    samples = valid[::stride][:wanted].sort().values
    n = samples.numel()
    vmin, vmax = samples[0].item(), samples[-1].item()
    fewest = max(min_npixels, int(n * max_reject))
    grow = max(1, int(n * 0.01))
    x = torch.arange(n, dtype=torch.float64, device=samples.device)
    good = torch.ones(n, dtype=torch.bool, device=samples.device)
    left, before, slope = n, n + 1, 0.0
    for _ in range(max_iterations):
        if left >= before or left < fewest:
            break
        x_mean, y_mean = x[good].mean(), samples[good].mean()
        dx = x[good] - x_mean
        fitted_slope = (dx * (samples[good] - y_mean)).sum() / dx.square().sum()
        flat = samples - (y_mean + fitted_slope * (x - x_mean))
        threshold = krej * _moments(flat[good])[1]
        bad = ~good | (flat < -threshold) | (flat > threshold)
        # a window of `grow` samples about each, longer to the left when it is even, as numpy.convolve(mode="same") has it
        padded = torch.nn.functional.pad(bad.to(torch.float64), (grow // 2, grow - grow // 2 - 1))
        good = padded.unfold(0, grow, 1).sum(-1) == 0
        slope, before, left = fitted_slope.item(), left, int(good.sum().item())
    if left >= fewest:
        slope = slope / contrast if contrast > 0.0 else slope
        center, median = (n - 1) // 2, _median(samples)
        vmin, vmax = max(vmin, median - (center - 1) * slope), min(vmax, median + (n - center) * slope)
    return [vmin, vmax]
