"""Pictures of frames: readable, small, and the Grad-CAM where it belongs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from zoo.errors import UsageError
from zoo.explaining import CamMap, check_pictures
from zoo.explaining.fields import Axis, Field
from zoo.explaining.pictures import CUTOUT, MEDIAN, MOST_BYTES, QUALITIES, block_mean, box_around, encode, overlay, scale_for, stretch


def test_block_mean_by_hand_with_a_smaller_last_block() -> None:
    image = np.arange(15, dtype=np.float32).reshape(3, 5)
    np.testing.assert_array_equal(block_mean(image, 2), [[3, 5, 6.5], [10.5, 12.5, 14]])
    np.testing.assert_array_equal(block_mean(image, 1), image)


def test_stretch_shows_the_sky_of_a_linear_frame() -> None:
    random = np.random.default_rng(1)
    image = random.normal(100, 3, (64, 192))
    image[random.integers(0, 64, 80), random.integers(0, 192, 80)] = 50_000
    grey = stretch(image)
    assert grey.dtype == np.uint8
    assert grey.max() == 255
    assert np.median(grey) == pytest.approx(255 * MEDIAN, abs=2)
    assert np.ptp(np.percentile(grey[image < 1000], [16, 84])) > 5  # its noise is seen


def test_stretch_leaves_a_frame_that_is_bright_already_linear() -> None:
    image = np.linspace(0, 1, 64 * 192).reshape(64, 192)
    np.testing.assert_allclose(stretch(image), np.clip((image - 0.005) / 0.993, 0, 1) * 255, atol=1.0)


def test_stretch_takes_what_has_no_value_or_no_contrast() -> None:
    image = np.full((8, 8), 3.0)
    assert not stretch(image).any()
    image[0] = np.nan
    image[1, 0], image[2, 0] = 9.0, np.inf
    grey = stretch(image)
    assert (grey[0] == 0).all()
    assert grey[1, 0] == grey[2, 0] == 255
    assert not stretch(np.full((8, 8), np.nan)).any()


def test_overlay_colours_the_evidence_and_leaves_the_rest_grey() -> None:
    values = np.zeros((2, 6))
    values[0, 5] = 2.0
    cam = CamMap(values, Field(Axis(16, 32, 32), Axis(16, 32, 32)), (64, 192), 0.0)
    grey = np.full((32, 96), 40, dtype=np.uint8)
    picture = overlay(grey, cam, 2, (0, 150, 32, 32)).astype(int)
    assert picture.shape == (32, 96, 3)
    np.testing.assert_array_equal(picture[20:, :70], 40)  # far from the upper right corner
    assert picture[4, 88].max() - picture[4, 88].min() > 80
    assert (picture[0, 75:91] == 255).all()  # the upper side of the box, which goes to row 15
    assert (picture[15, 75:91] == 255).all()
    nothing = CamMap(np.zeros((2, 6)), cam.field, cam.size, 0.0)
    np.testing.assert_array_equal(overlay(grey, nothing, 2, None), np.repeat(grey[..., None], 3, axis=2))


def test_cutout_lies_in_the_frame_around_the_place() -> None:
    assert box_around((1000.0, 2000.0), (2048, 4096)) == (872, 1872, CUTOUT, CUTOUT)
    assert box_around((3.0, 4090.0), (2048, 4096)) == (0, 4096 - CUTOUT, CUTOUT, CUTOUT)
    assert box_around((60.0, 10.0), (64, 192)) == (32, 0, 32, 32)


@pytest.mark.parametrize(("size", "scale"), [((2048, 4096), 6), ((64, 192), 1), ((4096, 512), 6), ((700, 700), 1)])
def test_previews_are_at_most_700_pixels_wide_and_high(size: tuple[int, int], scale: int) -> None:
    assert scale_for(size, 700) == scale
    assert max(block_mean(np.zeros(size, dtype=np.float32), scale).shape) <= 700


def test_twelve_entries_of_the_noisiest_frames_stay_far_below_three_megabytes() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (342, 683), dtype=np.uint8)
    data = encode(noise, 1)  # no quality is small enough
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (683, 342))
    easy = encode(np.zeros((342, 683, 3), dtype=np.uint8), MOST_BYTES["gradcam"])
    assert len(easy) < MOST_BYTES["gradcam"]
    assert len(encode(noise, 10**9)) > len(data)  # where there is room the quality is the best one
    assert sorted(QUALITIES, reverse=True) == list(QUALITIES)
    assert 12 * sum(MOST_BYTES.values()) < 1.9e6


def test_missing_libraries_are_told_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"Pillow and matplotlib; run pip install 'celestial-zoo\[report\]'"):
        check_pictures()
