"""tinynet: small enough to train in seconds, large enough to show the contract."""

import torch
from torch import nn

from zoo.models import check_input_shape


class TinyNet(nn.Module):
    """Logits ``(N, num_classes)`` of frames ``(N, in_channels, H, W)`` float32, H and W as given to :func:`build`."""

    def __init__(self, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        layers: list[nn.Module] = []
        channels = in_channels
        for multiple in (1, 2, 4):
            layers += [nn.Conv2d(channels, width * multiple, 5, stride=3, padding=2), nn.BatchNorm2d(width * multiple), nn.ReLU()]
            channels = width * multiple
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        check_input_shape(frames, self.input_shape)
        return self.head(self.pool(self.features(frames)).flatten(1))


def build(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], width: int) -> TinyNet:
    return TinyNet(num_classes, in_channels, input_shape, width)
