"""Galaxies that are no spiral seen from above: edge-on discs, ellipticals and lenticulars, irregulars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zoo.plugins.simulated.bands import Band
from zoo.plugins.simulated.fields import Array, Texture, log_uniform, rotate
from zoo.plugins.simulated.galaxies import sersic
from zoo.plugins.simulated.sources import Sources, power_law, scatter


@dataclass(frozen=True)
class EdgeOn:
    """A disc seen from its side, with a bulge and a lane of dust that throws off filaments; brightness 1 is the disc's centre.

    Attributes:
        angle: of the disc on the sky, in radians.
        scale, height: scale length and scale height in arcseconds.
        tilt: offset of the dust from the plane of light, in heights.
        dust: optical depth of the lane at the centre.
        bulge, bulge_scale: brightness at its effective radius, that radius in arcseconds.
        clumps, threads: textures of the light and of the dust.
    """

    angle: float
    scale: float
    height: float
    tilt: float
    dust: float
    bulge: float
    bulge_scale: float
    clumps: Texture
    threads: Texture

    @classmethod
    def draw(cls, rng: np.random.Generator) -> EdgeOn:
        """A random edge-on galaxy."""
        scale = log_uniform(rng, 22.0, 70.0)
        return cls(
            angle=rng.uniform(0, np.pi),
            scale=scale,
            height=scale * rng.uniform(0.09, 0.2),
            tilt=rng.uniform(-0.6, 0.6),
            dust=log_uniform(rng, 1.2, 5.0),
            bulge=log_uniform(rng, 0.1, 1.5),
            bulge_scale=scale * rng.uniform(0.15, 0.45),
            clumps=Texture.power_law(rng, 2.6, 0.3, cutoff=6.0),
            threads=Texture.power_law(rng, 2.7, 0.3, cutoff=6.0),
        )

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets (arcseconds) through ``band``, relative to the disc's centre in F606W."""
        x, z = rotate(u, v, self.angle)
        run = np.sqrt((x / np.float32(self.scale)) ** 2 + np.float32(0.02))
        clump = self.clumps.detailed(x, z * np.float32(2.0), pixel, 0.3)
        thread = self.threads.detailed(x, z * np.float32(1.5), pixel, 0.3)
        lift = np.abs(z) / np.float32(self.height)
        thin = np.exp(-run - lift) * (1 + np.float32(0.35) * np.clip(clump, -2, 3))
        thick = np.float32(0.25) * np.exp(np.float32(-0.8) * run - np.float32(0.4) * lift)
        radius = np.sqrt(x * x + (z * np.float32(1.5)) ** 2 + np.float32(0.16))
        spheroid = np.float32(self.bulge) * sersic(radius, self.bulge_scale, 2.0)
        plane = z / np.float32(self.height) - np.float32(self.tilt) - np.float32(0.12) * thread
        # Filaments leave the plane where the texture is high.
        reach = np.float32(0.25) + np.float32(0.35) * np.clip(thread, 0, 2.5)
        depth = (
            np.float32(self.dust * band.extinction) * np.exp(np.float32(-0.6) * run) * np.exp(-(np.abs(plane / reach) ** np.float32(1.5)))
        )
        depth = depth * np.clip(1 + np.float32(0.5) * thread, np.float32(0.15), 3)
        blue = band.stars(-0.5) + 0.05 * band.line
        knots = np.exp(-run - np.float32(2.5) * np.abs(plane)) * np.exp(np.float32(1.0) * np.clip(clump, -3, 3)) * np.float32(0.25)
        veiled = np.float32(0.25) + np.float32(0.75) * np.exp(-depth)
        return ((thin + thick + spheroid) * np.float32(band.stars(0.7)) * veiled + knots * np.float32(blue) * np.exp(-depth)).astype(
            np.float32
        )

    def points(self, rng: np.random.Generator, n: int, brightest: float) -> Sources:
        """Young clusters near the plane and old ones in the halo."""

        def density(u: Array, v: Array) -> Array:
            x, z = rotate(u, v, self.angle)
            run, lift = np.abs(x) / np.float32(self.scale), np.abs(z) / np.float32(self.height)
            return np.exp(-run - lift) + np.float32(0.01) * np.exp(np.float32(-0.7) * run - np.float32(0.15) * lift)

        u, v = scatter(rng, density, n)
        return Sources.at(u, v, power_law(rng, n, brightest / 400.0, brightest, 0.9), 0.0, rng)


