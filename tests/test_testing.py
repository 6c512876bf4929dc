"""The conformance kit: everything registered passes it, and each planted fault is caught with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.errors import CheckFailedError
from zoo.frames import Frame
from zoo.models import check_input_shape
from zoo.registry import Registry, use_registry
from zoo.testing import check_model, check_step, make_frame

BUILTIN = Registry.from_plugins([])

# What an architecture needs to be built at the small size of a test.
SMALL: dict[str, dict[str, object]] = {"hrcn": {"padding": "same"}}


@pytest.mark.parametrize("name", BUILTIN.names("models"))
def test_every_model_passes(name: str) -> None:
    with use_registry(BUILTIN):
        check_model(name, options=SMALL.get(name))


@pytest.mark.parametrize("name", BUILTIN.names("steps"))
def test_every_step_passes(name: str) -> None:
    options = {"resize": {"factor": 2}, "pad": {"height": 80, "width": 144}, "crop": {"height": 40, "width": 96}}
    with use_registry(BUILTIN):
        check_step(name, options=options.get(name))


class Sound(nn.Module):
    """A correct network that each fault below breaks in one way."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.features = nn.Sequential(nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(16, num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        check_input_shape(frames, self.input_shape)
        return self.head(self.features(frames))  # type: ignore[no-any-return]


class Unused(Sound):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.idle = nn.Linear(2, 2)


class Unshaped(Sound):
    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.features(frames))  # type: ignore[no-any-return]


class OneRow(Sound):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).mean(0)


class Infinite(Sound):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) / 0


class BadGradient(Sound):
    def forward(self, frames: Tensor) -> Tensor:
        logits = super().forward(frames)
        return logits + (logits - logits.detach()).sqrt()


class InPlace(Sound):
    def forward(self, frames: Tensor) -> Tensor:
        logits = super().forward(frames)
        frames.mul_(1 + 1e-3)
        return logits


class Restless(Sound):
    def forward(self, frames: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(frames), 0.5, training=True)


class BatchCoupled(Sound):
    def forward(self, frames: Tensor) -> Tensor:
        logits = super().forward(frames)
        return logits - logits.mean(0) * (len(frames) > 1)


class HiddenState(Sound):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.offset = torch.rand(1).item()

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) + self.offset


def registry_with(model: type[nn.Module] | None = None, step: Callable[[], object] | None = None) -> Registry:
    plugin = ModuleType("fault")

    def build(*, num_classes: int, in_channels: int, input_shape: tuple[int, int, int]) -> nn.Module:
        assert model is not None
        return model(num_classes, input_shape)

    def register_models(register: Callable[..., None]) -> None:
        if model:
            register("net", build, input_shape=(1, 64, 128))

    def register_steps(register: Callable[..., None]) -> None:
        if step:
            register("step", step, scope="frame")

    plugin.register_models = zoo.hookimpl(register_models)  # type: ignore[attr-defined]
    plugin.register_steps = zoo.hookimpl(register_steps)  # type: ignore[attr-defined]
    registry = Registry.from_plugins([plugin])
    assert registry.failures == []
    return registry


def test_sound_model_passes() -> None:
    with use_registry(registry_with(Sound)):
        check_model("net")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Unused, "parameter idle.weight receives no gradient"),
        (Unshaped, "a transposed frame"),
        (OneRow, r"expected float logits \(2, 2\)"),
        (Infinite, "logits are not finite"),
        (BadGradient, "is not finite"),
        (InPlace, "backward failed: .*inplace operation"),
        (Restless, "two eval passes"),
        (BatchCoupled, "change by .* with its batch"),
        (HiddenState, "fresh model with the same state dict"),
    ],
)
def test_faulty_model_is_caught(fault: type[nn.Module], words: str) -> None:
    with use_registry(registry_with(fault)), pytest.raises(CheckFailedError, match=words):
        check_model("net")


class Doubled:
    """A correct frame step that each fault below breaks in one way."""

    scope, unit_in, unit_out, random = "frame", "physical", "same", False

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape

    def __call__(self, frame: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(torch.mul(frame.decode(), 2, out=out))


class WrongScope(Doubled):
    scope = "batch"


class WrongUnit(Doubled):
    unit_in = "counts"


class WrongShape(Doubled):
    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (shape[0], shape[1] // 2, shape[2])


class Overwrites(Doubled):
    def __call__(self, frame: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        pixels = frame.decode()
        result = pixels * 2
        pixels.zero_()
        return frame.with_pixels(result if out is None else out.copy_(result))


class OwnChance(Doubled):
    def __call__(self, frame: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(frame.decode() + torch.rand(1))


class MakesNan(Doubled):
    def __call__(self, frame: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(torch.log(frame.decode() - 1000))


class HoldsLambda(Doubled):
    def __init__(self) -> None:
        self.function = lambda x: x


def test_sound_step_passes() -> None:
    with use_registry(registry_with(step=Doubled)):
        check_step("step")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (WrongScope, "registered with scope 'frame' and says 'batch'"),
        (WrongUnit, "unit_in is 'counts'"),
        (WrongShape, "output_shape says"),
        (Overwrites, "without a generator differ|changed the frame"),
        (OwnChance, "without a generator differ"),
        (MakesNan, "became NaN"),
        (HoldsLambda, "cannot be pickled"),
    ],
)
def test_faulty_step_is_caught(fault: Callable[[], object], words: str) -> None:
    with use_registry(registry_with(step=fault)), pytest.raises(CheckFailedError, match=words):
        check_step("step")


def test_make_frame_is_seeded_and_finite() -> None:
    frame = make_frame(32, 48, seed=3)
    assert frame.shape == (1, 32, 48)
    assert torch.equal(frame.decode(), make_frame(32, 48, seed=3).decode())
    assert not torch.equal(frame.decode(), make_frame(32, 48, seed=4).decode())
    assert torch.isfinite(frame.decode()).all()
