"""exposure: the same frame in less time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Generator, Tensor

from zoo.errors import FrameError, UsageError
from zoo.frames import Frame, Observation
from zoo.plugins.degrade.observing import Degradation, expected_signal, gaussian_noise
from zoo.plugins.degrade.rays import split_rays

FACTOR = 0.5


class Exposure(Degradation):
    """Expose for a part of the time: light, sky and dark current are scaled, noise is that of the shorter exposure.

    Of the cosmic rays each is kept, whole, with the probability ``factor``; hot pixels of real frames count as rays. Real frames: a pixel
    that expects s electrons and has the variance s + r^2 keeps f^2 of it when it is scaled by f, and needs f s + r^2; the difference
    f (1 - f) s + (1 - f^2) r^2 is added. A simulated frame can be exposed for longer as well.

    Args:
        factor: of the exposure time, > 0; for real frames at most 1.
        seconds: instead, the exposure time itself; 0 for none.
    Raises: UsageError: if a number is out of range, or both are given.
    """

    name = "exposure"
    nothing = "the exposure time is the frame's own"

    def __init__(self, *, factor: float = FACTOR, seconds: float = 0.0, pixel: float = 0.0, read_noise: float = 0.0, seed: int = 0) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(factor=factor, seconds=seconds)
        if not factor:
            raise UsageError("exposure: factor must be > 0, got 0")
        if factor != FACTOR and seconds:
            raise UsageError(f"exposure: give factor or seconds, got factor={factor}, seconds={seconds}")
        self.factor, self.seconds = factor, seconds

    def scale(self, x: Frame, seen: Observation) -> float:
        """The factor. Raises: FrameError: ``no-exptime``, or ``too-short`` for a real frame that would have to be longer."""

        def refuse(code: str, got: str, expected: str, remedy: str) -> FrameError:
            return FrameError(code, path=x.info.path, hdu=x.info.hdu, got=got, expected=expected, remedy=remedy)

        if self.seconds and not math.isfinite(seen.exptime):
            raise refuse("no-exptime", "no exposure time to compare with", "EXPTIME", "give a factor: exposure:factor=0.5")
        factor = self.seconds / seen.exptime if self.seconds else self.factor
        if factor > 1 and seen.light is None:
            got = f"an exposure of {seen.exptime:g} s" if self.seconds else "a real exposure"
            wanted = f"{self.seconds:g} s or more" if self.seconds else "a factor of at most 1"
            raise refuse("too-short", got, wanted, "light that was not collected cannot be added")
        return factor

    def change_scene(self, x: Frame, seen: Observation, generator: Generator) -> Observation | None:
        """Less of everything, and fewer rays."""
        factor = self.scale(x, seen)
        if factor == 1 or seen.light is None or seen.dark is None or seen.rays is None:
            return None
        rays = thin(seen.rays, factor, generator)
        return replace(seen, exptime=seen.exptime * factor, light=seen.light * factor, dark=seen.dark * factor, rays=rays)

    def change_frame(self, x: Frame, seen: Observation, generator: Generator) -> tuple[Tensor, Observation] | None:
        """Less signal, and the noise that is missing."""
        factor = self.scale(x, seen)
        if factor == 1:
            return None
        image = x.decode()
        clean, excess = split_rays(image, seen.read_noise)
        variance = factor * (1 - factor) * expected_signal(clean, seen.read_noise) + (1 - factor**2) * seen.read_noise**2
        result = clean * factor + gaussian_noise(variance, generator) + thin(excess, factor, generator)
        return torch.where(torch.isfinite(image), result, torch.nan), replace(seen, exptime=seen.exptime * factor)


def thin(rays: Tensor, share: float, generator: Generator) -> Tensor:
    """Keep each ray, a group of pixels that touch, with a probability; more than 1 keeps all of them.

    Args:
        rays: ``(1, H, W)`` electrons, 0 where there is none.
    Returns: a new tensor.
    """
    labels, count = ndimage.label(rays[0].numpy() != 0, np.ones((3, 3), int))
    kept = torch.rand(count + 1, generator=generator) < share
    return rays * kept[torch.from_numpy(labels).long()][None]
