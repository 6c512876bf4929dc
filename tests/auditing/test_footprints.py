"""Footprints from headers: corners as astropy has them, distances as on the plane, and what they change in an audit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

import zoo
from zoo.auditing.footprints import distance_to, sizes_of
from zoo.data import DataSet, Manifest, Row
from zoo.data.footprints import directions
from zoo.frames.fits import read_corners
from zoo.frames.wcs import find_corners

SCALE = 0.05 / 3600


def header(
    ra: float = 150.0, dec: float = 2.0, *, turn: float = 0.0, height: int = 32, width: int = 64, scale: float = SCALE
) -> fits.Header:
    """A TAN header of an image turned by some degrees, the reference in its middle."""
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": width / 2 + 0.5, "CRPIX2": height / 2 + 0.5,
            "CD1_1": -scale * c, "CD1_2": scale * s, "CD2_1": scale * s, "CD2_2": scale * c,
        }
    )  # fmt: skip


def by_astropy(cards: fits.Header, window: tuple[int, int, int, int]) -> np.ndarray:
    top, left, height, width = window
    x, y = np.array([left, left + width, left + width, left]) - 0.5, np.array([top, top, top + height, top + height]) - 0.5
    return np.column_stack(WCS(cards).all_pix2world(x, y, 0))


@pytest.mark.parametrize("place", [(150.0, 2.0), (0.001, -66.0), (200.0, 89.9)])
@pytest.mark.parametrize("form", ["CD", "PC", "CROTA"])
def test_corners_are_those_of_astropy(place: tuple[float, float], form: str) -> None:
    cards = header(*place, turn=30.0)
    if form != "CD":
        for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            del cards[key]
        cards.update({"CDELT1": -SCALE, "CDELT2": SCALE})
    if form == "PC":
        cards.update({"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8})
    if form == "CROTA":
        cards["CROTA2"] = 30.0
    window = (3, 5, 4000, 2000)
    got, wanted = find_corners(dict(cards), window), by_astropy(cards, window)
    assert got is not None
    apart = SkyCoord(*got.T, unit="deg").separation(SkyCoord(*wanted.T, unit="deg"))
    assert apart.arcsec.max() < 1e-6


@pytest.mark.parametrize("cards", [{}, {"CTYPE1": "RA---SIN"}, {"CD1_1": 0.0, "CD1_2": 0.0}, {"CRVAL1": "x"}, {"CRPIX2": True}])
def test_headers_that_do_not_tell(cards: dict[str, Any]) -> None:
    assert find_corners({**dict(header()), **cards} if cards else {}, (0, 0, 10, 10)) is None


def test_distances_and_sizes_of_a_square() -> None:
    """A square of 2 arcmin on the equator: distances are those on the plane."""
    square = directions(np.array([0.0, 2.0, 2.0, 0.0]) / 60, np.array([0.0, 0.0, 2.0, 2.0]) / 60)
    points = {(1.0, 1.0): 0.0, (1.9, 0.1): 0.0, (3.0, 1.0): 1.0, (5.0, 6.0): 5.0, (-0.5, 1.5): 0.5}
    corners = np.repeat(square[None], len(points), axis=0)
    ra, dec = np.array(list(points)).T / 60
    assert distance_to(corners, directions(ra, dec)) == pytest.approx(list(points.values()), abs=1e-5)
    assert distance_to(corners[:, ::-1], directions(ra, dec)) == pytest.approx(list(points.values()), abs=1e-5)
    assert distance_to(corners[:1], -directions(ra[:1], dec[:1])).tolist() == [math.inf]
    assert np.isnan(distance_to(np.full((1, 4, 3), np.nan), square[:1])).all()
    assert sizes_of(corners[:1]) == pytest.approx(np.full((1, 2), 2.0), abs=1e-5)


def write(path: Path, cards: fits.Header, value: int = 0) -> Path:
    pixels = np.random.default_rng(value).normal(100, 5, (32, 64)).astype(np.float32)
    fits.PrimaryHDU(pixels, cards).writeto(path)
    return path


def test_the_header_beats_the_list(tmp_path: Path) -> None:
    """A frame of 2.7 x 5.3 arcmin, turned; the list puts all frames on their targets, and the headers beside two of them."""
    wide = 5.0 / 3600
    rows = []
    for number, (label, ra, turn) in enumerate([("galaxy", 10.0, 0.0), ("galaxy", 40.0, 90.0), ("NSC", 70.0, 0.0), ("NSC", 100.0, 90.0)]):
        path = write(tmp_path / f"{number}.fits", header(ra + 2.0 / 60, 0.0, turn=turn, scale=wide), number)
        rows.append(
            Row(path.name, 0, label, f"T{number}", instrument="ACS/WFC", ra=ra, dec=0.0, extra={"target_ra": str(ra), "target_dec": "0"})
        )
    data = DataSet("list", Manifest(tuple(rows), tmp_path), [])
    read = {one.target: one for one in zoo.audit(data).offsets}
    assert [read[f"T{number}"].median for number in range(4)] == pytest.approx([2.0] * 4, abs=1e-3)
    assert [read[f"T{number}"].missing for number in range(4)] == [0, 1, 0, 1]  # across its width, 2 arcmin are beside the frame
    listed = zoo.audit(data, pixels=False).offsets
    assert [(one.median, one.missing) for one in listed] == [(0.0, 0)] * 4


def test_frames_without_positions_in_the_list_are_found_on_the_same_sky(tmp_path: Path) -> None:
    rows = tuple(
        Row(write(tmp_path / f"{number}.fits", header(10.0, 0.0, turn=number, scale=5.0 / 3600), number).name, 0, label, f"T{number}")
        for number, label in enumerate(("galaxy", "NSC"))
    )
    (conflict,) = zoo.audit(DataSet("list", Manifest(rows, tmp_path), [])).leakage.conflicts
    assert conflict.kind == "pairs of targets on the same sky"


def test_a_raw_chip_is_cut_to_its_light(tmp_path: Path) -> None:
    """HDU 1 of ACS/WFC: 24 columns and 20 rows of the 4144 x 2068 see no light."""
    cards = header(height=2068, width=4144)
    chip = fits.ImageHDU(np.zeros((2068, 4144), np.uint16), cards, name="SCI")
    chip.header["CCDCHIP"] = 2
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC", "CCDGAIN": 2.0, "SUBARRAY": False})
    fits.HDUList([primary, chip]).writeto(tmp_path / "j8bt05njq_raw.fits")
    got = read_corners(tmp_path / "j8bt05njq_raw.fits", 1)
    assert got is not None
    np.testing.assert_allclose(got, by_astropy(cards, (0, 24, 2048, 4096)), atol=1e-9)
