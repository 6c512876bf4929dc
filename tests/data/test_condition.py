"""The condition of frames whose answers are known by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import zoo
from zoo.data.condition import STATISTICS, Condition, measure_condition
from zoo.frames import Encoding, Frame, FrameInfo, Layout, acs_wfc, wfc3_uvis

SHAPE = (64, 128)


def native(pixels: NDArray[np.floating]) -> Frame:
    return Frame(torch.from_numpy(pixels.astype(np.float32))[None], None)


def raw(layout: Layout, electrons: NDArray[np.floating], bias: tuple[float, float]) -> Frame:
    """A raw chip of 16-bit counts; the bias columns of every amplifier hold its bias and nothing else."""
    stored = np.zeros(layout.shape)
    for amplifier, level in zip(layout.amplifiers, bias, strict=True):
        stored[amplifier.readout.slices] = level
        columns = slice(amplifier.to_x, amplifier.to_x + amplifier.science.width)
        stored[amplifier.science.slices] += electrons[:, columns] / amplifier.gain
    counts = (np.minimum(stored.round(), 65535) - 32768).astype(">i2")
    pixels = torch.from_numpy(counts.view(np.uint8).reshape(layout.shape[0], -1).copy())
    return Frame(pixels, Encoding(16, 1, 32768), layout=layout, saturation=layout.saturation(), info=FrameInfo(product="raw"))


def noise(seed: int, shape: tuple[int, int] = SHAPE, level: float = 100.0, width: float = 4.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(level, width, shape)


def test_noise_alone_has_the_signal_to_noise_that_the_docstring_says() -> None:
    found = [measure_condition(native(noise(seed, (512, 512)))) for seed in range(8)]
    assert np.mean([c.signal_to_noise for c in found]) == pytest.approx(1.826, abs=0.15)  # two normal quantiles
    assert max(c.filled for c in found) < 0.001
    for c in found:
        assert c.sky == pytest.approx(100, abs=0.1)
        assert c.noise == pytest.approx(4, rel=0.02)
        assert c.excess == pytest.approx(16 - 100, abs=1)
        assert c.texture == pytest.approx(1, abs=0.03)
        assert c.tail == pytest.approx(3.09, abs=0.3)  # the normal quantile of 0.999
        assert c.valid == 1.0
        assert abs(c.skew) < 0.1


def test_extended_light_fills_what_it_covers() -> None:
    image = noise(1)
    image[:, 32:64] += 40  # a quarter of the columns; 10 noise of a pixel, 80 of a block
    found = measure_condition(native(image))
    assert found.filled == pytest.approx(3 / 15)  # of 16 columns of blocks 4 are lit, which makes 3 pairs of 15
    assert found.signal_to_noise == pytest.approx(80, rel=0.05)
    assert found.skew > 0.5


def test_stars_and_bad_columns_are_no_extended_light() -> None:
    quiet = noise(2, (256, 512))
    image, rng = quiet.copy(), np.random.default_rng(3)
    image[rng.integers(0, 256, 40), rng.integers(32, 500, 40)] += 2000
    image[:, 20] += 500
    alone, found = measure_condition(native(quiet)), measure_condition(native(image))
    assert found.signal_to_noise < 3  # a star raises its own block by 62 noise of a block
    assert found.filled < 0.005
    assert alone.points < 50
    assert found.points > 1e6 / 512  # a pixel of every row is that of the column
    assert found.tail > 20


def test_pixels_without_a_value_count_as_invalid_and_as_nothing_else() -> None:
    image = noise(4)
    image[:32] = np.nan
    image[40, 3] = np.inf
    found = measure_condition(native(image))
    assert found.valid == pytest.approx((32 * 128 - 1) / (64 * 128))
    assert found.sky == pytest.approx(100, abs=1)
    assert found.noise == pytest.approx(4, rel=0.1)
    nothing = measure_condition(native(np.full(SHAPE, np.nan)))
    assert nothing.valid == 0
    assert all(math.isnan(value) for name, value in nothing.to_dict().items() if name != "valid")


@pytest.mark.parametrize("layout", [acs_wfc(2, gain=2.0), acs_wfc(1, gain=1.0), wfc3_uvis(1)], ids=["acs-2", "acs-1", "uvis-1"])
def test_a_raw_frame_is_measured_in_electrons_without_its_bias(layout: Layout) -> None:
    small = layout.scaled(32)
    rows, columns = small.science_shape
    electrons = noise(5, (rows, columns), level=300, width=20)
    level, bias = small.saturation((2500.0, 2520.0)), (2500.0, 2520.0)
    at_limit = [(level - b) * a.gain for a, b in zip(small.amplifiers, bias, strict=True)]
    electrons[0, :8] = 2 * max(at_limit)  # 8 saturated pixels
    electrons[1, :8] = 0.98 * at_limit[0]  # and 8 that are not
    found = measure_condition(raw(small, electrons, bias))
    assert found.saturated == 8 / (rows * columns)
    assert found.sky == pytest.approx(300, abs=3)
    assert found.noise == pytest.approx(20, rel=0.1)
    assert found.valid == 1.0


def test_overscan_before_changes_nothing() -> None:
    small = acs_wfc(2).scaled(32)
    electrons = noise(6, small.science_shape, level=300, width=20)
    electrons[3, 4:9] = 1e6
    frame = raw(small, electrons, (2500.0, 2520.0))
    (overscan,) = zoo.Pipeline(["overscan"]).frame_steps
    before, after = measure_condition(frame).to_dict(), measure_condition(overscan(frame)).to_dict()
    assert after == pytest.approx(before, rel=1e-3)
    assert after["saturated"] == 5 / 128**1 / 64


def test_saturation_is_known_where_the_camera_is() -> None:
    image = noise(7)
    image[0, 0] = 84_700
    flt = FrameInfo(product="flt", instrument="ACS/WFC")
    assert measure_condition(replace(native(image), info=flt, unit="electron")).saturated == 1 / (64 * 128)
    assert math.isnan(measure_condition(replace(native(image), info=flt, unit="DN")).saturated)
    assert math.isnan(measure_condition(native(image)).saturated)


def test_a_large_frame_is_sampled_evenly() -> None:
    image = np.broadcast_to(np.arange(2048, dtype=np.float64)[:, None], (2048, 1024)) + noise(8, (2048, 1024), level=0)
    found = measure_condition(native(image))
    assert found.sky == pytest.approx(1023.5, abs=10)


def test_resampled_noise_has_texture() -> None:
    white = noise(9, (64, 129))
    assert measure_condition(native((white[:, 1:] + white[:, :-1]) / 2)).texture == pytest.approx(math.sqrt(2), rel=0.05)


@pytest.mark.parametrize(
    "make", [lambda: np.zeros((1, 1)), lambda: np.full(SHAPE, 7.0), lambda: noise(1, (3, 5)), lambda: noise(1, (9, 1))]
)
def test_degenerate_frames_have_no_numbers_and_raise_nothing(make: Callable[[], NDArray[np.float64]]) -> None:
    found = measure_condition(native(make()))
    assert isinstance(found, Condition)
    assert found.statistics().shape == (len(STATISTICS),)


def test_integers_of_a_converter_are_measured_below_its_step() -> None:
    found = measure_condition(native(noise(10, (256, 256), level=50, width=1.2).round()))
    assert found.noise == pytest.approx(math.hypot(1.2, 1 / math.sqrt(12)), rel=0.15)
