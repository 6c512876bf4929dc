"""DATASUM: whether the bytes of an HDU are those that were written.

The sum is that of big-endian 32-bit words in ones' complement over whole blocks (FITS Standard 4.0, section 4.4.2.7). It finds every single
flipped bit, and what transfer, disk or memory have garbled in all likelihood; it is no protection against somebody who wants to deceive.
CHECKSUM, which covers the header as well, is not looked at: too many programs edit headers and leave it as it was.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from zoo.errors import FrameError
from zoo.frames.gate import Hdu
from zoo.frames.headers import BLOCK, Bytes
from zoo.ops.native import native

_WORDS = 1 << 18  # at a time in Python: what fits into a cache


def check_sum(data: Bytes, hdu: Hdu, path: Path | None) -> None:
    """Compare the data of an HDU with its DATASUM; where that is absent, empty or no number there is nothing to compare.

    Args:
        data: the whole file, unchanged in memory. hdu: one in it. path: for messages.
    Raises: FrameError: ``checksum``.
    """
    told = re.fullmatch(r" *([0-9]{1,10}) *", str(hdu.header.get("DATASUM", "")))
    if not told:
        return
    end = min(hdu.offset + -(-hdu.size // BLOCK) * BLOCK, len(data))  # a file may lack the end of its last block: zeros, which add nothing
    found = data_sum(data, hdu.offset, end - hdu.offset)
    if found != int(told[1]):
        remedy = "fetch it again; if its pixels were changed on purpose, correct or remove DATASUM"
        raise FrameError("checksum", path=path, hdu=hdu.index, got=f"a data sum of {found}", expected=f"DATASUM = {told[1]}", remedy=remedy)


def data_sum(data: Bytes, offset: int, size: int) -> int:
    """The sum of ``size`` bytes from ``offset`` on, which must lie within ``data``."""
    module = native()
    return reference_sum(data, offset, size) if module is None else module.data_sum(data, offset, size)


def reference_sum(data: Bytes, offset: int, size: int) -> int:
    """The same in numpy."""
    total = 0
    words = np.frombuffer(data, ">u4", size // 4, offset)
    for start in range(0, words.size, _WORDS):
        total += int(words[start : start + _WORDS].astype(np.uint32).sum(dtype=np.uint64))
    rest = bytes(data[offset + 4 * words.size : offset + size])
    total += int.from_bytes(rest.ljust(4, b"\0"), "big")
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
