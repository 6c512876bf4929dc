"""How the pixels of a frame came about: what degradations have to know so that their noise is that of a real observation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

Array = NDArray[np.float32]

PIXEL_SCALES: Mapping[str, float] = MappingProxyType({"ACS/WFC": 0.05, "WFC3/UVIS": 0.04})
"""Side of a pixel in arcseconds (ACS and WFC3 Instrument Handbooks)."""


@dataclass(frozen=True, eq=False)
class Observation:
    """The exposure behind a frame in electrons. Of a simulated one the light is known without its noise, of a real one it is not.

    Attributes:
        pixel: side of a pixel in arcseconds.
        exptime: seconds; NaN where unknown.
        read_noise: electrons.
        full_well: electrons from which a pixel is saturated; infinite where unknown.
        light: ``(1, H, W)`` float32, electrons that are expected from the sky, before the detector; ``None`` for a real frame, for which
            the next three mean nothing.
        flat: ``(1, H, W)``, relative sensitivity of the pixels.
        dark: ``(1, H, W)``, electrons expected without light.
        rays: ``(1, H, W)``, electrons that cosmic rays left.
    """

    pixel: float
    exptime: float
    read_noise: float
    full_well: float = math.inf
    light: Tensor | None = None
    flat: Tensor | None = None
    dark: Tensor | None = None
    rays: Tensor | None = None

    def expose(self, generator: Generator) -> Tensor:
        """Expose and read out a simulated scene: Poisson noise, cosmic rays, bleeding above the full well, read noise.

        Args:
            generator: draws the noise.
        Returns: ``(1, H, W)`` float32, electrons, bias subtracted and not rounded to steps of the converter.
        Raises: ValueError: the light is not known.
        """
        if self.light is None or self.flat is None or self.dark is None or self.rays is None:
            raise ValueError("the light of a real frame is not known, so it cannot be exposed again")
        image = torch.poisson(self.light * self.flat + self.dark, generator=generator).add_(self.rays)
        if math.isfinite(self.full_well):
            bleed(image[0].numpy(), self.full_well)
        return image.add_(torch.randn(image.shape, generator=generator), alpha=self.read_noise)


def bleed(image: Array, full_well: float) -> None:
    """Spread the charge above the full well along its column, half up and half down, in place; some may leave the chip."""
    for column in np.flatnonzero((image > full_well).any(axis=0)):
        charge = image[:, column]
        for _ in range(4):
            above = np.flatnonzero(charge > full_well)
            if not len(above):
                break
            for run in np.split(above, np.flatnonzero(np.diff(above) > 1) + 1):
                excess = float((charge[run] - full_well).sum())
                charge[run] = full_well
                _fill(charge[run[-1] + 1 :], excess / 2, full_well)
                _fill(charge[: run[0]][::-1], excess / 2, full_well)
        np.minimum(charge, full_well, out=charge)


def _fill(charge: Array, excess: float, full_well: float) -> None:
    """Pour charge into pixels, the first one first, up to the full well."""
    room = np.maximum(full_well - charge, 0)
    before = np.cumsum(room) - room
    charge += np.clip(excess - before, 0, room).astype(np.float32)


def cosmic_rays(rng: np.random.Generator, shape: tuple[int, int], mean: float) -> Array:
    """Charge, in electrons, that cosmic rays leave: tracks of random direction, most of them short.

    Args:
        rng: draws the rays.
        shape: ``(rows, columns)`` of the chip.
        mean: expected number of rays.
    """
    height, width = shape
    n = int(rng.poisson(mean))
    x, y = rng.uniform(-2, width + 2, n), rng.uniform(-2, height + 2, n)
    length = np.minimum(0.7 / np.tan(np.arccos(rng.uniform(0.02, 1.0, n))) ** 1.0, 40.0) + 0.2
    angle = rng.uniform(0, 2 * np.pi, n)
    charge = 450.0 * np.exp(rng.normal(0.0, 0.7, n))  # per pixel of track
    steps = np.maximum(np.ceil(length * 2), 1).astype(np.int64)
    ray = np.repeat(np.arange(n), steps)
    along = (np.arange(len(ray)) - np.repeat(np.cumsum(steps) - steps, steps)) + 0.5
    along = along / steps[ray] * length[ray]
    deposit = charge[ray] * length[ray] / steps[ray] * np.exp(rng.normal(0.0, 0.35, len(ray)))
    px, py = x[ray] + along * np.cos(angle[ray]), y[ray] + along * np.sin(angle[ray])
    column, row = np.floor(px).astype(np.int64), np.floor(py).astype(np.int64)
    image = np.zeros(height * width)
    # Each deposit is shared among four pixels, as charge diffuses.
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - dx - (px - column)) * np.abs(1 - dy - (py - row)) * deposit
        inside = (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        image += np.bincount(((row + dy) * width + column + dx)[inside], weights=share[inside], minlength=height * width)
    return image.reshape(shape).astype(np.float32)
