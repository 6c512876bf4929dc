"""The parameters of limits and stretches: what they accept, and the reference of each stretch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from astropy import visualization

from zoo.errors import UsageError
from zoo.ops import Asinh, Linear, Log, Manual, MedianMAD, Percentile, Power, SigmaClip, Sinh, Sqrt, ZScale
from zoo.ops.stretch import Stretch, reference_stretch, stretch_arguments


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Manual(2.0, 1.0), "vmin must not exceed vmax"),
        (lambda: Manual(math.nan, 1.0), "must be finite"),
        (lambda: Percentile(99.0, 1.0), "0 <= lower <= upper <= 100"),
        (lambda: Percentile(-1.0, 50.0), "0 <= lower <= upper <= 100"),
        (lambda: Percentile(1.0, math.inf), "must be finite"),
        (lambda: ZScale(n_samples=0), "n_samples >= 1"),
        (lambda: ZScale(max_iterations=0), "max_iterations >= 1"),
        (lambda: ZScale(min_npixels=1), "min_npixels >= 2"),
        (lambda: ZScale(contrast=math.nan), "must be finite"),
        (lambda: SigmaClip(sigma=0.0), "sigma > 0"),
        (lambda: SigmaClip(maxiters=0), "maxiters <= 1000"),
        (lambda: SigmaClip(lower=-2.0, upper=1.0), "out of order"),
        (lambda: MedianMAD(lower=-2.0, upper=1.0), "out of order"),
        (lambda: Log(0.0), "must be finite and > 0"),
        (lambda: Asinh(-1.0), "must be finite and > 0"),
        (lambda: Sinh(math.inf), "must be finite and > 0"),
        (lambda: Power(math.nan), "must be finite and > 0"),
        (lambda: Asinh(1e-40), "between 1e-30 and 1e30"),
    ],
)
def test_parameters_out_of_range_are_refused(build: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()


def test_limits_and_stretches_compare_by_value_and_are_hashable() -> None:
    assert Percentile(1, 99) == Percentile(1.0, 99.0)
    assert len({Asinh(0.1), Asinh(0.1), Log(), Linear()}) == 3


def test_stretch_arguments_refuses_what_is_no_stretch() -> None:
    with pytest.raises(UsageError, match="stretch must be a Linear"):
        stretch_arguments("asinh")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stretch", "other"),
    [
        (Linear(), visualization.LinearStretch()),
        (Sqrt(), visualization.SqrtStretch()),
        (Log(), visualization.LogStretch()),
        (Log(10.0), visualization.LogStretch(10.0)),
        (Asinh(), visualization.AsinhStretch()),
        (Asinh(0.01), visualization.AsinhStretch(0.01)),
        (Sinh(), visualization.SinhStretch()),
        (Sinh(0.05), visualization.SinhStretch(0.05)),
        (Power(2.0), visualization.PowerStretch(2.0)),
        (Power(0.3), visualization.PowerStretch(0.3)),
    ],
    ids=lambda value: str(value) if isinstance(value, Linear | Sqrt | Log | Asinh | Sinh | Power) else "",
)
def test_reference_stretch_matches_astropy(stretch: Stretch, other: Any) -> None:
    t = np.linspace(0.0, 1.0, 1001)
    got = reference_stretch(torch.from_numpy(t), *stretch_arguments(stretch)).numpy()
    np.testing.assert_allclose(got, other(t), rtol=1e-12, atol=1e-15)


def test_reference_sinh_does_not_overflow_for_small_a() -> None:
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert reference_stretch(t, "sinh", 1e-4).tolist() == [0.0, 0.0, 1.0]
