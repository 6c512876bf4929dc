"""resize, rebin, pad, crop: exact means, the sky around small frames, the middle of large ones; nothing is stretched."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from zoo.errors import InputShapeError, UsageError
from zoo.frames import Frame, Region, read_frame
from zoo.plugins.geometry import Crop, Pad, Rebin, Resize, block_mean
from zoo.plugins.photometry import Normalize


def reference(image: np.ndarray[Any, Any], factor: int) -> np.ndarray[Any, Any]:
    height, width = image.shape
    result = np.full((-(-height // factor), -(-width // factor)), np.nan)
    for y in range(result.shape[0]):
        for x in range(result.shape[1]):
            block = image[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            if np.isfinite(block).any():
                result[y, x] = block[np.isfinite(block)].mean(dtype=np.float64)
    return result


@pytest.mark.parametrize("size", [(6, 9), (7, 10), (5, 4), (2, 13), (1, 1)])
@pytest.mark.parametrize("factor", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("holes", [False, True])
def test_block_mean_counts_the_pixels_that_are_there(size: tuple[int, int], factor: int, holes: bool) -> None:
    image = np.random.default_rng(0).normal(100, 20, size).astype(np.float32)
    if holes:
        image[np.random.default_rng(1).random(size) < 0.4] = np.nan
        image[-1, -1] = np.inf
    result = block_mean(torch.from_numpy(image)[None], factor)
    np.testing.assert_allclose(result[0].numpy(), reference(image, factor), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "shape", "factor", "result"),
    [
        ({}, (1, 100, 200), 1, (1, 100, 200)),
        ({"factor": 3}, (1, 100, 200), 3, (1, 34, 67)),
        ({"height": 50, "width": 200}, (1, 100, 200), 2, (1, 50, 100)),
        ({"height": 100, "width": 200}, (1, 100, 200), 1, (1, 100, 200)),
        ({"height": 99, "width": 200}, (1, 100, 200), 2, (1, 50, 100)),
        ({"height": 100, "width": 60}, (1, 100, 200), 4, (1, 25, 50)),
        ({"height": 34}, (1, 100, 200), 3, (1, 34, 67)),
        ({"width": 67}, (1, 100, 200), 3, (1, 34, 67)),
        ({"height": 2048, "width": 4096}, (1, 10, 20), 1, (1, 10, 20)),
    ],
)
def test_resize_takes_the_smallest_factor(
    options: dict[str, int], shape: tuple[int, int, int], factor: int, result: tuple[int, int, int]
) -> None:
    step = Resize(**options)
    assert step.factor_for(shape) == factor
    assert step.output_shape(shape) == result
    assert step(Frame(torch.zeros(shape), None)).shape == result


def test_resize_keeps_unit_and_aspect() -> None:
    frame = Frame(torch.rand(1, 30, 90), None, unit="electron")
    small = Resize(height=10, width=1000)(frame)
    assert (small.shape, small.unit) == ((1, 10, 30), "electron")
    torch.testing.assert_close(small.decode().mean(), frame.decode().mean())


def test_resize_leaves_what_fits_as_raw_bytes() -> None:
    frame = read_frame(np.ones((4, 6), np.int16))
    assert Resize(height=4, width=6)(frame) is frame


@pytest.mark.parametrize("options", [{"height": -1}, {"width": -1}, {"factor": -2}])
def test_resize_refuses_negative_numbers(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"must be >= 0"):
        Resize(**options)


def test_resize_refuses_two_rules() -> None:
    with pytest.raises(UsageError, match=r"either factor or height and width"):
        Resize(factor=2, height=100)


@pytest.mark.parametrize(("size", "corner"), [((4, 6), (3, 2)), ((5, 7), (2, 1)), ((10, 6), (0, 2)), ((1, 1), (4, 4))])
def test_pad_centres_the_frame_in_its_sky(size: tuple[int, int], corner: tuple[int, int]) -> None:
    data = np.random.default_rng(0).normal(100, 5, size).astype(np.float32)
    image = Pad(height=10, width=10)(read_frame(data)).decode()[0].numpy()
    y, x = corner
    inside = np.zeros((10, 10), bool)
    inside[y : y + size[0], x : x + size[1]] = True
    np.testing.assert_array_equal(image[inside], data.ravel())
    assert np.unique(image[~inside]).tolist() == [torch.from_numpy(data).median().item()]


def test_pad_ignores_missing_pixels_for_the_sky() -> None:
    data = np.array([[np.nan, 3.0, 3.0], [900.0, np.nan, 3.0]], np.float32)
    assert Pad(height=4, width=3)(read_frame(data)).decode()[0, 0].tolist() == [3.0, 3.0, 3.0]
    assert torch.isnan(Pad(height=4, width=3)(read_frame(np.full((2, 2), np.nan))).decode()).all()


@pytest.mark.parametrize("cut", [False, True])
def test_pad_ignores_missing_pixels_that_normalize_has_filled(cut: bool) -> None:
    data = np.full((6, 10), np.nan, np.float32)
    data[:, :4] = 3.0
    data[1, 1] = 5.0
    frame = Normalize(limits="manual", lower=1.0, upper=5.0, stretch="linear")(read_frame(data))
    frame = Crop(height=4, width=10)(frame) if cut else frame
    image = Pad(height=8, width=12)(frame).decode()[0]
    assert image[0, 0] == 0.5
    assert image[4, 8] == 0.0
    assert Pad(height=8, width=12)(Normalize()(read_frame(np.full((2, 2), np.nan)))).decode().eq(0).all()


def test_pad_leaves_a_frame_of_the_right_size() -> None:
    frame = read_frame(np.ones((4, 6), np.int16))
    assert Pad(height=4, width=6)(frame) is frame


def test_pad_refuses_a_larger_frame() -> None:
    for size in ((5, 6), (4, 7)):
        with pytest.raises(InputShapeError, match=r"expected at most 4 x 6; put resize or crop before pad"):
            Pad(height=4, width=6)(read_frame(np.ones(size)))


@pytest.mark.parametrize("native", [True, False])
def test_crop_keeps_the_middle(native: bool) -> None:
    data = np.arange(9 * 12, dtype=np.float32).reshape(9, 12)
    frame = Frame(torch.from_numpy(data)[None], None) if native else read_frame(data)
    cut = Crop(height=4, width=6)(frame)
    assert cut.shape == (1, 4, 6)
    np.testing.assert_array_equal(cut.decode()[0].numpy(), data[2:6, 3:9])
    assert (cut.encoding is None) == native


@pytest.mark.parametrize("size", [(8, 10), (2, 2), (7, 1), (8, 3)])
@pytest.mark.parametrize("native", [True, False])
def test_crop_cuts_pending_regions(size: tuple[int, int], native: bool) -> None:
    data = np.arange(10 * 16, dtype=np.float32).reshape(10, 16)
    frame = Frame(torch.from_numpy(data)[None], None) if native else read_frame(data)
    regions = (Region(1, 1, 8, 5, bias=1.0, gain=2.0), Region(1, 9, 8, 5, to_x=5, bias=3.0))
    frame = dataclasses.replace(frame, regions=regions)
    whole = frame.decode()[0].numpy()
    top, left = (8 - size[0]) // 2, (10 - size[1]) // 2
    cut = Crop(height=size[0], width=size[1])(frame)
    np.testing.assert_array_equal(cut.decode()[0].numpy(), whole[top : top + size[0], left : left + size[1]])


def test_crop_leaves_a_frame_of_the_right_size() -> None:
    frame = read_frame(np.ones((4, 6), np.int16))
    assert Crop(height=4, width=6)(frame) is frame


def test_crop_refuses_a_smaller_frame() -> None:
    with pytest.raises(InputShapeError, match=r"got a frame of 4 x 6, expected at least 5 x 6; use pad"):
        Crop(height=5, width=6)(read_frame(np.ones((4, 6))))


@pytest.mark.parametrize("build", [Pad, Crop])
@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_sizes_are_positive(build: type[Pad] | type[Crop], size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"height and width must be >= 1 pixel"):
        build(height=size[0], width=size[1])


def test_rebin_gives_every_block_its_mean_and_keeps_the_size() -> None:
    pixels = torch.arange(15.0).reshape(1, 3, 5)
    pixels[0, 0, 0] = math.nan
    coarse = Rebin(factor=2)(Frame(pixels, None)).pixels
    expected = [[4, 4, 5, 5, 6.5], [4, 4, 5, 5, 6.5], [10.5, 10.5, 12.5, 12.5, 14]]
    torch.testing.assert_close(coarse[0], torch.tensor(expected))
    assert math.isnan(float(pixels[0, 0, 0]))  # the input is as it was
    whole = Frame(pixels, None)
    assert Rebin(factor=1)(whole) is whole
    # Where the steps after it average the same blocks it changes nothing.
    torch.testing.assert_close(block_mean(coarse, 2), block_mean(pixels, 2))
    with pytest.raises(UsageError, match="factor must be >= 1, got 0"):
        Rebin(factor=0)
