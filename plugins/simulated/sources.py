"""Lists of point sources, how bright they are, and how they look through a filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zoo.plugins.simulated.fields import Array

HALF_FIELD = 150.0
"""Half the side, in arcseconds, of the square of sky that a scene fills; every pointing lies inside it."""


@dataclass(frozen=True)
class Sources:
    """Point sources.

    Attributes:
        u, v: ``(n,)`` float32, offsets from the target in arcseconds.
        flux: ``(n,)`` float32, electrons per second through F606W.
        colour: ``(n,)`` float32, -1 for the bluest and 1 for the reddest.
    """

    u: Array
    v: Array
    flux: Array
    colour: Array

    def __len__(self) -> int:
        return len(self.flux)

    @classmethod
    def join(cls, parts: list[Sources]) -> Sources:
        """All the sources of several lists, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("u", "v", "flux", "colour")))

    @classmethod
    def at(cls, u: Array, v: Array, flux: Array, colour: float, rng: np.random.Generator) -> Sources:
        """Sources with colours scattered by 0.35 about ``colour``; the brighter half of the range of flux is no redder than the rest."""
        tint = np.clip(rng.normal(colour, 0.35, len(u)), -1.2, 1.2)
        return cls(u.astype(np.float32), v.astype(np.float32), flux.astype(np.float32), tint.astype(np.float32))


def power_law(rng: np.random.Generator, n: int, low: float, high: float, slope: float) -> Array:
    """``n`` fluxes between ``low`` and ``high`` with ``N(> f)`` falling as ``f**-slope``."""
    top, bottom = low**-slope, high**-slope
    return np.asarray((bottom + (top - bottom) * rng.random(n)) ** (-1.0 / slope), np.float32)


def old_population(rng: np.random.Generator, n: int, turnoff: float, faint: float) -> Array:
    """Fluxes of an old cluster's stars: main sequence, giant branch and a horizontal branch.

    Args:
        rng: draws the fluxes.
        n: number of stars.
        turnoff: flux of the main-sequence turn-off.
        faint: faintest star, relative to the turn-off.
    """
    flux = power_law(rng, n, faint, 1.0, 0.35)
    kind = rng.random(n)
    giants = kind < 0.035
    flux[giants] = power_law(rng, int(giants.sum()), 1.0, 250.0, 0.55)
    horizontal = (kind >= 0.035) & (kind < 0.041)
    flux[horizontal] = 22.0 * np.exp(rng.normal(0.0, 0.12, int(horizontal.sum()))).astype(np.float32)
    return flux * turnoff


def field_stars(rng: np.random.Generator, density: float, slope: float) -> Sources:
    """Stars of the Milky Way, spread evenly.

    Args:
        rng: draws the stars.
        density: stars brighter than one electron per second per square arcminute.
        slope: of the cumulative counts in flux.
    """
    area = (2 * HALF_FIELD / 60) ** 2
    n = int(rng.poisson(density * area))
    u, v = rng.uniform(-HALF_FIELD, HALF_FIELD, (2, n)).astype(np.float32)
    return Sources.at(u, v, power_law(rng, n, 1.0, 6e4, slope), 0.3, rng)


def scatter(rng: np.random.Generator, density: Callable[[Array, Array], Array], n: int) -> tuple[Array, Array]:
    """Positions of ``n`` sources drawn from a surface density over the scene's square.

    Args:
        rng: draws the positions.
        density: of ``(u, v)``, any unit, >= 0.
        n: number of positions.

    Returns:
        ``u`` and ``v``, ``(n,)`` float32, in arcseconds.
    """
    cells = 320
    side = 2 * HALF_FIELD / cells
    axis = ((np.arange(cells) + 0.5) * side - HALF_FIELD).astype(np.float32)
    u, v = np.meshgrid(axis, axis)
    weight = np.cumsum(density(u, v).ravel().astype(np.float64))
    cell = np.searchsorted(weight, rng.random(n) * weight[-1])
    jitter = rng.uniform(-0.5 * side, 0.5 * side, (2, n)).astype(np.float32)
    return u.ravel()[cell] + jitter[0], v.ravel()[cell] + jitter[1]
