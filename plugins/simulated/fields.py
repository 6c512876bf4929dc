"""Seeded random streams and periodic random textures that are sampled at sky coordinates."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[np.float32]

GRID = 1024
"""Side of a texture in cells; a power of two, because coordinates wrap by a bit mask."""


def stream(seed: int, *words: int | str) -> np.random.Generator:
    """Random numbers that depend on the seed and the words alone, so that any process can draw any part of the sky.

    Args:
        seed: the data set's seed, >= 0.
        words: what the numbers are for, for instance a target's index and ``"stars"``; integers are >= 0.
    """
    keys = [word if isinstance(word, int) else zlib.crc32(word.encode()) for word in words]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *keys])))


@dataclass(frozen=True)
class Texture:
    """A periodic random field with mean 0 and variance 1, interpolated linearly.

    Attributes:
        grid: ``(GRID, GRID)`` float32.
        cell: side of one cell in arcseconds; the field repeats after ``GRID * cell``.
    """

    grid: Array
    cell: float

    @classmethod
    def power_law(cls, rng: np.random.Generator, slope: float, cell: float, *, cutoff: float = 0.0) -> Texture:
        """A Gaussian field whose power falls as ``k**-slope``.

        Args:
            rng: draws the field.
            slope: 0 is white noise, 3 looks like cirrus, 4 like smooth hills.
            cell: arcseconds per cell.
            cutoff: waves longer than ``GRID / cutoff`` cells are left out; 0 keeps all.
        """
        waves = scipy.fft.rfft2(rng.standard_normal((GRID, GRID), dtype=np.float32))
        k2 = (np.fft.fftfreq(GRID)[:, None] ** 2 + np.fft.rfftfreq(GRID)[None, :] ** 2).astype(np.float32) * (GRID * GRID)
        k2[0, 0] = 1.0
        waves *= np.where(k2 < cutoff * cutoff, 0.0, k2 ** (-slope / 4)).astype(np.float32)
        waves[0, 0] = 0.0
        grid = scipy.fft.irfft2(waves, s=(GRID, GRID)).astype(np.float32)
        grid /= grid.std()
        return cls(grid, cell)

    def __call__(self, u: Array, v: Array) -> Array:
        """Value at sky offsets ``u``, ``v`` (arcseconds, any one shape, float32); returns a new array of that shape."""
        return bilinear(self.grid, v / self.cell, u / self.cell, wrap=True)

    def detailed(self, u: Array, v: Array, pixel: float, gain: float) -> Array:
        """The field with finer octaves added for pixels smaller than its cells.

        Args:
            u, v: sky offsets in arcseconds.
            pixel: side of a detector pixel in arcseconds.
            gain: amplitude of an octave that is four times finer, relative to the one before.
        """
        value = self(u, v)
        scale, amplitude = 4.0, gain
        while pixel * scale < 2.4 * self.cell:
            # The same grid, turned by 0.8 rad and shifted, is as good as an independent one.
            turned_u, turned_v = rotate(u, v, 0.8 * scale)
            value += amplitude * self(turned_u * scale + 37.0, turned_v * scale)
            scale, amplitude = scale * 4.0, amplitude * gain
        return value


def bilinear(grid: Array, row: Array, column: Array, *, wrap: bool) -> Array:
    """Interpolate ``grid`` linearly at fractional indices; ``wrap`` repeats it (power-of-two sides), else indices are clamped."""
    height, width = grid.shape
    if not wrap:
        row = np.clip(row, 0, (height - 1.001))
        column = np.clip(column, 0, (width - 1.001))
    top, left = np.floor(row), np.floor(column)
    down, right = row - top, column - left
    y0, x0 = top.astype(np.int32), left.astype(np.int32)
    y1, x1 = y0 + 1, x0 + 1
    if wrap:
        for index, last in ((y0, height - 1), (y1, height - 1), (x0, width - 1), (x1, width - 1)):
            np.bitwise_and(index, last, out=index)
    y0 *= width
    y1 *= width
    flat = grid.ravel()
    upper: Array = flat[y0 + x0]
    upper += right * (flat[y0 + x1] - upper)
    lower = flat[y1 + x0]
    lower += right * (flat[y1 + x1] - lower)
    lower -= upper
    lower *= down
    upper += lower
    return upper


def rotate(u: Array, v: Array, angle: float) -> tuple[Array, Array]:
    """Turn offsets by ``angle`` radians, from ``u`` towards ``v``."""
    c, s = math.cos(angle), math.sin(angle)
    return c * u + s * v, c * v - s * u


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number between ``low`` and ``high``, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
