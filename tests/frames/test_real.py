"""Real files: each is read as astropy reads it, or refused with its code, as ``real_files.csv`` says. Needs ZOO_REAL_DATA.

The table has one line for each frame or refused file. Its shapes and HDUs agree with the manifest that came with the files.
"""

from __future__ import annotations

import csv
import warnings
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from zoo.errors import FrameError
from zoo.frames import Frame, list_hdus, read_frame, read_frames, read_info

with Path(__file__).with_name("real_files.csv").open(newline="") as _stream:
    EXPECTED = {path: list(rows) for path, rows in groupby(csv.DictReader(_stream), key=lambda row: row["path"])}
CUBES = {
    "other/M51_nebulosa-rgb-thumbnail-icc.fits": 3,
    "other/NGC3344_nebulosa-color4plane-16.fits": 4,
    "other/NGC3344_nebulosa-color4plane-32.fits": 4,
    "other/NGC3344_nebulosa-color4plane-8.fits": 4,
    "other/NGC3344_nebulosa-color4plane-f32.fits": 4,
    "other/none_astropytest-arange.fits": 7,
}


def astropy_pixels(path: Path, hdu: int, plane: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """What astropy reads, with NaN for what is not finite, as float32."""
    with warnings.catch_warnings(action="ignore"), fits.open(path) as hdus:
        data = np.asarray(hdus[hdu].data, dtype=np.float64)
    data = data.reshape(-1, *data.shape[-2:])[plane]
    return np.where(np.isfinite(data), data, np.nan).astype(np.float32)


def assert_same_pixels(frame: Frame, expected: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    # astropy scales 16-bit integers in float32, we in float64 rounded once.
    rtol = 3e-7 if frame.encoding and frame.encoding.bscale != 1 else 0
    np.testing.assert_allclose(frame.decode()[0].numpy(), expected, rtol=rtol)


def test_the_table_names_every_file(real_data: Path) -> None:
    assert sorted(EXPECTED) == sorted(str(path.relative_to(real_data / "real")) for path in (real_data / "real").glob("*/*"))
    assert len(EXPECTED) == 177


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_real_file_is_read_as_astropy_does_or_refused(name: str, real_data: Path) -> None:
    path, rows = real_data / "real" / name, EXPECTED[name]
    if rows[0]["code"]:
        # Where the headers are sound, only who reads the pixels finds that they are not.
        for call in (read_frames,) if rows[0]["code"] in ("checksum", "few-valid") else (read_frames, list_hdus):
            with pytest.raises(FrameError) as caught:
                call(path)
            assert (caught.value.code, caught.value.path) == (rows[0]["code"], path)
        return
    frames = read_frames(path)
    found = [(str(frame.info.hdu), "x".join(map(str, frame.shape[1:])), frame.info.product) for frame in frames]
    assert found == [(row["hdu"], row["shape"], row["product"]) for row in rows]
    for frame in frames:
        assert frame.info == read_info(path, hdu=frame.info.hdu)
        # None of these files marks a pixel in DQ, nor holds rates with their exposure time.
        assert (frame.regions, frame.info.plane) == ((), None)
        assert_same_pixels(frame, astropy_pixels(path, frame.info.hdu or 0))


@pytest.mark.parametrize("name", sorted(CUBES))
def test_each_plane_of_a_real_cube_is_read_as_astropy_does(name: str, real_data: Path) -> None:
    path = real_data / "real" / name
    for plane in range(CUBES[name]):
        assert_same_pixels(read_frame(path, plane=plane), astropy_pixels(path, 0, plane))
    with pytest.raises(FrameError, match=f"not-2d: .*choose one with --plane 0 to {CUBES[name] - 1}"):
        read_frames(path)


def test_an_lzw_file_says_how_to_undo_it(real_data: Path) -> None:
    with pytest.raises(FrameError, match=r"compressed: .*; run uncompress on it"):
        read_frames(real_data / "real" / "other" / "none_astropytest-lzw.fits.Z")


@pytest.mark.parametrize(
    ("name", "filter_name"), [("f330w-j8bt09jcqraw", "F330W"), ("f555w-j8bt05njqraw", "F555W"), ("f606w-j8bt06o6qraw", "F606W")]
)
def test_genuine_hrc_raw_has_its_layout(name: str, filter_name: str, real_data: Path) -> None:
    frame = read_frame(real_data / "real" / "nsc" / f"NGC104_crds-hst-acshrc-{name}.fits")
    assert (frame.info.instrument, frame.info.filter, frame.info.target, frame.info.proposal) == ("ACS/HRC", filter_name, "NGC104", "9019")
    assert frame.shape == (1, 1044, 1062)
    assert frame.layout is not None
    assert frame.layout.science_shape == (1024, 1024)
    assert frame.saturation == 65535.0


def test_genuine_flt_headers_give_both_chips_in_electrons(real_data: Path) -> None:
    frames = read_frames(real_data / "real" / "other" / "NGC104_workshop-hst-acswfc-flt-gz.fits.gz")
    assert [(frame.info.hdu, frame.info.chip, frame.info.instrument, frame.unit, frame.notes) for frame in frames] == [
        (1, 2, "ACS/WFC", "electron", ()),
        (4, 1, "ACS/WFC", "electron", ()),
    ]


def test_rates_of_a_mosaic_without_exposure_time_stay_rates(real_data: Path) -> None:
    frame = read_frame(real_data / "real" / "galaxy" / "XDF-field_workshop-hst-wfc3ir-f105w.fits")
    assert (frame.unit, frame.info.bunit) == ("DN", "ELECTRONS/S")
    assert frame.notes == ("ELECTRONS/S with EXPTIME = 1: rates, left as they are",)
