"""The plan of the data set: which targets exist, and which exposures are taken of each."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from zoo.plugins.simulated.bands import ACS, UVIS, Band, Camera
from zoo.plugins.simulated.fields import log_uniform, stream
from zoo.plugins.simulated.render import Pointing
from zoo.plugins.simulated.scene import KINDS, Regime

LABELS = ("galaxy", "NSC")
"""The classes, in the order of their indices."""


@dataclass(frozen=True)
class Target:
    """An object on the simulated sky.

    Attributes:
        index: its number, from 0; classes alternate at random.
        name: ``TARGNAME`` in the header; says nothing about the class.
        label, kind: class, and kind within the class.
        split: ``train``, ``val`` or ``test``.
        ra, dec: degrees, spread evenly over the sky whatever the class.
        proposal: ``PROPOSID``.
    """

    index: int
    name: str
    label: str
    kind: str
    split: str
    ra: float
    dec: float
    proposal: int


def plan_targets(seed: int, counts: dict[str, int], prefix: str) -> list[Target]:
    """All the targets of a data set.

    Args:
        seed: the data set's seed.
        counts: targets per class of each split, for instance ``{"train": 50, "val": 8, "test": 14}``.
        prefix: what the names of the targets begin with.

    Returns:
        Targets in the order of their indices. Every split holds each class equally often, and its kinds in the same proportions.
    """
    rng = stream(seed, "targets")
    members = [
        (label, KINDS[label][number % len(KINDS[label])], split)
        for split, count in counts.items()
        for number in range(count)
        for label in LABELS
    ]
    targets = []
    for index, member in enumerate(rng.permutation(len(members))):
        label, kind, split = members[member]
        ra, dec = rng.uniform(0, 360), np.rad2deg(np.arcsin(rng.uniform(-1, 1)))
        targets.append(
            Target(index, f"{prefix}-{index + 1:04d}", label, kind, split, float(ra), float(dec), int(rng.integers(9000, 17000)))
        )
    return targets


@dataclass(frozen=True)
class Exposure:
    """One exposure: two chips, one file.

    Attributes:
        target: what it shows.
        index: its number among the target's exposures.
        rootname: nine characters; the first names the camera, the first six the visit.
        camera, band: instrument and filter.
        exptime: seconds.
        start: modified Julian date of its beginning.
        roll: direction of the detector's x axis on the sky, in radians.
        place: where the target lies along the detector's axes: x in arcseconds from the middle, y in units of what suits its size.
        dither: shift of this exposure along the detector's axes, in arcseconds.
        sky: brightness of the sky relative to the mean.
        blur: further standard deviation of the PSF in arcseconds.
        gain: ``CCDGAIN``.
        bias: DN of amplifiers A, B, C, D.
        hot: share of hot pixels.
    """

    target: Target
    index: int
    rootname: str
    camera: Camera
    band: Band
    exptime: float
    start: float
    roll: float
    place: tuple[float, float]
    dither: tuple[float, float]
    sky: float
    blur: float
    gain: float
    bias: tuple[float, float, float, float]
    hot: float

    def pointing(self, extent: float, scale: int) -> Pointing:
        """Aim at a target that can be recognised within ``extent`` arcseconds, with the layout's ``scale``.

        A large target lies on one chip and reaches over the other; a small one lies near the gap, so that both chips hold a part of it.
        """
        x = self.place[0] + self.dither[0]
        y = self.place[1] * min(0.55 * extent, 50.0) + self.dither[1]
        c, s = float(np.cos(self.roll)), float(np.sin(self.roll))
        return Pointing(
            camera=self.camera,
            band=self.band,
            u=-(c * x - s * y),
            v=-(s * x + c * y),
            roll=self.roll,
            exptime=self.exptime,
            sky=self.sky,
            blur=self.blur,
            scale=scale,
        )


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def plan_exposure(seed: int, target: Target, index: int, regime: Regime) -> Exposure:
    """Plan an exposure of a target; nothing here depends on what the target is.

    Args:
        seed: the data set's seed.
        target: what to observe.
        index: number of the exposure; two in a row share a visit.
        regime: ranges to draw from.
    """
    visit = stream(seed, target.index, index // 2, "visit")
    camera = (ACS, UVIS)[int(visit.integers(2))]
    roll = float(visit.uniform(0, 2 * np.pi))
    place = (float(visit.uniform(-35, 35)), float(visit.choice([-1, 1]) * np.sqrt(visit.uniform(0, 1))))
    gain = float(visit.choice(camera.gains))
    level = visit.uniform(2200, 2700)
    start = float(visit.uniform(52_500, 58_000))
    rng = stream(seed, target.index, index, "exposure")
    x, y = rng.normal(0, 2.0, 2)
    if rng.random() < 0.05:  # a few exposures catch only the outskirts, as real lists do
        x, y = x + rng.choice([-1, 1]) * rng.uniform(30, 50), y + rng.choice([-1, 1]) * rng.uniform(0, 20)
    band = camera.bands[int(rng.integers(len(camera.bands)))]
    exptime = round(log_uniform(rng, 250.0, 1500.0) * (2.5 if band.width < 0.25 else 1.0))
    a, b, c, d = rng.normal(level, 30.0, 4)
    number = zlib.crc32(str(seed).encode()) + target.index
    program = "".join(_DIGITS[number // base % 36] for base in (1296, 36, 1))
    return Exposure(
        target=target,
        index=index,
        rootname=f"{camera.letter}{program}{index // 2 + 1:02d}{index % 100:02d}q",
        camera=camera,
        band=band,
        exptime=float(exptime),
        start=start + 0.03 * (index % 2),
        roll=roll,
        place=place,
        dither=(float(x), float(y)),
        sky=log_uniform(rng, *regime.sky),
        blur=float(rng.uniform(*regime.blur)),
        gain=gain,
        bias=(float(a), float(b), float(c), float(d)),
        hot=log_uniform(rng, 5e-5, 5e-4),
    )
