"""Emission nebulae: turbulent gas lit by hot stars, with ionisation fronts, filaments, and dust in front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zoo.plugins.simulated.bands import Band
from zoo.plugins.simulated.fields import Array, Texture, bilinear, log_uniform, rotate

ANGLES, RADII, REACH = 1024, 384, 320.0
"""The rays that light is followed along: their number, their steps, and their length in arcseconds."""


@dataclass(frozen=True)
class Nebula:
    """Gas with fractal density around a hot star; brightness 1 is unshielded gas of mean density at the inner radius.

    Light of the star is followed outwards along rays and absorbed by the gas it ionises. The emission is the rate of absorption, so the
    sides of dense clumps that face the star shine, pillars stand where a clump shields what lies behind it, and the far side stays dark.

    Attributes:
        u, v: the hot star.
        inner: radius in arcseconds inside which light no longer rises; the wind's cavity.
        opacity: optical depth of gas of mean density over 100 arcseconds.
        contrast: spread of the logarithm of density, in e-folds.
        warp: how far, in arcseconds, turbulence drags the gas.
        veil: brightness of the layer that lies before and behind, relative to the lit gas.
        filaments: share of the thin bright threads.
        dust, dust_level: optical depth of the clouds in front, and how far above the mean the texture must be to make one.
        gas, swirl, sheet: textures of density, of the drag, and of the veil and the dust.
        flux: ``(ANGLES, RADII)`` light of the star left over along each ray.
    """

    u: float
    v: float
    inner: float
    opacity: float
    contrast: float
    warp: float
    veil: float
    filaments: float
    dust: float
    dust_level: float
    gas: Texture
    swirl: Texture
    sheet: Texture
    flux: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, *, slope: tuple[float, float]) -> Nebula:
        """A random nebula whose density has a power spectrum of a slope in the range ``slope``."""
        steepness = rng.uniform(*slope)
        distance, direction = rng.uniform(0.0, 85.0), rng.uniform(0, 2 * np.pi)
        unlit = cls(
            u=float(distance * np.cos(direction)),
            v=float(distance * np.sin(direction)),
            inner=log_uniform(rng, 30.0, 110.0),
            opacity=log_uniform(rng, 0.25, 2.0),
            contrast=rng.uniform(0.7, 1.4),
            warp=log_uniform(rng, 2.0, 12.0),
            veil=log_uniform(rng, 0.15, 1.0),
            filaments=rng.uniform(0.1, 0.8),
            dust=log_uniform(rng, 0.4, 4.0),
            dust_level=rng.uniform(0.0, 1.2),
            gas=Texture.power_law(rng, steepness, 0.3, cutoff=1.0),
            swirl=Texture.power_law(rng, 3.6, 0.3, cutoff=1.5),
            sheet=Texture.power_law(rng, steepness + 0.2, 0.3, cutoff=1.0),
            flux=np.ones((1, 1), np.float32),
        )
        return unlit.lit()

    def lit(self) -> Nebula:
        """The same nebula with the star's light followed along its rays."""
        angle = (np.arange(ANGLES, dtype=np.float32) * (2 * np.pi / ANGLES))[:, None]
        radius = ((np.arange(RADII, dtype=np.float32) + 0.5) * (REACH / RADII))[None, :]
        density = self._density(self.u + radius * np.cos(angle), self.v + radius * np.sin(angle), REACH)
        step = self.opacity * REACH / RADII / 100.0
        depth = np.cumsum(density * step, axis=1, dtype=np.float32) - density * step
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Nebula(**{**fields, "flux": np.exp(-depth)})

    def _dragged(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Where the gas seen at ``u``, ``v`` was before turbulence dragged it."""
        du = self.swirl(u, v)
        dv = self.swirl(v + 91.0, u + 17.0)
        return u + self.warp * du, v + self.warp * dv

    def _density(self, u: Array, v: Array, pixel: float) -> Array:
        """Density of the gas, 1 at the median."""
        a, b = self._dragged(u, v)
        return np.asarray(np.exp(self.contrast * np.clip(self.gas.detailed(a, b, pixel, 0.22), -3.5, 3.5)), np.float32)

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets (arcseconds) through ``band``."""
        a, b = self._dragged(u, v)
        gas = np.clip(self.gas.detailed(a, b, pixel, 0.22), -3.5, 3.5)
        density = np.exp(self.contrast * gas)
        x, y = u - self.u, v - self.v
        square = x * x + y * y
        turn = np.arctan2(y, x) * (ANGLES / (2 * np.pi))
        turn = np.where(turn < 0, turn + ANGLES, turn)
        closed = np.concatenate([self.flux, self.flux[:1]])
        left = bilinear(closed, turn, np.sqrt(square) * (RADII / REACH) - 0.5, wrap=False)
        lit = density * left / (1 + square / (self.inner**2))
        sheet = self.sheet.detailed(a + 53.0, b, pixel, 0.22)
        threads = np.exp(-((gas - sheet) ** 2) * 8.0) * self.filaments
        veil = self.veil * np.exp(0.6 * sheet) / (1 + square / (4 * self.inner**2))
        cloud = self.cloud(u, v, pixel)
        glow = (lit * (1 + threads) + veil) * np.exp(-cloud * band.extinction)
        # Lines carry most of the light; scattered starlight is the rest and blue.
        return np.asarray(glow * (0.75 * band.line * (band.width + 0.06) + 0.25 * band.stars(-0.6)), np.float32)

    def cloud(self, u: Array, v: Array, pixel: float) -> Array:
        """Optical depth, in F606W, of the dust in front."""
        x, y = rotate(u, v, 0.9)
        a, b = self._dragged(x, y)
        thick = self.sheet.detailed(a, b - 29.0, pixel, 0.22) - self.dust_level
        return np.asarray(self.dust * np.maximum(thick, 0), np.float32)
