"""saturate: a lower full well."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from zoo.errors import UsageError
from zoo.frames import Frame, Observation, bleed
from zoo.plugins.degrade.observing import Degradation


class Saturate(Degradation):
    """Let pixels hold less charge: what is above the full well spreads along its column, as far as there is room.

    Real frames: the charge moves with the noise that it has, so none is added; the pixels at the full well get read noise only. What the
    camera itself has lost above its own full well does not come back.

    Args:
        electrons: full well, > 0.
    Raises: UsageError: if it is not.
    """

    name = "saturate"
    nothing = "the detector's own full well is as low already"

    def __init__(self, *, electrons: float = 20000.0, pixel: float = 0.0, read_noise: float = 0.0, seed: int = 0) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(electrons=electrons)
        if not electrons:
            raise UsageError("saturate: electrons must be > 0, got 0")
        self.electrons = electrons

    def change_scene(self, x: Frame, seen: Observation, generator: Generator) -> Observation | None:
        """Expose with this full well."""
        return None if seen.full_well <= self.electrons else replace(seen, full_well=self.electrons)

    def change_frame(self, x: Frame, seen: Observation, generator: Generator) -> tuple[Tensor, Observation] | None:
        """Spread what is above it."""
        if seen.full_well <= self.electrons:
            return None
        image = x.decode()
        missing = ~torch.isfinite(image)
        # A pixel without a value takes no charge and gives none.
        spread = torch.where(missing, self.electrons, image)
        bleed(spread[0].numpy(), self.electrons)
        full = (spread >= self.electrons) & ~missing
        noise = torch.randn(image.shape, generator=generator) * seen.read_noise
        return torch.where(missing, torch.nan, torch.where(full, spread + noise, spread)), replace(seen, full_well=self.electrons)
