"""The headers of a FITS file, walked in Python: the reference for ``csrc/fits_header.cpp``, and what runs where that was not built.

Both take any bytes, touch no pixel, and give the same plain facts; what is refused, and in which words, is decided in
:mod:`zoo.frames.gate`. Blanks are those of ASCII; text is Latin-1.
"""

from __future__ import annotations

import mmap
import re
from typing import Any, Literal, NamedTuple, TypeAlias

Bytes: TypeAlias = bytes | bytearray | mmap.mmap
Kind: TypeAlias = Literal["image", "compressed", "table", "groups", "other"]
Reason: TypeAlias = Literal["keyword", "no-end", "many-blocks", "many-hdus", "cut-header", "cut-data"]

BLOCK = 2880
CARD = 80
LARGEST = 2**63 - 1
"""The largest length; a product that is larger counts as this."""
MAX_HDUS = 1000
MAX_HEADER_BLOCKS = 2000
"""Of one header: 72,000 cards; the longest headers of HST products have about 2,000."""
MAX_FILE_BLOCKS = 10_000
"""Of all headers of a file together, which bounds the memory that their keywords take."""
MAX_AXES = 999
"""By the FITS standard."""

_REAL = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?")
_INTEGER = re.compile(rb"[+-]?\d+")
_TEXT = re.compile(rb"'((?:[^']|'')*+)'", re.DOTALL)


class Found(NamedTuple):
    """One HDU. ``header``: of a repeated keyword the first, without COMMENT and HISTORY. ``bitpix``, ``axes``: of a compressed image those
    of the image; slowest axis first. ``offset``, ``size``: of the data in bytes; ``start``: of the header. ``rows``: tiles of a compressed
    image."""

    kind: Kind
    header: dict[str, Any]
    bitpix: int
    axes: tuple[int, ...]
    offset: int
    size: int
    start: int
    rows: int


class Fault(NamedTuple):
    """Why the walk ended at HDU ``hdu``. ``key``, ``present``, ``value``: the keyword at fault; of ``cut-data``, ``value`` is the length
    that the file should have, :data:`LARGEST` standing for more."""

    reason: Reason
    hdu: int
    key: str = ""
    present: bool = False
    value: Any = None


class _FaultError(Exception):
    """Ends the walk; its argument is the fault."""


def walk(data: Bytes) -> tuple[list[Found], Fault | None]:
    """Every HDU of a file whose first bytes are ``SIMPLE  =``, up to the first faulty one, and what is wrong with that."""
    found: list[Found] = []
    position = blocks = 0
    try:
        while position < len(data) and (not found or bytes(data[position : position + 9]) == b"XTENSION="):
            index = len(found)
            if index == MAX_HDUS:
                raise _FaultError(Fault("many-hdus", index))
            header, offset = _read_header(data, position, index, min(MAX_HEADER_BLOCKS, MAX_FILE_BLOCKS - blocks))
            hdu = _describe(header, position, offset, index)
            if offset + hdu.size > len(data):
                raise _FaultError(Fault("cut-data", index, value=min(offset + hdu.size, LARGEST)))
            found.append(hdu)
            blocks += (offset - position) // BLOCK
            position = offset + -(-hdu.size // BLOCK) * BLOCK
    except _FaultError as error:
        return found, error.args[0]
    return found, None


def read_cards(header: bytes) -> dict[str, Any]:
    """The keywords of a whole header, as astropy writes it: blocks of which the last holds END."""
    return _read_header(header, 0, 0, len(header) // BLOCK)[0]


def _read_header(data: Bytes, position: int, index: int, room: int) -> tuple[dict[str, Any], int]:
    """The keywords of the header at ``position``, which may take ``room`` blocks, and the offset of what follows it."""
    header: dict[str, Any] = {}
    for _ in range(room):
        block = bytes(data[position : position + BLOCK])
        position += BLOCK
        for start in range(0, len(block) - CARD + 1, CARD):
            card = block[start : start + CARD]
            if card.startswith(b"END") and not card[3:].strip():
                if len(block) < BLOCK:
                    break
                return header, position
            if card[8:10] == b"= ":
                name = card[:8].rstrip().decode("latin-1")
                if name not in header:
                    header[name] = _value(card[10:])
        if len(block) < BLOCK:
            raise _FaultError(Fault("cut-header", index))
    raise _FaultError(Fault("many-blocks" if room < MAX_HEADER_BLOCKS else "no-end", index))


def _value(field: bytes) -> Any:
    """The value of a card: text, bool, int, float, or ``None`` for anything else."""
    field = field.strip()
    if field.startswith(b"'"):
        match = _TEXT.match(field)
        return match[1].replace(b"''", b"'").rstrip().decode("latin-1") if match else None
    word = field.partition(b"/")[0].strip()
    if word in (b"T", b"F"):
        return word == b"T"
    if _INTEGER.fullmatch(word):
        return int(word)
    if _REAL.fullmatch(word):
        return float(word.upper().replace(b"D", b"E"))
    return None


def _describe(header: dict[str, Any], start: int, offset: int, index: int) -> Found:
    """Check the mandatory keywords of one header, with exact integers."""

    def wrong(key: str) -> _FaultError:
        return _FaultError(Fault("keyword", index, key, key in header, header.get(key)))

    def integer(key: str, lowest: int = 0, highest: int = LARGEST, absent: int = -1) -> int:
        value = header.get(key, absent)
        if type(value) is not int or not lowest <= value <= highest:
            raise wrong(key)
        return value

    def image(prefix: str) -> tuple[int, tuple[int, ...]]:
        bitpix = header.get(f"{prefix}BITPIX")
        if type(bitpix) is not int or bitpix not in (8, 16, 32, 64, -32, -64):
            raise wrong(f"{prefix}BITPIX")
        count = integer(f"{prefix}NAXIS", highest=MAX_AXES)
        return bitpix, tuple(integer(f"{prefix}NAXIS{n}") for n in range(count, 0, -1))

    if index == 0 and header.get("SIMPLE") is not True:
        raise wrong("SIMPLE")
    bitpix, axes = image("")
    # PCOUNT and GCOUNT count in a primary header only where it holds random groups.
    groups = index == 0 and header.get("GROUPS") is True and bool(axes) and axes[-1] == 0
    parameters, count = (integer("PCOUNT", absent=0), integer("GCOUNT", lowest=1, absent=1)) if groups or index else (0, 1)
    pixels = _product(axes[:-1] if groups else axes) if axes else 0
    size = min(abs(bitpix) // 8 * count * (parameters + pixels), LARGEST)
    extension = "IMAGE" if index == 0 else header.get("XTENSION")
    kind: Kind
    if groups:
        kind = "groups"
    elif extension in ("TABLE", "BINTABLE", "A3DTABLE"):
        kind = "compressed" if header.get("ZIMAGE") is True else "table"
    else:
        kind = "image" if extension in ("IMAGE", "IUEIMAGE") else "other"
    rows = 0
    if kind == "compressed":
        rows = _product(axes[:-1])
        bitpix, axes = image("Z")
    return Found(kind, header, bitpix, axes, offset, size, start, rows)


def _product(lengths: tuple[int, ...]) -> int:
    """At most :data:`LARGEST`: of 999 hostile axes it would otherwise have 19,000 digits."""
    if 0 in lengths:
        return 0
    product = 1
    for length in lengths:
        product = min(product * length, LARGEST)
    return product
