"""Reading files, HDU lists and arrays: the same pixels as astropy, as views of one mapping, or a refusal with a code."""

from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

import zoo
from zoo.errors import FrameError
from zoo.frames import Layout, Region, acs_hrc, acs_wfc, list_hdus, read_frame, read_frames, read_info, wfc3_uvis
from zoo.frames import source as frames_source

RNG = np.random.default_rng(0)
DTYPES = ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "i1", "f4", "f8"]


def exposure(layouts: list[Layout], *, product: str = "raw", **keywords: Any) -> fits.HDUList:
    """A raw exposure with the given chips, each with its ERR and DQ, small where the layouts are."""
    instrument, detector = layouts[0].instrument.split("/")
    primary = fits.PrimaryHDU()
    facts = {
        "ROOTNAME": "jabc01xyq", "FILENAME": f"jabc01xyq_{product}.fits", "TELESCOP": "HST", "INSTRUME": instrument, "DETECTOR": detector,
        "TARGNAME": "NGC104", "OBJECT": "never this", "RA_TARG": 6.02, "DEC_TARG": -72.08, "PROPOSID": 9019, "EXPTIME": 66.0,
        "CCDGAIN": 1.5 if instrument == "WFC3" else 2.0, "CCDAMP": "C" if detector == "HRC" else "ABCD", "SUBARRAY": False,
        "SIMULATE": layouts[0].scale > 1, "SIMSCALE": layouts[0].scale, "NEXTEND": 3 * len(layouts),
    }  # fmt: skip
    facts |= {"FILTER": "F606W"} if instrument == "WFC3" else {"FILTER1": "F606W", "FILTER2": "CLEAR2L"}
    for key, value in (facts | keywords).items():
        if value is not None:
            primary.header[key] = value
    hdus = [primary]
    for version, layout in enumerate(layouts, start=1):
        pixels = RNG.integers(0, 65536, layout.shape, dtype=np.uint16)
        sci = fits.ImageHDU(pixels, name="SCI", ver=version)
        sci.header["BUNIT"] = "COUNTS"
        if layout.chip:
            sci.header["CCDCHIP"] = layout.chip
        hdus += [sci, fits.ImageHDU(name="ERR", ver=version), fits.ImageHDU(name="DQ", ver=version)]
    return fits.HDUList(hdus)


def small(*layouts: Layout) -> list[Layout]:
    return [layout.scaled(64) for layout in layouts]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_read_frames_equals_astropy(dtype: str, order: str, tmp_path: Path) -> None:
    kind = np.dtype(dtype)
    data = (
        RNG.normal(0, 1e3, (5, 7))
        if kind.kind == "f"
        else RNG.integers(np.iinfo(kind).min, np.iinfo(kind).max, (5, 7), dtype=kind, endpoint=True)
    )
    data = data.astype(kind.newbyteorder(order))
    fits.PrimaryHDU(data).writeto(tmp_path / "x.fits")
    (frame,) = zoo.read_frames(tmp_path / "x.fits")
    assert frame.shape == (1, 5, 7)
    assert frame.pixels.dtype == torch.uint8
    expected = fits.getdata(tmp_path / "x.fits").astype(np.float32)
    np.testing.assert_array_equal(frame.decode()[0].numpy(), expected)
    np.testing.assert_array_equal(read_frame(data).decode()[0].numpy(), expected)
    assert read_frame(data).sha256() == frame.sha256()


def test_read_frames_applies_scaling_and_blank(tmp_path: Path) -> None:
    hdu = fits.PrimaryHDU(np.array([[1, 2], [-5, 4]], dtype=np.int16))
    hdu.header["BLANK"] = -5
    hdu.writeto(tmp_path / "x.fits")
    with (tmp_path / "x.fits").open("r+b") as file:
        text = file.read()
        file.seek(text.index(b"END   "))
        file.write(f"{'BSCALE  = 0.5':<80}{'BZERO   = 10.0':<80}{'END':<80}".encode())
    frame = read_frame(tmp_path / "x.fits")
    torch.testing.assert_close(frame.decode(), torch.tensor([[[10.5, 11.0], [torch.nan, 12.0]]]), equal_nan=True)


