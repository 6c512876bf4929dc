"""Which product a file is, which of its images is the frame, and what its numbers count."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from zoo.errors import FrameError
from zoo.frames import acs_wfc, list_hdus, read_frame, read_frames
from zoo.frames.products import product_of, unit_of

HST = {"TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC"}


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("jabc01xyq_raw.fits", "raw"),
        ("JABC01XYQ_RAW.FITS", "raw"),
        ("jabc01xyq_flt.fits.gz", "flt"),
        ("jabc01xyq_flc.fits.fz", "flt"),
        ("jabc01010_drz.fit", "drz"),
        ("hst_m51_f814w-drc.fits.bz2", "drz"),
        ("hlsp_m51_f814w_v1_drc_sci.fits", "drz"),
        ("jw02107_nrcalong_i2d.fits", "other"),
        ("jw02107_nrcalong_cal.fits", "other"),
        ("jabc01xyq_crj.fits", "other"),
        ("raw.fits", "other"),
        ("jabc01xyq_raw_old.fits", "other"),
        ("frame.fits", "other"),
    ],
)
def test_the_file_name_tells_the_product(name: str, product: str) -> None:
    assert product_of(Path("folder") / name, {}, {}) == product
    assert product_of(Path("renamed.fits"), {"FILENAME": name}, {}) == product


@pytest.mark.parametrize(
    ("primary", "header", "product"),
    [
        (HST, {"EXTNAME": "SCI", "BUNIT": "COUNTS", "BITPIX": 16}, "raw"),
        (HST | {"FLATCORR": "COMPLETE"}, {"EXTNAME": "SCI", "BUNIT": "ELECTRONS", "BITPIX": -32}, "flt"),
        (HST | {"FLATCORR": "COMPLETE", "CRCORR": "COMPLETE"}, {"EXTNAME": "SCI", "BITPIX": -32}, "other"),
        (HST | {"FLATCORR": "COMPLETE", "NDRIZIM": 4}, {"EXTNAME": "SCI", "BITPIX": -32}, "drz"),
        (HST, {"NDRIZIM": 4, "BITPIX": -32}, "drz"),
        (HST | {"FLATCORR": "COMPLETE"}, {"EXTNAME": "ERR", "BITPIX": -32}, "other"),
        (
            {"INSTRUME": "WFC3", "DETECTOR": "IR", "FLATCORR": "COMPLETE", "CRCORR": "COMPLETE"},
            {"EXTNAME": "SCI", "BUNIT": "ELECTRONS/S", "BITPIX": -32},
            "flt",
        ),
        ({"INSTRUME": "STIS", "DETECTOR": "CCD", "FLATCORR": "COMPLETE"}, {"EXTNAME": "SCI"}, "other"),
        ({"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "NDRIZIM": 1}, {"EXTNAME": "SCI"}, "other"),
    ],
)
def test_a_renamed_file_is_known_by_what_its_calibration_recorded(primary: Any, header: Any, product: str) -> None:
    assert product_of(Path("m51.fits"), primary, header) == product
    assert product_of(None, primary, header) == product


@pytest.mark.parametrize(
    ("bunit", "exptime", "expected"),
    [
        ("ELECTRONS", 10.0, ("electron", 1.0, "")),
        ("electron", math.nan, ("electron", 1.0, "")),
        ("e-", 10.0, ("electron", 1.0, "")),
        ("ELECTRONS/S", 350.0, ("electron", 350.0, "")),
        ("electrons / s", 350.0, ("DN", 1.0, "")),
        ("electron/sec", 0.5, ("electron", 0.5, "")),
        ("electron s-1", 2.0, ("electron", 2.0, "")),
        ("ELECTRONS/S", math.nan, ("DN", 1.0, "ELECTRONS/S with no EXPTIME: rates, left as they are")),
        ("ELECTRONS/S", 1.0, ("DN", 1.0, "ELECTRONS/S with EXPTIME = 1: rates, left as they are")),
        ("ELECTRONS/S", 0.0, ("DN", 1.0, "ELECTRONS/S with EXPTIME = 0: rates, left as they are")),
        ("ELECTRONS/S", -5.0, ("DN", 1.0, "ELECTRONS/S with EXPTIME = -5: rates, left as they are")),
        ("COUNTS", 10.0, ("DN", 1.0, "")),
        ("COUNTS/S", 10.0, ("DN", 1.0, "")),
        ("MJy/sr", 10.0, ("DN", 1.0, "")),
        ("", 10.0, ("DN", 1.0, "")),
    ],
)
def test_rates_become_electrons_where_the_exposure_time_is_told(bunit: str, exptime: float, expected: tuple[str, float, str]) -> None:
    assert unit_of(bunit, exptime) == expected


@pytest.mark.parametrize(
    ("bunit", "exptime", "unit", "factor"),
    [("ELECTRONS", 50.0, "electron", 1), ("ELECTRONS/S", 50.0, "electron", 50), ("COUNTS", 50.0, "DN", 1), ("COUNTS/S", 50.0, "DN", 1)],
)
def test_frames_are_decoded_in_their_unit(bunit: str, exptime: float, unit: str, factor: float, tmp_path: Path) -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
    hdu = fits.ImageHDU(data, fits.Header({"BUNIT": bunit}), name="SCI")
    primary = fits.PrimaryHDU(header=fits.Header(HST | {"EXPTIME": exptime}))
    fits.HDUList([primary, hdu]).writeto(tmp_path / "a_flt.fits")
    frame = read_frame(tmp_path / "a_flt.fits")
    assert (frame.unit, frame.info.bunit, frame.shape) == (unit, bunit, (1, 3, 4))
    np.testing.assert_array_equal(frame.decode()[0].numpy(), (data.astype(np.float64) * factor).astype(np.float32))


def test_calibrated_uvis_rates_lose_their_rows_and_become_electrons(tmp_path: Path) -> None:
    data = np.zeros((2051, 4096), np.uint8)
    data[3:] = 2
    sci = fits.ImageHDU(data, fits.Header({"BUNIT": "ELECTRONS/S", "CCDCHIP": 1}), name="SCI")
    primary = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS", "EXPTIME": 30.0}))
    fits.HDUList([primary, sci]).writeto(tmp_path / "i_flc.fits")
    image = read_frame(tmp_path / "i_flc.fits").decode()
    assert image.shape == (1, 2048, 4096)
    assert (float(image.min()), float(image.max())) == (60.0, 60.0)


def test_a_raw_frame_is_in_dn_whatever_it_says(tmp_path: Path) -> None:
    layout = acs_wfc(2).scaled(64)
    primary = fits.PrimaryHDU(header=fits.Header(HST | {"CCDGAIN": 2.0, "SIMULATE": True, "SIMSCALE": 64, "EXPTIME": 9.0}))
    sci = fits.ImageHDU(np.zeros(layout.shape, np.uint16), fits.Header({"BUNIT": "ELECTRONS/S", "CCDCHIP": 2}), name="SCI")
    fits.HDUList([primary, sci]).writeto(tmp_path / "a_raw.fits")
    frame = read_frame(tmp_path / "a_raw.fits")
    assert (frame.unit, frame.regions, frame.layout) == ("DN", (), layout)


def test_both_chips_of_a_combined_exposure_are_frames(tmp_path: Path) -> None:
    hdus = [fits.PrimaryHDU(header=fits.Header(HST))]
    for version in (1, 2):
        hdus += [fits.ImageHDU(np.ones((4, 5), np.float32), name=name, ver=version) for name in ("SCI", "ERR", "DQ")]
    fits.HDUList(hdus).writeto(tmp_path / "jabc01010_crj.fits")
    assert list_hdus(tmp_path / "jabc01010_crj.fits") == (1, 4)
    fits.HDUList([hdus[0], *hdus[1:4]]).writeto(tmp_path / "jabc01010_drz.fits")
    assert list_hdus(tmp_path / "jabc01010_drz.fits") == (1,)


def test_images_that_describe_others_are_read_only_by_number(tmp_path: Path) -> None:
    cube, mask = np.ones((2, 4, 5), np.float32), np.zeros((4, 5), np.uint8)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube, name="SCI"), fits.ImageHDU(mask, name="PIXELDQ")]).writeto(tmp_path / "ramp.fits")
    with pytest.raises(FrameError, match=r"not-2d: got an image of 5 x 4 x 2, .* --plane 0 to 1"):
        read_frames(tmp_path / "ramp.fits")
    assert read_frame(tmp_path / "ramp.fits", plane=1).info.hdu == 1
    assert read_frame(tmp_path / "ramp.fits", hdu=2).decode().max() == 0


def test_spectra_are_no_images(tmp_path: Path) -> None:
    line, image = np.ones((1, 50), np.float32), np.ones((4, 5), np.float32)
    for number, data in enumerate((line, line.T, line[0], np.ones((3, 1, 50), np.float32))):
        fits.PrimaryHDU(data).writeto(tmp_path / f"{number}.fits")
        with pytest.raises(FrameError, match=r"not-2d: got a spectrum, or another line, of "):
            read_frames(tmp_path / f"{number}.fits")
    assert read_frame(tmp_path / "0.fits", hdu=0).shape == (1, 1, 50)
    fits.HDUList([fits.PrimaryHDU(line), fits.ImageHDU(image)]).writeto(tmp_path / "both.fits")
    assert list_hdus(tmp_path / "both.fits") == (1,)


@pytest.mark.parametrize("fault", ["cut", "header"])
def test_an_image_before_a_broken_hdu_is_read_by_number(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "x.fits"
    image = np.arange(20, dtype=np.int16).reshape(4, 5)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image), fits.ImageHDU(np.ones((90, 90)))]).writeto(path)
    content = path.read_bytes()
    path.write_bytes(
        content[:-2880] if fault == "cut" else content.replace(b"BITPIX  =                  -64", b"BITPIX  =                  -63")
    )
    with pytest.raises(FrameError, match=r"HDU 2: .*; --hdu 1 reads the image before the damage") as caught:
        read_frames(path)
    assert caught.value.code == ("truncated" if fault == "cut" else "bad-header")
    np.testing.assert_array_equal(read_frame(path, hdu=1).decode()[0].numpy(), image)
    with pytest.raises(FrameError, match="HDU 2") as caught:
        read_frames(path, hdu=2)
    assert caught.value.code == ("truncated" if fault == "cut" else "bad-header")
