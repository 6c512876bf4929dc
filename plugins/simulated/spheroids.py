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
        run = np.sqrt((x / self.scale) ** 2 + 0.02)
        clump = self.clumps.detailed(x, z * 2.0, pixel, 0.3)
        thread = self.threads.detailed(x, z * 1.5, pixel, 0.3)
        lift = np.abs(z) / self.height
        thin = np.exp(-run - lift) * (1 + 0.35 * np.clip(clump, -2, 3))
        thick = 0.25 * np.exp(-0.8 * run - 0.4 * lift)
        radius = np.sqrt(x * x + (z * 1.5) ** 2 + 0.16)
        spheroid = self.bulge * sersic(radius, self.bulge_scale, 2.0)
        plane = z / self.height - self.tilt - 0.12 * thread
        # Filaments leave the plane where the texture is high.
        reach = 0.25 + 0.35 * np.clip(thread, 0, 2.5)
        depth = (self.dust * band.extinction) * np.exp(-0.6 * run) * np.exp(-(np.abs(plane / reach) ** 1.5))
        depth = depth * np.clip(1 + 0.5 * thread, 0.15, 3)
        blue = band.stars(-0.5) + 0.05 * band.line
        knots = np.exp(-run - 2.5 * np.abs(plane)) * np.exp(1.0 * np.clip(clump, -3, 3)) * 0.25
        veiled = 0.25 + 0.75 * np.exp(-depth)
        return np.asarray((thin + thick + spheroid) * band.stars(0.7) * veiled + knots * blue * np.exp(-depth), np.float32)

    def points(self, rng: np.random.Generator, n: int, brightest: float) -> Sources:
        """Young clusters near the plane and old ones in the halo."""

        def density(u: Array, v: Array) -> Array:
            x, z = rotate(u, v, self.angle)
            run, lift = np.abs(x) / self.scale, np.abs(z) / self.height
            return np.asarray(np.exp(-run - lift) + 0.01 * np.exp(-0.7 * run - 0.15 * lift), np.float32)

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
        power = self.boxy
        far = (np.abs(x) ** power + np.abs(y / self.axis_ratio) ** power) ** (1 / self.boxy)
        return np.asarray(np.sqrt(far * far + (self.core**2)), np.float32)

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets (arcseconds) through ``band``, relative to the effective radius in F606W."""
        radius = self._radius(u, v)
        stars = sersic(radius, self.scale, self.index)
        if self.disc:
            x, y = rotate(u, v, self.angle)
            thin = np.sqrt(x * x + (y / (0.35 * self.axis_ratio)) ** 2)
            stars += 2.0 * self.disc * np.exp(-thin / (0.5 * self.scale))
        if self.shells > 0.05:
            wave = 9.0 * np.log1p(radius / (0.3 * self.scale))
            saw = wave / (2 * np.pi) - np.floor(wave / (2 * np.pi))
            side = np.clip(np.cos(np.arctan2(v, u) - self.dust_angle), 0, 1)
            stars = stars * (1 + self.shells * saw * side)
        if self.dust:
            stars = stars * np.exp(-self._dust(u, v, pixel) * band.extinction)
        return np.asarray(stars * band.stars(0.8), np.float32)

    def _dust(self, u: Array, v: Array, pixel: float) -> Array:
        """Optical depth of the ring or lane."""
        x, y = rotate(u, v, self.dust_angle)
        thread = self.threads.detailed(x, y * 2.0, pixel, 0.3)
        ring = np.sqrt(x * x + ((y + (0.06 * self.dust_radius) * thread) / self.dust_ratio) ** 2) / (self.dust_radius)
        waves = np.clip(1 + 0.8 * thread, 0, 3)
        return np.asarray(self.dust * np.exp(-((ring - 0.6) ** 2) / 0.2) * waves, np.float32)

    def points(self, rng: np.random.Generator, n: int, brightest: float) -> Sources:
        """Globular clusters, spread wider than the light, with a log-normal luminosity function."""

        def density(u: Array, v: Array) -> Array:
            return (1 + self._radius(u, v) / (0.4 * self.scale)) ** -2.3

        u, v = scatter(rng, density, n)
        flux = brightest * 10 ** (-0.4 * np.clip(rng.normal(4.0, 1.3, n), 0, 9))
        return Sources.at(u, v, flux.astype(np.float32), 0.5, rng)


@dataclass(frozen=True)
class Irregular:
    """A dwarf or Magellanic irregular: lumps of light around an off-centre body, with knots; brightness 1 is the body's centre.

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
        return cls(
            u=spread[0].astype(np.float32),
            v=spread[1].astype(np.float32),
            size=size.astype(np.float32),
            ratio=rng.uniform(0.3, 0.8, k).astype(np.float32),
            angle=direction.astype(np.float32),
            bright=bright.astype(np.float32),
            roughness=rng.uniform(0.3, 0.7),
            dust=log_uniform(rng, 0.2, 1.2),
            clumps=Texture.power_law(rng, 2.5, 0.3, cutoff=5.0),
            threads=Texture.power_law(rng, 2.8, 0.3, cutoff=5.0),
            hills=Texture.power_law(rng, 4.0, 0.3, cutoff=2.0),
        )

    def _body(self, u: Array, v: Array) -> Array:
        """The smooth part."""
        hill = self.hills(u, v)
        u, v = u + 5.0 * hill, v + 5.0 * np.roll(hill, 1)
        total = np.zeros_like(u)
        for k in range(len(self.size)):
            x, y = rotate(u - self.u[k], v - self.v[k], float(self.angle[k]))
            radius = np.sqrt(x * x + (y / self.ratio[k]) ** 2 + 1.0) / (0.5 * self.size[k])
            total += self.bright[k] * np.exp(-radius)
        return total

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets (arcseconds) through ``band``, relative to the body's centre in F606W."""
        body = self._body(u, v)
        clump = np.clip(self.clumps.detailed(u, v, pixel, 0.3), -3, 3.2)
        thread = self.threads.detailed(u, v, pixel, 0.3)
        depth = (self.dust * band.extinction) * np.minimum(2.0 * body, 1) * np.clip(thread - 0.2, 0, 2)
        stars = body * np.exp(-depth) * band.stars(0.1)
        knots = body * np.sqrt(body) * np.exp((2.0 * self.roughness) * (clump - 1.0))
        return np.asarray(stars + knots * (0.5 * band.stars(-0.6) + 0.5 * band.line * (band.width + 0.03)), np.float32)

    def points(self, rng: np.random.Generator, n: int, brightest: float) -> Sources:
        """Resolved giants everywhere and young clusters in the lumps."""

        def density(u: Array, v: Array) -> Array:
            return np.asarray(self._body(u, v) * np.exp(self.roughness * np.clip(self.clumps(u, v), -3, 3)), np.float32)

        u, v = scatter(rng, density, n)
        return Sources.at(u, v, power_law(rng, n, brightest / 400.0, brightest, 0.9), -0.2, rng)
