"""Frames to measure on, for who has none at hand: a noisy sky with stars of every brightness, in memory and as FITS files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo import storage
from zoo.frames import acs_wfc

LEVEL, NOISE = 1200.0, 30.0  # of the sky, DN
CHIP, GAIN = 2, 2.0  # of ACS/WFC: the chip in HDU 1, electrons per DN

_BLOCK = 2880
_UNSIGNED = {"BSCALE": 1.0, "BZERO": 32768.0}  # FITS stores unsigned 16-bit pixels as signed ones, 32768 lower


def draw_sky(shape: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """Return a sky in DN, ``(H, W)``: Gaussian noise, and in one pixel of 80 a source whose brightness follows a power law."""
    rng = np.random.default_rng(seed)
    sky = rng.normal(LEVEL, NOISE, shape)
    stars = rng.integers(0, sky.size, sky.size // 80)
    sky.flat[stars] += rng.pareto(0.8, stars.size) * 50
    return sky


def to_counts(sky: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return what a 16-bit converter makes of a sky."""
    return np.clip(np.round(sky), 0, 65535).astype(np.uint16)


def write_frames(folder: Path, shape: tuple[int, int], count: int) -> list[Path]:
    """Write FITS files of one frame each and return their paths.

    Frames of 2048x4096 become raw ACS/WFC chips with their bias columns, 4144x2068 pixels of 16 bit, so that the whole way of a Hubble
    frame is measured; others are plain 16-bit images.

    Args:
        folder: exists.
        shape: ``(H, W)`` of a frame without bias columns, pixels.
        count: files, each with another sky.

    Raises:
        StorageError: a file cannot be written.
    """
    layout = acs_wfc(CHIP, GAIN)
    raw = shape == layout.science_shape
    paths = []
    for index in range(count):
        counts = to_counts(draw_sky(layout.shape if raw else shape, index))
        path = folder / f"jprofil{index}q_raw.fits" if raw else folder / f"frame{index}.fits"
        storage.write_bytes(path, _chip(counts) if raw else _image(counts))
        paths.append(path)
    return paths


def _chip(counts: NDArray[np.uint16]) -> bytes:
    primary = {
        "SIMPLE": True, "BITPIX": 16, "NAXIS": 0, "EXTEND": True, "NEXTEND": 1, "TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC",
        "CCDAMP": "ABCD", "CCDGAIN": GAIN,
    }  # fmt: skip
    science = {
        "XTENSION": "IMAGE", **_axes(counts), "PCOUNT": 0, "GCOUNT": 1, "EXTNAME": "SCI", "EXTVER": 1, "CCDCHIP": CHIP, "BUNIT": "COUNTS",
        **_UNSIGNED,
    }  # fmt: skip
    return _header(primary) + _header(science) + _data(counts)


def _image(counts: NDArray[np.uint16]) -> bytes:
    return _header({"SIMPLE": True, **_axes(counts), **_UNSIGNED}) + _data(counts)


def _axes(counts: NDArray[np.uint16]) -> dict[str, object]:
    height, width = counts.shape
    return {"BITPIX": 16, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height}


def _header(cards: dict[str, object]) -> bytes:
    def say(value: object) -> str:
        if isinstance(value, str):
            return f"'{value:<8}'"
        return f"{('T' if value else 'F') if isinstance(value, bool) else str(value):>20}"

    lines = [f"{name:<8}= {say(value)}" for name, value in cards.items()]
    return _padded("".join(line.ljust(80) for line in [*lines, "END"]).encode("ascii"), b" ")


def _data(counts: NDArray[np.uint16]) -> bytes:
    return _padded((counts ^ 0x8000).astype(">u2").tobytes(), b"\0")


def _padded(data: bytes, filler: bytes) -> bytes:
    return data + filler * (-len(data) % _BLOCK)
