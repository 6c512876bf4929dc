"""The point spread function of Hubble, computed from its pupil, and drawing stars with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from zoo.plugins.simulated.fields import Array

PHASES = 8
"""Stars are placed to 1/8 of a pixel."""

_ARCSECOND = np.pi / 180 / 3600
_RADII = (2, 4, 8, 16, 32, 64)  # half sizes of the stamps that stars of rising brightness are drawn with


@dataclass(frozen=True)
class Psf:
    """A point spread function integrated over detector pixels.

    Attributes:
        stamps: ``(PHASES, PHASES, 129, 129)`` float32; ``stamps[i, j]`` belongs to a star that lies ``i / PHASES`` of a pixel above and
            ``j / PHASES`` to the right of the centre of pixel ``[64, 64]``. Each sums to almost 1; the rest lies outside.
        outside: per half size of ``_RADII``, the largest value beyond it.
    """

    stamps: Array
    outside: tuple[float, ...]

    def draw(self, image: Array, x: Array, y: Array, electrons: Array, floor: float) -> None:
        """Add stars to an image in place.

        Args:
            image: ``(H, W)`` float32, electrons.
            x, y: ``(n,)`` positions in pixels; the centre of pixel ``[0, 0]`` is (0, 0). Stars outside the image spill into it.
            electrons: ``(n,)`` total of each star.
            floor: what may be lost per pixel, electrons: stars are drawn out to where they fall below it.
        """
        near = (x > -60) & (y > -60) & (x < image.shape[1] + 60) & (y < image.shape[0] + 60) & (electrons > 0.1 * floor)
        x, y, electrons = x[near], y[near], electrons[near]
        column, row = np.floor(x + 0.5 / PHASES), np.floor(y + 0.5 / PHASES)
        right = ((x - column) * PHASES + 0.5).astype(np.int64)
        up = ((y - row) * PHASES + 0.5).astype(np.int64)
        left = np.zeros(len(x), bool)
        for radius, outside in zip(_RADII, self.outside, strict=True):
            chosen = ~left & ((electrons * outside < floor) | (radius == _RADII[-1]))
            left |= chosen
            batch = max(1, 4_000_000 // (2 * radius + 1) ** 2)
            which = np.flatnonzero(chosen)
            for first in range(0, len(which), batch):
                part = which[first : first + batch]
                self._add(image, column[part], row[part], up[part], right[part], electrons[part], radius)

    def _add(
        self, image: Array, column: Array, row: Array, up: NDArray[np.int64], right: NDArray[np.int64], electrons: Array, radius: int
    ) -> None:
        """Add stars drawn with stamps of one size."""
        cut = self.stamps[:, :, 64 - radius : 65 + radius, 64 - radius : 65 + radius]
        values = cut[up, right] * electrons[:, None, None]
        offset = np.arange(-radius, radius + 1)
        rows = row.astype(np.int64)[:, None, None] + offset[None, :, None]
        columns = column.astype(np.int64)[:, None, None] + offset[None, None, :]
        height, width = image.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        index = (rows * width + columns)[inside]
        image += np.bincount(index, weights=values[inside], minlength=height * width).reshape(height, width).astype(np.float32)


@lru_cache(maxsize=16)
def hubble(pixel: float, micron: float, diffusion: float, blur: float) -> Psf:
    """The PSF of a 2.4 m telescope with Hubble's obstruction and vanes.

    Fraunhofer diffraction at five wavelengths over a broad band, with jitter, diffusion of charge and the pixel's own width.

    Args:
        pixel: side of a pixel in arcseconds.
        micron: pivot wavelength.
        diffusion: standard deviation of the diffusion of charge in pixels.
        blur: standard deviation, in pixels, of a further Gaussian (0 in focus).
    """
    size = 1024
    step = pixel / PHASES * _ARCSECOND
    total = np.zeros((size, size), np.float32)
    for factor in (0.88, 0.94, 1.0, 1.06, 1.12):
        wavelength = micron * factor * 1e-6
        aperture = min(step * size / wavelength * 2.4, size - 2.0)  # diameter of the pupil in cells
        axis = (np.arange(size, dtype=np.float32) - size / 2) / np.float32(aperture / 2)
        a, b = axis[None, :], axis[:, None]
        radius = np.sqrt(a * a + b * b)
        pupil = ((radius < 1) & (radius > 0.33)).astype(np.float32)
        # Four vanes at 45 degrees to the detector's axes, as in both cameras.
        pupil *= (np.abs(a - b) > 0.0165 * 1.414) & (np.abs(a + b) > 0.0165 * 1.414)
        total += np.abs(scipy.fft.fft2(scipy.fft.ifftshift(pupil))) ** 2
    otf = scipy.fft.rfft2(total / total.sum())
    fy, fx = np.fft.fftfreq(size)[:, None] * PHASES, np.fft.rfftfreq(size)[None, :] * PHASES  # cycles per pixel
    sigma = np.hypot(diffusion, blur)
    otf = otf * np.exp(-2 * (np.pi * sigma) ** 2 * (fy * fy + fx * fx)) * np.sinc(fy) * np.sinc(fx)
    fine = scipy.fft.fftshift(scipy.fft.irfft2(otf, s=(size, size))).astype(np.float32)
    # A scattered halo that diffraction alone does not give.
    axis = (np.arange(size, dtype=np.float32) - size / 2) / PHASES
    halo = (axis[None, :] ** 2 + axis[:, None] ** 2 + 9.0) ** np.float32(-1.4)
    fine = np.maximum(0.97 * fine + 0.03 * halo / halo.sum(), 0) * (PHASES * PHASES)
    padded = np.pad(fine, PHASES)
    stamps = np.empty((PHASES, PHASES, 129, 129), np.float32)
    for i in range(PHASES):
        for j in range(PHASES):
            # The pixel [64, 64] lies i steps below the star.
            stamps[i, j] = padded[PHASES - i : PHASES - i + size + 1 : PHASES, PHASES - j : PHASES - j + size + 1 : PHASES]
    centre = stamps[0, 0]
    ring = np.maximum(np.abs(np.arange(129) - 64)[None, :], np.abs(np.arange(129) - 64)[:, None])
    outside = tuple(float(centre[ring == radius].max()) for radius in _RADII)
    return Psf(stamps, outside)
