"""A run without training, for tests of what comes after it: its model calls a frame NSC when its mean level, 0 to 1, is above one half."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from torch import Tensor, nn

import zoo
from zoo.models.directory import make_card, save_model
from zoo.registry import Registry, get_registry, use_registry

STEPS = ("overscan", "normalize:limits=manual,lower=0,upper=1,stretch=linear")
SHAPE = (1, 32, 64)


class Level(nn.Module):
    """Logits grow with the distance of the mean from one half; the buffer is there for the state dict."""

    gain: Tensor

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.num_classes, self.input_shape = num_classes, input_shape
        self.register_buffer("gain", torch.tensor(8.0))

    def forward(self, image: Tensor) -> Tensor:
        image = zoo.models.check_input_shape(image, self.input_shape)
        level = self.gain * (image.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-level, level] + [torch.full_like(level, -9.0)] * (self.num_classes - 2), dim=1)


def build(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int]) -> Level:
    """Build the model."""
    return Level(num_classes, input_shape)


class LevelPlugin:
    """Registers `Level`."""

    @zoo.hookimpl
    def register_models(self, register: Callable[..., None]) -> None:
        register("level", build, input_shape=SHAPE)


@contextlib.contextmanager
def tiny_registry(*plugins: object) -> Iterator[Registry]:
    """The built-ins, `Level` and further plugins as the process-wide registry."""
    with use_registry(Registry.from_plugins([LevelPlugin(), *plugins])) as registry:
        yield registry


def make_run(
    folder: Path,
    *,
    steps: Sequence[Any] = STEPS,
    shape: tuple[int, int, int] = SHAPE,
    labels: Sequence[str] = ("galaxy", "NSC"),
    domain: str = "files",
    products: Sequence[str] = ("other",),
    training: dict[str, Any] | None = None,
    config: str = "",
    geometry: str = "resize",
    frame_size: tuple[int, int] | None = None,
    model_name: str = "level",
) -> Path:
    """Write a run directory around an untrained `Level`, or another model; needs `tiny_registry`."""
    entry = get_registry().get("models", model_name)
    model = zoo.create_model(model_name, num_classes=len(labels), input_shape=shape)
    pipeline = zoo.Pipeline(steps)
    card = make_card(
        entry,
        {},
        input_shape=shape,
        labels=labels,
        pipeline=pipeline,
        domain=domain,
        products=products,
        training=training or {},
        geometry=geometry,
        frame_size=frame_size,
    )
    save_model(folder / "model", model, card)
    (folder / "config.toml").write_text(config)
    return folder


def two_levels(level: float, shape: tuple[int, int] = (32, 64)) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Pixels of mean ``level``, float32, brighter in the upper half; the height must be even."""
    pixels = np.full(shape, level, dtype=np.float32)
    pixels[: shape[0] // 2] += 0.01
    pixels[shape[0] // 2 :] -= 0.01
    return pixels


def write_frame(path: Path, level: float, shape: tuple[int, int] = (32, 64), **keywords: object) -> Path:
    """Write a float32 FITS file whose mean is ``level``; its halves lie a little apart, because flat frames are refused."""
    hdu = fits.PrimaryHDU(two_levels(level, shape))
    hdu.header.update(keywords)
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu.writeto(path)
    return path
