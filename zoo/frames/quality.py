"""Pixels without a value: those that a DQ extension calls bad, and the empty border of a drizzled image.

Such pixels become NaN, or BLANK where the image holds integers: every op leaves both out. They are written into the private memory of the
frame, so a mapped file is not touched, and only the pages that hold such pixels are copied.

What the flags mean: STScI, "ACS Data Quality Flags"; WFC3 Data Handbook, table of data quality flags; JWST pipeline documentation, "Data
quality flags". Flags that drizzling in the archive's pipeline forgives are forgiven here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import FrameError, SettingsError
from zoo.frames.arrays import stored_array
from zoo.ops.raw import Encoding

# 1, 2 lost or filled data; 4 bad pixel; 8 masked by the aperture; 32 unstable dark current; 128 bias structure; 512 flat not calibrated;
# 1024 charge trap; 4096, 8192 cosmic ray; 16384 ghost or satellite. Good for use: 16, 64 (hot and warm, but stable: the dark is
# subtracted) and 256, 2048 (saturated: a hole in the middle of a star would be further from the truth than its flat top).
_CCD = 1 | 2 | 4 | 8 | 32 | 128 | 512 | 1024 | 4096 | 8192 | 16384
# As above; 8 deviant zero read, 16 hot. Good for use: 64, 256, 512 (blobs), 2048 (signal in the zero read) and 8192, which
# is set where a cosmic ray has been fitted away.
_INFRARED = 1 | 2 | 4 | 8 | 16 | 32 | 4096 | 16384
_DO_NOT_USE = 1

BAD_BITS: Mapping[str, int] = {"ACS/WFC": _CCD, "ACS/HRC": _CCD, "WFC3/UVIS": _CCD, "WFC3/IR": _INFRARED, "JWST": _DO_NOT_USE}
"""DQ bits that make a pixel invalid, by camera or telescope; the flags of others mean different things and are left alone."""

_SPECK = 10
"""Fewest pixels that an image can consist of; anything smaller, surrounded by zeros, is a photon."""
_PHOTONS = 0.01
"""Share of such photons among the pixels left, from which zero is a value that the sky takes."""
_TOUCHING = np.ones((3, 3), int)


LEAST_VALID = 0.01
"""Share of the pixels that must have a value, unless ``ZOO_MIN_VALID`` says otherwise: less is no picture of the sky."""
VARIABLE = "ZOO_MIN_VALID"

_ROWS = 64  # looked at together


def least_valid() -> float:
    """The share of pixels that must have a value: ``ZOO_MIN_VALID``, else `LEAST_VALID`. Raises: SettingsError: no number from 0 to 1."""
    text = os.environ.get(VARIABLE, "")
    try:
        share = float(text) if text else LEAST_VALID
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise SettingsError(f"{VARIABLE} is the share of pixels that must have a value, a number from 0 to 1; got {text!r}")
    return share


def check_valid(pixels: Tensor, encoding: Encoding, least: float, *, path: Path | None, hdu: int | None) -> None:
    """Refuse an image of which too few pixels have a value. Rows are looked at until enough have one, so that a sound image costs nothing.

    Args:
        pixels, encoding: the image, ``(H, W * itemsize)``, bad pixels taken out. least: share of its pixels. path, hdu: for messages.
    Raises: FrameError: ``few-valid``.
    """
    kind = stored_array(pixels, encoding).dtype
    if encoding.bitpix > 0 and (encoding.blank is None or not np.iinfo(kind).min <= encoding.blank <= np.iinfo(kind).max):
        return
    # NaN and infinities are the floats whose exponent is all ones. The constant is swapped instead of the pixels.
    invalid = np.array(encoding.blank if encoding.bitpix > 0 else np.inf, kind).view(f"=u{encoding.itemsize}")
    stored = pixels.numpy().view(invalid.dtype)
    needed, count = math.ceil(least * stored.size), 0
    for first in range(0, len(stored), _ROWS):
        part = stored[first : first + _ROWS]
        count += int(np.count_nonzero((part if encoding.bitpix > 0 else part & invalid) != invalid))
        if count >= needed:
            return
    raise FrameError(
        "few-valid",
        path=path,
        hdu=hdu,
        got=f"{count} of {stored.size} pixels with a value ({count / max(stored.size, 1):.2%})",
        expected=f"at least {least:.2%} ({VARIABLE})",
    )


def flagged(pixels: Tensor, encoding: Encoding, bits: int) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Where a DQ image has one of ``bits`` set.

    Args:
        pixels, encoding: a DQ image, ``(H, W * itemsize)``. bits: the sum of the flags that are looked for.
    Returns: ``(H, W)`` bool; ``None`` if the image does not hold integers as they are, signed or unsigned.
    """
    sign = 1 << (8 * encoding.itemsize - 1)
    if encoding.bitpix < 0 or encoding.bscale != 1 or encoding.bzero not in (0, sign):
        return None
    # The constants are swapped instead of the pixels. BZERO of an unsigned type flips the highest bit.
    wanted, flip = (
        np.array(number, f">u{encoding.itemsize}").view(f"=u{encoding.itemsize}") for number in (bits & (2 * sign - 1), encoding.bzero)
    )
    result: np.ndarray[Any, np.dtype[np.bool_]] = ((pixels.numpy().view(wanted.dtype) ^ flip) & wanted).astype(bool)
    return result


