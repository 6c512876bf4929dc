"""Which values of a frame become 0 and 1: the rules for the limits of :func:`zoo.ops.normalize`.

Names and results follow ``astropy.visualization`` and ``astropy.stats``, which the tests compare with on float64 data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from zoo.errors import UsageError


def _finite(name: str, *values: float) -> None:
    """Refuse NaN and infinite parameters."""
    if not all(math.isfinite(v) for v in values):
        raise UsageError(f"the parameters of {name} must be finite, got {', '.join(str(v) for v in values)}")


@dataclass(frozen=True)
class Manual:
    """The given limits, in the unit of the pixels.

    Raises:
        UsageError: if a limit is not finite or ``vmin > vmax``.
    """

    vmin: float
    vmax: float

    def __post_init__(self) -> None:
        _finite("Manual", self.vmin, self.vmax)
        if self.vmin > self.vmax:
            raise UsageError(f"vmin must not exceed vmax, got {self.vmin} > {self.vmax}")


@dataclass(frozen=True)
class MinMax:
    """The smallest and the largest valid pixel."""


@dataclass(frozen=True)
class Percentile:
    """Exact percentiles of the valid pixels, interpolated between ranks as ``numpy.percentile`` does.

    Args:
        lower, upper: percent, ``0 <= lower <= upper <= 100``.

    Raises:
        UsageError: if they are out of range or out of order.
    """

    lower: float = 1.0
    upper: float = 99.0

    def __post_init__(self) -> None:
        _finite("Percentile", self.lower, self.upper)
        if not 0.0 <= self.lower <= self.upper <= 100.0:
            raise UsageError(f"percentiles need 0 <= lower <= upper <= 100, got {self.lower} and {self.upper}")


@dataclass(frozen=True)
class ZScale:
    """IRAF's z-scale with the parameters, and the sample, of ``astropy.visualization.ZScaleInterval``.

    A line is fitted to the sorted sample with rejection of outliers; its slope, over ``contrast``, spans the limits about the median.

    Args:
        n_samples: pixels to sample, every ``count // n_samples``-th valid one in row order; at least 1.
        contrast: slope divisor; not used unless > 0.
        max_reject: largest fraction of the sample that may be rejected, else the limits are its minimum and maximum.
        min_npixels: smallest number of pixels that may remain; at least 2, which a line needs.
        krej: rejection threshold in standard deviations from the line.
        max_iterations: rounds of rejection, at least 1.

    Raises:
        UsageError: if a parameter is out of range.
    """

    n_samples: int = 1000
    contrast: float = 0.25
    max_reject: float = 0.5
    min_npixels: int = 5
    krej: float = 2.5
    max_iterations: int = 5

    def __post_init__(self) -> None:
        _finite("ZScale", self.contrast, self.max_reject, self.krej)
        if self.n_samples < 1 or self.max_iterations < 1 or self.min_npixels < 2:
            raise UsageError(
                "zscale needs n_samples >= 1, max_iterations >= 1 and min_npixels >= 2, "
                f"got {self.n_samples}, {self.max_iterations} and {self.min_npixels}"
            )


@dataclass(frozen=True)
class SigmaClip:
    """Median and standard deviation after sigma clipping: ``median - lower * std`` to ``median + upper * std``.

    Clipping is that of ``astropy.stats.sigma_clipped_stats`` with its default functions: pixels further than ``sigma`` standard deviations
    from the median are dropped until none is, or ``maxiters`` rounds are done.

    Args:
        sigma: clipping threshold in standard deviations, > 0.
        maxiters: most rounds of clipping, 1 to 1000.
        lower, upper: distance of the limits from the median in standard deviations, ``-lower <= upper``.

    Raises:
        UsageError: if a parameter is out of range.
    """

    sigma: float = 3.0
    maxiters: int = 5
    lower: float = 3.0
    upper: float = 10.0

    def __post_init__(self) -> None:
        _finite("SigmaClip", self.sigma, self.lower, self.upper)
        if self.sigma <= 0.0 or not 1 <= self.maxiters <= 1000:
            raise UsageError(f"sigma clipping needs sigma > 0 and 1 <= maxiters <= 1000, got {self.sigma} and {self.maxiters}")
        if -self.lower > self.upper:
            raise UsageError(f"the limits of SigmaClip are out of order: -lower = {-self.lower} exceeds upper = {self.upper}")


@dataclass(frozen=True)
class MedianMAD:
    """Median and scaled median absolute deviation: ``median - lower * s`` to ``median + upper * s`` with ``s = 1.4826 * MAD``.

    ``s`` is ``astropy.stats.mad_std``, the standard deviation of a normal distribution with that MAD.

    Args:
        lower, upper: distance of the limits from the median in units of ``s``, ``-lower <= upper``.

    Raises:
        UsageError: if a parameter is not finite or they are out of order.
    """

    lower: float = 3.0
    upper: float = 10.0

    def __post_init__(self) -> None:
        _finite("MedianMAD", self.lower, self.upper)
        if -self.lower > self.upper:
            raise UsageError(f"the limits of MedianMAD are out of order: -lower = {-self.lower} exceeds upper = {self.upper}")


Limits = Manual | MinMax | Percentile | ZScale | SigmaClip | MedianMAD
