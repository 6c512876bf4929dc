"""What the checks feed to the code under test."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.frames import Frame, FrameInfo

SEED = 20231208


def make_frame(height: int = 64, width: int = 128, *, seed: int = SEED) -> Frame:
    """A small frame with a sky, noise, a few stars and one smooth source: ``(1, height, width)`` float32 in electrons.

    It says of itself that it is a calibrated ACS/WFC exposure of 500 s through F606W, so that steps in physical units can work on it.
    """
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None, :]
    pixels = 50.0 + 5.0 * torch.randn(height, width, generator=generator)
    for _ in range(6):
        cy, cx, flux = torch.rand(3, generator=generator).tolist()
        pixels += 4000 * flux * torch.exp(-((y - cy * height) ** 2 + (x - cx * width) ** 2) / 4.5)
    pixels += 300 * torch.exp(-(((y - height / 2) / (height / 6)) ** 2) - ((x - width / 2) / (width / 6)) ** 2)
    info = FrameInfo(instrument="ACS/WFC", detector="WFC", filter="F606W", product="flt", exptime=500.0)
    return Frame(pixels=pixels[None], encoding=None, info=info, unit="electron")


def make_batch(frames: int, shape: tuple[int, int, int], *, seed: int = SEED) -> Tensor:
    """Random frames ``(frames, C, H, W)`` float32 of mean 0 and deviation 1, the same in every process."""
    return torch.randn(frames, *shape, generator=torch.Generator().manual_seed(seed))
