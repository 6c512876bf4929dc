"""Star clusters, resolved into stars: globular, open, and very young ones that still sit in their gas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zoo.plugins.simulated.bands import Band
from zoo.plugins.simulated.fields import Array, Texture, log_uniform, rotate
from zoo.plugins.simulated.sources import Sources, old_population, power_law, scatter


@dataclass(frozen=True)
class Globular:
    """A King-like cluster of old stars; brightness 1 is the centre of its unresolved light.

    Attributes:
        core, tidal: radii in arcseconds.
        angle, axis_ratio: of its slight flattening.
        stars: how many are drawn one by one.
        unresolved: share of the light that is too faint to be drawn star by star.
        faint: faintest star drawn, relative to the turn-off.
    """

    core: float
    tidal: float
    angle: float
    axis_ratio: float
    stars: int
    unresolved: float
    faint: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Globular:
        """A random globular cluster, near (thousands of bright stars) or far (a glow with grains)."""
        core = log_uniform(rng, 4.0, 40.0)
        return cls(
            core=core,
            tidal=core * log_uniform(rng, 6.0, 30.0) + 30.0,
            angle=rng.uniform(0, np.pi),
            axis_ratio=rng.uniform(0.8, 1.0),
            stars=int(log_uniform(rng, 1500, 40_000)),
            unresolved=rng.uniform(0.2, 0.75),
            faint=0.02,
        )

    def _king(self, u: Array, v: Array) -> Array:
        """King's (1962) surface density, 1 at the centre."""
        x, y = rotate(u, v, self.angle)
        square = (x * x + (y / self.axis_ratio) ** 2) / (self.core**2)
        edge = 1.0 / math.sqrt(1.0 + (self.tidal / self.core) ** 2)
        return np.maximum(1.0 / np.sqrt(1.0 + square) - edge, 0) ** 2

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Unresolved light of the faintest stars at sky offsets (arcseconds) through ``band``."""
        return np.asarray(self._king(u, v) * band.stars(0.6), np.float32)

    def points(self, rng: np.random.Generator, total: float) -> Sources:
        """The stars that are drawn one by one; with the unresolved light the cluster gives ``total`` electrons per second."""
        u, v = scatter(rng, self._king, self.stars)
        flux = old_population(rng, self.stars, 1.0, self.faint)
        flux *= (1 - self.unresolved) * total / flux.sum()
        return Sources.at(u, v, flux, 0.4, rng)


@dataclass(frozen=True)
class Open:
    """A young cluster: bright stars in one or more groups, clumpy where it is very young.

    Attributes:
        u, v, size: ``(k,)`` centres and radii of its groups in arcseconds.
        weight: ``(k,)`` shares of the stars.
        stars: how many are drawn.
        faintest, brightest: fluxes in electrons per second.
        slope: of the cumulative luminosity function.
        patchiness: how much the texture gathers the stars, in e-folds.
        patches: that texture.
    """

    u: Array
    v: Array
    size: Array
    weight: Array
    stars: int
    faintest: float
    brightest: float
    slope: float
    patchiness: float
    patches: Texture

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Open:
        """A random open cluster of one to four groups."""
        k = int(rng.integers(1, 5))
        centre = rng.normal(0.0, 28.0, (2, k))
        centre[:, 0] *= 0.3
        size = np.exp(rng.uniform(np.log(7.0), np.log(32.0), k))
        weight = np.sort(rng.dirichlet(np.ones(k)))[::-1]
        faintest = log_uniform(rng, 0.3, 3.0)
        return cls(
            u=centre[0].astype(np.float32),
            v=centre[1].astype(np.float32),
            size=size.astype(np.float32),
            weight=weight.astype(np.float32),
            stars=int(log_uniform(rng, 500, 12_000)),
            faintest=faintest,
            brightest=faintest * log_uniform(rng, 5e2, 1e4),
            slope=rng.uniform(0.5, 0.75),
            patchiness=rng.uniform(0.0, 1.0),
            patches=Texture.power_law(rng, 2.6, 0.3, cutoff=4.0),
        )

    def density(self, u: Array, v: Array) -> Array:
        """Surface density of stars at sky offsets, any unit."""
        return self._gathered(u, v, self.patchiness)

    def _gathered(self, u: Array, v: Array, patchiness: float) -> Array:
        """The groups, about 1 at the centre of the densest, gathered into patches."""
        total = np.zeros_like(u)
        peak = np.max(self.weight / self.size**2)
        for k in range(len(self.size)):
            square = ((u - self.u[k]) ** 2 + (v - self.v[k]) ** 2) / self.size[k] ** 2
            total += self.weight[k] / self.size[k] ** 2 / peak * (1 + square) ** -1.6
        return np.asarray(total * np.exp(patchiness * np.clip(self.patches(u, v), -3, 3)), np.float32)

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Unresolved light of the faintest stars, which are spread more evenly than the bright ones."""
        del pixel
        return self._gathered(u, v, 0.5 * self.patchiness) * band.stars(0.2)

    def points(self, rng: np.random.Generator) -> Sources:
        """The stars, bluest where they are brightest."""
        u, v = scatter(rng, self.density, self.stars)
        flux = power_law(rng, self.stars, self.faintest, self.brightest, self.slope)
        found = Sources.at(u, v, flux, 0.2, rng)
        blue = 0.12 * np.log(flux / self.faintest)
        return Sources(found.u, found.v, found.flux, np.clip(found.colour - blue, -1.2, 1.2).astype(np.float32))
