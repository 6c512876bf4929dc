"""Manifests: the authors' lists as they stand, checks with file and line, and what survives a round trip."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.manifest import COLUMNS, Manifest, Row, summarise, walk_files
from zoo.errors import DataError

HEAD = "path,hdu,label,target\n"
AUTHORS = ",ID,Instrument,OBSID,Filter,RA,DEC,HDU Index,Label\n"


def manifest_of(folder: Path, text: str, name: str = "list.csv", root: Path | None = None) -> Manifest:
    (folder / name).write_text(text, encoding="utf-8")
    return Manifest.read_csv(folder / name, root)


def same(one: Row, other: Row) -> bool:
    return all(
        getattr(one, f.name) == getattr(other, f.name)
        or (f.type == "float" and math.isnan(getattr(one, f.name)) and math.isnan(getattr(other, f.name)))
        for f in fields(Row)
    )


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("name", "rows", "exposures", "labels", "targets"),
    [
        ("LCID_test.csv", 1595, 875, {"galaxy": 852, "NSC": 743}, {"galaxy": 14, "NSC": 7}),
        ("blurry_validation.csv", 116, 74, {"galaxy": 73, "NSC": 43}, {"galaxy": 10, "NSC": 6}),
    ],
)
def test_manifest_authors_lists_load_as_they_stand(
    real_data: Path, name: str, rows: int, exposures: int, labels: dict[str, int], targets: dict[str, int]
) -> None:
    manifest = Manifest.read_csv(real_data / "lcid" / name)
    assert len(manifest) == rows == len(manifest.missing())
    assert len({row.rootname for row in manifest}) == exposures
    assert Counter(row.label for row in manifest) == labels
    assert {label: len({row.target for row in manifest if row.label == label}) for label in labels} == targets
    assert {row.hdu for row in manifest} == {1, 4}
    assert {row.product for row in manifest} == {"raw"}
    assert all(math.isfinite(row.ra) and math.isfinite(row.dec) and row.filter for row in manifest)


def test_manifest_authors_lists_share_no_target(real_data: Path) -> None:
    test, blurry = (Manifest.read_csv(real_data / "lcid" / name) for name in ("LCID_test.csv", "blurry_validation.csv"))
    assert not set(test.targets) & set(blurry.targets)
    assert not {row.rootname for row in test} & {row.rootname for row in blurry}


def test_manifest_finds_exposures_in_any_layout(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    touch(frames / "jabc" / "jabc01abq" / "jabc01abq_raw.fits")
    touch(frames / "flat" / "iabc01acs_raw.fits")
    touch(frames / "old" / "deep" / "jabc01abq_raw.fits")
    text = AUTHORS + "0,M5,ACS/WFC,jabc01abq,F606W,1.5,-2,1,NSC\n1,M5,ACS/WFC,JABC01ABQ,F606W,1.5,-2,4,NSC\n"
    text += "2,M82,WFC3/UVIS,iabc01acq,F606W,3,4,1,galaxy\n3,M82,WFC3/UVIS,iabc01azq,F606W,3,4,1,galaxy\n"
    manifest = manifest_of(tmp_path, text, root=frames)
    assert [row.path for row in manifest] == ["jabc/jabc01abq/jabc01abq_raw.fits"] * 2 + ["flat/iabc01acs_raw.fits", ""]
    assert [row.rootname for row in manifest.missing()] == ["iabc01azq"]
    assert manifest.notes == ("took the other copy (suffix q or s) of 1 exposures: iabc01acq",)
    assert manifest.path_of(manifest.rows[3]) == frames / "iabc01azq_raw.fits"


def test_manifest_keeps_unknown_columns_and_round_trips(tmp_path: Path) -> None:
    touch(tmp_path / "frames" / "a.fits")
    text = (
        'Seeing,Path,HDU,Label,Target,Exptime,split,note\n0.1,frames/a.fits,1,NSC,M5,12.25,train,"x, y"\n,/far/b.fits,,galaxy,M82,,test,é\n'
    )
    manifest = manifest_of(tmp_path, text)
    assert manifest.rows[0].extra == {"Seeing": "0.1", "note": "x, y"}
    assert [row.hdu for row in manifest] == [1, None]
    copy = tmp_path / "deeper" / "copy.csv"
    manifest.write_csv(copy)
    again = Manifest.read_csv(copy)
    head, first, _ = copy.read_text(encoding="utf-8").splitlines()
    assert head == ",".join([*COLUMNS, "Seeing", "note"])
    assert first.startswith(f"{tmp_path.as_posix()}/frames/a.fits,1,NSC,M5,")
    assert [again.path_of(row) for row in again] == [manifest.path_of(row) for row in manifest]
    manifest.write_csv(tmp_path / "beside.csv")
    assert all(same(one, other) for one, other in zip(Manifest.read_csv(tmp_path / "beside.csv"), manifest, strict=True))


def test_manifest_authors_list_round_trips(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, AUTHORS + "0,M5,ACS/WFC,jabc01abq,F606W,185.432173,-2.5,1,NSC\n")
    manifest.write_csv(tmp_path / "copy.csv")
    again = Manifest.read_csv(tmp_path / "copy.csv")
    assert same(again.rows[0], manifest.rows[0])
    assert again.rows[0].extra == {"": "0"}
    assert again.fingerprint() == manifest.fingerprint()


printable = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)


any_row = st.builds(
    Row,
    path=printable.map("/d/".__add__),
    hdu=st.none() | st.integers(0, 9),
    label=printable,
    target=printable,
    filter=printable,
    exptime=finite,
    ra=st.floats(0, 360),
    split=st.sampled_from(["", "train", "val", "test"]),
)


@given(st.lists(any_row, max_size=5, unique_by=(lambda row: row.path, lambda row: row.target.casefold())))
def test_manifest_round_trips_any_row(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = tmp_path_factory.mktemp("m") / "m.csv"
    manifest = Manifest(tuple(rows), path.parent)
    manifest.write_csv(path)
    again = Manifest.read_csv(path)
    assert len(again) == len(rows)
    for one, other in zip(again, rows, strict=True):
        assert (one.label, one.target, one.hdu, one.filter, one.split) == (other.label, other.target, other.hdu, other.filter, other.split)
        assert (one.exptime, one.ra) == (other.exptime, other.ra)
        assert math.isnan(one.dec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.csv: got an empty file"),
        ("path,hdu,label\n", r"line 1: got columns path, hdu, label; expected also target"),
        ("label,target\n", "line 1: .* expected also rootname, hdu"),
        ("path,Path,label,target\n", "line 1: got column 'path' twice"),
        (HEAD + "a.fits,1,NSC,M5\nb.fits,one,NSC,M5\n", "line 3: got hdu 'one', expected the index of an HDU"),
        (HEAD + "a.fits,-1,NSC,M5\n", "line 2: got hdu '-1'"),
        ("path,label,target,exptime\na.fits,NSC,M5,12s\n", "line 2: got exptime '12s', expected a finite number"),
        ("path,label,target,ra\na.fits,NSC,M5,inf\n", "line 2: got ra 'inf', expected a finite number"),
        (HEAD + "a.fits,1,NSC\n", "line 2: got 3 fields, expected 4"),
        (HEAD + "a.fits,1,NSC,M5\na.fits,4,NSC,M5\na.fits,1,galaxy,M5\n", r"line 4: got a.fits\[1\] again, .* it stands in line 2"),
        (AUTHORS + "0,M5,ACS/WFC,J1,F1,1,2,1,NSC\n1,M5,ACS/WFC,j1,F1,1,2,1,NSC\n", r"line 3: got j1_raw.fits\[1\] again"),
        (HEAD + "a.fits,1,,M5\n", "line 2: got an empty label"),
        (HEAD + "a.fits,1,NSC, \n", "line 2: got an empty target"),
        (HEAD + ",1,NSC,M5\n", "line 2: got neither a path nor a rootname"),
        ("path,label,target,split\na.fits,NSC,M5,training\n", "line 2: got split 'training', expected train, val, test or nothing"),
        (HEAD + 'a.fits,1,NSC,"M5\n', "line 2: not a CSV"),
    ],
)  # fmt: skip
def test_manifest_refuses_bad_csv_with_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        manifest_of(tmp_path, text)


def test_manifest_refuses_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"m\.csv: cannot be read as a UTF-8 CSV"):
        Manifest.read_csv(tmp_path / "m.csv")
    with pytest.raises(DataError, match="expected the folder that holds the frames"):
        manifest_of(tmp_path, HEAD, root=tmp_path / "absent")


def test_manifest_reads_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfpath,label,target\r\na.fits,NSC,M5\r\n\r\n")
    assert [row.path for row in Manifest.read_csv(tmp_path / "m.csv")] == ["a.fits"]


def test_manifest_spells_a_target_in_one_way(tmp_path: Path) -> None:
    assert manifest_of(tmp_path, HEAD + "a.fits,1,NSC,NGC104\nb.fits,1,NSC,ngc104\n").targets == ("NGC104",)


def test_manifest_labels_match_without_case(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, HEAD + "a.fits,1,nsc,M5\nb.fits,1,GALAXY,M82\nc.fits,1,star,Vega\n").with_labels(("galaxy", "NSC"))
    assert [row.label for row in manifest] == ["NSC", "galaxy"]
    assert manifest.notes == ("left out 1 rows with label 'star'; --labels names the classes",)
    with pytest.raises(DataError, match="got labels 'NSC', 'galaxy', expected rows with label quasar"):
        manifest.with_labels(("quasar",))


def test_manifest_select_gives_one_split(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, "path,label,target,split\na,NSC,M5,train\nb,NSC,M3,test\n")
    assert [row.path for row in manifest.select(split="test")] == ["b"]
    assert manifest.select(split="all") == manifest.rows
    with pytest.raises(DataError, match="unknown split 'dev'"):
        manifest.select(split="dev")


def test_fingerprint_ignores_where_files_lie() -> None:
    here, there, other = (Manifest((Row(path=path, label="NSC", target="M5"),), Path()) for path in ("/a/x.fits", "b/x.fits", "/a/y.fits"))
    assert here.fingerprint() == there.fingerprint() != other.fingerprint()


def test_walk_files_enters_a_linked_folder_once(tmp_path: Path) -> None:
    touch(tmp_path / "data" / "b" / "x.fits")
    touch(tmp_path / "data" / ".hidden" / "y.fits")
    (tmp_path / "data" / "b" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "data" / "b")
    assert [file.name for file in walk_files(tmp_path / "data")] == ["x.fits"]


def test_summarise_counts_the_rest() -> None:
    assert summarise(["a", "b"], 2) == "a, b"
    assert summarise(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    row = Row(path="a.fits", hdu=1, label="NSC", target="M5", ra=np.float64(229.64), dec=np.float64(2.08))
    Manifest((row,), tmp_path).write_csv(tmp_path / "list.csv")
    (read,) = Manifest.read_csv(tmp_path / "list.csv").rows
    assert (read.ra, read.dec) == (229.64, 2.08)


@pytest.mark.parametrize(("column", "text"), [("ra", "400"), ("ra", "-1"), ("dec", "-100")])
def test_positions_off_the_sphere_are_refused(tmp_path: Path, column: str, text: str) -> None:
    (tmp_path / "m.csv").write_text(f"path,label,target,{column}\na.fits,NSC,M5,{text}\n")
    with pytest.raises(DataError, match=rf"m\.csv: line 2: got {column} {text}, expected .* degrees, or nothing"):
        Manifest.read_csv(tmp_path / "m.csv")
