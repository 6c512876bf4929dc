"""The whole audit: files, pixels, offsets, balance, findings, and that what is planted is found in simulated data."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from audit_lists import data_set, draw_rows, table

import zoo
from zoo.auditing.centres import find_offsets, read_centres
from zoo.auditing.pixels import near_groups
from zoo.data import Manifest, Row, open_data
from zoo.errors import DataError, UsageError
from zoo.storage import write_text


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 frames of 8 simulated targets as FITS files, split by target."""
    root = tmp_path_factory.mktemp("sky")
    options = {"train": 2, "val": 1, "test": 1, "exposures": 1}
    made = open_data("simulated", root=root, options=options)
    for row in {row.path: row for row in made.manifest}.values():
        made.open(row)
    made.manifest.write_csv(root / "manifest.csv")
    return root


def findings(result: zoo.auditing.Audit, kind: str) -> list[str]:
    return [f"{one.level}: {one.text}" for one in result.findings if one.kind == kind]


def test_simulated_data_are_clean(sky: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    result = zoo.audit(sky, progress=lambda *said: seen.append(said))
    assert result.alarms == ()
    assert (result.n_frames, result.n_targets, result.pixels_read) == (16, 8, 16)
    assert seen[-1] == ("reading frames", 16, 16)
    assert result.domain == "simulated"
    assert {"bias level", "gain", "sky level", "thumbnail 16x16"} <= {one.name for one in result.shortcuts}
    assert all(leak.checked and not leak.shared for leak in result.leakage.leaks)


def test_a_copied_file_is_found_by_its_pixels(sky: Path, tmp_path: Path) -> None:
    manifest = Manifest.read_csv(sky / "manifest.csv")
    source = next(row for row in manifest if row.split == "train")
    with fits.open(sky / source.path) as hdus:
        image = np.asarray(hdus[source.hdu].data, dtype=np.float32)
    noisy = image + np.random.default_rng(0).normal(0, 1.0, image.shape).astype(np.float32)
    fits.PrimaryHDU(noisy).writeto(tmp_path / "near.fits")
    fits.PrimaryHDU(noisy).writeto(tmp_path / "again.fits")
    rows = [replace(row, path=str(sky / row.path)) for row in manifest]
    rows += [Row(path=str(tmp_path / name), label=source.label, target=name, split="test") for name in ("near.fits", "again.fits")]
    Manifest(tuple(rows), tmp_path).write_csv(tmp_path / "list.csv")
    result = zoo.audit(tmp_path / "list.csv")
    leaks = {(leak.first, leak.second, leak.relation): leak.shared for leak in result.leakage.leaks if leak.shared}
    assert leaks == {("list.csv:train", "list.csv:test", "near pixels"): 1}
    assert {c.kind for c in result.leakage.conflicts} == {"frames with the pixels of another", "nearly equal frames under two targets"}
    assert any("1 frame of nearly equal pixels" in text for text in findings(result, "leak"))


def test_missing_and_damaged_files_are_alarms(sky: Path, tmp_path: Path) -> None:
    manifest = Manifest.read_csv(sky / "manifest.csv")
    first, second, *others = manifest.rows
    (tmp_path / "damaged.fits").write_bytes((sky / first.path).read_bytes()[:4000])
    rows = [replace(row, path=str(sky / row.path)) for row in others]
    rows += [replace(first, path=str(tmp_path / "damaged.fits")), replace(second, path=str(tmp_path / "absent.fits"))]
    result = zoo.audit(zoo.DataSet("faulty", Manifest(tuple(rows), tmp_path), []))
    said = findings(result, "files")
    assert said[0] == "alarm: faulty: the files of 1 of 16 frames are missing"
    assert said[1].startswith("alarm: 1 frame cannot be read: ")
    assert "damaged.fits" in said[1]
    assert sum(one.missing or 0 for one in result.balance) == 1
    assert (result.pixels_read, len(result.refused)) == (14, 1)


def test_pixels_are_not_read_unless_wanted_and_there(sky: Path) -> None:
    assert zoo.audit(sky, pixels=False).pixels_read == 0
    gone = zoo.audit(data_set(draw_rows()))
    assert gone.pixels_read == 0
    assert findings(gone, "files") == ["remark: list: no file is there, so nothing was told from pixels; --root says where they are"]
    assert gone.alarms == ()


def test_near_groups_joins_chains_and_leaves_others_alone() -> None:
    rng = np.random.default_rng(1)
    thumbnails = rng.normal(size=(5, 256))
    details = rng.integers(0, 256, (5, 1024)).astype(np.uint8)
    thumbnails[1] = thumbnails[0] + rng.normal(0, 0.01, 256)
    details[1] = details[0] ^ np.uint8(1)  # 7 of 8 bits agree
    thumbnails[2] = thumbnails[0]  # but other details: two smooth galaxies
    thumbnails[3] = np.nan
    near = near_groups(thumbnails, details, list("abcde"))
    assert near.codes.tolist() == [0, 0, 1, -1, 2]
    assert near.names == ("a", "c", "e")
    assert near_groups(np.full((2, 256), np.nan), details[:2], ["a", "b"]).codes.tolist() == [-1, -1]


def test_offsets_from_a_table_a_column_and_medians(tmp_path: Path) -> None:
    write_text(tmp_path / "t.csv", "name,ra,dec,diameter_arcmin\nt-1,10,20,4\n")
    base = Row(path="a.fits", label="galaxy", target="T1", instrument="ACS/WFC", ra=10.0, dec=20.0)
    rows = [
        base,
        replace(base, path="b.fits", dec=20.0 + 3.5 / 60),
        replace(base, path="c.fits", dec=20.0 + 4.5 / 60),
        replace(base, path="d.fits", target="T2", ra=359.99, extra={"target_ra": "0.01", "target_dec": "20"}),
        replace(base, path="e.fits", target="T3", ra=359.9),
        replace(base, path="f.fits", target="T3", ra=0.1),
        replace(base, path="g.fits", target="T4", ra=math.nan),
    ]
    centres = read_centres(tmp_path / "t.csv")
    found = {one.target: one for one in find_offsets(table(rows), centres)}
    assert set(found) == {"T1", "T2"}
    one = found["T1"]
    assert (one.source, one.frames, one.far, one.missing) == ("table", 3, 1, 1)  # half a diagonal is 1.9 arcmin, the radius 2
    assert (one.median, one.largest) == pytest.approx((3.5, 4.5))
    assert found["T2"].source == "column"
    assert found["T2"].largest == pytest.approx(0.02 * 60 * math.cos(math.radians(20)), rel=1e-6)
    guessed = {one.target: one for one in find_offsets(table(rows), centres, medians=True)}["T3"]
    assert (guessed.source, guessed.known) == ("median of its frames", False)
    assert guessed.largest == pytest.approx(0.1 * 60 * math.cos(math.radians(20)), rel=1e-4)
    said = findings(zoo.audit(data_set(rows), targets=tmp_path / "t.csv"), "offset")
    assert said == ["remark: list: 1 of 4 frames (25.0%) miss their target: T1 1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target,x\n", "line 1: got columns target, x; expected target, ra and dec"),
        ("target,ra,dec\nM5,15h18m,2\n", "line 2: got ra '15h18m', expected a number in degrees"),
        ("target,ra,dec\nM5,400,2\n", "line 2: got position 400.0, 2.0, expected degrees"),
    ],
)
def test_a_faulty_table_of_targets_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_text(tmp_path / "t.csv", text)
    with pytest.raises(DataError, match=message):
        read_centres(tmp_path / "t.csv")


