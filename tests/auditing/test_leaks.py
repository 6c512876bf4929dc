"""Planted leaks and contradictions are all found; without them nothing is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_lists import draw_rows, table

from zoo.auditing.leaks import RELATIONS, Leakage, find_leakage
from zoo.auditing.sky import chips, find_overlaps, separation
from zoo.auditing.table import encode, read_table, same_target
from zoo.data import Manifest, Row

NOWHERE = {"ra": math.nan, "dec": math.nan}


def shared(leakage: Leakage) -> dict[str, int]:
    """What is shared by relation, without what is not."""
    return {leak.relation: leak.shared for leak in leakage.leaks if leak.shared}


def lists() -> tuple[list[Row], list[Row]]:
    rows = draw_rows()
    return rows[:72], rows[72:]


@pytest.mark.parametrize("seed", range(5))
def test_disjoint_lists_and_splits_share_nothing(seed: int) -> None:
    rows = draw_rows(seed=seed)
    leakage = find_leakage(table(rows[:72], rows[72:]))
    assert shared(leakage) == {}
    assert leakage.conflicts == ()
    split = find_leakage(table(draw_rows(seed=seed, split=True)))
    assert shared(split) == {}
    assert {(leak.first, leak.second) for leak in split.leaks} == {("a:train", "a:test")}


def test_unknown_columns_are_not_called_clean() -> None:
    one, two = ([Row(path="", hdu=1, label="galaxy", target=name, rootname=name)] for name in ("x", "y"))
    checked = {leak.relation: leak.checked for leak in find_leakage(table(one, two)).leaks}
    assert list(checked) == list(RELATIONS)
    assert {relation for relation, known in checked.items() if known} == {"frame", "exposure", "chip pair", "target"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"path": "other.fits"}, {"frame", "exposure"}),
        ({}, {"file", "frame", "exposure"}),
        ({"path": "other.fits", "hdu": 4}, {"frame", "exposure", "chip pair"}),  # the first list has chip 4 as well
        ({"path": "other.fits", "rootname": "j00000aas"}, {"frame", "exposure"}),
    ],
)
def test_the_same_exposure_is_found_by_file_name_chip_and_suffix(change: dict[str, object], expected: set[str]) -> None:
    first, second = lists()
    source = first[0]
    assert source.rootname[1:] == "00000aaq"
    change = {**change, "rootname": source.rootname[:-1] + "s"} if "rootname" in change else change
    planted = replace(source, target="planted", label="galaxy", **NOWHERE, **change)  # type: ignore[arg-type]
    leakage = find_leakage(table(first, [*second, planted]))
    assert set(shared(leakage)) - {"chip pair"} == (expected | {"visit"}) - {"chip pair"}
    found = {leak.relation: leak for leak in leakage.leaks}
    assert (found["exposure"].frames_first, found["exposure"].frames_second) == (2, 1)


def test_the_other_chip_of_an_exposure_is_a_chip_pair() -> None:
    first, second = lists()
    other = first.pop(1)
    found = shared(find_leakage(table(first, [*second, replace(other, target="planted", path="x.fits", **NOWHERE)])))  # type: ignore[arg-type]
    assert found == {"exposure": 1, "chip pair": 1, "visit": 1}
    alone = shared(find_leakage(table([first[0]], [replace(first[0], path="x.fits", target="planted", **NOWHERE)])))  # type: ignore[arg-type]
    assert alone == {"frame": 1, "exposure": 1, "visit": 1}  # the same chip is no pair


def test_a_visit_and_a_target_are_found_alone() -> None:
    first, second = lists()
    bare = replace(first[0], path="x.fits", **NOWHERE)  # type: ignore[arg-type]
    visit = replace(bare, rootname=first[0].rootname[:6] + "zzq", target="planted")
    assert shared(find_leakage(table(first, [*second, visit]))) == {"visit": 1}
    target = replace(bare, rootname="", target="t 00")
    assert shared(find_leakage(table(first, [*second, target]))) == {"target": 1}
    bare = {"rootname": "", "visit": "01", "proposal": "9454"}
    numbered = [replace(row, path=f"{place}.fits", **bare) for place, row in enumerate((first[0], second[0]))]  # type: ignore[arg-type]
    assert shared(find_leakage(table(numbered[:1], numbered[1:]))) == {"visit": 1}


def test_visits_of_two_programmes_are_two() -> None:
    row = Row(path="x.fits", label="galaxy", target="x", visit="01", proposal="1")
    assert shared(find_leakage(table([row], [replace(row, path="y.fits", target="y", proposal="2")]))) == {}


@pytest.mark.parametrize(("north", "certain"), [(0.5, True), (1.6, True), (1.8, False), (3.7, False), (4.0, None)])
def test_overlap_follows_the_size_of_the_chips(north: float, certain: bool | None) -> None:
    first = Row(path="a.fits", label="galaxy", target="a", instrument="ACS/WFC", ra=359.999, dec=60.0)
    second = replace(first, path="b.fits", target="b", ra=0.001, dec=60.0 + north / 60)
    leakage = find_leakage(table([first], [second]))
    assert shared(leakage) == ({"sky": 1} if certain else {})
    assert leakage.possible_sky == (1 if certain is False else 0)
    unknown = find_leakage(table([first], [replace(second, instrument="my camera")]))
    assert (shared(unknown), unknown.possible_sky) == ({}, 0)


def test_overlap_equals_all_pairs() -> None:
    rng = np.random.default_rng(3)
    rows = [
        Row(path=f"{place}.fits", label="galaxy", target=f"t{rng.integers(12)}", instrument=str(rng.choice(["ACS/WFC", "WFC3/UVIS"])),
            ra=float(10 + rng.uniform(0, 0.5)), dec=float(rng.uniform(-0.25, 0.25)))
        for place in range(150)
    ]  # fmt: skip
    made = table(rows)
    radius = chips(made).min(axis=1) / 2
    away = np.array([separation(made.ra, made.dec, np.full(150, made.ra[i]), np.full(150, made.dec[i])) for i in range(150)])
    groups = made.target.codes
    together = (away < radius[:, None] + radius[None]) & (groups[:, None] != groups[None])
    expected = {(i, int(groups[j])) for i, j in zip(*np.nonzero(together), strict=True)}
    assert {tuple(pair) for pair in find_overlaps(made, groups).certain.tolist()} == expected
    assert len(expected) > 50


def test_contradictions_within_a_list_are_found() -> None:
    rows = draw_rows()
    first = rows[0]
    renamed = replace(first, path="copy_raw.fits", rootname=first.rootname[:-1] + "s", **NOWHERE)  # type: ignore[arg-type]
    kinds = {c.kind: c for c in find_leakage(table([*rows, renamed])).conflicts}
    assert kinds["frames listed twice"].count == 1
    torn = replace(renamed, target="other", label="NSC")
    kinds = {c.kind: c for c in find_leakage(table([*rows, torn])).conflicts}
    assert {"exposures with two targets", "exposures with two labels"} <= kinds.keys()
    assert kinds["exposures with two targets"].frames == 3
    relabelled = [replace(first, label="NSC"), *rows[1:]]
    kinds = {c.kind: c for c in find_leakage(table(relabelled)).conflicts}
    assert kinds["targets with two labels"].examples == ("T0",)
    neighbour = replace(first, path="x.fits", rootname="", target="other", hdu=None)
    kinds = {c.kind: c for c in find_leakage(table([*rows, neighbour])).conflicts}
    assert kinds["pairs of targets on the same sky"].examples == ("T0 and other",)


def test_equal_pixels_are_leaks_and_conflicts() -> None:
    rows = [Row(path=f"{name}.fits", label="galaxy", target=name) for name in "pqrs"]
    made = table(rows[:2], rows[2:])
    pixels = encode(["one", "two", "three", "four"], keys=["a", "a", "a", "b"])
    leakage = find_leakage(made, pixels, pixels)
    assert shared(leakage) == {"pixels": 1, "near pixels": 1}
    assert {c.kind for c in leakage.conflicts} == {"frames with the pixels of another", "nearly equal frames under two targets"}


def test_a_file_is_one_however_its_path_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    one = Manifest((Row(path="data/x.fits", label="galaxy", target="a"),), tmp_path)
    two = Manifest((Row(path=str(tmp_path / "link" / ".." / "data" / "x.fits"), label="galaxy", target="b"),), Path("/"))
    found = find_leakage(read_table([("one", one), ("two", two)])).leaks
    assert {leak.relation for leak in found if leak.shared} == {"file", "frame", "exposure"}


@pytest.mark.parametrize(
    ("one", "two", "same"), [("NGC 0346", "ngc-346", True), ("M5", "M 5", True), ("M31-1", "M311", False), ("T0", "T00", True)]
)
def test_spellings_of_a_target(one: str, two: str, same: bool) -> None:
    assert (same_target(one) == same_target(two)) is same
