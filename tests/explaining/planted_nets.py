"""Networks whose features and evidence are known, for frames of any size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo.models import check_input_shape


class Bright(nn.Module):
    """Without padding, as HR-CelestialNet: what is bright anywhere speaks for NSC, what is dark for nothing; all weights are given.

    Cell (i, j) of its last map looks at pixel (24.5 + 4 i, 24.5 + 4 j), and less at what is farther from it.
    """

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.features = nn.Sequential(nn.Conv2d(1, 2, 15), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(2, 2, 9), nn.ReLU(inplace=True))
        self.head = nn.Linear(2, num_classes)
        with torch.no_grad():
            for layer, size in ((self.features[0], 15), (self.features[3], 9)):
                assert isinstance(layer, nn.Conv2d)
                layer.weight.zero_()
                bell = torch.hann_window(size + 2, periodic=False)[1:-1]
                layer.weight[0, 0] = torch.outer(bell, bell) / bell.sum() ** 2
                layer.weight[1, -1] = layer.weight[0, 0] / 2
                layer.bias.zero_()
            self.head.weight.zero_()
            self.head.weight[0, 0], self.head.weight[1, 0] = -20.0, 20.0
            self.head.bias.copy_(torch.tensor([1.0, -1.0]))

    def forward(self, image: Tensor) -> Tensor:
        image = check_input_shape(image, self.input_shape)
        logits: Tensor = self.head(self.features(image).mean(dim=(2, 3)))
        return logits


class Functional(nn.Module):
    """Padding, strides, a sum with a shortcut, a cut border and activations that are functions; the last layer is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 5, stride=2, padding=2), nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.shortcut, self.last = nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        half = F.relu(self.first(F.pad(image, (1, 0, 0, 0))[:, :, 2:]))
        quarter = F.relu(self.second(half) + self.shortcut(half))
        return self.last(F.adaptive_avg_pool2d(quarter, 1)).flatten(1)


class Residual(nn.Module):
    """A stem that can run in strips, and a block with a shortcut behind it; random weights, one activation for all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.pool = nn.Conv2d(1, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.MaxPool2d(2)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.conv3, self.norm3, self.relu = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.average, self.head = nn.AdaptiveAvgPool2d((1, 2)), nn.Linear(16, 2)

    def forward(self, image: Tensor) -> Tensor:
        image = self.pool(self.relu(self.norm1(self.conv1(image))))
        image = self.relu(image + self.norm3(self.conv3(self.relu(self.norm2(self.conv2(image))))))
        logits: Tensor = self.head(self.average(image).flatten(1))
        return logits


def build_bright(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int]) -> Bright:
    return Bright(num_classes, input_shape)


class PlantedPlugin:
    """Registers `Bright`."""

    @zoo.hookimpl
    def register_models(self, register: Callable[..., None]) -> None:
        register("bright", build_bright, input_shape=(1, 64, 192))
