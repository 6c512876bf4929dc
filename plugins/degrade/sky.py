"""sky: a brighter sky, with the noise of its electrons."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from zoo.errors import FrameError, UsageError
from zoo.frames import Frame, Observation
from zoo.plugins.degrade.observing import Degradation

ELECTRONS = 50.0  # per pixel


class Sky(Degradation):
    """Add light that is the same everywhere. Real frames: Poisson noise of the added electrons, which is exactly what more sky adds.

    Args:
        electrons: per pixel of the frame. rate: instead, electrons per second and pixel, times the exposure time; 0 for none.
    Raises: UsageError: if a number is out of range, or both are given.
    """

    name = "sky"

    def __init__(
        self, *, electrons: float = ELECTRONS, rate: float = 0.0, pixel: float = 0.0, read_noise: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(electrons=electrons, rate=rate)
        if electrons != ELECTRONS and rate:
            raise UsageError(f"sky: give electrons or rate, got electrons={electrons}, rate={rate}")
        self.electrons, self.rate = electrons, rate

    def added(self, x: Frame, seen: Observation) -> float:
        """Electrons per pixel. Raises: FrameError: ``no-exptime``: a rate, and no exposure time."""
        if not self.rate:
            return self.electrons
        if not math.isfinite(seen.exptime):
            raise FrameError(
                "no-exptime",
                path=x.info.path,
                hdu=x.info.hdu,
                got="no exposure time for a sky in electrons per second",
                expected="EXPTIME",
                remedy="give the sky per pixel: sky:electrons=50",
            )
        return self.rate * seen.exptime

    def change_scene(self, x: Frame, seen: Observation, generator: Generator) -> Observation | None:
        """More light, as sensitive as the pixels are."""
        return None if seen.light is None else replace(seen, light=seen.light + self.added(x, seen))

    def change_frame(self, x: Frame, seen: Observation, generator: Generator) -> tuple[Tensor, Observation] | None:
        """More electrons."""
        image = x.decode()
        light = torch.poisson(torch.full(image.shape, self.added(x, seen)), generator=generator)
        return light.add_(image).clamp_max_(seen.full_well), seen
