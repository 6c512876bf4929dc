"""A plugin file for tests that start several processes: networks, a step that writes down what it sees, and a loss that kills."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

import zoo

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_training import build

RANK = os.environ.get("RANK", "0")


def build_normed(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int]) -> nn.Module:
    """BatchNorm of both kinds, a parameter that is not used, and no random numbers."""
    net = nn.Sequential(
        nn.Conv2d(in_channels, 4, 5, stride=4),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, num_classes),
    )
    net.register_parameter("unused", nn.Parameter(torch.ones(3)))
    return net


class Witness:
    """Writes the sum of every frame that passes to a file of its process; ``training`` only those of training."""

    scope, unit_in, unit_out = "batch", "any", "same"

    def __init__(self, file: str, training: bool) -> None:
        self.file, self.random = Path(f"{file}.{RANK}"), training

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape

    def __call__(self, x: Tensor, *, generator: Sequence[Generator] | None = None, out: Tensor | None = None) -> Tensor:
        if not self.random or generator is not None:
            with self.file.open("a") as stream:
                stream.writelines(f"{frame.double().sum().item()!r}\n" for frame in x)
        return x if out is None else out.copy_(x)


def killer(*, class_weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy that does KILL_HOW (a signal, ``raise``, ``parent``) at training batch KILL_AT in process 1, if not started again.

    ``nan`` happens in every process.
    """
    calls = 0

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += logits.requires_grad
        due = logits.requires_grad and calls == int(os.environ["KILL_AT"]) and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        how = os.environ["KILL_HOW"] if due else ""
        if how == "nan":
            return logits.sum() * float("nan")
        if how and RANK == "1":
            if how == "raise":
                raise zoo.errors.DataError("frame.fits: broken")
            os.kill(os.getppid() if how == "parent" else os.getpid(), getattr(signal, "SIGTERM" if how == "parent" else how))
        return nn.functional.cross_entropy(logits, labels, weight=class_weights)

    return loss


@zoo.hookimpl
def register_models(register: Callable[..., None]) -> None:
    register("tinynet", build, input_shape=(1, 24, 48), options={"width": zoo.Option(int, 4, "channels")})
    register("normed", build_normed, input_shape=(1, 24, 48))


@zoo.hookimpl
def register_steps(register: Callable[..., None]) -> None:
    options = {"file": zoo.Option(str, "", "where"), "training": zoo.Option(bool, True, "only frames of training")}
    register("witness", Witness, scope="batch", options=options)


@zoo.hookimpl
def register_losses(register: Callable[..., None]) -> None:
    register("killer", killer)
