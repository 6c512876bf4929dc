"""newnet: an architecture to start from."""

import torch
from torch import nn

from zoo.models import check_input_shape


class NewNet(nn.Module):
    """Logits ``(N, num_classes)`` of frames ``(N, C, H, W)`` float32 of one size; NaN in a frame makes its logits NaN."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.input_shape = input_shape
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for multiple in (1, 2, 4, 4):
            # Without bias: BatchNorm has one of its own.
            layers += [
                nn.Conv2d(channels, multiple * width, 5, stride=3, padding=2, bias=False),
                nn.BatchNorm2d(multiple * width),
                nn.ReLU(),
            ]
            channels = multiple * width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        frames = check_input_shape(frames, self.input_shape)
        logits: torch.Tensor = self.head(self.pool(self.features(frames)).flatten(1))
        return logits


def build(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], width: int) -> NewNet:
    """Called by zoo; ``input_shape`` is ``(in_channels, H, W)`` after the pipeline, of any size."""
    return NewNet(num_classes, input_shape, width)
