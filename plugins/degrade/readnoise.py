"""readnoise: a noisier readout."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from zoo.frames import Frame, Observation
from zoo.plugins.degrade.observing import Degradation, gaussian_noise


class ReadNoise(Degradation):
    """Bring the read noise to a number of electrons. Real frames: what is missing is added, and a frame that has more is left as it is.

    Args:
        electrons: standard deviation of one reading.
    """

    name = "readnoise"
    nothing = "the frame's own read noise is as high already, nothing is added"

    def __init__(self, *, electrons: float = 10.0, pixel: float = 0.0, read_noise: float = 0.0, seed: int = 0) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(electrons=electrons)
        self.electrons = electrons

    def change_scene(self, x: Frame, seen: Observation, generator: Generator) -> Observation | None:
        """Read out with this noise, be it lower than the camera's."""
        return replace(seen, read_noise=self.electrons)

    def change_frame(self, x: Frame, seen: Observation, generator: Generator) -> tuple[Tensor, Observation] | None:
        """Add the missing part."""
        missing = self.electrons**2 - seen.read_noise**2
        if missing <= 0:
            return None
        image = x.decode()
        return gaussian_noise(torch.full(image.shape, missing), generator).add_(image), replace(seen, read_noise=self.electrons)
