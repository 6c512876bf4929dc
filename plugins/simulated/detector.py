"""From electrons in the pixels to the 16-bit numbers of a raw frame: noise, cosmic rays, bleeding, bias and the converter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.frames import Layout
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
    electrons *= flat(rng, electrons.shape)
    electrons += chip.dark * chip.exptime
    electrons = rng.poisson(electrons).astype(np.float32)
    electrons += cosmic_rays(rng, electrons.shape, chip.rays * chip.exptime)
    hot = int(rng.poisson(chip.hot * electrons.size))
    where = (rng.integers(0, electrons.shape[0], hot), rng.integers(0, electrons.shape[1], hot))
    electrons[where] += (np.exp(rng.normal(-1.5, 1.5, hot)) * chip.exptime).astype(np.float32)
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
