"""What the baselines see of a frame: its metadata, a thumbnail, and ten statistics of its pixels.

All pixel values are taken after overscan removal, before any normalisation, from a copy of the frame reduced by block mean to at most
512 x 1024 pixels, so that a frame costs milliseconds whatever its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import DataSet
from zoo.data.manifest import Row
from zoo.errors import DataError, ZooError
from zoo.frames import Frame
from zoo.steps import Pipeline

Array = NDArray[np.float64]
Pixels = NDArray[np.float32]

CATEGORIES = ("instrument", "detector", "filter", "product", "hdu", "size")
NUMBERS = ("log10_exptime", "dec", "cos_ra", "sin_ra", "bias", "gain")
STATISTICS = (
    "sky", "noise", "star_count", "gini", "m20", "concentration", "asymmetry", "clumpiness", "skewness", "filled_fraction",
)  # fmt: skip
THUMBNAIL = 16

_MAX_SIZE = (512, 1024)


@dataclass(frozen=True)
class Features:
    """Features of N frames.

    Attributes:
        categories: one text per name of ``CATEGORIES`` and frame.
        numbers: ``(N, 6)``, see ``NUMBERS``: seconds, degrees, DN, e-/DN; NaN where unknown.
        thumbnails: ``(N, 256)``, 16 x 16 means of asinh of the sky-subtracted frame in units of three times its noise.
        statistics: ``(N, 10)``, see :func:`pixel_statistics`.
    """

    categories: tuple[tuple[str, ...], ...]
    numbers: Array
    thumbnails: Array
    statistics: Array


def measure(dataset: DataSet, rows: Sequence[Row], *, workers: int = 2, progress: Callable[[int], None] | None = None) -> Features:
    """Measure frames.

    Args:
        dataset: opens the rows. rows: N frames. workers: threads. progress: called with 1 after every frame, in order.

    Raises:
        DataError: no rows, or a frame cannot be read; the message names its file.
    """
    if not rows:
        raise DataError(f"{dataset.name}: got no frames to measure, expected at least one; is the split empty?")
    overscan = Pipeline([{"step": "overscan"}])

    def one(row: Row) -> tuple[tuple[str, ...], list[float], Array, Array]:
        try:
            frame = dataset.open(row)
            for step in overscan.frame_steps:
                frame = step(frame)
            return _measure_frame(row, frame)
        except (ZooError, OSError) as err:
            raise DataError(f"{dataset.manifest.path_of(row)}: cannot be measured: {err}") from err

    measured = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for result in pool.map(one, rows):
                measured.append(result)
                if progress is not None:
                    progress(1)
        finally:
            pool.shutdown(cancel_futures=True)
    categories, numbers, thumbnails, statistics = zip(*measured, strict=True)
    return Features(tuple(categories), np.array(numbers, dtype=np.float64), np.stack(thumbnails), np.stack(statistics))


def pixel_statistics(image: Tensor, sky: float, noise: float) -> Array:
    """Ten numbers of a frame, each NaN where it is not defined.

    With I = pixel - sky, and I2 its 2 x 2 block mean, whose noise is half as large:

    1. sky: asinh of the clipped median. 2. noise: log10 of the pixel noise; both from :func:`sky_and_noise`.
    3. star_count: log10(1 + n), n per 10^6 pixels being those that are the largest of 5 x 5 and exceed the mean of 7 x 7 by 5 noise.
    4. gini: sum((2 i - n - 1) abs(I2)_i) / (mean n (n - 1)) over the sorted abs(I2) (Lotz, Primack & Madau 2004).
    5. m20: log10 of the second moment of the brightest 20 % of the flux over that of all, I2 above 2 noise (Lotz et al. 2004).
    6. concentration: 5 log10(r80 / r20) about the centroid of the same flux (Conselice 2003).
    7. asymmetry: sum(abs(I2 - I2 turned by 180 degrees)) / (2 sum(abs(I2))) about the centre of the frame (Conselice 2003).
    8. clumpiness: sum(abs(I2 - its 5 x 5 mean)) / sum(abs(I2)) (after Conselice 2003).
    9. skewness: third standardised moment of asinh(I2 / (3 noise)).
    10. filled_fraction: share of I2 above 3 times its noise.

    Args:
        image: ``(H, W)`` float32, linear; NaN is invalid and counts as sky. sky, noise: in the unit of ``image``.
    """
    if not math.isfinite(sky) or not noise > 0 or min(image.shape) < 12:
        return np.full(len(STATISTICS), math.nan)
    light = _light(image, sky)
    half, half_noise = _halved(light), noise / 2
    inner = light[3:-3, 3:-3]
    peaks = (inner == _windows(light, 5, np.maximum)[1:-1, 1:-1]) & (inner - _windows(light, 7, np.add) / 49 > 5 * noise)
    size = np.abs(half)
    total = _sum(size)
    concentration, m20 = _moments(half, 2 * half_noise)
    smooth, central = _windows(half, 5, np.add) / 25, (slice(2, -2), slice(2, -2))
    stretched = np.arcsinh(half / (3 * half_noise)).astype(np.float64)
    centred = stretched - stretched.mean()
    spread = math.sqrt((centred**2).mean())
    return np.array(
        [
            math.asinh(sky),
            math.log10(noise),
            math.log10(1 + 1e6 * float(peaks.sum()) / peaks.size),
            _gini(size.ravel()),
            m20,
            concentration,
            _sum(np.abs(half - half[::-1, ::-1])) / (2 * total) if total > 0 else math.nan,
            _sum(np.abs(half[central] - smooth)) / _sum(size[central]) if _sum(size[central]) > 0 else math.nan,
            float((centred**3).mean()) / spread**3 if spread > 0 else math.nan,
            float((half > 3 * half_noise).mean()),
        ]
    )


def sky_and_noise(image: Tensor) -> tuple[float, float]:
    """Sky level and pixel noise, both NaN without valid pixels.

    The sky is the median after three clippings at 3 standard deviations (1.4826 MAD). The noise is 1.4826 MAD of the differences of
    horizontal neighbours over the square root of 2, which the large-scale light does not enter. At most about 2^16 pixels, in whole
    rows, are used.

    Args:
        image: ``(H, W)`` float32, linear; NaN is invalid.
    """
    rows = image[:: -(-image.numel() >> 16)].numpy()
    values = rows[np.isfinite(rows)]
    if not values.size:
        return math.nan, math.nan
    for _ in range(3):
        middle = np.median(values)
        kept = values[np.abs(values - middle) <= 3 * 1.4826 * np.median(np.abs(values - middle))]
        if kept.size in (0, values.size):
            break
        values = kept
    steps = rows[:, 1:] - rows[:, :-1]
    steps = steps[np.isfinite(steps)]
    noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / math.sqrt(2) if steps.size else math.nan
    return float(np.median(values)), noise


def _measure_frame(row: Row, frame: Frame) -> tuple[tuple[str, ...], list[float], Array, Array]:
    """All features of one frame after overscan removal."""
    height, width = frame.shape[1:]
    categories = (row.instrument, row.detector, row.filter, row.product, "" if row.hdu is None else str(row.hdu), f"{height}x{width}")
    angle = math.radians(row.ra)
    exptime = math.log10(row.exptime) if row.exptime > 0 else math.nan
    bias = float(np.mean([region.bias for region in frame.regions])) if frame.regions else math.nan
    gain = float(np.mean([region.gain for region in frame.regions])) if frame.regions else math.nan
    image = reduced(frame.decode()[0])
    sky, noise = sky_and_noise(image)
    numbers = [exptime, row.dec, math.cos(angle), math.sin(angle), bias, gain]
    return categories, numbers, thumbnail(image, sky, noise), pixel_statistics(image, sky, noise)


def reduced(image: Tensor) -> Tensor:
    """Block mean of a ``(H, W)`` image to at most 512 x 1024; blocks with an invalid pixel are invalid."""
    factor = max(1, *(-(-side // most) for side, most in zip(image.shape, _MAX_SIZE, strict=True)))
    return image if factor == 1 else F.avg_pool2d(image[None, None], factor)[0, 0]


def _light(image: Tensor, sky: float) -> Pixels:
    """Pixels above the sky; invalid ones count as sky."""
    return np.nan_to_num(image.numpy() - np.float32(sky), nan=0.0)


def _halved(image: Pixels) -> Pixels:
    """Mean of 2 x 2 blocks; an odd last row or column is left out."""
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    return (image[::2, ::2] + image[::2, 1::2] + image[1::2, ::2] + image[1::2, 1::2]) / np.float32(4)


def _windows(image: Pixels, side: int, combine: Callable[[Pixels, Pixels], Pixels]) -> Pixels:
    """Combine the pixels of every ``side x side`` window that lies inside the frame, ``(H - side + 1, W - side + 1)``."""
    rows = reduce(combine, (image[k : image.shape[0] - side + 1 + k] for k in range(side)))
    return reduce(combine, (rows[:, k : rows.shape[1] - side + 1 + k] for k in range(side)))


def _sum(values: Pixels) -> float:
    return float(values.sum(dtype=np.float64))


def thumbnail(image: Tensor, sky: float, noise: float) -> Array:
    """16 x 16 means of asinh(I2 / (3 noise)), I2 as in :func:`pixel_statistics`."""
    if not math.isfinite(sky) or not noise > 0 or min(image.shape) < 2:
        return np.full(THUMBNAIL**2, math.nan)
    return F.adaptive_avg_pool2d(stretched(image, sky, noise)[None, None], THUMBNAIL).double().flatten().numpy()


def stretched(image: Tensor, sky: float, noise: float) -> Tensor:
    """asinh(I2 / (3 noise)), ``(H / 2, W / 2)``, I2 as in :func:`pixel_statistics`."""
    return torch.from_numpy(np.arcsinh(_halved(_light(image, sky)) / np.float32(1.5 * noise)))


def _gini(values: Pixels) -> float:
    """Gini coefficient of values >= 0."""
    count, total = len(values), _sum(values)
    if count < 2 or total <= 0:
        return math.nan
    rank = np.arange(1, count + 1)
    return float((2 * rank - count - 1) @ np.sort(values).astype(np.float64)) / (total * (count - 1))


def _moments(image: Pixels, threshold: float) -> tuple[float, float]:
    """Concentration and M20 of the pixels above a threshold."""
    y, x = np.nonzero(image > threshold)
    weight = image[y, x].astype(np.float64)
    total = float(weight.sum())
    if not len(weight) or total <= 0:
        return math.nan, math.nan
    radius2 = (y - (weight * y).sum() / total) ** 2 + (x - (weight * x).sum() / total) ** 2
    outward = np.argsort(radius2, kind="stable")
    growth = np.cumsum(weight[outward]) / total
    last = len(growth) - 1
    r20, r80 = (math.sqrt(radius2[outward[min(int(np.searchsorted(growth, share)), last)]]) for share in (0.2, 0.8))
    brightest = np.argsort(-weight, kind="stable")
    bright = brightest[: max(1, int(np.searchsorted(np.cumsum(weight[brightest]), 0.2 * total)))]
    moment, moment20 = float((weight * radius2).sum()), float((weight[bright] * radius2[bright]).sum())
    concentration = 5 * math.log10(r80 / r20) if r20 > 0 and r80 > 0 else math.nan
    return concentration, math.log10(moment20 / moment) if moment > 0 and moment20 > 0 else math.nan
