"""Any frame, any rule for the limits, any stretch: the fused normalization against astropy on frames that hypothesis makes up."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from astropy import visualization
from astropy.stats import SigmaClip as AstropySigmaClip
from astropy.stats import mad_std, sigma_clipped_stats
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from zoo.ops import (
    Asinh,
    Encoding,
    Linear,
    Log,
    MedianMAD,
    MinMax,
    Percentile,
    Power,
    Region,
    SigmaClip,
    Sinh,
    Sqrt,
    ZScale,
    decode,
    frame_statistics,
    normalize,
)  # fmt: skip

STRETCHES = {
    Linear(): visualization.LinearStretch(),
    Sqrt(): visualization.SqrtStretch(),
    Log(100.0): visualization.LogStretch(100.0),
    Asinh(0.1): visualization.AsinhStretch(0.1),
    Sinh(1 / 3): visualization.SinhStretch(1 / 3),
    Power(2.0): visualization.PowerStretch(2.0),
}
# what a bfloat16 or float16 of order one adds to the error of float32
ROUNDING = {torch.float32: 4e-7, torch.bfloat16: 2**-8, torch.float16: 2**-11}
SHAPES = ((1, 40), (40, 1), (5, 9), (130, 140))  # the last has more pixels than are sorted at once

RULES: dict[Any, Any] = {
    MinMax(): lambda valid: (valid.min(), valid.max()),
    Percentile(3.0, 97.5): lambda valid: np.percentile(valid, [3.0, 97.5]),
    ZScale(): visualization.ZScaleInterval().get_limits,
    SigmaClip(2.5, 5, 2.0, 6.0): lambda valid: (lambda m, s: (m - 2.0 * s, m + 6.0 * s))(*sigma_clipped_stats(valid, sigma=2.5)[1:]),
    MedianMAD(2.0, 6.0): lambda valid: (np.median(valid) - 2.0 * mad_std(valid), np.median(valid) + 6.0 * mad_std(valid)),
}

few_examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def frames(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """A frame of any stored type: noise, few values with many ties, one value, one valid pixel; floats with NaN and infinities."""
    dtype = draw(st.sampled_from(["u1", "i2", "i4", "f4", "f8"]))
    shape = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    kind = draw(st.sampled_from(["noise", "ties", "constant", "drawn"]))
    if kind == "noise":
        frame = (100.0 + 12.0 * rng.standard_normal(shape) + 80.0 * rng.random(shape) ** 20).astype(dtype)
    elif kind == "ties":
        frame = rng.choice([3, 4, 5, 200], shape).astype(dtype)
    elif kind == "constant":
        frame = np.full(shape, draw(st.integers(0, 200))).astype(dtype)
    else:
        elements = st.floats(-1e6, 1e6, width=32) if dtype[0] == "f" else st_numpy.from_dtype(np.dtype(dtype))
        frame = np.resize(draw(st_numpy.arrays(dtype, st.integers(1, 30), elements=elements)), shape)
    if dtype[0] == "f" and draw(st.booleans()):
        frame[rng.random(shape) < 0.1] = np.nan
        frame.flat[: frame.size // 20] = draw(st.sampled_from([np.inf, -np.inf]))
        if draw(st.booleans()):  # one valid pixel
            frame.flat[1:] = np.nan
            frame.flat[0] = 7.5
    return frame


def linear_pixels(image: torch.Tensor, **options: Any) -> np.ndarray[Any, Any]:
    return decode(image, dtype=torch.float64, **options).numpy()


def close(found: Any, want: Any, scale: float) -> bool:
    return bool(np.allclose(found, want, rtol=1e-11, atol=1e-11 * scale))


@few_examples
@given(frame=frames(), data=st.data())
def test_normalization_of_any_frame_matches_astropy(kernel: str, frame: np.ndarray[Any, Any], data: st.DataObject) -> None:
    rule, stretch = data.draw(st.sampled_from(list(RULES)), "rule"), data.draw(st.sampled_from(list(STRETCHES)), "stretch")
    dtype = data.draw(st.sampled_from(list(ROUNDING)), "dtype")
    image, options = torch.from_numpy(frame), {}
    if data.draw(st.booleans(), "raw"):
        image = torch.from_numpy(frame.astype(frame.dtype.newbyteorder(">")).view(np.uint8))
        options["encoding"] = Encoding({"u": 8, "i": 8 * frame.itemsize, "f": -8 * frame.itemsize}[frame.dtype.kind])
    height, width = frame.shape
    if width > 1 and data.draw(st.booleans(), "regions"):
        half = width // 2
        options["regions"] = [Region(0, 0, height, half, bias=10.25, gain=1.5), Region(0, half, height, width - half, 0, half, 9.5, 1.25)]
    values = linear_pixels(image, **options)
    valid = values[np.isfinite(values)]
    found = torch.empty(2, dtype=torch.float64)
    got = normalize(image, limits=rule, stretch=stretch, invalid="nan", dtype=dtype, limits_out=found, **options)
    assert got.dtype == dtype
    if valid.size == 0:
        assert got.isnan().all()
        assert found.isnan().all()
        return
    scale = float(np.abs(valid).max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = RULES[rule](valid)
        if not close(found.numpy(), want, scale):
            # Rejection of residuals that are rounding errors themselves: astropy's own limits are others for the same frame in other units.
            assume(all(close(np.asarray(RULES[rule](valid * unit)) / unit, want, scale) for unit in (0.7, 1 / 3, 0.2)))
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-11, atol=1e-11 * scale)
    # from the limits that were found: those of a constant frame would differ in sign of zero only, and everything after
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")
        place = visualization.ManualInterval(*found.tolist())(values, clip=True)
        reference = STRETCHES[stretch](place, clip=True)
    # a root is steep at 0: there the rounding of a place to float32 counts
    tolerance = ROUNDING[dtype] * (1.0 if not isinstance(stretch, Sqrt) else 4.0)
    np.testing.assert_allclose(got.double().numpy(), reference, rtol=tolerance, atol=tolerance)


@few_examples
@given(frame=frames(), sigma=st.sampled_from([1.5, 2.0, 3.0]), maxiters=st.sampled_from([1, 3, 30]))
def test_sigma_clipping_of_any_frame_matches_astropy(kernel: str, frame: np.ndarray[Any, Any], sigma: float, maxiters: int) -> None:
    values = linear_pixels(torch.from_numpy(frame))
    valid = values[np.isfinite(values)]
    got = frame_statistics(torch.from_numpy(frame), quantiles=(), sigma_clip=SigmaClip(sigma, maxiters))
    if valid.size == 0:
        assert got.clipped_count.item() == 0
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left, low, high = AstropySigmaClip(sigma, maxiters=maxiters)(valid, masked=False, return_bounds=True)
    # a pixel on a bound, as ties can be, is in or out by the last bit of the deviation
    near = min(np.abs(valid - low).min(), np.abs(valid - high).min())
    scale = float(np.abs(valid).max())
    if near <= 1e-9 * scale:
        return
    assert got.clipped_count.item() == left.size
    np.testing.assert_allclose([got.clipped_low.item(), got.clipped_high.item()], [low, high], rtol=1e-12, atol=1e-12 * scale)
    assert got.clipped_median.item() == np.median(left)
    np.testing.assert_allclose([got.clipped_mean.item(), got.clipped_std.item()], [left.mean(), left.std()], rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("name", ["noise", "integers", "heavy", "sorted", "far"])
def test_statistics_of_large_frames_match_numpy(name: str, share: float) -> None:
    rng = np.random.default_rng(8)
    noise = rng.standard_normal((300, 400))
    frame = {
        "noise": noise,
        "integers": np.round(3.0 * noise),
        "heavy": rng.standard_cauchy((300, 400)),
        "sorted": np.sort(noise, axis=None).reshape(300, 400),
        "far": 1e6 + noise,
    }[name].astype(np.float32)
    frame[rng.random(frame.shape) < share] = 0.0  # the empty border of a drizzled frame
    frame[rng.random(frame.shape) < share / 2] = math.nan
    points = (0.0, 0.01, 0.3, 0.5, 0.99, 1.0)
    got = frame_statistics(torch.from_numpy(frame), quantiles=points, sigma_clip=SigmaClip())
    valid = frame[np.isfinite(frame)].astype(np.float64)
    left = AstropySigmaClip()(valid, masked=False)
    np.testing.assert_array_equal(got.quantiles.numpy(), np.quantile(valid, points))
    assert (got.median.item(), got.mad.item()) == (np.median(valid), np.median(np.abs(valid - np.median(valid))))
    assert (got.clipped_count.item(), got.clipped_median.item()) == (left.size, np.median(left))
    scale = float(np.abs(valid).max())
    figures = [got.mean.item(), got.std.item(), got.clipped_mean.item(), got.clipped_std.item()]
    np.testing.assert_allclose(figures, [valid.mean(), valid.std(), left.mean(), left.std()], rtol=1e-12, atol=1e-12 * scale)
