"""A correct network, step, loss, logger and command, and the plugin that registers a broken one in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo.frames import Frame
from zoo.models import check_input_shape
from zoo.registry import Registry, use_registry
from zoo.testing.check import Result
from zoo.testing.targets import examine_entry

Shape = tuple[int, int, int]
ABOUT = {"summary": "planted", "licence": "MIT"}
ABOUT_MODELS = {**ABOUT, "reference": "https://example.org/paper", "input_shape": (1, 64, 128)}


class Net(nn.Module):
    """A correct network for frames of one size; its parts can be exchanged."""

    def __init__(self, num_classes: int, in_channels: int, input_shape: Shape) -> None:
        super().__init__()
        self.num_classes, self.input_shape = num_classes, input_shape
        self.features = nn.Sequential(nn.Conv2d(in_channels, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(16, num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        frames = check_input_shape(frames, self.input_shape)
        logits: Tensor = self.head(self.features(frames).flatten(1))
        return logits


def build_net(*, num_classes: int, in_channels: int, input_shape: Shape) -> nn.Module:
    return Net(num_classes, in_channels, input_shape)


def builder(model: type[nn.Module]) -> Callable[..., nn.Module]:
    """A builder of a class that takes what `Net` takes."""

    def build(*, num_classes: int, in_channels: int, input_shape: Shape) -> nn.Module:
        return model(num_classes, in_channels, input_shape)

    return build


class Doubled:
    """A correct frame step."""

    scope, unit_in, unit_out, random = "frame", "physical", "same", False

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def __call__(self, frame: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(torch.mul(frame.decode(), 2, out=out))


class Noisy:
    """A correct random batch step."""

    scope, unit_in, unit_out, random = "batch", "any", "same", True

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def __call__(self, x: Tensor, *, generator: Any = None, out: Tensor | None = None) -> Tensor:
        if generator is None:
            return x
        return torch.stack([frame + torch.randn(frame.shape, generator=source) for frame, source in zip(x, generator, strict=True)])


def plugin_with(kind: str, build: object, **metadata: Any) -> ModuleType:
    """A plugin that registers one name, ``planted``."""
    plugin = ModuleType("broken")

    def hook(register: Callable[..., None]) -> None:
        register("planted", build, **metadata)

    plugin.__dict__[f"register_{kind}"] = zoo.hookimpl(hook)
    return plugin


def examined(
    kind: str, build: object, given: Mapping[str, object] | None = None, root: Path | None = None, **metadata: Any
) -> list[Result]:
    """The results of all checks of one planted name, built with the options ``given``."""
    about = {"models": ABOUT_MODELS, "steps": {**ABOUT, "scope": getattr(build, "scope", "frame")}}.get(kind, ABOUT)
    registry = Registry.from_plugins([plugin_with(kind, build, **{**about, **metadata})])
    assert registry.failures == []
    arguments = {} if root is None else {"root": root}
    with use_registry(registry):
        return list(examine_entry(registry.get(kind, "planted"), given, **arguments))


def failed(results: list[Result]) -> set[str]:
    """The ids of the checks that failed; each must say what was got and how to mend it."""
    faults = [result for result in results if result.status == "failed"]
    assert all(result.got and result.remedy for result in faults)
    return {result.check for result in faults}
