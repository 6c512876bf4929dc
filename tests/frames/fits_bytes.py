"""FITS files byte by byte, so that they may be as wrong as a test wants."""

from __future__ import annotations

import numpy as np

from zoo.frames.headers import BLOCK


def header(*cards: str) -> bytes:
    text = "".join(f"{card:<80}" for card in (*cards, "END")).encode("latin-1")
    return text + b" " * (-len(text) % BLOCK)


def primary(*extra: str, bitpix: int = 16, axes: tuple[int, ...] = (4, 3)) -> bytes:
    lengths = [f"NAXIS{i + 1:<3}= {n:>20}" for i, n in enumerate(axes)]
    return header("SIMPLE  =                    T", f"BITPIX  = {bitpix:>20}", f"NAXIS   = {len(axes):>20}", *lengths, *extra)


def extension(kind: str, *extra: str, axes: tuple[int, ...] = (), bitpix: int = 8, pcount: int = 0, gcount: int = 1) -> bytes:
    lengths = [f"NAXIS{i + 1:<3}= {n:>20}" for i, n in enumerate(axes)]
    cards = (f"XTENSION= '{kind:<8}'", f"BITPIX  = {bitpix:>20}", f"NAXIS   = {len(axes):>20}", *lengths)
    return header(*cards, f"PCOUNT  = {pcount:>20}", f"GCOUNT  = {gcount:>20}", *extra)


def block(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def data_sum(data: bytes) -> int:
    """DATASUM in whole numbers of Python, which carry by themselves."""
    return sum(np.frombuffer(block(data), ">u4").tolist()) % 0xFFFFFFFF