@dataclass(frozen=True)
class Elliptical:
    """An elliptical or lenticular galaxy, perhaps with shells, a disc of dust or a dust lane; brightness 1 is at the effective radius.

    Attributes:
        angle, axis_ratio: of the isophotes.
        scale: effective radius in arcseconds.
        index: Sersic index.
        boxy: exponent of the isophotes; 2 is an ellipse, more is boxy.
        core: radius of the flat core in arcseconds.
        disc: share of an embedded exponential disc (a lenticular).
        dust, dust_radius, dust_angle, dust_ratio: a ring or lane of dust, its size in arcseconds, direction and flattening.
        shells: contrast of the shells.
        threads: texture of the dust.
    """

    angle: float
    axis_ratio: float
    scale: float
    index: float
    boxy: float
    core: float
    disc: float
    dust: float
    dust_radius: float
    dust_angle: float
    dust_ratio: float
    shells: float
    threads: Texture

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Elliptical:
        """A random early-type galaxy; half of them hold dust."""
        return cls(
            angle=rng.uniform(0, np.pi),
            axis_ratio=rng.uniform(0.4, 1.0),
            scale=log_uniform(rng, 18.0, 70.0),
            index=rng.uniform(1.8, 4.5),
            boxy=rng.uniform(1.9, 2.5),
            core=log_uniform(rng, 0.3, 2.5),
            disc=rng.uniform(0.0, 1.5) if rng.random() < 0.4 else 0.0,
            dust=log_uniform(rng, 0.2, 1.3) if rng.random() < 0.6 else 0.0,
            dust_radius=log_uniform(rng, 4.0, 30.0),
            dust_angle=rng.uniform(0, np.pi),
            dust_ratio=rng.uniform(0.12, 0.6),
            shells=rng.uniform(0.0, 0.15),
            threads=Texture.power_law(rng, 2.7, 0.3, cutoff=6.0),
        )

    def _radius(self, u: Array, v: Array) -> Array:
        """Radius along the major axis, in arcseconds."""
        x, y = rotate(u, v, self.angle)
        power = np.float32(self.boxy)
        far = (np.abs(x) ** power + np.abs(y / np.float32(self.axis_ratio)) ** power) ** np.float32(1 / self.boxy)
        return np.sqrt(far * far + np.float32(self.core**2))

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets (arcseconds) through ``band``, relative to the effective radius in F606W."""
        radius = self._radius(u, v)
        stars = sersic(radius, self.scale, self.index)
        if self.disc:
            x, y = rotate(u, v, self.angle)
            thin = np.sqrt(x * x + (y / np.float32(0.35 * self.axis_ratio)) ** 2)
            stars = stars + np.float32(2.0 * self.disc) * np.exp(-thin / np.float32(0.5 * self.scale))
        if self.shells > 0.05:
            wave = np.float32(9.0) * np.log1p(radius / np.float32(0.3 * self.scale))
            saw = wave / np.float32(2 * np.pi) - np.floor(wave / np.float32(2 * np.pi))
            side = np.clip(np.cos(np.arctan2(v, u) - np.float32(self.dust_angle)), 0, 1)
            stars = stars * (1 + np.float32(self.shells) * saw * side)
        if self.dust:
            stars = stars * np.exp(-self._dust(u, v, pixel) * np.float32(band.extinction))
        return (stars * np.float32(band.stars(0.8))).astype(np.float32)

    def _dust(self, u: Array, v: Array, pixel: float) -> Array:
        """Optical depth of the ring or lane."""
        x, y = rotate(u, v, self.dust_angle)
        thread = self.threads.detailed(x, y * np.float32(2.0), pixel, 0.3)
        ring = np.sqrt(x * x + ((y + np.float32(0.06 * self.dust_radius) * thread) / np.float32(self.dust_ratio)) ** 2) / np.float32(
            self.dust_radius
        )
        waves = np.clip(1 + np.float32(0.8) * thread, 0, 3)
        return np.float32(self.dust) * np.exp(-((ring - np.float32(0.6)) ** 2) / np.float32(0.2)) * waves

    def points(self, rng: np.random.Generator, n: int, brightest: float) -> Sources:
        """Globular clusters, spread wider than the light, with a log-normal luminosity function."""

        def density(u: Array, v: Array) -> Array:
            return (1 + self._radius(u, v) / np.float32(0.4 * self.scale)) ** np.float32(-2.3)

        u, v = scatter(rng, density, n)
        flux = brightest * 10 ** (-0.4 * np.clip(rng.normal(4.0, 1.3, n), 0, 9))
        return Sources.at(u, v, flux.astype(np.float32), 0.5, rng)


@dataclass(frozen=True)
class Irregular:
    """A dwarf or Magellanic irregular: lumps of light around an off-centre body, with star-forming knots; brightness 1 is the body's centre.

    Attributes:
        u, v, size, ratio, angle, bright: ``(k,)`` arrays, the lumps' positions and sizes in arcseconds, flattening, direction, brightness.
        roughness: how much clumps modulate the light, in e-folds.
        dust: optical depth of its clouds.
        clumps, threads, hills: textures of the light, the dust and the large shape.
    """

    u: Array
    v: Array
    size: Array
    ratio: Array
    angle: Array
    bright: Array
    roughness: float
    dust: float
    clumps: Texture
    threads: Texture
    hills: Texture

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Irregular:
        """A random irregular of three to six lumps."""
        k = int(rng.integers(3, 7))
        body = log_uniform(rng, 25.0, 55.0)
        spread = rng.normal(0.0, 0.55 * body, (2, k))
        spread[:, 0] = 0.0
        size = body * np.concatenate([[1.0], np.exp(rng.uniform(np.log(0.2), np.log(0.7), k - 1))])
        bright = np.concatenate([[1.0], np.exp(rng.uniform(np.log(0.25), np.log(1.6), k - 1))])
        direction = rng.uniform(0, np.pi) + rng.normal(0.0, 0.4, k)
        lumps = [a.astype(np.float32) for a in (spread[0], spread[1], size, rng.uniform(0.3, 0.8, k), direction, bright)]
        return cls(
            *lumps,
            roughness=rng.uniform(0.3, 0.7),
            dust=log_uniform(rng, 0.2, 1.2),
            clumps=Texture.power_law(rng, 2.5, 0.3, cutoff=5.0),
            threads=Texture.power_law(rng, 2.8, 0.3, cutoff=5.0),
            hills=Texture.power_law(rng, 4.0, 0.3, cutoff=2.0),
        )

    def _body(self, u: Array, v: Array) -> Array:
        """The smooth part."""
        hill = self.hills(u, v)
        u, v = u + np.float32(5.0) * hill, v + np.float32(5.0) * np.roll(hill, 1)
        total = np.zeros_like(u)
        for k in range(len(self.size)):
            x, y = rotate(u - self.u[k], v - self.v[k], float(self.angle[k]))
            radius = np.sqrt(x * x + (y / self.ratio[k]) ** 2 + np.float32(1.0)) / (np.float32(0.5) * self.size[k])
            total += self.bright[k] * np.exp(-radius)
        return total

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets (arcseconds) through ``band``, relative to the body's centre in F606W."""
        body = self._body(u, v)
        clump = np.clip(self.clumps.detailed(u, v, pixel, 0.3), -3, 3.2)
        thread = self.threads.detailed(u, v, pixel, 0.3)
        depth = np.float32(self.dust * band.extinction) * np.minimum(2.0 * body, 1) * np.clip(thread - np.float32(0.2), 0, 2)
        stars = body * np.exp(-depth) * np.float32(band.stars(0.1))
        knots = body * np.sqrt(body) * np.exp(np.float32(2.0 * self.roughness) * (clump - np.float32(1.0)))
        return (stars + knots * np.float32(0.5 * band.stars(-0.6) + 0.5 * band.line * (band.width + 0.03))).astype(np.float32)

    def points(self, rng: np.random.Generator, n: int, brightest: float) -> Sources:
        """Resolved giants everywhere and young clusters in the lumps."""

        def density(u: Array, v: Array) -> Array:
            return self._body(u, v) * np.exp(np.float32(self.roughness) * np.clip(self.clumps(u, v), -3, 3))

        u, v = scatter(rng, density, n)
        return Sources.at(u, v, power_law(rng, n, brightest / 400.0, brightest, 0.9), -0.2, rng)
