"""A plugin file of small networks, most of which misbehave once they run on pixels."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.fx
from torch import Tensor, nn

import zoo

print("a plugin may print to stdout")


@torch.fx.wrap  # so that it is called in a prepared network too
def act_on(image: Tensor, act: str) -> Tensor:
    """Act where the input holds pixels, not only a shape."""
    if type(image) is Tensor and image.device.type != "meta":
        ACTS[act]()
    return image


class Net(nn.Module):
    """Two convolutions and a mean; ``act`` is the name of what it does when it is run."""

    def __init__(self, act: str, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.act = act
        self.first = nn.Conv2d(in_channels, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        image = act_on(image, self.act)
        return self.head(torch.relu(self.second(torch.relu(self.first(image)))).mean((2, 3)))


class Dense(nn.Module):
    """Nearly all of its memory is weights."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(32), nn.Flatten(), nn.Linear(1024, 8192), nn.ReLU(), nn.Linear(8192, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def _fail() -> None:
    raise ValueError("planted failure\nwith a second line")


ACTS = {
    "quiet": lambda: None,
    "killed": partial(os.kill, os.getpid(), signal.SIGKILL),
    "fails": _fail,
    "sleeps": partial(time.sleep, 60),
}


def build(*, act: str, num_classes: int, in_channels: int, input_shape: tuple[int, int, int], crash: bool = False) -> Net:
    """Build a network; with ``crash`` the process ends at once."""
    if crash:
        os.abort()
    return Net(act, num_classes, in_channels)


def build_dense(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int]) -> Dense:
    """Build the dense network."""
    return Dense(num_classes)


@zoo.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Register one network per act."""
    crash = {"crash": zoo.Option(bool, False, "end the process when it is built")}
    for act in ACTS:
        register(act, partial(build, act=act), input_shape=(1, 64, 128), options=crash)
    register("dense", build_dense, input_shape=(1, 64, 128))
