"""Frames whose light is known, and what their noise looks like; for the tests of degradations."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from zoo.frames import Frame, FrameInfo

READ_NOISE = 5.0
INFO = FrameInfo(instrument="ACS/WFC", product="flt", exptime=400.0, filter="F606W")


def light(level: float, height: int = 256, width: int = 512) -> Tensor:
    """A sky with a slope and a smooth source, wide enough for no PSF to change it."""
    y, x = torch.arange(height)[:, None].float(), torch.arange(width)[None].float()
    return (level * (1 + 0.5 * x / width) + 5 * level * torch.exp(-((y - height / 2) ** 2 + (x - width / 2) ** 2) / (2 * 40**2)))[None]


def observe(expected: Tensor, seed: int, info: FrameInfo = INFO) -> Frame:
    """What a camera makes of it."""
    generator = Generator().manual_seed(seed)
    counted = torch.poisson(expected, generator=generator) + READ_NOISE * torch.randn(expected.shape, generator=generator)
    return Frame(counted, None, info, unit="electron")


def correlation(noise: Tensor) -> list[float]:
    """Between neighbours: along a row at 1, 2 and 3 pixels, and along a column."""
    noise = noise[0] - noise.mean()
    variance = noise.square().mean()
    along = [float((noise[:, :-lag] * noise[:, lag:]).mean() / variance) for lag in (1, 2, 3)]
    return [*along, float((noise[:-1] * noise[1:]).mean() / variance)]
