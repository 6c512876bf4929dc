"""Ops beside their references on a small frame."""

from __future__ import annotations

import math

import pytest
import torch

from zoo.profiling import ops
from zoo.profiling.session import OP_NAMES

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", OP_NAMES)
def test_every_op_is_measured_and_equals_its_reference(name: str) -> None:
    cases = ops.profile_op(name, CPU, budget_s=0.05, shape=(64, 128))
    assert [case["pixels"] for case in cases] == (["float32"] if name == "blur" else ["int16", "float32"])
    for case in cases:
        assert case["difference"] <= (3e-7 if name in ("blur", "normalize") else 0.0 if name == "decode" else 1e-12)
        assert case["runs"] >= 3
        assert case["reference_runs"] >= 1
        assert case["copies"] == case["median_s"] / case["copy_s"]
        assert case["speedup"] == case["reference_s"] / case["median_s"]
        library = {"blur": "scipy", "normalize": "astropy", "decode": "numpy"}.get(name)
        assert case.get("library") == library
        if library:
            assert case["library_difference"] <= (3e-7 if name != "decode" else 0.0)
            assert case["library_runs"] >= 1


def test_the_names_are_those_that_can_be_measured() -> None:
    assert set(OP_NAMES) == set(ops.OPS)


def test_differences_are_seen() -> None:
    expected = torch.tensor([1.0, math.nan, -8.0], dtype=torch.float64)
    assert ops._pixel_difference(torch.tensor([1.0, math.nan, -8.0]), expected) == 0.0
    assert ops._pixel_difference(torch.tensor([1.4, math.nan, -8.0]), expected) == pytest.approx(0.05)
    assert ops._pixel_difference(torch.tensor([1.0, 2.0, -8.0]), expected) == math.inf


def test_quartile_range() -> None:
    assert ops.quartile_range([1.0, 2.0, 3.0, 4.0, 5.0]) == 2.0
    assert ops.quartile_range([1.0]) is None
