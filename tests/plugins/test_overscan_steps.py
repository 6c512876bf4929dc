"""overscan: bias per amplifier, gain and window of raw chips; nothing for anything else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from zoo.errors import FrameError, UsageError
from zoo.frames import Frame, Layout, acs_hrc, acs_wfc, list_hdus, read_frame, wfc3_uvis
from zoo.plugins.overscan import Overscan, measure_bias
from zoo.steps import Pipeline

LAYOUTS = {"wfc2": acs_wfc(2), "wfc1": acs_wfc(1), "uvis2": wfc3_uvis(2), "uvis1": wfc3_uvis(1), "hrc": acs_hrc()}


def raw(layout: Layout, sky: float, bias: dict[str, float], noise: float = 0.0) -> Frame:
    """A raw chip with a flat sky in DN above the bias of each amplifier."""
    generator = np.random.default_rng(0)
    pixels = np.zeros(layout.shape)
    for amplifier in layout.amplifiers:
        pixels[amplifier.readout.slices] = bias[amplifier.name]
        pixels[amplifier.imaging.slices] += sky
    pixels = np.clip(np.rint(pixels + generator.normal(0, noise, layout.shape)), 0, 65535).astype(np.uint16)
    return dataclasses.replace(read_frame(pixels), layout=layout, saturation=layout.saturation())


@pytest.mark.parametrize("camera", list(LAYOUTS))
def test_overscan_gives_electrons(camera: str) -> None:
    layout = LAYOUTS[camera].scaled(64)
    bias = {name: 1000.0 + 100 * index for index, name in enumerate(layout.names)}
    frame = Overscan()(raw(layout, 50.0, bias))
    assert frame.shape == (1, *layout.science_shape)
    assert (frame.unit, frame.layout) == ("electron", None)
    image = frame.decode()[0]
    for amplifier in layout.amplifiers:
        half = image[:, amplifier.to_x : amplifier.to_x + layout.columns]
        torch.testing.assert_close(half, torch.full_like(half, 50.0 * amplifier.gain))
    assert frame.saturation == layout.saturation(tuple(bias.values()))


def test_overscan_converts_no_pixel() -> None:
    source = raw(acs_wfc(2).scaled(64), 50.0, {"C": 1000.0, "D": 1100.0})
    frame = Overscan()(source)
    assert frame.pixels is source.pixels
    assert frame.encoding is source.encoding
    assert source.regions == ()


def test_bias_is_finer_than_one_count() -> None:
    levels = measure_bias(raw(wfc3_uvis(2).scaled(4), 0.0, {"C": 2500.37, "D": 2620.81}, noise=2.0))
    assert list(levels) == ["C", "D"]
    # 512 rows x 8 columns of noise 2 DN: the mean is good to 0.03.
    assert levels["C"] == pytest.approx(2500.37, abs=0.12)
    assert levels["D"] == pytest.approx(2620.81, abs=0.12)


def test_bias_ignores_trailed_charge() -> None:
    layout = acs_wfc(2).scaled(8)
    frame = raw(layout, 0.0, {"C": 1000.0, "D": 1000.0}, noise=2.0)
    clean = measure_bias(frame)["C"]
    values = frame.decode()[0].numpy().astype(np.uint16)
    values[:20, 2] = 60000
    spoiled = dataclasses.replace(read_frame(values), layout=layout)
    assert measure_bias(spoiled)["C"] == pytest.approx(clean, abs=0.15)


def test_bias_of_a_noiseless_frame_is_its_level() -> None:
    assert measure_bias(raw(acs_hrc().scaled(64), 9.0, {"C": 1134.0})) == {"C": 1134.0}


def test_overscan_passes_calibrated_frames_with_a_note() -> None:
    frame = read_frame(np.ones((4, 5), np.float32))
    passed = Overscan()(frame)
    assert passed.pixels is frame.pixels
    assert passed.notes == ("overscan: nothing to do for a generic frame",)
    flt = dataclasses.replace(frame, info=dataclasses.replace(frame.info, product="flt"), notes=("before",))
    assert Overscan()(flt).notes == ("before", "overscan: nothing to do for a flt frame")
    with pytest.raises(UsageError, match=r"needs a raw Hubble frame"):
        measure_bias(frame)


def test_overscan_refuses_blank_bias_columns() -> None:
    frame = raw(acs_wfc(2).scaled(64), 5.0, {"C": 1000.0, "D": 1000.0})
    assert frame.encoding is not None
    blank = dataclasses.replace(frame, encoding=dataclasses.replace(frame.encoding, blank=1000 - 32768))
    with pytest.raises(FrameError) as caught:
        Overscan()(blank)
    assert caught.value.code == "no-bias"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 2068, 4144), (1, 2048, 4096)),
        ((1, 2070, 4206), (1, 2048, 4096)),
        ((1, 1044, 1062), (1, 1024, 1024)),
        ((1, 517, 1036), (1, 512, 1024)),
        ((1, 518, 1054), (1, 512, 1024)),
        ((1, 2048, 4096), (1, 2048, 4096)),
        ((1, 300, 301), (1, 300, 301)),
    ],
)
def test_output_shape_knows_raw_chips(shape: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert Overscan().output_shape(shape) == expected


def test_overscan_and_normalize_equal_the_long_way() -> None:
    layout = wfc3_uvis(1).scaled(16)
    frame = raw(layout, 300.0, {"A": 2500.4, "B": 2470.9}, noise=20.0)
    fused = Pipeline(["overscan", "normalize:limits=minmax,stretch=linear"]).run_frame(frame)
    linear = Pipeline(["overscan"]).run_frame(frame)
    torch.testing.assert_close(fused, (linear - linear.min()) / (linear.max() - linear.min()), rtol=1e-6, atol=1e-6)


@pytest.mark.full_size
def test_full_size_exposure_from_file_to_electrons(tmp_path: Path) -> None:
    """Chip 1 of WFC3/UVIS at 2070 x 4206, with marks in hand-picked raw pixels."""
    primary = fits.PrimaryHDU()
    primary.header.update(INSTRUME="WFC3", DETECTOR="UVIS", CCDGAIN=1.5, CCDAMP="ABCD", SUBARRAY=False, NEXTEND=6)
    hdus = [primary]
    pixels = np.full((2070, 4206), 2500, np.uint16)
    pixels[:, 2103:] = 2600
    # Raw pixels (row, column) of the corners of the light-sensitive windows, and neighbours that must not appear.
    for y, x in ((22, 25), (2069, 2072), (22, 2133), (2069, 4180)):
        pixels[y, x] += 1000
    for y, x in ((21, 25), (22, 24), (22, 4181)):
        pixels[y, x] = 60000
    for chip in (2, 1):
        sci = fits.ImageHDU(pixels, name="SCI", ver=3 - chip)
        sci.header.update(CCDCHIP=chip, BUNIT="COUNTS")
        hdus += [sci, fits.ImageHDU(name="ERR"), fits.ImageHDU(name="DQ")]
    path = tmp_path / "iabc01xyq_raw.fits"
    fits.HDUList(hdus).writeto(path)
    assert list_hdus(path) == (1, 4)
    image = Pipeline(["overscan"]).run_frame(read_frame(path, hdu=4))[0]
    assert tuple(image.shape) == (2048, 4096)
    assert image.nonzero().tolist() == [[0, 0], [0, 2048], [2047, 2047], [2047, 4095]]
    torch.testing.assert_close(image[image != 0], torch.full((4,), 1000 * 1.58), rtol=1e-6, atol=0)


def test_genuine_hrc_raws_lose_their_bias(real_data: Path) -> None:
    for path in sorted((real_data / "real" / "nsc").glob("*raw.fits")):
        frame = read_frame(path)
        assert 1133.5 < measure_bias(frame)["C"] < 1135.0
        image = Pipeline(["overscan"]).run_frame(frame)
        assert tuple(image.shape) == (1, 1024, 1024)
        # 60 s of sky, dark and stars: a few to a few hundred electrons, where the raw median is 1138 to 1213 DN.
        assert 0 < float(image.median()) < 200
