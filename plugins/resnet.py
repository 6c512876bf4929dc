"""ResNet: K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", arXiv:1512.03385.

The paper's networks of 18, 34, 50, 101 and 152 layers, written from its table 1 and from the names and shapes of torchvision's public
weights, which load into them. As there, and unlike in the paper, a bottleneck that halves the map does so in its 3x3 convolution
("version 1.5", from Facebook's fb.resnet.torch). The last map is averaged to one value a channel, so that they take frames of any size.
Licence: BSD-3-Clause, as the rest of zoo.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from zoo.models import check_build_shape, check_input_shape

torch.fx.wrap("check_input_shape")

CHANNELS = (64, 128, 256, 512)  # of the 3x3 convolutions in the four layers


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first has the stride."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(N, channels, H / stride, W / stride)``."""
        residual = self.relu(self.bn1(self.conv1(image)))
        residual = self.bn2(self.conv2(residual))
        residual += image if self.downsample is None else self.downsample(image)
        result: Tensor = self.relu(residual)
        return result


class Bottleneck(nn.Module):
    """A 1x1 convolution that narrows, a 3x3 with the stride, and a 1x1 that widens four times, beside a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        wide = channels * self.expansion
        self.conv1 = _convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _convolution(channels, wide, 1)
        self.bn3 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, wide, stride)

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(N, 4 * channels, H / stride, W / stride)``."""
        residual = self.relu(self.bn1(self.conv1(image)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        residual += image if self.downsample is None else self.downsample(image)
        result: Tensor = self.relu(residual)
        return result


class ResNet(nn.Module):
    """ResNet for frames of one size; ``forward`` refuses every other.

    Args:
        block: `Basic` or `Bottleneck`.
        blocks: how many of them in each of the four layers.
        num_classes: number of logits.
        in_channels: channels of the image.
        input_shape: ``(C, H, W)`` of one frame.
        zero_init_residual: start the last BatchNorm of each block at 0, so that each block starts as its shortcut (Goyal et al. 2017,
            arXiv:1706.02677).

    Raises:
        InputShapeError: the channels disagree.
    """

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck],
        blocks: tuple[int, ...],
        num_classes: int,
        in_channels: int,
        input_shape: tuple[int, int, int],
        *,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.input_shape = check_build_shape("resnet", in_channels, input_shape)
        stem = CHANNELS[0]
        wide = [channels * block.expansion for channels in CHANNELS]
        self.conv1 = _convolution(in_channels, stem, 7, 2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _layer(block, blocks[0], stem, CHANNELS[0], stride=1)
        self.layer2 = _layer(block, blocks[1], wide[0], CHANNELS[1], stride=2)
        self.layer3 = _layer(block, blocks[2], wide[1], CHANNELS[2], stride=2)
        self.layer4 = _layer(block, blocks[3], wide[2], CHANNELS[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(wide[3], num_classes)
        self.reset_parameters(zero_init_residual=zero_init_residual)

    def reset_parameters(self, *, zero_init_residual: bool = False) -> None:
        """Draw new weights: convolutions as He et al. 2015 by fan-out, the linear layer as torch does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, (nn.BatchNorm2d, nn.Linear)):
                module.reset_parameters()
        for module in self.modules():
            if zero_init_residual and isinstance(module, (Basic, Bottleneck)):
                nn.init.zeros_((module.bn2 if isinstance(module, Basic) else module.bn3).weight)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(N, num_classes)`` for images ``(N, C, H, W)``; NaN spreads to the frame's logits.

        Raises:
            InputShapeError: the frames are not of the size that the network was built for.
        """
        image = check_input_shape(image, self.input_shape)
        image = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        image = self.layer4(self.layer3(self.layer2(self.layer1(image))))
        logits: Tensor = self.fc(self.avgpool(image).flatten(1))
        return logits


def build(
    block: type[Basic] | type[Bottleneck],
    blocks: tuple[int, ...],
    *,
    num_classes: int,
    in_channels: int,
    input_shape: tuple[int, int, int],
    zero_init_residual: bool = False,
) -> ResNet:
    """Return a freshly initialised `ResNet`; arguments and errors as there."""
    return ResNet(block, blocks, num_classes, in_channels, input_shape, zero_init_residual=zero_init_residual)


# Paper, table 1: blocks in the layers conv2_x to conv5_x.
resnet18 = partial(build, Basic, (2, 2, 2, 2))
resnet34 = partial(build, Basic, (3, 4, 6, 3))
resnet50 = partial(build, Bottleneck, (3, 4, 6, 3))
resnet101 = partial(build, Bottleneck, (3, 4, 23, 3))
resnet152 = partial(build, Bottleneck, (3, 8, 36, 3))


def _layer(block: type[Basic] | type[Bottleneck], count: int, in_channels: int, channels: int, *, stride: int) -> nn.Sequential:
    """Return ``count`` blocks, of which the first has the stride and changes the number of channels."""
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(channels * block.expansion, channels, 1) for _ in range(count - 1)))


def _convolution(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)  # the BatchNorm behind it has the bias


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """Return the projection of a shortcut, or None where the block keeps the shape."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(_convolution(in_channels, channels, 1, stride), nn.BatchNorm2d(channels))
