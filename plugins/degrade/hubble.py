"""How wide Hubble's images of points are: the encircled energy of a diffraction model, and the Gaussian that brings it to a wanted radius.

The optical transfer function of a round pupil with a round obstruction (O'Neill 1956, J. Opt. Soc. Am. 46, 285) times that of a square
pixel, averaged over its directions, of charge that diffuses, and of a further Gaussian. Vanes, aberrations, jitter and the width of the
band are left out, so it is an estimate.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize, special

from zoo.errors import FrameError, UsageError
from zoo.frames import FrameInfo

DIAMETER = 2.4  # metres
OBSTRUCTION = 0.33  # diameter of the obstruction in units of the pupil's
DIFFUSION = 0.36  # standard deviation of the diffusion of charge, pixels

_ARCSECOND = math.pi / 180 / 3600
_FILTER = re.compile(r"F(\d{3})[A-Z]{1,2}\d?")

Floats = NDArray[np.float64]


def wavelength_of(name: str) -> float:
    """Wavelength in microns that the name of a Hubble filter says, such as 0.606 for ``F606W``; 0 for a name that says none."""
    match = _FILTER.fullmatch(name.strip().upper())
    return int(match[1]) / 1000 if match else 0.0


def known_wavelength(info: FrameInfo, step: str) -> float:
    """Wavelength in microns of a frame's filter, for a step that needs it. Raises: FrameError: ``no-wavelength``."""
    micron = wavelength_of(info.filter)
    if not micron:
        raise FrameError(
            "no-wavelength",
            path=info.path,
            hdu=info.hdu,
            got=f"the filter {info.filter!r}, which says no wavelength, on which the width of the camera's own PSF depends",
            expected="a filter such as F606W",
            remedy=f"give the wavelength: {step}:micron=0.6",
        )
    return micron


def _overlap(distance: Floats, first: float, second: float) -> Floats:
    """Area that two circles share."""
    big, small = max(first, second), min(first, second)
    d = np.clip(distance, max(big - small, 1e-12), big + small)
    a = np.arccos(np.clip((d * d + small * small - big * big) / (2 * d * small), -1, 1))
    b = np.arccos(np.clip((d * d + big * big - small * small) / (2 * d * big), -1, 1))
    kite = np.sqrt(np.maximum((-d + small + big) * (d + small - big) * (d - small + big) * (d + small + big), 0))
    area = small * small * a + big * big * b - kite / 2
    return np.asarray(np.where(distance <= big - small, math.pi * small * small, area))


@lru_cache(maxsize=64)
def _transfer(micron: float, pixel: float) -> tuple[Floats, Floats]:
    """Frequencies in cycles per arcsecond up to the cut-off of the pupil, and the transfer function of telescope, pixel and diffusion."""
    cutoff = DIAMETER / (micron * 1e-6) * _ARCSECOND
    frequency = np.linspace(0, cutoff, 2001)
    shift = 2 * frequency / cutoff
    pupil = _overlap(shift, 1, 1) - 2 * _overlap(shift, 1, OBSTRUCTION) + _overlap(shift, OBSTRUCTION, OBSTRUCTION)
    angle = (np.arange(64) + 0.5) * (math.pi / 2 / 64)
    square = np.sinc(pixel * frequency[:, None] * np.cos(angle)) * np.sinc(pixel * frequency[:, None] * np.sin(angle))
    diffusion = np.exp(-2 * (math.pi * DIFFUSION * pixel * frequency) ** 2)
    return frequency, pupil / pupil[0] * square.mean(axis=1) * diffusion


def encircled_energy(radius: float, *, micron: float, pixel: float, sigma: float = 0.0) -> float:
    """Share of the light of a point within a radius.

    Args:
        radius: arcseconds. micron: wavelength. pixel: side of a pixel in arcseconds. sigma: standard deviation of a further Gaussian.
    """
    frequency, transfer = _transfer(micron, pixel)
    total = transfer * np.exp(-2 * (math.pi * sigma * frequency) ** 2)
    return float(integrate.simpson(2 * math.pi * radius * special.j1(2 * math.pi * frequency * radius) * total, x=frequency))


@lru_cache(maxsize=1024)
def ee80(*, micron: float, pixel: float, sigma: float = 0.0) -> float:
    """Radius in arcseconds that holds 80 % of the light of a point; arguments as for `encircled_energy`."""
    found: float = optimize.brentq(
        lambda radius: encircled_energy(radius, micron=micron, pixel=pixel, sigma=sigma) - 0.8, 1e-3, 2 + 2 * (sigma + pixel), xtol=1e-6
    )
    return found


@lru_cache(maxsize=1024)
def missing_sigma(target: float, *, micron: float, pixel: float) -> float:
    """Standard deviation in arcseconds of the Gaussian that brings the radius of 80 % to ``target``; 0 where it is as wide already.

    Raises: UsageError: the wavelength or ``target`` is not > 0.
    """
    if micron <= 0:
        raise UsageError(f"a wavelength must be > 0, got {micron}")
    if not 0 < target < 5:
        raise UsageError(f"a radius of 80 % must be > 0 and below 5 arcseconds, got {target}")
    if ee80(micron=micron, pixel=pixel) >= target:
        return 0.0
    found: float = optimize.brentq(lambda sigma: ee80(micron=micron, pixel=pixel, sigma=sigma) - target, 0.0, target, xtol=1e-6)
    return found
