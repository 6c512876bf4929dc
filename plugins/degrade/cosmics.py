"""cosmics: more cosmic rays."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from zoo.errors import FrameError, UsageError
from zoo.frames import Frame, Observation, cosmic_rays
from zoo.plugins.degrade.observing import Degradation, numpy_generator

RATE = 1.0  # per second and square centimetre


class Cosmics(Degradation):
    """Let more cosmic rays hit the detector: straight tracks of random direction, most of them short, with about
    450 electrons per pixel.

    They come on top of those that the frame has, real or simulated.

    Args:
        rate: per second and square centimetre of the detector; about 1 hits one in low Earth orbit.
        number: instead, the number that is expected in the frame; 0 for none.
        pitch: side of a pixel of the detector in micrometres, which with ``rate`` gives the area; ACS/WFC and WFC3/UVIS have 15.
    Raises: UsageError: if a number is out of range, or both are given.
    """

    name = "cosmics"

    def __init__(
        self,
        *,
        rate: float = RATE,
        number: float = 0.0,
        pitch: float = 15.0,
        pixel: float = 0.0,
        read_noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(rate=rate, number=number, pitch=pitch)
        if rate != RATE and number:
            raise UsageError(f"cosmics: give rate or number, got rate={rate}, number={number}")
        self.rate, self.number, self.pitch = rate, number, pitch

    def drawn(self, x: Frame, seen: Observation, generator: Generator) -> Tensor:
        """Electrons of the rays, ``(1, H, W)``. Raises: FrameError: ``no-exptime``: a rate, and no exposure time."""
        _, height, width = x.shape
        mean = self.number
        if not mean:
            if not math.isfinite(seen.exptime):
                raise FrameError(
                    "no-exptime",
                    path=x.info.path,
                    hdu=x.info.hdu,
                    got="no exposure time for cosmic rays per second",
                    expected="EXPTIME",
                    remedy="give their number in a frame: cosmics:number=5000",
                )
            mean = self.rate * seen.exptime * height * width * (self.pitch * 1e-4) ** 2
        return torch.from_numpy(cosmic_rays(numpy_generator(generator), (height, width), mean))[None]

    def change_scene(self, x: Frame, seen: Observation, generator: Generator) -> Observation | None:
        """More charge of rays."""
        return None if seen.rays is None else replace(seen, rays=seen.rays + self.drawn(x, seen, generator))

    def change_frame(self, x: Frame, seen: Observation, generator: Generator) -> tuple[Tensor, Observation] | None:
        """More charge, up to the full well."""
        return self.drawn(x, seen, generator).add_(x.decode()).clamp_max_(seen.full_well), seen
