"""Is this FITS file safe to read? Decided from its headers alone, before anything is allocated for its pixels.

The headers are walked block by block with exact integers; every limit is checked before it is relied on, so that no file can make the
reader allocate, loop or map more than the file itself holds. A refusal is a :class:`zoo.errors.FrameError` with one of these codes:

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
``truncated``                the file ends before the headers, the pixels or the promised extensions do
``bad-header``               a mandatory keyword is absent, has the wrong type, or an impossible value
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
============================ ==========================================================================================
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from zoo.errors import FrameError

BLOCK = 2880
CARD = 80
MAX_HDUS = 1000
MAX_HEADER_BLOCKS = 2000  # 72,000 cards; the longest headers of HST products have about 2,000
MAX_AXES = 999  # the FITS standard
TILE_COMPRESSIONS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")

Kind = Literal["image", "compressed", "table", "groups", "other"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")
_STRING = re.compile(r"'((?:[^']|'')*)'")


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


def scan(data: bytes | bytearray | mmap.mmap, path: Path | str | None) -> Iterator[Hdu]:
    """Walk the headers of a whole FITS file.

    Args:
        data: the file's bytes, mapped or in memory. path: for messages.
    Yields: its HDUs, in order; those before a faulty one come before the error. Bytes after the last HDU that do not begin an extension
        are ignored, as the standard allows.
    Raises: FrameError: with the codes ``empty``, ``not-fits``, ``truncated``, ``bad-header`` and ``too-many-hdus``.
    """
    length = len(data)
    if length == 0:
        raise FrameError("empty", path=path, got="0 bytes", expected="a FITS file")
    if bytes(data[:9]) != b"SIMPLE  =":
        raise FrameError("not-fits", path=path, got=f"a file that starts with {bytes(data[:9])!r}", expected="'SIMPLE  ='")
    position = index = 0
    while position < length and (not index or bytes(data[position : position + 9]) == b"XTENSION="):
        if index == MAX_HDUS:
            raise FrameError("too-many-hdus", path=path, got=f"more than {MAX_HDUS} HDUs", expected=f"at most {MAX_HDUS}")
        header, offset = read_header(data, position, index, path)
        found = replace(_describe(header, offset, index, path), start=position)
        if offset + found.size > length:
            got = f"{length} bytes in the file"
            raise FrameError("truncated", path=path, hdu=index, got=got, expected=f"{offset + found.size} by its headers")
        yield found
        position = offset + -(-found.size // BLOCK) * BLOCK
        index += 1


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


def read_header(data: bytes | bytearray | mmap.mmap, position: int, index: int, path: Path | str | None) -> tuple[dict[str, Any], int]:
    """The keywords of the header at ``position``, and the offset of what follows it.

    Raises: FrameError: ``truncated``, or ``bad-header`` if no END comes within :data:`MAX_HEADER_BLOCKS`.
    """
    header: dict[str, Any] = {}
    for _ in range(MAX_HEADER_BLOCKS):
        block = bytes(data[position : position + BLOCK])
        position += BLOCK
        for start in range(0, len(block) - CARD + 1, CARD):
            card = block[start : start + CARD]
            key = card[:8].rstrip()
            if key == b"END" and not card[3:].strip():
                if len(block) < BLOCK:
                    break
                return header, position
            if card[8:10] == b"= ":
                name = key.decode("latin-1")
                if name not in header:
                    header[name] = _value(card[10:].decode("latin-1"))
        if len(block) < BLOCK:
            got = f"{len(data)} bytes in the file"
            raise FrameError("truncated", path=path, hdu=index, got=got, expected="a header that ends with END and fills its block")
    got = f"no END within {MAX_HEADER_BLOCKS} header blocks"
    raise FrameError("bad-header", path=path, hdu=index, got=got, expected="an END card")


def _value(field: str) -> Any:
    """The value of a card: text, bool, int, float, or ``None`` for anything else."""
    field = field.strip()
    if field.startswith("'"):
        match = _STRING.match(field)
        return match[1].replace("''", "'").rstrip() if match else None
    word = field.partition("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    if _INTEGER.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word.upper().replace("D", "E"))
    return None


def _describe(header: dict[str, Any], offset: int, index: int, path: Path | str | None) -> Hdu:
    """Check the mandatory keywords of one header, with exact integers."""

    def integer(key: str, lowest: int, highest: int | None, default: int | None = None) -> int:
        value = header.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest or (highest is not None and value > highest):
            got = f"{key} = {value!r}" if key in header else f"no {key}"
            expected = f"an integer of at least {lowest}" if highest is None else f"an integer from {lowest} to {highest}"
            raise FrameError("bad-header", path=path, hdu=index, got=got, expected=expected)
        return value

    def image(prefix: str) -> tuple[int, tuple[int, ...]]:
        bitpix = header.get(f"{prefix}BITPIX")
        if bitpix not in (8, 16, 32, 64, -32, -64):
            got = f"{prefix}BITPIX = {bitpix!r}"
            raise FrameError("bad-header", path=path, hdu=index, got=got, expected="8, 16, 32, 64, -32 or -64")
        count = integer(f"{prefix}NAXIS", 0, MAX_AXES)
        return bitpix, tuple(integer(f"{prefix}NAXIS{n}", 0, None) for n in range(count, 0, -1))

    if index == 0 and header.get("SIMPLE") is not True:
        raise FrameError("bad-header", path=path, hdu=0, got=f"SIMPLE = {header.get('SIMPLE')!r}", expected="T")
    bitpix, axes = image("")
    # PCOUNT and GCOUNT count in a primary header only where it holds random groups.
    groups = index == 0 and header.get("GROUPS") is True and bool(axes) and axes[-1] == 0
    pcount, gcount = (integer("PCOUNT", 0, None, 0), integer("GCOUNT", 1, None, 1)) if groups or index else (0, 1)
    pixels = math.prod(axes[:-1] if groups else axes) if axes else 0
    size = abs(bitpix) // 8 * gcount * (pcount + pixels)
    extension = "IMAGE" if index == 0 else str(header.get("XTENSION"))
    kind: Kind
    if groups:
        kind = "groups"
    elif extension in ("TABLE", "BINTABLE", "A3DTABLE"):
        kind = "compressed" if header.get("ZIMAGE") is True else "table"
    else:
        kind = "image" if extension in ("IMAGE", "IUEIMAGE") else "other"
    rows = 0
    if kind == "compressed":
        rows = math.prod(axes[:-1])
        bitpix, axes = image("Z")
        lengths = {f"NAXIS{n}": length for n, length in enumerate(reversed(axes), 1)}
        header = {**header, "BITPIX": bitpix, "NAXIS": len(axes), **lengths}
    return Hdu(index, kind, header, bitpix, axes, offset, size, rows=rows)
