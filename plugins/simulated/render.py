"""Expose a scene: sky to expected electrons on a chip, through camera, filter and optics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from zoo.plugins.simulated.bands import Band, Camera
from zoo.plugins.simulated.fields import Array, rotate
from zoo.plugins.simulated.psf import Psf, hubble
from zoo.plugins.simulated.scene import SKY, Scene


@dataclass(frozen=True)
class Pointing:
    """Where a camera looks and how.

    Attributes:
        camera, band: instrument and filter.
        u, v: of the middle of the field of view, in arcseconds from the target.
        roll: direction of the detector's x axis on the sky, in radians.
        exptime: seconds.
        sky: brightness of the sky relative to ``SKY``.
        blur: further standard deviation of the PSF in arcseconds.
        scale: the layout's scale; 1 is full size.
    """

    camera: Camera
    band: Band
    u: float
    v: float
    roll: float
    exptime: float
    sky: float
    blur: float
    scale: int

    @property
    def pixel(self) -> float:
        """Side of a pixel in arcseconds."""
        return self.camera.pixel * self.scale

    def corner(self, chip: int, rows: int) -> tuple[float, float]:
        """Position of the centre of a chip's pixel ``[0, 0]`` in pixels from the middle of the field; ``rows`` are the chip's."""
        half_gap = 0.5 * self.camera.gap / self.scale
        y = half_gap if chip == 1 else -half_gap - rows
        return -0.5 * self.camera.columns / self.scale + 0.5, y + 0.5


def expected(scene: Scene, pointing: Pointing, chip: int, shape: tuple[int, int]) -> Array:
    """Expected electrons on one chip.

    Args:
        scene: the sky.
        pointing: camera, filter, time and direction.
        chip: 1 or 2.
        shape: ``(rows, columns)`` that receive light.

    Returns:
        ``shape`` float32, electrons, sky included, without noise.
    """
    rows, columns = shape
    x0, y0 = pointing.corner(chip, rows)
    x = (np.arange(columns, dtype=np.float32) + x0) * pointing.pixel
    y = (np.arange(rows, dtype=np.float32) + y0) * pointing.pixel
    blur = round(5 * pointing.blur / pointing.pixel) / 5  # in few steps, so that most exposures share a PSF
    optics = hubble(pointing.pixel, pointing.band.micron, 0.36, blur)
    image = np.empty(shape, np.float32)
    strip = max(1, 2**20 // columns)  # bounds the memory of a full-size chip
    for first in range(0, rows, strip):
        part = slice(first, first + strip)
        u, v = rotate(x[None, :], y[part, None], -pointing.roll)
        u, v = u + pointing.u, v + pointing.v
        image[part] = scene.brightness(u, v, pointing.band, pointing.pixel)
    image = np.asarray(gaussian_filter(image, 0.045 / pointing.pixel + blur, mode="nearest"), np.float32)
    image += SKY * pointing.sky * pointing.band.width
    image *= pointing.pixel**2 * pointing.exptime
    _galaxies(image, scene, pointing, (x0, y0))
    _stars(image, scene, pointing, (x0, y0), optics)
    return image


def _on_chip(u: Array, v: Array, pointing: Pointing, corner: tuple[float, float]) -> tuple[Array, Array]:
    """Pixel coordinates of sky offsets."""
    x, y = rotate(u - pointing.u, v - pointing.v, pointing.roll)
    return x / pointing.pixel - corner[0], y / pointing.pixel - corner[1]


def _stars(image: Array, scene: Scene, pointing: Pointing, corner: tuple[float, float], optics: Psf) -> None:
    """Add the point sources in place."""
    stars = scene.sources
    electrons = stars.flux * pointing.band.width * (pointing.band.micron / 0.6) ** (1.4 * stars.colour)
    electrons = (electrons * pointing.exptime).astype(np.float32)
    if scene.veil is not None:
        # Half of the stars lie behind the dust.
        behind = np.arange(len(stars)) % 2 == 0
        depth = scene.veil.cloud(stars.u, stars.v, pointing.pixel) * pointing.band.extinction
        electrons = np.where(behind, electrons * np.exp(-depth), electrons)
    x, y = _on_chip(stars.u, stars.v, pointing, corner)
    noise = np.sqrt(SKY * pointing.sky * pointing.band.width * pointing.pixel**2 * pointing.exptime + 25.0)
    optics.draw(image, x, y, electrons, 0.15 * float(noise))


def _galaxies(image: Array, scene: Scene, pointing: Pointing, corner: tuple[float, float]) -> None:
    """Add the small background galaxies in place, as exponential discs."""
    u, v, radius, ratio, angle, flux = scene.small
    x, y = _on_chip(u, v, pointing, corner)
    size = np.hypot(radius / pointing.pixel, 0.5)
    height, width = image.shape
    reach = np.ceil(6 * size).astype(int)
    for k in np.flatnonzero((x > -reach) & (y > -reach) & (x < width + reach) & (y < height + reach)):
        top, left = max(0, int(y[k]) - reach[k]), max(0, int(x[k]) - reach[k])
        bottom, right = min(height, int(y[k]) + reach[k] + 1), min(width, int(x[k]) + reach[k] + 1)
        if bottom <= top or right <= left:
            continue
        dx = np.arange(left, right, dtype=np.float32)[None, :] - x[k]
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - y[k]
        a, b = rotate(dx, dy, float(angle[k]) - pointing.roll)
        profile = np.exp(-np.sqrt(a * a + (b / ratio[k]) ** 2 + 0.1) / size[k])
        total = flux[k] * (pointing.exptime * pointing.band.stars(0.3)) / (2 * np.pi * size[k] ** 2 * ratio[k])
        image[top:bottom, left:right] += total * profile