def test_balance_counts_targets_by_their_weight() -> None:
    rows = [Row(path=f"{i}.fits", label="galaxy", target="big" if i < 8 else f"t{i}") for i in range(10)]
    rows += [Row(path=f"n{i}.fits", label="NSC", target=f"n{i}") for i in range(6)]
    result = zoo.audit(data_set(rows))
    galaxy, nsc = result.balance
    assert (galaxy.frames, galaxy.targets, galaxy.largest) == (10, 3, "big")
    assert galaxy.effective_targets == pytest.approx(100 / 66)
    assert nsc.effective_targets == pytest.approx(6)
    assert findings(result, "balance") == ["remark: list: class galaxy counts as 1.5 of 3 targets; big alone has 80% of the frames"]


def test_findings_put_alarms_first_and_name_what_is_shared() -> None:
    rows = draw_rows()
    result = zoo.audit([data_set(rows[:72], "one"), data_set([*rows[72:], replace(rows[0], target="x")], "two")])
    assert [one.level for one in result.findings] == sorted(one.level for one in result.findings)
    (leak,) = (one.text for one in result.alarms)
    assert leak.startswith("one and two share 1 file, 1 frame, 1 exposure")
    assert "1 pair of targets on the same sky" in leak
    assert "more" not in leak


def test_lists_are_named_apart(tmp_path: Path) -> None:
    text = "path,label,target\na.fits,galaxy,x\n"
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_text(tmp_path / folder / "list.csv", text)
    paths = [tmp_path / folder / "list.csv" for folder in ("one", "two")]
    assert zoo.audit(paths).lists == tuple(map(str, paths))
    with pytest.raises(UsageError, match="twice, expected every list once"):
        zoo.audit([paths[0], paths[0]])
    with pytest.raises(UsageError, match="got no data to audit"):
        zoo.audit([])
