"""Is this FITS file safe to read? Decided from its headers alone, before anything is allocated for its pixels.

The headers are walked block by block with exact integers, by ``csrc/fits_header.cpp`` or :mod:`zoo.frames.headers`; every limit is checked
before it is relied on, so that no file can make the reader allocate, loop or map more than the file itself holds. A refusal is a
:class:`zoo.errors.FrameError` with one of these codes:

============================ ==========================================================================================
``missing``                  there is no such file
``not-a-file``               a directory, pipe or device
``unreadable``               the system does not let us read it
``empty``                    0 bytes
``not-fits``                 the file does not start with ``SIMPLE  =``
``compressed``               a compression that is not decoded here
``corrupt``                  a compressed file or image that does not decode
``too-large``                a compressed file or image that takes more memory to unpack than the limit
``timeout``                  a compressed image that took longer to unpack than any of its size should
``no-decoder``               the process that unpacks compressed images could not be started
``checksum``                 pixels that are not those of which the file keeps the checksum (DATASUM)
``truncated``                the file ends before the headers, the pixels or the promised extensions do
``bad-header``               a mandatory keyword is absent, has the wrong type, or an impossible value; headers without end
``too-many-hdus``            more than 1000 HDUs
``no-image``                 there is no image with pixels
``not-2d``                   the images have other than two axes longer than 1, and no plane was chosen
``table-hdu``                the HDU asked for is a table
``bad-hdu``                  there is no HDU of that number
``bad-plane``                the image has no plane of that number
``several-frames``           one frame was asked for and the file holds more
``bad-dtype``                an array whose type FITS cannot hold
``subarray``, ``binned``     a raw Hubble frame that is not the full, unbinned chip
``unknown-readout``          a raw Hubble frame read in a mode whose geometry or gain is not known here
``bad-geometry``             a raw Hubble frame of another size than its camera gives
``no-bias``                  a raw Hubble frame whose bias pixels are all blank
``few-valid``                fewer than 1 % of the pixels (``ZOO_MIN_VALID``) have a value
============================ ==========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import FrameError
from zoo.frames.headers import LARGEST, MAX_AXES, MAX_FILE_BLOCKS, MAX_HDUS, MAX_HEADER_BLOCKS, Bytes, Fault, Found, Kind, walk
from zoo.ops.native import native

TILE_COMPRESSIONS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")


@dataclass(frozen=True)
class Hdu:
    """One HDU, as its header describes it.

    Attributes:
        index: its number in the file. kind: what it holds; ``compressed`` is an image in tiles, kept in a table.
        header: keywords and values; of a repeated keyword the first, without COMMENT and HISTORY. Of a compressed image those of the image.
        bitpix: ``BITPIX``. axes: lengths in numpy's order, slowest first; of a compressed image those of the image.
        offset, size: where the data lie in the file, in bytes. start: where the header does. rows: tiles of a compressed image.
    """

    index: int
    kind: Kind
    header: Mapping[str, Any]
    bitpix: int
    axes: tuple[int, ...]
    offset: int
    size: int
    start: int = 0
    rows: int = 0

    @property
    def planes(self) -> int:
        """How many 2-D images lie in an image: 1 for a plain one, 0 where there are no pixels or only one axis."""
        return math.prod(self.axes[:-2]) if self.kind in ("image", "compressed") and len(self.axes) > 1 and 0 not in self.axes else 0

    @property
    def shape(self) -> tuple[int, int] | None:
        """``(H, W)`` of a 2-D image with pixels; axes of length 1 beyond the second do not count."""
        return (self.axes[-2], self.axes[-1]) if self.planes == 1 else None


def scan(data: Bytes, path: Path | str | None) -> tuple[list[Hdu], FrameError | None]:
    """Walk the headers of a whole FITS file.

    Args:
        data: the file's bytes, mapped or in memory. path: for messages.
    Returns: its HDUs in order, up to the first faulty one, and the refusal of that one: ``truncated``, ``bad-header`` or ``too-many-hdus``.
        Bytes after the last HDU that do not begin an extension are ignored, as the standard allows.
    Raises: FrameError: ``empty``, ``not-fits``, or the refusal of the first HDU.
    """
    if not len(data):
        raise FrameError("empty", path=path, got="0 bytes", expected="a FITS file")
    if bytes(data[:9]) != b"SIMPLE  =":
        raise FrameError("not-fits", path=path, got=f"a file that starts with {bytes(data[:9])!r}", expected="'SIMPLE  ='")
    found, fault = walk_headers(data)
    damage = _refusal(fault, len(data), path) if fault else None
    if damage and not found:
        raise damage
    return [_hdu(index, facts) for index, facts in enumerate(found)], damage


def walk_headers(data: Bytes) -> tuple[list[Found], Fault | None]:
    """What :func:`zoo.frames.headers.walk` gives, by the compiled parser where there is one."""
    module = native()
    if module is None:
        return walk(data)
    found, fault = module.walk_headers(data, hdus=MAX_HDUS, header_blocks=MAX_HEADER_BLOCKS, file_blocks=MAX_FILE_BLOCKS, axes=MAX_AXES)
    return [Found(*facts) for facts in found], None if fault is None else Fault(*fault)


def _hdu(index: int, found: Found) -> Hdu:
    header = found.header
    if found.kind == "compressed":
        lengths = {f"NAXIS{n}": length for n, length in enumerate(reversed(found.axes), 1)}
        header = {**header, "BITPIX": found.bitpix, "NAXIS": len(found.axes), **lengths}
    return Hdu(index, found.kind, header, found.bitpix, found.axes, found.offset, found.size, found.start, found.rows)


def _refusal(fault: Fault, length: int, path: Path | str | None) -> FrameError:
    """What is wrong with an HDU, in words."""
    if fault.reason == "many-hdus":
        return FrameError("too-many-hdus", path=path, got=f"more than {MAX_HDUS} HDUs", expected=f"at most {MAX_HDUS}")
    if fault.reason in ("cut-header", "cut-data"):
        expected = "a header that ends with END and fills its block"
        if fault.reason == "cut-data":
            expected = f"{'more than ' if fault.value == LARGEST else ''}{fault.value} by its headers"
        return FrameError("truncated", path=path, hdu=fault.hdu, got=f"{length} bytes in the file", expected=expected)
    if fault.reason == "keyword":
        got, expected = f"{fault.key} = {fault.value!r}" if fault.present else f"no {fault.key}", _possible(fault)
    elif fault.reason == "no-end":
        got, expected = f"no END within {MAX_HEADER_BLOCKS} header blocks", "an END card"
    else:
        got, expected = f"more than {MAX_FILE_BLOCKS} header blocks", f"at most {MAX_FILE_BLOCKS} in a file"
    return FrameError("bad-header", path=path, hdu=fault.hdu, got=got, expected=expected)


def _possible(fault: Fault) -> str:
    """The values that a mandatory keyword may have."""
    if fault.key == "SIMPLE":
        return "T"
    if fault.key.endswith("BITPIX"):
        return "8, 16, 32, 64, -32 or -64"
    if fault.key.endswith("NAXIS"):
        return f"an integer from 0 to {MAX_AXES}"
    if type(fault.value) is int and fault.value > LARGEST:
        return f"an integer of at most {LARGEST}"
    return f"an integer of at least {1 if fault.key == 'GCOUNT' else 0}"


def check_scaling(hdu: Hdu, path: Path | str | None) -> tuple[float, float, int | None]:
    """``(BSCALE, BZERO, BLANK)`` of an image, with their defaults; ``BLANK`` means something for integers only.

    Raises: FrameError: ``bad-header`` if BSCALE is zero, or one of them is no finite number, or BLANK is no integer.
    """
    bscale, bzero, blank = hdu.header.get("BSCALE", 1.0), hdu.header.get("BZERO", 0.0), hdu.header.get("BLANK")
    for name, value in (("BSCALE", bscale), ("BZERO", bzero)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise FrameError("bad-header", path=path, hdu=hdu.index, got=f"{name} = {value!r}", expected="a finite number")
    if bscale == 0:
        raise FrameError("bad-header", path=path, hdu=hdu.index, got="BSCALE = 0", expected="a number other than 0")
    if hdu.bitpix < 0:
        blank = None
    elif blank is not None and (isinstance(blank, bool) or not isinstance(blank, int) or not -(2**63) <= blank < 2**63):
        raise FrameError("bad-header", path=path, hdu=hdu.index, got=f"BLANK = {blank!r}", expected="an integer of 64 bits")
    return float(bscale), float(bzero), blank
