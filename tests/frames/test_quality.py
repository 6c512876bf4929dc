"""Pixels without a value: flagged by a DQ extension, or in the empty border of a drizzled image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from zoo.errors import FrameError, SettingsError, UsageError
from zoo.frames import BAD_BITS, Encoding, Frame, read_frame, read_frames
from zoo.frames.arrays import encode_array
from zoo.frames.quality import empty_border, invalidate

SHAPE = (12, 20)


def image(dtype: str = "f4") -> np.ndarray[Any, Any]:
    return (np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) + 1).astype(dtype)


def flags(**bits: int) -> np.ndarray[Any, Any]:
    """A DQ array with one flag at each of the places ``yNxM``."""
    result = np.zeros(SHAPE, np.int16)
    for place, bit in bits.items():
        y, x = place[1:].split("x")
        result[int(y), int(x)] = bit
    return result


def exposure(path: Path, *chips: tuple[Any, Any], camera: str = "ACS/WFC", **keywords: Any) -> Path:
    """A calibrated exposure: SCI, ERR and DQ for each chip."""
    instrument, _, detector = camera.partition("/")
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "HST", "INSTRUME": instrument, "DETECTOR": detector, "EXPTIME": 100.0} | keywords)
    hdus = [primary]
    for version, (pixels, quality) in enumerate(chips, start=1):
        sci = fits.ImageHDU(pixels, name="SCI", ver=version)
        sci.header.update({"BUNIT": "ELECTRONS", "CCDCHIP": 3 - version})
        dq = quality if isinstance(quality, fits.ImageHDU) else fits.ImageHDU(quality)
        dq.header.update({"EXTNAME": "DQ", "EXTVER": version})
        hdus += [sci, fits.ImageHDU(pixels * 0, name="ERR", ver=version), dq]
    fits.HDUList(hdus).writeto(path)
    return path


def holes(frame: Frame) -> list[tuple[int, int]]:
    """Where the frame has no value."""
    return [(y, x) for y, x in torch.isnan(frame.decode()[0]).nonzero().tolist()]


def test_each_chip_loses_the_pixels_that_its_own_dq_calls_bad(tmp_path: Path) -> None:
    path = exposure(tmp_path / "a_flt.fits", (image(), flags(y1x2=4, y3x4=4096)), (image(), flags(y5x6=512 + 64)))
    chip2, chip1 = read_frames(path)
    assert (chip2.info.hdu, chip1.info.hdu) == (1, 4)
    assert (holes(chip2), holes(chip1)) == ([(1, 2), (3, 4)], [(5, 6)])
    kept = ~torch.isnan(chip2.decode()[0])
    assert torch.equal(chip2.decode()[0][kept], torch.from_numpy(image())[kept])


@pytest.mark.parametrize(
    ("camera", "bit", "bad"),
    [
        *(("ACS/WFC", 1 << n, 1 << n not in (16, 64, 256, 2048)) for n in range(15)),
        *(("WFC3/IR", 1 << n, 1 << n in (1, 2, 4, 8, 16, 32, 4096, 16384)) for n in range(15)),
        ("ACS/HRC", 4, True),
        ("WFC3/UVIS", 8192, True),
        ("STIS/CCD", 4, False),
        ("NICMOS", 512, False),
    ],
)
def test_which_flags_make_a_pixel_bad(camera: str, bit: int, bad: bool, tmp_path: Path) -> None:
    path = exposure(tmp_path / "a_flt.fits", (image(), flags(y1x2=bit)), camera=camera)
    assert holes(read_frame(path)) == ([(1, 2)] if bad else [])
    assert holes(read_frame(path, dq=bit)) == [(1, 2)]
    assert holes(read_frame(path, dq=0)) == []


def test_flags_of_webb_mean_what_webb_says(tmp_path: Path) -> None:
    quality = np.zeros(SHAPE, np.uint32)
    quality[0, 1], quality[0, 2], quality[0, 3] = 1, 4, (1 << 31) + 1
    path = exposure(tmp_path / "jw01_cal.fits", (image(), quality), camera="NIRCAM/NRCA1", TELESCOP="JWST")
    assert holes(read_frame(path)) == [(0, 1), (0, 3)]
    assert holes(read_frame(path, dq=1 << 31)) == [(0, 3)]
    assert read_frame(path).info.product == "other"


def test_a_file_is_not_written_and_frames_do_not_share_their_holes(tmp_path: Path) -> None:
    path = exposure(tmp_path / "a_flt.fits", (image(), flags(y1x2=4)))
    before = path.read_bytes()
    marked, plain = read_frame(path), read_frame(path, dq=0)
    assert (holes(marked), holes(plain), path.read_bytes()) == ([(1, 2)], [], before)


def test_a_constant_dq_is_one_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constant = fits.ImageHDU()
    constant.header.update({"NPIX1": SHAPE[1], "NPIX2": SHAPE[0], "PIXVALUE": 0})
    assert holes(read_frame(exposure(tmp_path / "a_flt.fits", (image(), constant)))) == []
    constant.header["PIXVALUE"] = 4
    path = exposure(tmp_path / "b_flt.fits", (image(), constant))
    with pytest.raises(FrameError, match=r"HDU 1: few-valid: got 0 of 240 pixels with a value \(0\.00%\), expected at least 1\.00%"):
        read_frame(path)
    monkeypatch.setenv("ZOO_MIN_VALID", "0")
    assert len(holes(read_frame(path))) == SHAPE[0] * SHAPE[1]


@pytest.mark.parametrize(("dtype", "blank"), [(">f4", None), (">f8", None), (">i2", -9), ("u1", 200), (">i4", 7), (">i8", -1)])
def test_frames_with_few_valid_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, blank: int | None) -> None:
    """Infinity counts as no value; the limit is met by exactly as many pixels."""
    pixels = np.full((100, 20), np.inf if blank is None else blank, dtype)
    pixels[60, :10] = 1
    pixels[99, :10] = 2  # 1 % of 2000 pixels
    hdu = fits.PrimaryHDU(pixels)
    if blank is not None:
        hdu.header["BLANK"] = blank
    hdu.writeto(tmp_path / "enough.fits")
    assert int(read_frame(tmp_path / "enough.fits").decode().isfinite().sum()) == 20
    for text, least in (("", "1.00%"), ("0.5", "50.00%")):
        monkeypatch.setenv("ZOO_MIN_VALID", text)
        hdu.data[99, 9] = np.nan if blank is None else blank
        hdu.writeto(tmp_path / "few.fits", overwrite=True)
        with pytest.raises(FrameError, match=f"few-valid: got 19 of 2000 pixels .* expected at least {least}"):
            read_frame(tmp_path / "few.fits")
    monkeypatch.setenv("ZOO_MIN_VALID", "2")
    with pytest.raises(SettingsError, match="ZOO_MIN_VALID is the share of pixels"):
        read_frame(tmp_path / "few.fits")


def test_a_dq_that_cannot_be_used_is_noted(tmp_path: Path) -> None:
    for number, quality in enumerate((np.full((3, 4), 4, np.int16), np.full(SHAPE, 4.0))):
        frame = read_frame(exposure(tmp_path / f"{number}_flt.fits", (image(), quality)))
        assert holes(frame) == []
        assert frame.notes == (f"DQ: not used, for it holds {('4 x 3', '20 x 12')[number]} pixels of BITPIX {(16, -64)[number]}",)
    path = exposure(tmp_path / "cut_flt.fits", (image(), flags(y1x2=4)))
    path.write_bytes(path.read_bytes()[:-2880])
    assert read_frame(path, hdu=1).notes == ("DQ: not looked at, for an HDU of the file is truncated",)


def test_only_science_images_lose_pixels(tmp_path: Path) -> None:
    path = exposure(tmp_path / "a_flt.fits", (image(), flags(y1x2=4)))
    assert holes(read_frame(path, hdu=2)) == []
    assert read_frame(path, hdu=3).decode()[0, 1, 2] == 4


@pytest.mark.parametrize("dq", [-1, 1 << 32, True, 1.0])
def test_flags_that_cannot_be_are_refused(dq: Any) -> None:
    with pytest.raises(UsageError, match=r"dq must be a sum of DQ flags"):
        read_frames(image(), dq=dq)


def test_compressed_science_and_quality_are_read_alike(tmp_path: Path) -> None:
    plain = exposure(tmp_path / "a_flt.fits", (image("i2"), flags(y1x2=4)))
    with fits.open(plain) as hdus:
        packed = [hdus[0], *(fits.CompImageHDU(hdu.data, hdu.header) for hdu in hdus[1:])]
        fits.HDUList(packed).writeto(tmp_path / "a_flt.fits.fz")
        listed = read_frame(hdus)
    frame = read_frame(tmp_path / "a_flt.fits.fz")
    assert (holes(frame), holes(listed), frame.info.product) == ([(1, 2)], [(1, 2)], "flt")
    assert frame.sha256() == read_frame(plain).sha256() == listed.sha256()


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_invalidate_leaves_every_other_pixel_as_it_was(dtype: str) -> None:
    data = image(dtype)
    kind = np.dtype(dtype)
    if kind.kind != "f":  # both ends of the range are taken, so another blank is needed
        data[0, 0], data[0, 1] = np.iinfo(kind).min, np.iinfo(kind).max
    mask = np.zeros(SHAPE, bool)
    mask[2, 3] = mask[11, 19] = True
    pixels, encoding = encode_array(data)
    marked, other = invalidate(pixels, encoding, mask)
    assert marked.data_ptr() == pixels.data_ptr()
    expected = torch.from_numpy(data.astype("f4"))
    expected[torch.from_numpy(mask)] = torch.nan
    torch.testing.assert_close(Frame(marked, other).decode()[0], expected, rtol=0, atol=0, equal_nan=True)
    assert (other.blank is None) == (encoding.bitpix < 0)


@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_integers_without_a_value_to_spare_are_widened(dtype: str) -> None:
    data = np.arange(1 << 16, dtype=dtype).reshape(256, 256)
    mask = np.zeros(data.shape, bool)
    mask[7, 9] = True
    pixels, encoding = invalidate(*encode_array(data), mask)
    assert encoding.bitpix == 16 * data.dtype.itemsize
    expected = data.astype("f4")
    expected[7, 9] = np.nan
    np.testing.assert_array_equal(Frame(pixels, encoding).decode()[0].numpy(), expected)


def test_invalidate_keeps_a_blank_and_touches_nothing_without_need() -> None:
    pixels, encoding = encode_array(image("i2"))
    encoding = dataclasses.replace(encoding, blank=7)
    mask = np.zeros(SHAPE, bool)
    assert invalidate(pixels, encoding, mask) == (pixels, encoding)
    mask[0, 0] = True
    assert invalidate(pixels, encoding, mask)[1] == encoding
    assert holes(Frame(pixels, encoding)) == [(0, 0), (0, 6)]


def drizzled(path: Path, pixels: Any, **extensions: Any) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC", "NDRIZIM": 4})
    named = [fits.ImageHDU(data, name=name) for name, data in {"SCI": pixels, **extensions}.items()]
    fits.HDUList([primary, *named]).writeto(path)
    return path


def rotated(fill: float = 0.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """An image whose corners, and a slanted gap, no exposure covered; and where that is."""
    y, x = np.mgrid[0:12, 0:20]
    outside = (x + y < 5) | (x + y > 25) | (np.abs(x - y // 2 - 8) < 1)
    return np.where(outside, fill, image()).astype("f4"), outside


@pytest.mark.parametrize("extension", ["WHT", "CTX", None])
@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_what_no_exposure_covered_has_no_value(extension: str | None, fill: float, tmp_path: Path) -> None:
    pixels, outside = rotated(fill)
    pixels[6, 3] = 0.0  # a zero of the sky
    # The 32nd exposure is the sign bit of a context image.
    maps = {"WHT": np.where(outside, 0, 2.5).astype("f4"), "CTX": np.where(outside, 0, -(2**31)).astype("i4")}
    path = drizzled(tmp_path / "a_drz.fits", pixels, **({extension: maps[extension]} if extension else {}))
    frame = read_frame(path)
    assert frame.info.hdu == 1
    np.testing.assert_array_equal(np.isnan(frame.decode()[0].numpy()), outside)
    with fits.open(path) as hdus:
        np.testing.assert_array_equal(np.isnan(read_frame(hdus).decode()[0].numpy()), outside)


def test_a_context_image_may_have_planes(tmp_path: Path) -> None:
    pixels, outside = rotated()
    context = np.zeros((2, *SHAPE), np.int32)
    context[0][~outside] = 1
    context[1][0, 0] = 1
    outside[0, 0] = False
    frame = read_frame(drizzled(tmp_path / "a_drz.fits", pixels, CTX=context))
    np.testing.assert_array_equal(np.isnan(frame.decode()[0].numpy()), outside)


def test_an_image_of_one_hdu_is_judged_by_its_border(tmp_path: Path) -> None:
    pixels, outside = rotated()
    fits.PrimaryHDU(pixels).writeto(tmp_path / "m101_drc.fits")
    np.testing.assert_array_equal(np.isnan(read_frame(tmp_path / "m101_drc.fits").decode()[0].numpy()), outside)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "m101.fits")
    assert holes(read_frame(tmp_path / "m101.fits")) == []


def test_a_sky_of_zeros_is_no_border() -> None:
    for rate in (0.002, 0.05, 0.3):
        counts = np.random.default_rng(5).poisson(rate, (128, 128)).astype("f4")
        assert empty_border(*encode_array(counts)) is None
    assert empty_border(*encode_array(image())) is None
    framed = np.pad(image(), 3)
    border = empty_border(*encode_array(framed))
    assert border is not None
    np.testing.assert_array_equal(border, framed == 0)


def test_a_border_of_integers_is_found_through_their_scaling() -> None:
    framed = np.pad(image("u2"), 2)
    pixels, encoding = encode_array(framed)
    border = empty_border(pixels, encoding)
    assert encoding == Encoding(16, bzero=32768.0)
    assert border is not None
    np.testing.assert_array_equal(border, framed == 0)


def test_weights_count_for_any_science_image_and_borders_are_guessed_for_drizzled_ones_only(tmp_path: Path) -> None:
    pixels, outside = rotated()
    weight = fits.ImageHDU(np.where(outside, 0, 2.5).astype("f4"), name="WHT")
    primary, sci = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "JWST"})), fits.ImageHDU(pixels, name="SCI")
    fits.HDUList([primary, sci, weight]).writeto(tmp_path / "jw01_i2d.fits")
    np.testing.assert_array_equal(np.isnan(read_frame(tmp_path / "jw01_i2d.fits").decode()[0].numpy()), outside)
    fits.HDUList([primary, sci]).writeto(tmp_path / "jw02_i2d.fits")
    assert holes(read_frame(tmp_path / "jw02_i2d.fits")) == []


def test_a_weight_image_is_read_when_asked_for(tmp_path: Path) -> None:
    pixels, outside = rotated()
    path = drizzled(tmp_path / "a_drz.fits", pixels, WHT=np.where(outside, 0, 2.5).astype("f4"))
    assert read_frame(path, hdu=2).decode().min() == 0
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, name="WHT")]).writeto(tmp_path / "w_drz.fits")
    with pytest.raises(FrameError, match=r"no-image: got nothing but WHT, .*; --hdu 1 reads it all the same"):
        read_frame(tmp_path / "w_drz.fits")


def test_bad_bits_are_named_by_camera_or_telescope() -> None:
    assert set(BAD_BITS) == {"ACS/WFC", "ACS/HRC", "WFC3/UVIS", "WFC3/IR", "JWST"}
    assert BAD_BITS["ACS/WFC"] & (16 | 64 | 256 | 2048) == 0
