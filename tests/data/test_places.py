"""Which HDU, plane and product a row of a list or folder is: as the list says, else as the caller says, else as the headers say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from zoo.data import DataSet, Manifest, Row, open_data
from zoo.data.dataset import with_products
from zoo.errors import UsageError

Write = Callable[..., Path]


def write_exposure(path: Path, product_keywords: dict[str, object], *, first: float = 0.0) -> Path:
    """Two ACS/WFC chips of other pixels, in SCI extensions 1 and 4."""
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC", "NEXTEND": 6, **product_keywords})
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = [primary]
    for chip in (2, 1):
        pixels = np.arange(8 * 16, dtype=np.float32).reshape(8, 16) + first + chip
        science = fits.ImageHDU(pixels, name="SCI")
        science.header["CCDCHIP"] = chip
        hdus += [science, fits.ImageHDU(np.ones_like(pixels), name="ERR"), fits.ImageHDU(np.zeros(pixels.shape, np.int16), name="DQ")]
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.fixture
def exposures(tmp_path: Path) -> Path:
    for number in range(3):
        for label in ("galaxy", "NSC"):
            write_exposure(tmp_path / "sky" / label / f"{label}{number}_flt.fits", {}, first=100.0 * number + 1000 * (label == "NSC"))
    return tmp_path / "sky"


def test_both_chips_of_a_file_are_frames_of_one_target(exposures: Path) -> None:
    data = open_data(exposures)
    assert len(data.manifest) == 12
    assert [row.hdu for row in data.manifest][:4] == [1, 4, 1, 4]
    assert {row.product for row in data.manifest} == {"flt"}
    assert len(data.manifest.targets) == 6
    by_split = {row.path: {other.split for other in data.manifest if other.path == row.path} for row in data.manifest}
    assert all(len(splits) == 1 for splits in by_split.values())


def test_folders_take_one_hdu_of_every_file(exposures: Path) -> None:
    assert [row.hdu for row in open_data(exposures, hdu=4).manifest] == [4] * 6


def test_folders_take_one_plane_of_every_cube(tmp_path: Path) -> None:
    for number in range(2):
        for label in ("galaxy", "NSC"):
            path = tmp_path / label / f"{label}{number}.fits"
            path.parent.mkdir(exist_ok=True)
            cube = np.random.default_rng(number + 10 * (label == "NSC")).random((3, 8, 16)).astype(np.float32)
            fits.PrimaryHDU(cube).writeto(path)
    data = open_data(tmp_path, plane=2)
    assert [(row.hdu, row.plane) for row in data.manifest] == [(0, 2)] * 4
    assert data.open(data.manifest.rows[0]).info.plane == 2
    data.manifest.write_csv(tmp_path / "list.csv")
    assert [(row.hdu, row.plane) for row in open_data(tmp_path / "list.csv").manifest] == [(0, 2)] * 4


def test_lists_are_filled_in_where_they_are_silent(tmp_path: Path, write_fits: Write) -> None:
    for name in "ab":
        write_fits(tmp_path / f"{name}.fits", ord(name))
    (tmp_path / "list.csv").write_text("path,hdu,label,target\na.fits,1,galaxy,A\nb.fits,,NSC,B\n")
    data = open_data(tmp_path / "list.csv", hdu=0, plane=0, split=False)
    assert [(row.hdu, row.plane) for row in data.manifest] == [(1, 0), (0, 0)]
    (tmp_path / "full.csv").write_text("path,hdu,label,target\na.fits,0,galaxy,A\nb.fits,0,NSC,B\n")
    with pytest.raises(UsageError, match="got --hdu 1, but every row names its hdu itself"):
        open_data(tmp_path / "full.csv", hdu=1, split=False)
    with pytest.raises(UsageError, match="simulated: got --hdu or --plane"):
        open_data("simulated", plane=0)


def test_products_come_from_list_header_or_name(tmp_path: Path, write_fits: Write) -> None:
    write_exposure(tmp_path / "a_flc.fits", {})
    write_exposure(tmp_path / "renamed.fits", {"FILENAME": "j8bt_raw.fits"})
    write_fits(tmp_path / "mine.fits")
    write_fits(tmp_path / "b_drz.fits.gz")
    (tmp_path / "bad.fits").write_bytes(b"no")
    names = ["a_flc.fits", "renamed.fits", "mine.fits", "b_drz.fits.gz", "bad.fits", "absent_flt.fits"]
    rows = [*(Row(name, 1 if name[0] in "ar" else 0, "galaxy", name) for name in names), Row("mine.fits", 0, "NSC", "said", product="raw")]
    found = with_products(DataSet("list", Manifest(tuple(rows), tmp_path), []))
    assert [row.product for row in found.manifest] == ["flt", "raw", "other", "drz", "", "", "raw"]
    made = DataSet("made", Manifest(tuple(rows), tmp_path), [], open=lambda row: pytest.fail("was opened"))
    assert with_products(made) is made
