"""AlexNet in its one-tower form: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997.

Written from the paper and from the names and shapes of torchvision's public weights, which load into it: the layout has no local
response normalisation, and averages its last map to 6x6, so that it takes frames of any size from 63x63. Weights start as torch draws
them. 56,996,546 parameters for one channel and two classes. Licence: BSD-3-Clause, as the rest of zoo.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.models import check_build_shape, check_input_shape

torch.fx.wrap("check_input_shape")

MINIMUM = (63, 63)  # below, the third pool has nothing left
MAP = (6, 6)
HIDDEN = 4096


class AlexNet(nn.Module):
    """AlexNet for frames of one size; ``forward`` refuses every other.

    Args:
        num_classes: number of logits.
        in_channels: channels of the image.
        input_shape: ``(C, H, W)`` of one frame, at least 63x63 pixels.
        dropout: probability with which each input of the two wide linear layers is zeroed in training, 0 to below 1.

    Raises:
        InputShapeError: the frame is too small, or the channels disagree. UsageError: ``dropout`` is out of range.
    """

    def __init__(self, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], dropout: float = 0.5) -> None:
        super().__init__()
        self.input_shape = check_build_shape("alexnet", in_channels, input_shape, minimum=MINIMUM)
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be from 0 to below 1, got {dropout}")
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(MAP)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * MAP[0] * MAP[1], HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, num_classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(N, num_classes)`` for images ``(N, C, H, W)``; NaN spreads to the frame's logits.

        Raises:
            InputShapeError: the frames are not of the size that the network was built for.
        """
        image = check_input_shape(image, self.input_shape)
        logits: Tensor = self.classifier(self.avgpool(self.features(image)).flatten(1))
        return logits


def build(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], dropout: float = 0.5) -> AlexNet:
    """Return a freshly initialised `AlexNet`; arguments and errors as there."""
    return AlexNet(num_classes, in_channels, input_shape, dropout)
