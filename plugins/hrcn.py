"""HR-CelestialNet, the full-resolution network of arXiv:2312.04948 (MNRAS 527, 11935), written from the paper's table of layers.

Seven blocks of convolution, BatchNorm and ReLU, each ending in a max-pool that shrinks a 2048x4096 frame to 512x3x11, then three
fully connected layers. 97,048,130 parameters, 177,944,134,784 multiply-accumulates per frame. No weights have been published.
Licence: BSD-3-Clause, as the rest of zoo.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.errors import InputShapeError, UsageError
from zoo.models import check_build_shape, check_input_shape

torch.fx.wrap("check_input_shape")


class Block(NamedTuple):
    """One row of the paper's table: ``convs`` convolutions of side ``kernel``, then a max-pool of ``pool`` with ``stride``."""

    channels: int
    kernel: int
    convs: int
    pool: int
    stride: int


# Paper, section 3: large-size learning 1-3, small-size learning 4-7.
BLOCKS = (
    Block(32, 7, 1, 8, 4),
    Block(64, 7, 1, 4, 2),
    Block(128, 5, 2, 2, 2),
    Block(256, 3, 2, 2, 2),
    Block(256, 3, 2, 2, 2),
    Block(512, 3, 2, 2, 2),
    Block(512, 3, 2, 2, 2),
)
MAP = (3, 11)  # rows and columns of the last feature map at 2048x4096
HIDDEN = 4096
PADDINGS = ("valid", "same")


class HRCelestialNet(nn.Module):
    """HR-CelestialNet for frames of one size; ``forward`` refuses every other.

    ``padding="valid"`` is the published layout. ``padding="same"`` pads each convolution by half its kernel, leaves out the last pools as
    long as the map would fall below 3x11, and averages the map to 3x11: it takes any frame of at least 3x11 pixels, has the same
    parameters and the same state dict, and is not the paper's network.

    Args:
        num_classes: number of logits.
        in_channels: channels of the image.
        input_shape: ``(C, H, W)`` of one frame.
        padding: ``"valid"`` or ``"same"``.

    Raises:
        InputShapeError: the layout cannot take this size, or the channels disagree. UsageError: unknown padding.
    """

    def __init__(self, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], padding: str = "valid") -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise UsageError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
        self.input_shape = check_build_shape("hrcn", in_channels, input_shape)
        _, height, width = self.input_shape
        pools = len(BLOCKS) if padding == "valid" else kept_pools(height, width)
        if padding == "valid" and map_size(height, width, padding, pools) != MAP:
            (low_h, high_h), (low_w, high_w) = published_range()
            raise InputShapeError(
                f"hrcn got frames of {height}x{width}, its published layout takes height {low_h}-{high_h} and width {low_w}-{high_w}; "
                "set padding=same (--model-option padding=same) for other sizes: it is not the paper's network",
                options={"padding": "same"},
            )
        self.features = nn.Sequential()
        for number, block in enumerate(BLOCKS, start=1):
            self.features.add_module(f"block{number}", _block(block, in_channels, padding, pooled=number <= pools))
            in_channels = block.channels
        self.average = nn.AdaptiveAvgPool2d(MAP) if padding == "same" else nn.Identity()
        self.head = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(in_channels * MAP[0] * MAP[1], HIDDEN),
                relu1=nn.ReLU(inplace=True),
                fc2=nn.Linear(HIDDEN, HIDDEN),
                relu2=nn.ReLU(inplace=True),
                fc3=nn.Linear(HIDDEN, num_classes),
            )
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights.

        Convolutions as He et al. 2015. The wide linear layers start smaller, as `torch.nn.Linear` does, and the last one smaller still: the
        first logits are near 0, and the gradient of the head is a quarter of what He's weights give it.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.BatchNorm2d, nn.Linear)):
                module.reset_parameters()
        nn.init.normal_(self.head.get_parameter("fc3.weight"), std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(N, num_classes)`` for images ``(N, C, H, W)``, normalised, NaN-free; NaN spreads to the frame's logits.

        Raises:
            InputShapeError: the frames are not of the size that the network was built for.
        """
        image = check_input_shape(image, self.input_shape)
        logits: Tensor = self.head(self.average(self.features(image)).flatten(1))
        return logits


def build(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], padding: str = "valid") -> HRCelestialNet:
    """Return a freshly initialised `HRCelestialNet`; arguments and errors as there."""
    return HRCelestialNet(num_classes, in_channels, input_shape, padding)


def map_size(height: int, width: int, padding: str, pools: int) -> tuple[int, int]:
    """Return rows and columns of the last feature map when the first ``pools`` blocks end in their pool; 0 where nothing is left."""
    sides = []
    for side in (height, width):
        for number, block in enumerate(BLOCKS, start=1):
            side -= 0 if padding == "same" else block.convs * (block.kernel - 1)
            if number <= pools:
                side = (side - block.pool) // block.stride + 1 if side >= block.pool else 0
            side = max(side, 0)
        sides.append(side)
    return sides[0], sides[1]


def kept_pools(height: int, width: int) -> int:
    """Return how many blocks keep their pool with padding "same": the most that leave a map of at least 3x11.

    Raises:
        InputShapeError: the frame itself is below 3x11.
    """
    for pools in range(len(BLOCKS), -1, -1):
        rows, columns = map_size(height, width, "same", pools)
        if rows >= MAP[0] and columns >= MAP[1]:
            return pools
    raise InputShapeError(f"hrcn got frames of {height}x{width}, expected at least {MAP[0]}x{MAP[1]} with padding=same")


def published_range() -> tuple[tuple[int, int], tuple[int, int]]:
    """Return lowest and highest height, then width, that the published layout maps to 3x11."""
    ranges = []
    for side in MAP:
        low = side
        for block in reversed(BLOCKS):
            low = (low - 1) * block.stride + block.pool + block.convs * (block.kernel - 1)
        high = low
        while map_size(high + 1, high + 1, "valid", len(BLOCKS))[0] == side:
            high += 1
        ranges.append((low, high))
    return ranges[0], ranges[1]


def _block(block: Block, in_channels: int, padding: str, *, pooled: bool) -> nn.Sequential:
    """Return the layers of one block; names do not depend on ``padding``, so neither does the state dict."""
    layers = nn.Sequential()
    for number in range(1, block.convs + 1):
        layers.add_module(
            f"conv{number}", nn.Conv2d(in_channels, block.channels, block.kernel, padding=0 if padding == "valid" else block.kernel // 2)
        )
        layers.add_module(f"norm{number}", nn.BatchNorm2d(block.channels))
        layers.add_module(f"relu{number}", nn.ReLU(inplace=True))
        in_channels = block.channels
    if pooled:
        layers.add_module("pool", nn.MaxPool2d(block.pool, block.stride))
    return layers
