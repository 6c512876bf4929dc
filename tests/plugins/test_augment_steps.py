"""flip and rotate: exact, drawn from each frame's own generator, off without one."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from zoo.errors import UsageError
from zoo.plugins.augment import Flip, Rotate


def generators(count: int, first: int = 0) -> list[Generator]:
    return [Generator().manual_seed(first + index) for index in range(count)]


BATCH = torch.arange(64 * 6, dtype=torch.float32).view(64, 1, 2, 3)


def outcomes(step: Flip | Rotate) -> set[str]:
    result = step(BATCH, generator=generators(64))
    names = {"same": (), "up-down": (-2,), "left-right": (-1,), "both": (-2, -1)}
    return {
        name
        for before, after in zip(BATCH, result, strict=True)
        for name, dims in names.items()
        if torch.equal(torch.flip(before, dims), after)
    }


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Flip(), {"same", "up-down", "left-right", "both"}),
        (Flip(vertical=False), {"same", "left-right"}),
        (Flip(horizontal=False), {"same", "up-down"}),
        (Rotate(), {"same", "both"}),
    ],
    ids=["flip", "horizontal", "vertical", "rotate"],
)
def test_outcomes_are_the_symmetries_asked_for(step: Flip | Rotate, expected: set[str]) -> None:
    assert outcomes(step) == expected


@pytest.mark.parametrize("step", [Flip(), Rotate()], ids=["flip", "rotate"])
def test_each_frame_depends_on_its_own_generator(step: Flip | Rotate) -> None:
    whole = step(BATCH, generator=generators(64))
    half = step(BATCH[32:], generator=generators(32, first=32))
    assert torch.equal(whole[32:], half)


@pytest.mark.parametrize("step", [Flip(), Rotate()], ids=["flip", "rotate"])
def test_nothing_happens_without_generators(step: Flip | Rotate) -> None:
    assert step(BATCH) is BATCH
    assert step.output_shape((1, 2, 3)) == (1, 2, 3)
    assert step.random


@pytest.mark.parametrize("step", [Flip(), Rotate()], ids=["flip", "rotate"])
def test_out_receives_the_result_and_the_input_stays(step: Flip | Rotate) -> None:
    batch: Tensor = BATCH.to(torch.bfloat16)
    before, out = batch.clone(), torch.empty_like(batch)
    assert step(batch, generator=generators(64), out=out) is out
    assert torch.equal(out, step(batch, generator=generators(64)))
    assert torch.equal(batch, before)


def test_flip_refuses_to_do_nothing() -> None:
    with pytest.raises(UsageError, match=r"expected at least one"):
        Flip(horizontal=False, vertical=False)
