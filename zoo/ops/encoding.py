"""What raw FITS bytes mean, and which rectangles of a detector are science."""

from __future__ import annotations

import math
from dataclasses import dataclass

from zoo.errors import UsageError

BITPIX = (8, 16, 32, 64, -32, -64)


@dataclass(frozen=True)
class Encoding:
    """How raw bytes encode pixels: ``value = stored * bscale + bzero``, big-endian, as in the FITS standard.

    Args:
        bitpix: 8 (unsigned), 16, 32, 64 (signed integers), -32 or -64 (IEEE floats).
        bscale: BSCALE, finite and not 0.
        bzero: BZERO, finite; 32768 with ``bitpix=16`` is how FITS stores unsigned 16-bit counts.
        blank: BLANK, the stored integer that marks a pixel without a value; integers only.

    Raises:
        UsageError: if a field has a value that the standard does not allow.
    """

    bitpix: int
    bscale: float = 1.0
    bzero: float = 0.0
    blank: int | None = None

    def __post_init__(self) -> None:
        if self.bitpix not in BITPIX:
            raise UsageError(f"bitpix must be one of {BITPIX}, got {self.bitpix}")
        if not math.isfinite(self.bscale) or self.bscale == 0.0:
            raise UsageError(f"bscale must be finite and not 0, got {self.bscale}")
        if not math.isfinite(self.bzero):
            raise UsageError(f"bzero must be finite, got {self.bzero}")
        if self.blank is not None and self.bitpix < 0:
            raise UsageError(f"blank marks integer pixels only, got blank={self.blank} with bitpix={self.bitpix}; floats use NaN")
        if self.blank is not None and not -(2**63) <= self.blank < 2**63:
            raise UsageError(f"blank must fit in 64 bits, got {self.blank}")

    @property
    def itemsize(self) -> int:
        """Bytes per pixel."""
        return abs(self.bitpix) // 8


@dataclass(frozen=True)
class Region:
    """A rectangle of the source with a place in the result, such as the science pixels of one amplifier.

    ``result[to_y : to_y + height, to_x : to_x + width] = (decoded[y : y + height, x : x + width] - bias) * gain``

    Args:
        y, x: first row and column in the source, in pixels.
        height, width: size in pixels, at least 1.
        to_y, to_x: first row and column in the result.
        bias: subtracted from the decoded pixels, in their unit (DN); may be fractional.
        gain: multiplies afterwards, for example electrons per DN; > 0.

    Raises:
        UsageError: if a place is negative, a size is not positive, ``bias`` is not finite or ``gain`` is not finite and > 0.
    """

    y: int
    x: int
    height: int
    width: int
    to_y: int = 0
    to_x: int = 0
    bias: float = 0.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        if min(self.y, self.x, self.to_y, self.to_x) < 0 or min(self.height, self.width) < 1:
            raise UsageError(f"a region needs y, x, to_y, to_x >= 0 and height, width >= 1, got {self}")
        if not math.isfinite(self.bias):
            raise UsageError(f"the bias of a region must be finite, got {self.bias}")
        if not math.isfinite(self.gain) or self.gain <= 0.0:
            raise UsageError(f"the gain of a region must be finite and > 0, got {self.gain}")