def empty(pixels: Tensor, encoding: Encoding, *, signed: bool) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where a weight or context image says that no exposure contributed.

    Args:
        pixels, encoding: the image, ``(H, W * itemsize)``.
        signed: whether any number but zero counts, as in a context image whose 32nd exposure is the sign bit; else only those above.
    Returns: ``(H, W)`` bool.
    """
    stored = stored_array(pixels, encoding)
    zero = -encoding.bzero / encoding.bscale
    result: np.ndarray[Any, np.dtype[np.bool_]] = stored == zero if signed else ~((stored - zero) * encoding.bscale > 0)
    return result


def empty_border(pixels: Tensor, encoding: Encoding) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Where an image is exactly zero in one piece with its border; ``None`` for nowhere, or if its sky is made of zeros as well.

    Drizzling fills what no exposure covered with zeros or NaN. The sky of a photon-counting image is zero too, but with photons strewn
    over it, and nothing of such an image is taken for border. Zeros that the image encloses are left alone.

    Args:
        pixels, encoding: the image, ``(H, W * itemsize)``.
    Returns: ``(H, W)`` bool.
    """
    zeros = stored_array(pixels, encoding) == -encoding.bzero / encoding.bscale
    if not (zeros[0].any() or zeros[-1].any() or zeros[:, 0].any() or zeros[:, -1].any()):
        return None
    from scipy import ndimage  # slow to import, and few images need it

    labels, count = ndimage.label(zeros, _TOUCHING)
    outside = np.zeros(count + 1, bool)
    outside[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True
    outside[0] = False
    border: np.ndarray[Any, np.dtype[np.bool_]] = outside[labels]
    ndimage.label(~border, _TOUCHING, output=labels)
    sizes = np.bincount(labels.ravel())[1:]
    return None if sizes[sizes < _SPECK].sum() > _PHOTONS * sizes.sum() else border


def invalidate(pixels: Tensor, encoding: Encoding, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Tensor, Encoding]:
    """Take the value from some pixels.

    Floats become NaN in place. Integers become BLANK in place; without a BLANK one is chosen that no pixel has, and only if 8 or 16 bits
    have none to spare are the pixels copied into wider ones.

    Args:
        pixels, encoding: the image; its memory is written. mask: ``(H, W)``, true where a pixel has no value.
    Returns: the image and its encoding, with a ``blank`` if it holds integers.
    """
    if not mask.any():
        return pixels, encoding
    stored = stored_array(pixels, encoding)
    if encoding.bitpix < 0:
        stored[mask] = np.nan
        return pixels, encoding
    blank = encoding.blank if encoding.blank is not None else _unused(stored)
    if blank is None:
        bitpix = 2 * encoding.bitpix
        stored = stored.astype(f">i{bitpix // 8}")
        pixels, blank = torch.from_numpy(stored.view(np.uint8)), -(2 ** (bitpix - 1))
        encoding = Encoding(bitpix, encoding.bscale, encoding.bzero)
    stored[mask] = blank
    return pixels, Encoding(encoding.bitpix, encoding.bscale, encoding.bzero, blank)


def _unused(stored: np.ndarray[Any, Any]) -> int | None:
    """An integer that no pixel has: the lowest such, except that the ends of the range are tried first."""
    lowest, highest = np.iinfo(stored.dtype).min, np.iinfo(stored.dtype).max
    for candidate in (int(lowest), int(highest)):
        if not (stored == candidate).any():
            return candidate
    found = np.unique(stored).astype(object) if stored.dtype.itemsize == 8 else np.unique(stored).astype(np.int64)
    if len(found) == int(highest) - int(lowest) + 1:
        return None
    gap = int(np.argmax(found[1:] - found[:-1] > 1))  # both ends are taken, so there is one
    return int(found[gap]) + 1
