"""One target's patch of sky: what glows, what twinkles, what hides, and how bright it all is."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from zoo.plugins.simulated.bands import ACS, Band
from zoo.plugins.simulated.clusters import Globular, Open
from zoo.plugins.simulated.fields import Array, Texture, log_uniform, stream
from zoo.plugins.simulated.galaxies import Spiral
from zoo.plugins.simulated.nebulae import Nebula
from zoo.plugins.simulated.sources import HALF_FIELD, Sources, field_stars
from zoo.plugins.simulated.spheroids import EdgeOn, Elliptical, Irregular

SKY = 50.0
"""Brightness of the sky through F606W in electrons per second and square arcsecond, before its own variation."""

PEAK = 40 * SKY
"""Brightest extended light; observers choose exposure times that keep cores below the full well."""

KINDS = MappingProxyType(
    {
        "galaxy": ("spiral", "elliptical", "spiral", "irregular", "flocculent", "edge-on"),
        "NSC": ("nebula", "globular", "young", "open", "nebula", "globular"),
    }
)
"""The kinds of target per class, in the order in which targets take them."""


class Light(Protocol):
    """Anything that glows without being a point."""

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets in arcseconds, through a band, for pixels of a size in arcseconds; any unit."""


@dataclass(frozen=True)
class Regime:
    """The ranges that scenes and exposures are drawn from.

    Attributes:
        pitch: of spiral arms, degrees.
        arms: numbers of arms.
        turbulence: slopes of the power spectrum of nebulae.
        density: field stars above one electron per second per square arcminute.
        sky: brightness of the sky relative to ``SKY``.
        blur: further standard deviation of the PSF in arcseconds.
    """

    pitch: tuple[float, float]
    arms: tuple[int, ...]
    turbulence: tuple[float, float]
    density: tuple[float, float]
    sky: tuple[float, float]
    blur: tuple[float, float]


REGIMES = MappingProxyType(
    {
        "standard": Regime((9.0, 28.0), (2, 2, 2, 3, 4), (2.6, 3.1), (2.0, 900.0), (0.6, 2.5), (0.0, 0.05)),
        "shifted": Regime((32.0, 45.0), (1, 5, 6), (3.3, 3.6), (950.0, 1500.0), (2.8, 6.0), (0.15, 0.3)),
    }
)