def test_read_frames_takes_the_first_two_dimensional_image(tmp_path: Path) -> None:
    image, cube, table = (
        np.ones((3, 4), np.float32),
        np.ones((2, 3, 4), np.float32),
        fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])]),
    )
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(cube), fits.ImageHDU(image), fits.ImageHDU(image + 1)]).writeto(
        tmp_path / "x.fits"
    )
    assert list_hdus(tmp_path / "x.fits") == (3,)
    assert read_frame(tmp_path / "x.fits").info.hdu == 3
    assert float(read_frame(tmp_path / "x.fits", hdu=4).decode().max()) == 2.0
    assert list_hdus(image) == (0,)


@pytest.mark.parametrize(
    ("hdu", "code"), [(0, "no-image"), (1, "table-hdu"), (2, "not-2d"), (5, "bad-hdu"), (-1, "bad-hdu")], ids=lambda value: str(value)
)
def test_read_frames_refuses_an_hdu_that_is_no_image(hdu: int, code: str, tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(np.ones((2, 3, 4))), fits.ImageHDU(np.ones((3, 4)))]).writeto(tmp_path / "x.fits")
    with pytest.raises(FrameError) as caught:
        read_frames(tmp_path / "x.fits", hdu=hdu)
    assert (caught.value.code, caught.value.hdu) == (code, hdu)


def test_frames_are_views_of_one_private_mapping(tmp_path: Path) -> None:
    path = tmp_path / "jabc01xyq_raw.fits"
    exposure(small(acs_wfc(2), acs_wfc(1))).writeto(path)
    before = path.read_bytes()
    chip2, chip1 = read_frames(path)
    with fits.open(path) as hdus:
        apart = hdus[4].fileinfo()["datLoc"] - hdus[1].fileinfo()["datLoc"]
    assert chip1.pixels.data_ptr() - chip2.pixels.data_ptr() == apart
    chip2.pixels.fill_(7)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "layouts",
    [small(acs_wfc(2), acs_wfc(1)), small(wfc3_uvis(2), wfc3_uvis(1)), small(acs_hrc())],
    ids=["wfc", "uvis", "hrc"],
)
def test_raw_exposures_give_one_frame_per_chip(layouts: list[Layout], tmp_path: Path) -> None:
    path = tmp_path / "renamed.fits"
    hdus = exposure(layouts)
    hdus.writeto(path)
    frames = read_frames(path)
    assert list_hdus(path) == (1, 4)[: len(layouts)]
    assert [frame.info.hdu for frame in frames] == [1, 4][: len(layouts)]
    assert [frame.layout for frame in frames] == layouts
    for frame, layout in zip(frames, layouts, strict=True):
        assert frame.info.product == "raw"
        assert frame.shape == (1, *layout.shape)
        assert frame.unit == "DN"
        assert frame.saturation == layout.saturation()
        np.testing.assert_array_equal(frame.decode()[0].numpy(), hdus[frame.info.hdu or 0].data.astype(np.float32))
    for frame, other in zip(frames, read_frames(hdus), strict=True):
        assert frame.sha256() == other.sha256()
        assert other.layout == frame.layout
        assert other.info.path is None


def test_read_info_maps_keywords(tmp_path: Path) -> None:
    path = tmp_path / "jabc01xyq_raw.fits"
    exposure(small(acs_wfc(2), acs_wfc(1))).writeto(path)
    info = read_info(path, hdu=4)
    assert (info.path, info.hdu, info.rootname, info.instrument, info.detector) == (path, 4, "jabc01xyq", "ACS/WFC", "WFC")
    assert (info.filter, info.product, info.target, info.visit, info.proposal) == ("F606W", "raw", "NGC104", "jabc01", "9019")
    assert (info.exptime, info.ra, info.dec, info.chip, info.simulated, info.scale) == (66.0, 6.02, -72.08, 1, True, 64)
    assert read_info(np.ones((2, 2))).rootname == ""


