"""Each fault planted in a preprocessing step is caught by the check that is there for it, and by no other."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from planted import ABOUT, Doubled, Noisy, Shape, examined, failed, plugin_with
from torch import Generator, Tensor

import zoo
from zoo.errors import CheckFailedError
from zoo.frames import Frame
from zoo.registry import Registry, use_registry
from zoo.testing import check_step, make_frame


@pytest.mark.parametrize("step", [Doubled, Noisy])
def test_correct_step_passes_every_check(step: type) -> None:
    assert failed(examined("steps", step)) == set()


class WrongUnit(Doubled):
    unit_in = "counts"


class WrongShape(Doubled):
    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], shape[1] // 2, shape[2])


class Overwrites(Doubled):
    def __call__(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        pixels = frame.decode()
        result = pixels * 2
        pixels.mul_(2)
        return frame.with_pixels(result if out is None else out.copy_(result))


class OwnChance(Doubled):
    def __call__(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(frame.decode() + torch.rand(1, generator=Generator().manual_seed(random.randrange(2**31))))


class NumpyChance(Noisy):
    def __call__(self, x: Tensor, *, generator: Any = None, out: Tensor | None = None) -> Tensor:
        return x if generator is None else x + np.random.normal()


class MakesNan(Doubled):
    def __call__(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(torch.log(frame.decode() - 1000))


class HoldsLambda(Doubled):
    def __init__(self) -> None:
        self.function = lambda x: x


class WrongOut(Doubled):
    def __call__(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(frame.decode() * 2 if out is None else out.zero_())


class LiesAboutUnit(Doubled):
    unit_out = "dimensionless"


class SpreadsNan(Doubled):
    def __call__(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        return frame.with_pixels(frame.decode() - frame.decode().mean())


class Undeclared(Noisy):
    random = False


class NeverDraws(Noisy):
    def __call__(self, x: Tensor, *, generator: Any = None, out: Tensor | None = None) -> Tensor:
        return x


class ActsWithoutGenerator(Noisy):
    def __call__(self, x: Tensor, *, generator: Any = None, out: Tensor | None = None) -> Tensor:
        return 2 * super().__call__(x, generator=generator)


class SetsThreads(Doubled):
    def __init__(self) -> None:
        torch.set_num_threads(torch.get_num_threads() + 1)


class NeighbourNan(Noisy):
    def __call__(self, x: Tensor, *, generator: Any = None, out: Tensor | None = None) -> Tensor:
        return super().__call__(x, generator=generator) + 0 * x[:, :, 32, 64].sum()


class Unmasked(Doubled):
    def __call__(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Any:
        return frame.decode()


STEP_FAULTS = {
    WrongUnit: {"step-declares"},
    WrongShape: {"step-shape"},
    Unmasked: {"step-shape"},
    Overwrites: {"step-input-kept"},
    OwnChance: {"step-repeatable", "step-effects"},
    NumpyChance: {"step-repeatable"},
    MakesNan: {"step-values"},
    HoldsLambda: {"step-pickle"},
    WrongOut: {"step-out"},
    LiesAboutUnit: {"step-units"},
    SpreadsNan: {"step-nan"},
    NeighbourNan: {"step-nan"},
    Undeclared: {"step-random"},
    NeverDraws: {"step-random"},
    ActsWithoutGenerator: {"step-random"},
    SetsThreads: {"step-effects"},
}


@pytest.mark.parametrize(("fault", "ids"), STEP_FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_planted_fault_of_a_step_is_caught_by_its_check(fault: type, ids: set[str]) -> None:
    assert failed(examined("steps", fault)) == ids


def test_scope_that_was_registered_otherwise_is_caught() -> None:
    assert failed(examined("steps", Doubled, scope="batch")) == {"step-declares"}


def test_option_of_a_step_that_changes_nothing_is_caught() -> None:
    options = {"factor": zoo.Option(float, 2.0, "factor")}
    assert failed(examined("steps", lambda *, factor: Doubled(), scope="frame", options=options)) == {"step-options"}


def test_check_step_raises_and_returns() -> None:
    with use_registry(Registry.from_plugins([plugin_with("steps", Doubled, scope="frame", **ABOUT)])):
        assert isinstance(check_step("planted"), Doubled)
    broken = Registry.from_plugins([plugin_with("steps", WrongOut, scope="frame", **ABOUT)])
    with (
        use_registry(broken),
        pytest.raises(CheckFailedError, match=r"step 'planted': with out= it gives other pixels; write .* \[step-out\]"),
    ):
        check_step("planted")


def test_make_frame_is_seeded_and_finite() -> None:
    frame = make_frame(32, 48, seed=3)
    assert frame.shape == (1, 32, 48)
    assert torch.equal(frame.decode(), make_frame(32, 48, seed=3).decode())
    assert not torch.equal(frame.decode(), make_frame(32, 48, seed=4).decode())
    assert torch.isfinite(frame.decode()).all()