@dataclass(frozen=True)
class Scene:
    """A patch of sky around a target.

    Attributes:
        glow: what glows, with its brightness in electrons per second and square arcsecond through F606W where it is 1.
        sources: point sources of the target and of the field.
        veil: gas and dust that dims the field stars behind it, or ``None``.
        small: ``(6, n)`` background galaxies: u, v, radius, axis ratio, angle, electrons per second.
        grain: texture of the stars that are too faint to be drawn.
        graininess: its contrast.
        extent: radius in arcseconds within which the target can be recognised.
    """

    glow: tuple[tuple[float, Light], ...]
    sources: Sources
    veil: Nebula | None
    small: Array
    grain: Texture
    graininess: float
    extent: float

    def brightness(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Diffuse light of the target in electrons per second and square arcsecond; new array of the shape of ``u``."""
        total = np.zeros_like(u)
        for scale, painter in self.glow:
            total += scale * painter.light(u, v, band, pixel)
        return total * (1 + self.graininess * self.grain(u, v))


def compose(seed: int, target: int, kind: str, regime: Regime) -> Scene:
    """Draw the scene of a target.

    Brightness, background galaxies and numbers of point sources come from the same ranges for every kind; the field is thinner where the
    target itself is made of stars, so that a frame holds about as many stars whatever its class.

    Args:
        seed: the data set's seed.
        target: index of the target.
        kind: one of ``KINDS``.
        regime: ranges to draw from.
    """
    rng = stream(seed, target, "scene")
    contrast = log_uniform(rng, 0.4, 3.5) * SKY
    thinning = 0.25 if kind in {"globular", "open"} else 1.7 if kind in KINDS["galaxy"] else 0.8
    field = field_stars(rng, thinning * log_uniform(rng, *regime.density), rng.uniform(0.55, 0.8))
    n, brightest = int(log_uniform(rng, 400, 16_000)), log_uniform(rng, 6.0, 800.0)
    veil: Nebula | None = None
    parts: list[Sources] = []
    glow: list[tuple[float, Light]]
    if kind in {"spiral", "flocculent"}:
        spiral = Spiral.draw(rng, pitch=regime.pitch, arms=regime.arms, grand=kind == "spiral")
        parts.append(spiral.points(rng, n, brightest))
        glow, extent = [(_scale(spiral, contrast), spiral)], 2.0 * spiral.scale
    elif kind == "edge-on":
        edge = EdgeOn.draw(rng)
        parts.append(edge.points(rng, n, brightest))
        glow, extent = [(_scale(edge, 0.4 * contrast), edge)], edge.scale
    elif kind == "elliptical":
        early = Elliptical.draw(rng)
        parts.append(early.points(rng, n // 2, brightest))
        glow, extent = [(_scale(early, 0.7 * contrast), early)], 2.0 * early.scale
    elif kind == "irregular":
        irregular = Irregular.draw(rng)
        parts.append(irregular.points(rng, n, brightest))
        glow, extent = [(_scale(irregular, contrast), irregular)], float(1.5 * irregular.size[0])
    elif kind == "globular":
        globular = Globular.draw(rng)
        area = _integral(globular)
        total = min(contrast * 180.0**2, PEAK * area)
        parts.append(globular.points(rng, total))
        glow, extent = [(globular.unresolved * total / area, globular)], 0.5 * globular.tidal
    else:
        glow, extent = [], 80.0
        if kind in {"nebula", "young"}:
            veil = Nebula.draw(rng, slope=regime.turbulence)
            glow.append((_scale(veil, contrast), veil))
        if kind in {"open", "young"} or rng.random() < 0.5:
            cluster = Open.draw(rng)
            stars = cluster.points(rng)
            parts.append(stars)
            glow.append((min(log_uniform(rng, 0.15, 2.0) * float(stars.flux.sum()) / _integral(cluster), 0.2 * PEAK), cluster))
            extent = extent if veil else 60.0
    parts.append(field)
    return Scene(
        glow=tuple(glow),
        sources=Sources.join(parts),
        veil=veil,
        small=_background(rng),
        grain=Texture.power_law(rng, 0.6, 0.3),
        graininess=log_uniform(rng, 0.01, 0.08),
        extent=extent,
    )


def _scale(painter: Light, level: float) -> float:
    """The factor that brings the 85th percentile of the light within 90 arcseconds to ``level``, the brightest part at most to ``PEAK``."""
    axis = np.linspace(-90, 90, 96, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    typical, brightest = np.percentile(painter.light(u, v, ACS.bands[3], 0.2), (85, 99.9))
    return float(min(level / typical, PEAK / brightest))


def _integral(painter: Light) -> float:
    """The light over the whole scene where the brightest point is about 1, in square arcseconds."""
    cells = 480
    side = 2 * HALF_FIELD / cells
    axis = ((np.arange(cells) + 0.5) * side - HALF_FIELD).astype(np.float32)
    u, v = np.meshgrid(axis, axis)
    return float(painter.light(u, v, ACS.bands[3], side).sum(dtype=np.float64)) * side * side


def _background(rng: np.random.Generator) -> Array:
    """Small, far galaxies all over the field."""
    n = int(rng.poisson(log_uniform(rng, 60, 500)))
    flux = 2.0 * rng.random(n) ** -1.25
    rows = [
        rng.uniform(-HALF_FIELD, HALF_FIELD, n), rng.uniform(-HALF_FIELD, HALF_FIELD, n),
        0.25 * np.minimum(flux, 400.0) ** 0.3 * np.exp(rng.normal(0.0, 0.3, n)), rng.uniform(0.25, 1.0, n),
        rng.uniform(0, np.pi, n), np.minimum(flux, 400.0),
    ]  # fmt: skip
    return np.array(rows, np.float32)