@pytest.mark.parametrize(
    ("keywords", "code"),
    [
        ({"SUBARRAY": True}, "subarray"),
        ({"CCDGAIN": None}, "bad-header"),
        ({"SIMSCALE": 32}, "bad-geometry"),
        ({"NEXTEND": 9}, "truncated"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_raw_exposures_out_of_the_ordinary_are_refused(keywords: dict[str, Any], code: str, tmp_path: Path) -> None:
    exposure(small(acs_wfc(2), acs_wfc(1)), **keywords).writeto(tmp_path / "a_raw.fits")
    with pytest.raises(FrameError) as caught:
        read_frames(tmp_path / "a_raw.fits")
    assert caught.value.code == code


def test_raw_of_an_unknown_camera_is_a_generic_image(tmp_path: Path) -> None:
    exposure(small(acs_wfc(2), acs_wfc(1)), INSTRUME="STIS", DETECTOR="CCD").writeto(tmp_path / "a_raw.fits")
    (frame,) = read_frames(tmp_path / "a_raw.fits")
    assert (frame.layout, frame.saturation, frame.info.instrument, frame.info.product) == (None, None, "STIS/CCD", "raw")


def test_raw_without_a_telling_name_is_known_by_its_counts(tmp_path: Path) -> None:
    exposure(small(acs_wfc(2), acs_wfc(1)), FILENAME="m16.fits").writeto(tmp_path / "m16.fits")
    assert [frame.info.product for frame in read_frames(tmp_path / "m16.fits")] == ["raw", "raw"]


@pytest.mark.parametrize("suffix", ["flt", "flc"])
def test_calibrated_exposures_give_both_chips_in_electrons(suffix: str, tmp_path: Path) -> None:
    hdus = exposure(small(acs_wfc(2), acs_wfc(1)), product=suffix)
    for index in (1, 4):
        hdus[index].data = np.full((32, 64), index, np.float32)
        hdus[index].header["BUNIT"] = "ELECTRONS"
        hdus[index + 1].data = np.ones((32, 64), np.float32)
    hdus.writeto(tmp_path / f"a_{suffix}.fits")
    frames = read_frames(tmp_path / f"a_{suffix}.fits")
    assert [(f.info.hdu, f.info.product, f.unit, f.layout, float(f.decode().mean())) for f in frames] == [
        (1, "flt", "electron", None, 1.0),
        (4, "flt", "electron", None, 4.0),
    ]


@pytest.mark.parametrize(("chip", "first"), [(2, 0), (1, 3)])
def test_calibrated_uvis_chips_lose_the_rows_nearest_the_gap(chip: int, first: int) -> None:
    hdus = exposure(small(wfc3_uvis(chip)), product="flt", NEXTEND=3)
    hdus[1].data = np.zeros((2051, 4096), np.uint8)
    frame = read_frame(hdus)
    assert frame.regions == (Region(y=first, x=0, height=2048, width=4096),)
    assert frame.shape == (1, 2048, 4096)


def test_read_size_is_that_of_the_frame(tmp_path: Path) -> None:
    raw, uvis, cube = exposure(small(acs_wfc(2), acs_wfc(1))), exposure([wfc3_uvis(1)], product="flt"), np.zeros((2, 5, 7), np.int16)
    uvis[1].data = np.zeros((2051, 4096), np.uint8)
    assert zoo.frames.read_size(raw, 1) == read_frame(raw, 1).shape[1:] != acs_wfc(2).scaled(64).science_shape
    assert zoo.frames.read_size(raw, 4, trimmed=True) == acs_wfc(2).scaled(64).science_shape
    assert zoo.frames.read_size(uvis) == read_frame(uvis).shape[1:] == (2048, 4096)
    assert zoo.frames.read_size(fits.HDUList([fits.PrimaryHDU(cube)]), plane=1) == zoo.frames.read_size(cube[0]) == (5, 7)
    fits.PrimaryHDU(cube[0]).writeto(tmp_path / "x.fits")
    assert zoo.frames.read_size(tmp_path / "x.fits") == (5, 7)
    with pytest.raises(FrameError, match="several-frames"):
        zoo.frames.read_size(raw)


def test_drizzled_product_is_one_image(tmp_path: Path) -> None:
    hdus = exposure(small(acs_wfc(2), acs_wfc(1)), product="drz")
    hdus.writeto(tmp_path / "a_drz.fits")
    (frame,) = read_frames(tmp_path / "a_drz.fits")
    assert (frame.info.product, frame.layout) == ("drz", None)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files_are_unpacked(suffix: str, pack: Any, tmp_path: Path) -> None:
    plain, packed = tmp_path / "x.fits", tmp_path / f"x.fits{suffix}"
    fits.PrimaryHDU(RNG.normal(size=(9, 11)).astype(np.float32)).writeto(plain)
    packed.write_bytes(pack(plain.read_bytes()))
    assert read_frame(packed).sha256() == read_frame(plain).sha256()


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "x.gz"), (bz2.compress, "x.bz2")])
def test_compressed_files_are_bounded(pack: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_source, "MAX_UNPACKED", 1 << 16)
    path = tmp_path / name
    path.write_bytes(pack(b"SIMPLE  =" + bytes(1 << 20)))
    assert code_of(path) == "too-large"
    whole = pack(b"SIMPLE  =" + os.urandom(1 << 15))
    path.write_bytes(whole[: len(whole) // 2])
    assert code_of(path) == "truncated"
    path.write_bytes(whole[:30] + bytes(20) + whole[50:])
    assert code_of(path) == "corrupt"
    path.write_bytes(pack(b"no FITS in here"))
    assert code_of(path) == "not-fits"


def code_of(path: Path) -> str:
    with pytest.raises(FrameError) as caught:
        read_frames(path)
    assert caught.value.path == path
    assert caught.value.exit_code == 3
    return caught.value.code


@pytest.mark.parametrize("magic", [b"\x1f\x9d", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd"])
def test_other_compressions_are_refused_with_a_remedy(magic: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.fits.Z").write_bytes(magic + bytes(100))
    assert code_of(tmp_path / "x.fits.Z") == "compressed"
    with pytest.raises(FrameError, match=r"; run \w+ on it"):
        read_frames(tmp_path / "x.fits.Z")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fits")
    assert code_of(tmp_path / "pipe.fits") == "not-a-file"
    assert code_of(tmp_path) == "not-a-file"
    assert code_of(tmp_path / "absent.fits") == "missing"
    (tmp_path / "empty.fits").touch()
    assert code_of(tmp_path / "empty.fits") == "empty"
    (tmp_path / "text.fits").write_text("no")
    assert code_of(tmp_path / "text.fits") == "not-fits"


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.fits").write_bytes(b"SIMPLE  =")

    def deny(*arguments: object, **keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert code_of(tmp_path / "x.fits") == "unreadable"


def test_files_without_an_image_say_what_they_hold(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "t.fits")
    fits.PrimaryHDU().writeto(tmp_path / "h.fits")
    fits.PrimaryHDU(np.ones((2, 3, 4))).writeto(tmp_path / "c.fits")
    with pytest.raises(FrameError, match=r"no-image: got tables only, expected a 2-D image"):
        read_frames(tmp_path / "t.fits")
    with pytest.raises(FrameError, match=r"no-image: got headers without pixels"):
        read_frames(tmp_path / "h.fits")
    with pytest.raises(FrameError, match=r"not-2d: got an image of 4 x 3 x 2"):
        read_frames(tmp_path / "c.fits")
    with pytest.raises(FrameError, match=r"empty"):
        read_frames(fits.HDUList())


def test_read_frame_needs_to_know_which(tmp_path: Path) -> None:
    exposure(small(acs_wfc(2), acs_wfc(1))).writeto(tmp_path / "a_raw.fits")
    with pytest.raises(FrameError, match=r"several-frames: got 2 frames, expected one; pass hdu=1 or 4"):
        read_frame(tmp_path / "a_raw.fits")
    assert read_frame(tmp_path / "a_raw.fits", hdu=4).info.chip == 1


def test_arrays_are_copied_and_masked_pixels_have_no_value() -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    data.flags.writeable = False
    frame = read_frame(data[None])
    assert frame.shape == (1, 3, 4)
    frame.pixels.zero_()
    assert data[2, 3] == 11
    masked = np.ma.masked_equal(np.arange(6, dtype=np.uint16).reshape(2, 3), 4)
    values = read_frame(masked).decode()[0]
    assert torch.isnan(values).nonzero().tolist() == [[1, 1]]
    assert read_frame(np.array([[True, False]])).decode().tolist() == [[[1.0, 0.0]]]
    assert read_frame(np.array([[0.5]], dtype=np.float16)).decode().item() == 0.5
    assert read_frame(np.arange(20, dtype=np.int32).reshape(4, 5)[::2, ::-1]).decode().tolist() == [[[4, 3, 2, 1, 0], [14, 13, 12, 11, 10]]]


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.ones(5), "not-2d"),
        (np.ones((2, 3, 4)), "not-2d"),
        (np.ones((0, 4)), "no-image"),
        (np.ones((2, 2), complex), "bad-dtype"),
        (np.array([["a"]]), "bad-dtype"),
        (np.array([[None]]), "bad-dtype"),
        (np.ones((2, 2), np.longdouble), "bad-dtype"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_are_no_image_are_refused(array: np.ndarray[Any, Any], code: str) -> None:
    with pytest.raises(FrameError) as caught:
        read_frames(array)
    assert caught.value.code == code


def test_arrays_have_no_hdus() -> None:
    with pytest.raises(FrameError, match="bad-hdu"):
        read_frames(np.ones((2, 2)), hdu=1)


def test_planes_of_a_cube_are_read_one_by_one(tmp_path: Path) -> None:
    cube = RNG.integers(-9, 9, (2, 3, 4, 5)).astype(np.int16)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube), fits.ImageHDU(cube[0, 0])]).writeto(tmp_path / "c.fits")
    assert read_info(tmp_path / "c.fits").hdu == 2
    with fits.open(tmp_path / "c.fits") as hdus:
        for plane in range(6):
            expected = cube.reshape(6, 4, 5)[plane].astype(np.float32)
            for frame in (read_frame(tmp_path / "c.fits", plane=plane), read_frame(hdus, 1, plane), read_frame(cube, plane=plane)):
                assert frame.info.plane == plane
                np.testing.assert_array_equal(frame.decode()[0].numpy(), expected)
    assert read_frame(tmp_path / "c.fits", hdu=2, plane=0).info.plane is None
    assert read_info(tmp_path / "c.fits", hdu=1, plane=4).plane == 4


@pytest.mark.parametrize(("hdu", "plane"), [(0, 6), (0, -1), (1, 1)])
def test_planes_that_are_not_there_are_refused(hdu: int, plane: int, tmp_path: Path) -> None:
    cube = np.zeros((6, 4, 5), np.int16)
    fits.HDUList([fits.PrimaryHDU(cube), fits.ImageHDU(cube[0])]).writeto(tmp_path / "c.fits")
    for call in (read_frames, read_info):
        with pytest.raises(FrameError, match=rf"HDU {hdu}: bad-plane: got plane {plane}, expected 0 to {0 if hdu else 5}"):
            call(tmp_path / "c.fits", hdu=hdu, plane=plane)
    with pytest.raises(FrameError, match="bad-plane"):
        read_frames(cube, plane=6)


def test_cubes_without_a_plane_say_how_to_choose(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((3, 4, 5), np.int16)).writeto(tmp_path / "c.fits")
    with pytest.raises(FrameError, match=r"not-2d: got an image of 5 x 4 x 3, expected two axes; choose one with --plane 0 to 2"):
        read_frames(tmp_path / "c.fits")
    fits.PrimaryHDU(np.zeros((1, 4, 5), np.int16)).writeto(tmp_path / "flat.fits")
    assert read_frame(tmp_path / "flat.fits").shape == (1, 4, 5)


def test_small_unsigned_64_bit_integers_stay_what_they_are(tmp_path: Path) -> None:
    data = np.array([[0, 1, 2], [1023, 1 << 40, (1 << 64) - 1]], np.uint64)
    fits.PrimaryHDU(data).writeto(tmp_path / "x.fits")
    for frame in (read_frame(tmp_path / "x.fits"), read_frame(data)):
        assert frame.decode()[0].tolist() == [[0.0, 1.0, 2.0], [1023.0, float(1 << 40), float(1 << 64)]]
