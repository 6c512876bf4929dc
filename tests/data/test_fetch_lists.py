"""What lists ask for, and the manifest of a folder of fetched files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_archives import LINES, NAMES, Archives, get, manifest_of, serve_archives, statuses

from zoo.data import Manifest, open_data
from zoo.data.archive.check import check_file
from zoo.errors import DataError, FrameError, UsageError

A, B, C = NAMES


@pytest.fixture
def archives() -> Iterator[Archives]:
    with serve_archives() as running:
        running.add(*NAMES)
        yield running


def test_manifest_of_the_result_is_data(archives: Archives, tmp_path: Path) -> None:
    report = get(archives, manifest_of(tmp_path / "list.csv", *LINES), tmp_path / "hst")
    assert report.manifest == tmp_path / "hst" / "manifest.csv"
    data = open_data(tmp_path / "hst", split=False)
    assert [(row.path, row.hdu, row.label, row.target, row.product, row.ra) for row in data.select("all")] == [
        (f"{A}_raw.fits", 1, "galaxy", "M51", "raw", 1.5),
        (f"{A}_raw.fits", 4, "galaxy", "M51", "raw", 1.5),
        (f"{B}_raw.fits", 4, "NSC", "M5", "raw", 3.5),
    ]
    chips = [data.open(row).sha256() for row in data.select("all")]
    assert len(set(chips)) == 3


def test_manifests_of_several_calls_are_joined(archives: Archives, tmp_path: Path) -> None:
    get(archives, manifest_of(tmp_path / "one.csv", *LINES[:2]), tmp_path / "hst")
    get(archives, manifest_of(tmp_path / "two.csv", LINES[1].replace("M51", "NGC5194"), LINES[2]), tmp_path / "hst")
    rows = Manifest.read_csv(tmp_path / "hst" / "manifest.csv").rows
    assert [(row.rootname, row.hdu, row.target) for row in rows] == [(A, 1, "M51"), (A, 4, "NGC5194"), (B, 4, "M5")]
    again = get(archives, tmp_path / "hst" / "manifest.csv", tmp_path / "hst")
    assert statuses(again) == {A: "kept", B: "kept"}
    assert Manifest.read_csv(tmp_path / "hst" / "manifest.csv").rows == rows


def test_manifest_that_another_call_wrote_meanwhile_is_joined(archives: Archives, tmp_path: Path) -> None:
    first, second = manifest_of(tmp_path / "one.csv", *LINES[:2]), manifest_of(tmp_path / "two.csv", LINES[2])
    get(archives, second, tmp_path / "hst", confirm=lambda plan: bool(get(archives, first, tmp_path / "hst")))
    assert len(Manifest.read_csv(tmp_path / "hst" / "manifest.csv")) == 3


def test_foreign_manifest_is_not_overwritten(archives: Archives, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"manifest\.csv is in the way .* move it, or choose another folder"):
        get(archives, A, tmp_path)
    assert archives.s3.requests == archives.s3.heads == []


@pytest.mark.parametrize(
    "text",
    [
        f"# two exposures\n{A}\n\n  {B.upper()} # the second\n{A}\n",
        f"Dataset,Target\n{A},M51\n{B},M5\n",
        f"x,obs_id\n1,{A}\n2,{B}_raw.fits\n",
        f"/some/where/{A}_raw.fits\n{B}_flt.fits\n",
    ],
)
def test_lists_of_names_are_read(archives: Archives, tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    report = get(archives, tmp_path / "list.txt", tmp_path / "hst")
    assert statuses(report) == {A: "fetched", B: "fetched"}
    assert report.manifest is None
    assert statuses(get(archives, [A, tmp_path / "list.txt", f"{C}_raw.fits"], tmp_path / "hst")) == {A: "kept", B: "kept", C: "fetched"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing.csv", r"nothing\.csv: no such file, expected a manifest, a list of exposures, or the name of an exposure"),
        ("j8bt05nj", "no such file"),
        (".", "a folder, expected"),
        ("bad.txt", r"bad\.txt: line 2: got 'hello', expected the name of an exposure"),
        ("short.csv", r"short\.csv: line 3: got '\?'"),
        ("empty.txt", "got no exposure"),
        ("simulated.csv", "got rootname '', expected the name of an exposure"),
        ([], "got no exposure"),
    ],
)
def test_what_names_no_exposure_is_refused(archives: Archives, tmp_path: Path, source: Any, words: str) -> None:
    (tmp_path / "bad.txt").write_text(f"{A}\nhello\n")
    (tmp_path / "short.csv").write_text(f"x,rootname\n1,{A}\n1\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "simulated.csv").write_text("path,label,target\nframe0.fits,NSC,M5\n")
    with pytest.raises(DataError, match=words) as caught:
        get(archives, tmp_path / source if source else source, tmp_path / "hst")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "hst").exists()


def test_drizzled_products_stand_for_both_chips(archives: Archives, tmp_path: Path) -> None:
    archives.add(A, B, product="drc")
    lines = (*LINES, LINES[2].replace(",4,NSC", ",1,galaxy"))
    report = get(archives, manifest_of(tmp_path / "list.csv", *lines), tmp_path / "hst", product="drc")
    assert statuses(report) == {A: "fetched", B: "fetched"}
    rows = Manifest.read_csv(tmp_path / "hst" / "manifest.csv").rows
    assert [(row.path, row.hdu, row.product, row.label) for row in rows] == [(f"{A}_drc.fits", 1, "drz", "galaxy")]
    assert report.notes == (
        "1 rows name a frame that another row names too; each frame is listed once",
        f"left out of the manifest, because the lists give them two labels: {B}_drc.fits",
    )


def test_published_lists_ask_for_949_exposures(real_data: Path) -> None:
    from zoo.data.archive.exposures import read_exposures
    from zoo.data.archive.places import typical_bytes

    found = read_exposures([real_data / "lcid" / "LCID_test.csv", real_data / "lcid" / "blurry_validation.csv"])
    assert (len(found.names), len(found.rows)) == (949, 1711)
    assert sum(name.endswith("s") for name in found.names) == 4
    test = read_exposures(real_data / "lcid" / "LCID_test.csv")
    assert sum(typical_bytes(name, "raw") for name in test.names) == pytest.approx(30.2e9, rel=0.01)


@pytest.mark.parametrize(
    ("file", "name"), [("f330w-j8bt09jcq", "j8bt09jcq"), ("f555w-j8bt05njq", "j8bt05njq"), ("f606w-j8bt06o6q", "j8bt06o6q")]
)
def test_genuine_raw_files_pass_the_check(real_data: Path, file: str, name: str) -> None:
    path = real_data / "real" / "nsc" / f"NGC104_crds-hst-acshrc-{file}raw.fits"
    check_file(path, name)
    with pytest.raises(FrameError, match="other-exposure"):
        check_file(path, "j8bt05nkq")
