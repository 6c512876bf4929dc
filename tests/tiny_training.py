"""A sky of tiny FITS frames in class folders, and a tiny network that learns it in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from torch import Tensor, nn

import zoo
from zoo.models import check_input_shape

SIZE = (24, 48)


class TinyNet(nn.Module):
    """One convolution with BatchNorm, dropout (so that random numbers matter) and a head for one size."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.convolution = nn.Conv2d(input_shape[0], width, 5, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.AdaptiveAvgPool2d((2, 3))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(6 * width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        image = check_input_shape(image, self.input_shape)
        features = self.pool(torch.relu(self.norm(self.convolution(image))))
        logits: Tensor = self.head(self.dropout(features.flatten(1)))
        return logits


class TinyPlugin:
    """Registers the tiny network and what tests of failures need."""

    @staticmethod
    @zoo.hookimpl
    def register_models(register: Callable[..., None]) -> None:
        options = {"width": zoo.Option(int, 4, "channels")}
        register("tinynet", build, input_shape=(1, *SIZE), options=options)
        register("plain", build_plain, input_shape=(1, *SIZE))

    @staticmethod
    @zoo.hookimpl
    def register_losses(register: Callable[..., None]) -> None:
        register("nan", lambda *, class_weights: lambda logits, labels: logits.sum() * float("nan"))
        register("cliff", lambda *, class_weights: cliff)


def build(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], width: int) -> nn.Module:
    return TinyNet(num_classes, input_shape, width)


def build_plain(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int]) -> nn.Module:
    """A network without random layers, in which no frame sees another."""
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(input_shape[1] * input_shape[2] // 16, num_classes))


def cliff(logits: Tensor, labels: Tensor) -> Tensor:
    """A finite loss without a finite gradient: the root has no slope at 0."""
    return (logits - logits.detach()).abs().sum().sqrt()


def write_sky(root: Path) -> Path:
    """Class folders: 4 targets of 4 frames each; galaxies have one blob, NSCs many points."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for label in ("galaxy", "NSC"):
        (root / label).mkdir(parents=True)
        for target in range(4):
            for frame in range(4):
                image = random.normal(100, 3, SIZE)
                if label == "galaxy":
                    image += 200 * np.exp(-(((y - 12) / 5) ** 2) - ((x - random.uniform(12, 36)) / 8) ** 2)
                else:
                    image[random.integers(0, SIZE[0], 40), random.integers(0, SIZE[1], 40)] += 300
                fits.PrimaryHDU(image.astype(np.float32)).writeto(root / label / f"{label}{target}_{frame}.fits")
    return root
