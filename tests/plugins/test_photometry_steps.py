"""normalize and blur as steps: options, fusion with pending regions, invalid and saturated pixels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from astropy import visualization

from zoo import ops
from zoo.errors import UsageError
from zoo.frames import Frame, Region, read_frame
from zoo.plugins.photometry import Blur, Normalize
from zoo.registry import get_registry


def sky(height: int = 24, width: int = 32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).gamma(2.0, 30.0, (height, width)).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({"limits": "manual", "lower": 10.0, "upper": 90.0}, ops.Manual(10.0, 90.0)),
        ({"limits": "minmax"}, ops.MinMax()),
        ({}, ops.Percentile(1.0, 99.0)),
        ({"lower": 5.0, "upper": 95.0}, ops.Percentile(5.0, 95.0)),
        ({"limits": "zscale", "contrast": 0.5}, ops.ZScale(contrast=0.5)),
        ({"limits": "sigma_clip", "sigma": 2.5, "maxiters": 3, "below": 2.0, "above": 8.0}, ops.SigmaClip(2.5, 3, lower=2.0, upper=8.0)),
        ({"limits": "median_mad", "below": 2.0, "above": 8.0}, ops.MedianMAD(lower=2.0, upper=8.0)),
    ],
)
def test_normalize_options_name_the_limits(options: dict[str, Any], limits: Any) -> None:
    assert Normalize(**options).limits == limits
    frame = read_frame(sky())
    expected = ops.normalize(torch.from_numpy(sky()), limits=limits, stretch=ops.Asinh(0.1))
    torch.testing.assert_close(Normalize(**options)(frame).decode()[0], expected)


@pytest.mark.parametrize(
    ("options", "stretch"),
    [
        ({"stretch": "linear"}, ops.Linear()),
        ({"stretch": "sqrt"}, ops.Sqrt()),
        ({"stretch": "log"}, ops.Log()),
        ({"stretch": "log", "a": 100.0}, ops.Log(100.0)),
        ({"stretch": "asinh", "a": 0.02}, ops.Asinh(0.02)),
        ({"stretch": "sinh"}, ops.Sinh()),
        ({"stretch": "power", "a": 0.5}, ops.Power(0.5)),
    ],
)
def test_normalize_options_name_the_stretch(options: dict[str, Any], stretch: Any) -> None:
    assert Normalize(**options).stretch == stretch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": "zmax"}, r"limits must be one of manual, .*, got 'zmax'"),
        ({"stretch": "cubic"}, r"stretch must be one of linear, .*, got 'cubic'"),
        ({"stretch": "power"}, r"power stretch needs its exponent"),
        ({"stretch": "sqrt", "a": 2.0}, r"sqrt stretch has no parameter, got a=2.0"),
        ({"lower": 99.0, "upper": 1.0}, r"lower <= upper"),
        ({"a": -1.0}, r"> 0, got -1.0"),
        ({"limits": "manual", "lower": float("nan")}, r"finite"),
    ],
)
def test_normalize_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Normalize(**options)


def test_normalize_equals_astropy() -> None:
    data = sky().astype(np.float64)
    lower, upper = np.percentile(data, [1, 99.5])
    expected = visualization.AsinhStretch(0.1)(np.clip((data - lower) / (upper - lower), 0, 1))
    result = Normalize(upper=99.5, a=0.1)(read_frame(data))
    assert (result.unit, result.encoding) == ("dimensionless", None)
    np.testing.assert_allclose(result.decode()[0].numpy(), expected, atol=3e-7)


@pytest.mark.parametrize("native", [True, False])
def test_normalize_applies_pending_regions(native: bool) -> None:
    frame = Frame(torch.from_numpy(sky())[None], None) if native else read_frame(sky())
    regions = (Region(2, 3, 20, 10, bias=3.25, gain=1.6), Region(2, 16, 20, 10, to_x=10, bias=7.5, gain=1.59))
    pending = dataclasses.replace(frame, regions=regions)
    step = Normalize(limits="minmax", stretch="linear")
    torch.testing.assert_close(step(pending).decode(), step(read_frame(pending.decode()[0].numpy())).decode(), rtol=1e-6, atol=1e-6)


def test_normalize_makes_missing_pixels_zero_and_saturated_ones_one() -> None:
    data = sky()
    data[0, :4] = [np.nan, np.inf, -np.inf, 5000.0]
    frame = dataclasses.replace(read_frame(data), saturation=4000.0)
    image = Normalize(limits="manual", lower=0.0, upper=1e6)(frame).decode()[0]
    assert image[0, :4].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_normalize_without_clip_leaves_the_unit_interval() -> None:
    image = Normalize(lower=10.0, upper=90.0, stretch="linear", clip=False)(read_frame(sky())).decode()
    assert float(image.min()) < 0
    assert float(image.max()) > 1


def test_blur_is_the_op_in_the_frames_unit() -> None:
    frame = dataclasses.replace(read_frame(sky()), unit="electron")
    result = Blur(sigma=1.5, mode="wrap", truncate=3.0)(frame)
    assert result.unit == "electron"
    torch.testing.assert_close(result.decode()[0], ops.blur(torch.from_numpy(sky()), 1.5, mode="wrap", truncate=3.0))


def test_blur_keeps_missing_pixels_and_their_neighbours() -> None:
    data = np.full((9, 9), 5.0, np.float32)
    data[4, 4] = np.nan
    image = Blur(sigma=1.0)(read_frame(data)).decode()[0]
    assert torch.isnan(image).nonzero().tolist() == [[4, 4]]
    torch.testing.assert_close(image[~torch.isnan(image)], torch.full((80,), 5.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "options", [{"sigma": 0.0}, {"sigma": -1.0}, {"sigma": float("nan")}, {"truncate": 0.0}, {"truncate": float("inf")}]
)
def test_blur_refuses_options(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"must be finite and > 0"):
        Blur(**options)


@pytest.mark.parametrize("name", ["normalize", "blur", "resize", "pad", "crop", "flip", "rotate", "overscan"])
def test_catalogue_defaults_are_the_constructors(name: str) -> None:
    entry = get_registry().get("steps", name)
    plain, full = entry.load()(), entry.load()(**entry.parse_options({}))
    assert vars(plain) == vars(full)
    assert plain.scope == entry.metadata["scope"]
