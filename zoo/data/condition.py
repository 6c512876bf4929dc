"""The condition of a frame: how much of it has a value, is saturated, or shows light above the noise, and what its pixels look like.

Pixels are linear, in electrons where the camera is known: a raw frame loses its bias here, whether or not its pipeline does so. The
frame is sampled in bands of `BAND` adjacent rows, spread evenly, of about `SAMPLE` pixels together; a smaller one is looked at whole.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.frames import Frame, acs_hrc, acs_wfc, wfc3_uvis

Pixels = NDArray[np.float32]
Array = NDArray[np.float64]

BAND = 8  # rows of a band, and side of a block
SAMPLE = 1 << 19  # pixels
NOISE_SAMPLE = 1 << 16

STATISTICS = ("sky", "noise", "excess", "signal_to_noise", "filled", "points", "texture", "tail", "skew")

_FULL_WELLS = {layout.instrument: layout.full_well for layout in (acs_wfc(2), wfc3_uvis(2), acs_hrc())}
_CENTRAL = math.erf(1 / math.sqrt(2))  # of a normal distribution lie within one standard deviation,
_CENTRAL_STD = math.sqrt(1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / _CENTRAL)  # and these have this standard deviation


@dataclass(frozen=True)
class Condition:
    """What `measure_condition` finds. A number that the frame does not allow is NaN.

    With *block*: the mean of `BAND` x `BAND` pixels; *pair*: the fainter one of two horizontal neighbours among the blocks, so that a
    star, a cosmic ray, a hot pixel or a bad column does not count as extended light; *noise of a block*: ``noise / BAND``.

    Attributes:
        valid: share of the pixels that have a value.
        saturated: share of the pixels at or above the ADC limit or the full well of the camera at its gain, whichever is lower. Known of
            raw frames, and by the full well of calibrated exposures in electrons of a known camera; else NaN.
        signal_to_noise: how far the brightest hundredth of the pairs stands above the middle one, in units of the noise of a block; noise
            alone gives 1.8. This is the contrast of extended light at the scale of a block, not of a point source.
        filled: share of the pairs that are more than 3 noise of a block above the sky; noise alone gives 0. A frame that its
            subject fills to the border has no sky, so this is then a lower bound.
        sky: median of the blocks after three clippings at 3 standard deviations (1.4826 MAD), in the unit of the pixels.
        noise: standard deviation of the differences of horizontal neighbours over the square root of 2, which extended light does not
            enter; from the central 68 % of the differences, so that stars do not either. Resampled images, whose neighbours share
            noise, seem quieter than they are.
        excess: ``noise**2 - sky``: of a frame in electrons the variance that is not photon noise, above all of the readout.
        points: pixels per million that are higher than both neighbours and stand 5 noise above the pixels two columns away: stars,
            cosmic rays, hot pixels.
        texture: noise from differences over two columns, relative to ``noise``; 1 for independent pixels, more where they are resampled.
        tail: how far the brightest thousandth of the pixels lies above the sky, in units of ``noise``.
        skew: ``(q95 + q5 - 2 q50) / (q95 - q5)`` of the blocks (Kelly's skewness): 0 for noise and slopes, towards 1 for light in few
            places.
    """

    valid: float
    saturated: float
    signal_to_noise: float
    filled: float
    sky: float
    noise: float
    excess: float
    points: float
    texture: float
    tail: float
    skew: float

    def to_dict(self) -> dict[str, float]:
        """Return every number under its name."""
        return asdict(self)

    def statistics(self) -> Array:
        """Return ``(9,)``, the image statistics in the order of `STATISTICS`, stretched so that frames of all kinds lie in a few units.

        ``asinh`` of sky and excess, ``log10`` of noise and texture, ``log10(1 + x)`` of signal-to-noise and points, ``log10(x + 0.001)`` of
        filled, ``asinh`` of tail; skew as it is. NaN where a number is.
        """
        stretched = (
            math.asinh(self.sky),
            math.log10(self.noise) if self.noise > 0 else math.nan,
            math.asinh(self.excess),
            math.log10(1 + max(self.signal_to_noise, 0.0)),
            math.log10(self.filled + 1e-3),
            math.log10(1 + self.points),
            math.log10(self.texture) if self.texture > 0 else math.nan,
            math.asinh(self.tail),
            self.skew,
        )
        return np.array(stretched, dtype=np.float64)


def measure_condition(frame: Frame) -> Condition:
    """Measure the condition of a frame, in one reading of a sample of its pixels; they are not changed.

    Args:
        frame: as it was read from its file, or after ``overscan``; any encoding.

    Returns: shares and statistics of the sampled pixels; NaN, BLANK and infinite pixels count as invalid and enter nothing else.

    References: saturation levels: `zoo.frames.Layout`. Noise from differences of pixels: after DER_SNR (Stoehr et al. 2008, ADASS XVII,
        p. 505). Sky by clipping: after Bertin & Arnouts (1996, A&AS 117, 393).
    """
    image, saturated = _sample(frame)
    _, rows, width = image.shape
    finite = np.isfinite(image)
    valid = float(finite.mean()) if image.size else 0.0
    if valid == 0.0:
        return Condition(valid, math.nan, *[math.nan] * 9)
    side = max(1, min(rows, width // 2))
    blocks = _block_means(image, finite, side, whole=valid == 1.0)
    lines = image[:, :: max(1, image.size // NOISE_SAMPLE)].reshape(-1, width)
    noise = _noise(lines, 1)
    sky = _clipped_median(blocks)
    pairs = np.minimum(blocks[:, 1:], blocks[:, :-1])
    pairs = pairs[np.isfinite(pairs)]
    known = noise > 0 and pairs.size > 0
    block_noise = noise / side
    signal = float(np.quantile(pairs, 0.99) - np.median(pairs)) / block_noise if known else math.nan
    values = lines[np.isfinite(lines)]
    return Condition(
        valid=valid,
        saturated=saturated,
        signal_to_noise=signal,
        filled=float((pairs > sky + 3 * block_noise).mean()) if known else math.nan,
        sky=sky,
        noise=noise,
        excess=noise**2 - sky,
        points=_points(lines, noise) if noise > 0 else math.nan,
        texture=_noise(lines, 2) / noise if noise > 0 else math.nan,
        tail=float(np.quantile(values, 0.999) - sky) / noise if noise > 0 and values.size else math.nan,
        skew=_skew(blocks),
    )


def _sample(frame: Frame) -> tuple[Pixels, float]:
    """The linear pixels of the bands, ``(bands, rows, W)``, and the share of them that is saturated."""
    height, width = frame.layout.science_shape if frame.layout else frame.shape[1:]
    rows = min(BAND, height)
    count = max(1, min(height // rows, SAMPLE // (rows * width)))
    first = ((np.arange(count) + 0.5) * (height / count) - rows / 2).astype(np.int64).clip(0, height - rows)
    chosen = (first[:, None] + np.arange(rows)).ravel()
    image, share = _raw_rows(frame, chosen) if frame.layout else _rows(frame, chosen)
    return image.reshape(count, rows, width), share


def _raw_rows(frame: Frame, chosen: NDArray[np.int64]) -> tuple[Pixels, float]:
    """Rows of a raw Hubble frame without its bias, in electrons; the bias is that of the bias columns in the same rows."""
    assert frame.layout is not None
    amplifiers = frame.layout.amplifiers
    stored = _decode_rows(frame, chosen + amplifiers[0].science.y)
    levels = tuple(_level(np.concatenate([stored[:, w.x : w.x + w.width].ravel() for w in a.bias])) for a in amplifiers)
    light = [stored[:, a.science.x : a.science.x + a.science.width] for a in amplifiers]
    share = _share(np.concatenate(light, axis=1), frame.layout.saturation(levels)) if np.isfinite(levels).all() else math.nan
    parts = [(part - np.float32(level)) * np.float32(a.gain) for part, level, a in zip(light, levels, amplifiers, strict=True)]
    return np.concatenate(parts, axis=1), share


def _rows(frame: Frame, chosen: NDArray[np.int64]) -> tuple[Pixels, float]:
    """Rows of any other frame, with its regions applied."""
    regions = frame.regions
    if any((r.y, r.height, r.to_y) != (regions[0].y, regions[0].height, 0) for r in regions):
        return frame.decode()[0].numpy()[chosen], math.nan
    if not regions:
        image = _decode_rows(frame, chosen)
        return image, _share(image, _limit(frame))
    picked = frame.pixels[torch.from_numpy(chosen + regions[0].y)] if frame.encoding else frame.pixels[:, chosen + regions[0].y]
    cut = replace(frame, pixels=picked, regions=tuple(replace(r, y=0, height=len(chosen)) for r in regions))
    image = cut.decode()[0].numpy()
    if frame.saturation is None:
        return image, _share(image, _limit(frame))
    stored = replace(cut, regions=()).decode()[0].numpy()
    return image, _share(np.concatenate([stored[:, r.x : r.x + r.width] for r in regions], axis=1), frame.saturation)


def _decode_rows(frame: Frame, chosen: NDArray[np.int64]) -> Pixels:
    """Whole stored rows as numbers, without regions."""
    picked = torch.from_numpy(chosen)
    pixels = frame.pixels[picked] if frame.encoding else frame.pixels[:, picked]
    image: Pixels = replace(frame, pixels=pixels, regions=()).decode()[0].numpy()
    return image


def _limit(frame: Frame) -> float:
    """The value from which a pixel without pending regions is saturated; NaN where it is not known."""
    if frame.saturation is not None:
        return frame.saturation
    calibrated = frame.info.product == "flt" and frame.unit == "electron"
    return _FULL_WELLS.get(frame.info.instrument, math.nan) if calibrated else math.nan


def _share(values: Pixels, limit: float) -> float:
    """Share of the valid pixels at or above a limit."""
    count = np.count_nonzero(np.isfinite(values))
    return math.nan if math.isnan(limit) or not count else float(np.count_nonzero(values >= limit) / count)


def _level(values: Pixels) -> float:
    """Mean of bias pixels within 3 standard deviations of their median."""
    values = values[np.isfinite(values)].astype(np.float64)
    for _ in range(3):
        if not values.size:
            return math.nan
        kept = values[np.abs(values - np.median(values)) <= 3 * values.std()]
        if kept.size == values.size:
            break
        values = kept
    return float(values.mean())


def _block_means(image: Pixels, finite: NDArray[np.bool_], side: int, *, whole: bool) -> Pixels:
    """Means of blocks of ``side`` x ``side`` pixels, ``(bands, W / side)``; NaN where fewer than half of the pixels have a value."""
    bands, _, width = image.shape
    kept = width // side * side

    def summed(values: NDArray[np.float32]) -> Pixels:
        lines = values[:, 0, :kept].copy()
        for row in range(1, side):
            lines += values[:, row, :kept]
        return np.asarray(lines.reshape(bands, -1, side).sum(axis=2))

    if whole:
        return summed(image) / np.float32(side * side)
    counts = summed(finite.astype(np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        means = summed(np.where(finite, image, np.float32(0))) / counts
    means[counts < side * side / 2] = np.nan
    return np.asarray(means)


def _noise(lines: Pixels, lag: int) -> float:
    """Standard deviation of the noise from differences of pixels ``lag`` columns apart; NaN without any."""
    steps = np.abs(lines[:, lag:] - lines[:, :-lag])
    steps = steps[np.isfinite(steps)]
    count = int(_CENTRAL * steps.size)
    if not count:
        return math.nan
    central = np.partition(steps, count)[:count].astype(np.float64)
    return math.sqrt(float(np.mean(central * central)) / 2) / _CENTRAL_STD


def _points(lines: Pixels, noise: float) -> float:
    """Sharp local maxima per million pixels."""
    if lines.shape[1] < 5:
        return math.nan
    middle = lines[:, 2:-2]
    with np.errstate(invalid="ignore"):
        sharp = middle - np.maximum(lines[:, :-4], lines[:, 4:]) > np.float32(5 * noise)
        sharp &= (middle >= lines[:, 1:-3]) & (middle > lines[:, 3:-1])
    return 1e6 * float(np.count_nonzero(sharp)) / middle.size


def _clipped_median(blocks: Pixels) -> float:
    """Median after three clippings at 3 standard deviations (1.4826 MAD)."""
    values = blocks[np.isfinite(blocks)]
    if not values.size:
        return math.nan
    for _ in range(3):
        distance = np.abs(values - np.median(values))
        kept = values[distance <= 3 * 1.4826 * np.median(distance)]
        if kept.size in (0, values.size):
            break
        values = kept
    return float(np.median(values))


def _skew(blocks: Pixels) -> float:
    """Kelly's skewness from the 5th, 50th and 95th percentile."""
    values = blocks[np.isfinite(blocks)]
    if not values.size:
        return math.nan
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return float((high + low - 2 * middle) / (high - low)) if high > low else math.nan
