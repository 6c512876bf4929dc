"""Spiral galaxies seen from above or tilted, and the parts that every galaxy painter shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zoo.plugins.simulated.bands import Band
from zoo.plugins.simulated.fields import Array, Texture, log_uniform, rotate
from zoo.plugins.simulated.sources import Sources, power_law, scatter


def sersic(radius: Array, effective: float, index: float) -> Array:
    """Sersic profile, 1 at the effective radius; ``radius`` and ``effective`` in the same unit."""
    b = 2.0 * index - 1.0 / 3.0 + 0.009876 / index
    return np.asarray(np.exp(-b * ((radius / effective) ** (1.0 / index) - 1.0)), np.float32)


@dataclass(frozen=True)
class Plane:
    """Where a galaxy's disc lies on the sky.

    Attributes:
        angle: of the major axis, in radians.
        axis_ratio: cosine of the inclination.
    """

    angle: float
    axis_ratio: float

    def __call__(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Offsets in the disc's own plane for sky offsets, all in arcseconds."""
        x, y = rotate(u, v, self.angle)
        return x, y / self.axis_ratio


@dataclass(frozen=True)
class Spiral:
    """A disc galaxy with arms, feathers, dust lanes, perhaps a bar, and a bulge; brightness 1 is the old disc's centre.

    Attributes:
        plane: tilt of the disc.
        scale: exponential scale length in arcseconds.
        arms: number of arms.
        pitch: tangent of the pitch angle; negative winds the other way.
        phase: of the first arm, in radians.
        sharpness: of the arms; the larger, the narrower.
        young: light of the arms relative to the old disc.
        flocculence: how much feathers break up the arms, in e-folds.
        dust: optical depth of the lanes at the centre of the disc.
        bar: length of the bar in scale lengths, 0 for none.
        bulge, bulge_scale, bulge_index: brightness at its effective radius, that radius in scale lengths, Sersic index.
        lopsided: strength of the one-sided part of the disc.
        clumps, threads, hills: textures of the arms, of the dust, and of the wandering of the arms.
    """

    plane: Plane
    scale: float
    arms: int
    pitch: float
    phase: float
    sharpness: float
    young: float
    flocculence: float
    dust: float
    bar: float
    bulge: float
    bulge_scale: float
    bulge_index: float
    lopsided: float
    clumps: Texture
    threads: Texture
    hills: Texture

    @classmethod
    def draw(cls, rng: np.random.Generator, *, pitch: tuple[float, float], arms: tuple[int, ...], grand: bool) -> Spiral:
        """A spiral with a pitch angle from ``pitch`` (degrees) and one of the numbers of ``arms``; flocculent if not ``grand``."""
        barred = rng.random() < 0.45
        return cls(
            plane=Plane(rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0)),
            scale=log_uniform(rng, 22.0, 70.0),
            arms=int(rng.choice(arms)),
            pitch=float(np.tan(np.deg2rad(rng.uniform(*pitch))) * rng.choice([-1.0, 1.0])),
            phase=rng.uniform(0, 2 * np.pi),
            sharpness=rng.uniform(1.0, 3.5) if grand else rng.uniform(0.2, 0.7),
            young=log_uniform(rng, 0.35, 1.6),
            flocculence=rng.uniform(0.5, 0.8) if grand else rng.uniform(0.7, 1.0),
            dust=log_uniform(rng, 0.5, 2.0),
            bar=rng.uniform(0.4, 1.1) if barred else 0.0,
            bulge=log_uniform(rng, 0.2, 3.0),
            bulge_scale=log_uniform(rng, 0.06, 0.3),
            bulge_index=rng.uniform(1.0, 3.0),
            lopsided=rng.uniform(0.0, 0.3),
            clumps=Texture.power_law(rng, 2.5, 0.3, cutoff=8.0),
            threads=Texture.power_law(rng, 2.9, 0.3, cutoff=5.0),
            hills=Texture.power_law(rng, 3.6, 0.3, cutoff=2.0),
        )

    def _geometry(self, u: Array, v: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
        """x, y and radius in scale lengths, arm wave (-1 to 1), sheared coordinates."""
        x, y = self.plane(u, v)
        hill = self.hills(x, y)
        x, y = x / self.scale, y / self.scale
        radius = np.sqrt(x * x + y * y + (1e-4))
        twist = np.log(radius) / self.pitch
        angle = np.arctan2(y, x) - twist
        wobble = 0.6 * hill
        wave = self.arms * (angle + self.phase) + wobble
        # Feathers are wound less tightly than the arms that they leave.
        shear = angle + twist - np.log(radius) * math.copysign(1.5, self.pitch)
        return x, y, radius, wave, radius * np.cos(shear), radius * np.sin(shear)

    def _arm(self, radius: Array, wave: Array, offset: float, sharpness: float) -> Array:
        """Arm pattern between 0 and 1, faded inside the bar or the inner disc."""
        inner = max(self.bar, 0.25)
        gate = 1.0 / (1.0 + np.exp((inner - radius) / 0.1))
        return np.asarray(gate * np.exp(sharpness * (np.cos(wave - offset) - 1)), np.float32)

    def light(self, u: Array, v: Array, band: Band, pixel: float) -> Array:
        """Brightness at sky offsets (arcseconds) through ``band``, relative to the old disc's centre in F606W."""
        x, y, radius, wave, su, sv = self._geometry(u, v)
        size = self.scale
        clump = self.clumps.detailed(su * size, sv * size, pixel, 0.3)
        thread = self.threads.detailed(su * size + 31.0, sv * size, pixel, 0.25)
        disc = np.exp(-radius)
        old = disc * (1 + 0.5 * self._arm(radius, wave, 0.0, 1.0) + self.lopsided * x / (1 + radius))
        arm = self._arm(radius, wave, 0.0, self.sharpness)
        young = self.young * np.exp(-0.9 * radius) * arm
        knot = self.clumps(x * size + 71.0, y * size)
        young *= np.exp(self.flocculence * np.clip(clump + 0.8 * knot, -3, 4) - (0.6 * self.flocculence))
        spheroid = self.bulge * sersic(self._round(x, y), self.bulge_scale, self.bulge_index)
        bar, lane = self._bar(x, y)
        lanes = self._arm(radius, wave, 0.55, 2.0 * self.sharpness) * (1 + 0.6 * np.clip(thread, -1.5, 2.5))
        ridges = np.exp(-((thread - 0.3) ** 2) * 9.0) * (0.35 + arm)
        depth = (self.dust * band.extinction) * np.exp(-0.7 * radius)
        depth = depth * np.maximum(1.5 * lanes + 0.7 * ridges + lane, 0)
        # Dust in a tilted disc hides more of the spheroid on the near side.
        near = 1 + (1.0 - self.plane.axis_ratio) * y / radius
        red, blue, line = band.stars(0.7), band.stars(-0.5), band.width * band.line + band.line * 0.03
        stars = red * (old + bar) * np.exp(-depth) + red * spheroid * np.exp(-0.6 * depth * near)
        return np.asarray(stars + young * np.exp(-0.5 * depth) * (0.75 * blue + 0.25 * line), np.float32)

    def _round(self, x: Array, y: Array) -> Array:
        """Radius in the spheroid, which is flattened less than the disc."""
        flat = (0.5 + 0.5 * self.plane.axis_ratio) * y * 1.0
        return np.asarray(np.sqrt(x * x + flat * flat + ((0.4 / self.scale) ** 2)), np.float32)

    def _bar(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Light of the bar and the dust lanes along it."""
        if not self.bar:
            return np.zeros_like(x), np.zeros_like(x)
        a, b = rotate(x, y, self.phase)
        along, across = np.abs(a) / self.bar, np.abs(b) / (0.28 * self.bar)
        shape = (along**3 + across**2.2) ** 0.4
        bar = 1.4 * np.exp(-(shape**2) * 1.6)
        side = b - (0.07 * self.bar) * np.tanh(a * (6 / self.bar)) * math.copysign(1.0, self.pitch)
        lane = np.exp(-((side / 0.035) ** 2)) * np.exp(-(along**4)) * 1.2
        return np.asarray(bar, np.float32), np.asarray(lane, np.float32)

    def points(self, rng: np.random.Generator, n: int, brightest: float) -> Sources:
        """Young clusters and giant stars on the arms and in the disc, ``n`` of them, up to ``brightest`` electrons per second."""

        def density(u: Array, v: Array) -> Array:
            _, _, radius, wave, su, sv = self._geometry(u, v)
            clump = np.exp(1.1 * np.clip(self.clumps(su * self.scale, sv * self.scale), -3, 3))
            return np.asarray(np.exp(-0.8 * radius) * (self._arm(radius, wave, 0.0, 1.5 * self.sharpness) * clump + 0.08), np.float32)

        u, v = scatter(rng, density, n)
        return Sources.at(u, v, power_law(rng, n, brightest / 400.0, brightest, 0.9), -0.4, rng)
