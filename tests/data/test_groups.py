"""What belongs together: exposures, visits, targets, regions of the sky, and whatever links two of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from zoo.data.footprints import find_regions
from zoo.data.groups import group_rows, same_target, visit_of
from zoo.data.manifest import Row
from zoo.errors import DataError, UsageError


def row(target: str, rootname: str = "", **columns: object) -> Row:
    return Row(path=columns.pop("path", f"{target}-{rootname}.fits"), target=target, rootname=rootname, label="galaxy", **columns)  # type: ignore[arg-type]


def test_units_are_nested() -> None:
    rows = [row("A", "j8bt05njq", hdu=1), row("A", "j8bt05njq", hdu=4), row("A", "j8bt05nkq"), row("A", "j8bt06nlq"), row("B", "j8bt07nmq")]
    groups = {unit: len(set(group_rows(rows, by=unit))) for unit in ("exposure", "visit", "target")}
    assert groups == {"exposure": 4, "visit": 3, "target": 2}
    assert group_rows(rows) == ("A", "A", "A", "A", "B")


@pytest.mark.parametrize(
    ("rows", "link"),
    [
        ([row("A", "j8bt05njq", hdu=1), row("B", "j8bt05njq", hdu=4)], "one exposure"),
        ([row("A", "j8bt05njq"), row("B", "j8bt05njs")], "retransmitted copy"),
        ([row("A", "j8bt05njq"), row("B", "j8bt05nkq")], "one visit"),
        ([row("A", path="x.fits", hdu=1), row("B", path="x.fits", hdu=4)], "one file"),
        ([row("NGC 346"), row("ngc0346")], "one target"),
        ([row("A", visit="2", proposal="77"), row("B", visit="2", proposal="77")], "one visit by columns"),
    ],
)
def test_targets_that_something_links_are_one_group(rows: list[Row], link: str) -> None:
    assert len(set(group_rows(rows))) == 1, link


def test_links_go_through_others() -> None:
    rows = [row("A", "j8bt05njq"), row("B", "j8bt05nkq"), row("B", "j8bt09nlq"), row("C", "j8bt09nmq"), row("D", "j8bt01nmq")]
    assert group_rows(rows) == ("A", "A", "A", "A", "D")


def test_a_visit_number_means_nothing_without_its_programme() -> None:
    assert len(set(group_rows([row("A", visit="2"), row("B", visit="2", proposal="77"), row("C", visit="2", proposal="78")]))) == 3
    assert visit_of(row("A", visit="2")) == ""
    with pytest.raises(DataError, match=r"got 1 frames without a visit: A-\.fits; expected a Hubble rootname"):
        group_rows([row("A", visit="2")], by="visit")


def test_regions_are_connected_through_others() -> None:
    arcmin = 1 / 60
    ra = [0.0, 8 * arcmin, 16 * arcmin, 40 * arcmin, 359.95]
    rows = [replace(row(str(i)), ra=value, dec=0.0) for i, value in enumerate(ra)]
    assert group_rows(rows, by="sky", radius=9.0) == ("0", "0", "0", "3", "0")
    assert group_rows(rows, by="sky", radius=7.9) == ("0", "1", "2", "3", "0")


def test_footprints_overlap_by_their_camera() -> None:
    def pair(instrument: str, apart: float) -> int:
        rows = [replace(row(str(i)), ra=10.0 + i * apart / 60, dec=0.0, instrument=instrument) for i in range(2)]
        return len(set(group_rows(rows, by="sky")))

    # The circle around a chip has a diameter of 3.82 arcmin with ACS/WFC and of 3.05 with WFC3/UVIS.
    assert [pair("ACS/WFC", apart) for apart in (3.7, 3.9)] == [1, 2]
    assert [pair("WFC3/UVIS", apart) for apart in (3.0, 3.2)] == [1, 2]


def test_regions_equal_those_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    rows = [replace(row(str(i)), ra=float(a), dec=float(d)) for i, (a, d) in enumerate(rng.uniform(0, 2, (700, 2)))]
    regions = find_regions(rows, radius=2.5)
    places = np.radians([[r.ra, r.dec] for r in rows])
    cosine = np.sin(places[:, 1, None]) * np.sin(places[:, 1]) + np.cos(places[:, 1, None]) * np.cos(places[:, 1]) * np.cos(
        places[:, 0, None] - places[:, 0]
    )
    near = np.degrees(np.arccos(np.clip(cosine, -1, 1))) * 60 <= 2.5
    expected = np.arange(len(rows))
    for _ in range(len(rows)):
        spread = np.where(near, expected, len(rows)).min(1)
        if (spread == expected).all():
            break
        expected = spread
    assert 20 < len(set(expected.tolist())) < 650
    assert len(set(zip(expected.tolist(), regions.tolist(), strict=True))) == len(set(expected.tolist())) == len(set(regions.tolist()))


def test_what_cannot_be_grouped_is_named() -> None:
    with pytest.raises(DataError, match=r"got 1 frames without a position: A-\.fits; expected ra and dec"):
        group_rows([row("A")], by="sky")
    with pytest.raises(DataError, match=r"without a footprint: A-\.fits \(no instrument\); expected one of the cameras ACS/WFC, WFC3/UVIS"):
        group_rows([row("A", ra=1.0, dec=1.0)], by="sky")
    with pytest.raises(UsageError, match="radius must be > 0 arcmin, got -1"):
        group_rows([row("A", ra=1.0, dec=1.0)], by="sky", radius=-1.0)
    with pytest.raises(UsageError, match=r"a radius goes with a split by sky, got 2\.0 with target"):
        group_rows([row("A")], radius=2.0)
    with pytest.raises(UsageError, match="got 'roll'"):
        group_rows([row("A")], by="roll")


def test_spellings_of_a_target() -> None:
    assert same_target("NGC 0346") == same_target("ngc-346") == same_target("NGC346") == "ngc346"
    assert same_target("M31") != same_target("M 310")
