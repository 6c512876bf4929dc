"""From electrons in the pixels to the 16-bit numbers of a raw frame: noise, cosmic rays, hot pixels, bias and the converter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.frames import Layout, bleed, cosmic_rays
from zoo.plugins.simulated.fields import Array


@dataclass(frozen=True)
class Chip:
    """The state of one chip during one exposure.

    Attributes:
        layout: geometry, gains and full well.
        bias: level in DN per amplifier, left to right.
        read_noise: electrons.
        dark: electrons per second and pixel.
        exptime: seconds.
        rays: cosmic rays per second over the chip.
        hot: share of hot pixels.
    """

    layout: Layout
    bias: tuple[float, ...]
    read_noise: float
    dark: float
    exptime: float
    rays: float
    hot: float


def flat(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Relative sensitivity of the pixels, mean near 1: 0.8 % from pixel to pixel, 2 % over the chip, a few motes of dust."""
    height, width = shape
    field = 1.0 + 0.008 * rng.standard_normal(shape, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    a, b, c, d = rng.normal(0.0, 0.01, 4).astype(np.float32)
    field += a * x + b * y + c * x * y + d * (x * x - 0.33)
    for _ in range(int(rng.poisson(2.5))):
        cx, cy, size = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.01, 0.03)
        distance = np.sqrt((x - cx) ** 2 + ((y - cy) / 2) ** 2)
        field -= 0.02 * np.exp(-(((distance - size) / 0.005) ** 2))
    return field


@dataclass(frozen=True)
class Charge:
    """What collects in the pixels of a chip, before it spills over.

    Attributes:
        sensitivity: of the pixels. counted: electrons from light and dark current, with their Poisson noise.
        rays, hot: electrons from cosmic rays, and from hot pixels.
    """

    sensitivity: Array
    counted: Array
    rays: Array
    hot: Array


def collect(rng: np.random.Generator, electrons: Array, chip: Chip) -> Charge:
    """Collect charge during an exposure.

    Args:
        rng: draws everything. electrons: expected from the sky; changed to what is expected in the pixels. chip: the detector.
    """
    sensitivity = flat(rng, electrons.shape)
    electrons *= sensitivity
    electrons += chip.dark * chip.exptime
    counted = rng.poisson(electrons).astype(np.float32)
    rays = cosmic_rays(rng, electrons.shape, chip.rays * chip.exptime)
    number = int(rng.poisson(chip.hot * electrons.size))
    where = (rng.integers(0, electrons.shape[0], number), rng.integers(0, electrons.shape[1], number))
    hot = np.zeros_like(electrons)
    hot[where] = (np.exp(rng.normal(-1.5, 1.5, number)) * chip.exptime).astype(np.float32)
    return Charge(sensitivity, counted, rays, hot)


def expose(rng: np.random.Generator, electrons: Array, chip: Chip) -> NDArray[np.uint16]:
    """Read a chip out.

    Args:
        rng: draws noise, rays and bias structure.
        electrons: ``(rows + surplus rows, columns)`` expected electrons from the sky; changed.
        chip: the detector.

    Returns:
        The raw image, uint16 DN, in the shape of ``chip.layout``.
    """
    layout = chip.layout
    charge = collect(rng, electrons, chip)
    electrons = charge.counted
    electrons += charge.rays
    electrons += charge.hot
    bleed(electrons, layout.full_well)
    raw = np.empty(layout.shape, np.float32)
    raw[:] = rng.normal(0.0, 0.12, (layout.shape[0], 1))  # the level wanders from row to row
    noise = rng.standard_normal(layout.shape, dtype=np.float32)
    for amplifier, level in zip(layout.amplifiers, chip.bias, strict=True):
        part = raw[amplifier.readout.slices]
        part += level + (chip.read_noise / amplifier.gain) * noise[amplifier.readout.slices]
        part += np.linspace(0.0, rng.normal(0.0, 0.3), part.shape[1], dtype=np.float32)
        light = raw[amplifier.imaging.slices]
        x = sum(a.imaging.width for a in layout.amplifiers if a.imaging.x < amplifier.imaging.x)
        light += electrons[:, x : x + amplifier.imaging.width] / amplifier.gain
    return np.clip(np.rint(raw), 0, 65535).astype(np.uint16)
