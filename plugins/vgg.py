"""VGG: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556.

The paper's columns A, B, D and E (11, 13, 16 and 19 layers with weights), each with and without BatchNorm, written from the paper's table
and from the names and shapes of torchvision's public weights, which load into them. The last map is averaged to 7x7, so that they take
frames of any size from 32x32. Licence: BSD-3-Clause, as the rest of zoo.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.models import check_build_shape, check_input_shape

torch.fx.wrap("check_input_shape")

# Paper, table 1, columns A, B, D, E: how many 3x3 convolutions stand before each of the five pools, and how wide they are.
A, B, D, E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
CHANNELS = (64, 128, 256, 512, 512)
MINIMUM = (32, 32)  # below, the fifth pool has nothing left
MAP = (7, 7)
HIDDEN = 4096


class VGG(nn.Module):
    """VGG for frames of one size; ``forward`` refuses every other.

    Args:
        convolutions: how many convolutions stand before each pool, a column of the paper's table 1.
        num_classes: number of logits.
        in_channels: channels of the image.
        input_shape: ``(C, H, W)`` of one frame, at least 32x32 pixels.
        batch_norm: a BatchNorm after every convolution.
        dropout: probability with which each output of the two wide linear layers is zeroed in training, 0 to below 1.

    Raises:
        InputShapeError: the frame is too small, or the channels disagree. UsageError: ``dropout`` is out of range.
    """

    def __init__(
        self,
        convolutions: tuple[int, ...],
        num_classes: int,
        in_channels: int,
        input_shape: tuple[int, int, int],
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.input_shape = check_build_shape("vgg", in_channels, input_shape, minimum=MINIMUM)
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be from 0 to below 1, got {dropout}")
        layers: list[nn.Module] = []
        for count, channels in zip(convolutions, CHANNELS, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(in_channels, channels, 3, padding=1))
                layers += [nn.BatchNorm2d(channels)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                in_channels = channels
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(MAP)
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * MAP[0] * MAP[1], HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, num_classes),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: convolutions as He et al. 2015 by fan-out, linear layers from N(0, 0.01) as in the paper; biases are 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(N, num_classes)`` for images ``(N, C, H, W)``; NaN spreads to the frame's logits.

        Raises:
            InputShapeError: the frames are not of the size that the network was built for.
        """
        image = check_input_shape(image, self.input_shape)
        logits: Tensor = self.classifier(self.avgpool(self.features(image)).flatten(1))
        return logits


def build(
    convolutions: tuple[int, ...],
    *,
    num_classes: int,
    in_channels: int,
    input_shape: tuple[int, int, int],
    dropout: float = 0.5,
    batch_norm: bool = False,
) -> VGG:
    """Return a freshly initialised `VGG`; arguments and errors as there."""
    return VGG(convolutions, num_classes, in_channels, input_shape, batch_norm=batch_norm, dropout=dropout)


vgg11, vgg11_bn = partial(build, A), partial(build, A, batch_norm=True)
vgg13, vgg13_bn = partial(build, B), partial(build, B, batch_norm=True)
vgg16, vgg16_bn = partial(build, D), partial(build, D, batch_norm=True)
vgg19, vgg19_bn = partial(build, E), partial(build, E, batch_norm=True)
