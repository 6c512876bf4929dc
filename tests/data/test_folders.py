"""Class folders: which folders count, what names a target, and that equal pixels are one target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.data.folders import read_folder
from zoo.data.manifest import Manifest
from zoo.errors import DataError, UsageError

LABELS = ("galaxy", "NSC")
Write = Callable[..., Path]


def targets(manifest: Manifest) -> dict[str, str]:
    return {row.path: row.target for row in manifest}


def note(manifest: Manifest, start: str) -> str:
    return next((line for line in manifest.notes if start in line), "")


def test_folder_matches_classes_without_case_and_ignores_others(tmp_path: Path, write_fits: Write) -> None:
    write_fits(tmp_path / "Galaxy" / "M82_a.fits", 1, FILTER="F606W", EXPTIME=30.0)
    write_fits(tmp_path / "nsc" / "M5_a.fits", 2)
    write_fits(tmp_path / "stars" / "Vega.fits", 3)
    manifest = read_folder(tmp_path, labels=LABELS)
    assert [(row.path, row.label, row.hdu) for row in manifest] == [("Galaxy/M82_a.fits", "galaxy", 0), ("nsc/M5_a.fits", "NSC", 0)]
    assert (manifest.rows[0].filter, manifest.rows[0].exptime) == ("F606W", 30.0)
    assert note(manifest, "ignored") == "ignored folders stars: not among the classes galaxy, NSC; --labels names others"
    assert [row.label for row in read_folder(tmp_path, labels=("Stars", "NSC"))] == ["NSC", "Stars"]


def test_folder_without_classes_names_what_is_there(tmp_path: Path, write_fits: Write) -> None:
    write_fits(tmp_path / "stars" / "Vega.fits")
    with pytest.raises(DataError, match="got folders stars; expected one per class, galaxy, NSC"):
        read_folder(tmp_path, labels=LABELS)


def test_folder_target_rules_in_order(tmp_path: Path, write_fits: Write) -> None:
    nsc = tmp_path / "nsc"
    write_fits(nsc / "listed.fits", 1, TARGNAME="NGC1", OBJECT="wrong")
    write_fits(nsc / "sub" / "header.fits", 2, TARGNAME="NGC2", OBJECT="wrong")
    write_fits(nsc / "NGC3" / "deep" / "x_y.fits", 3, OBJECT="wrong")
    write_fits(nsc / "NGC4_f606w_raw.fits", 4, OBJECT="wrong")
    write_fits(nsc / "NGC5.fits", 5)
    write_fits(tmp_path / "galaxy" / "M82_a.fits", 6)
    (nsc / "manifest.csv").write_text("path,ID\nlisted.fits,NGC0\n")
    manifest = read_folder(tmp_path, labels=LABELS)
    assert targets(manifest) == {
        "galaxy/M82_a.fits": "M82",
        "nsc/NGC3/deep/x_y.fits": "NGC3",
        "nsc/NGC4_f606w_raw.fits": "NGC4",
        "nsc/NGC5.fits": "NGC5",
        "nsc/listed.fits": "NGC0",
        "nsc/sub/header.fits": "NGC2",
    }
    expected = "targets from file name (3 frames), manifest.csv (1 frames), sub-folder (1 frames), TARGNAME (1 frames)"
    assert note(manifest, "targets from") == expected


@pytest.mark.parametrize(
    ("head", "line", "expected"),
    [
        ("path,group,target", "nsc/a.fits,G,T", "T"),
        ("path,group,object", "nsc/a.fits,G,O", "G"),
        ("path,object", "nsc/a.fits,O", "a"),
        ("OBSID,ID,Label2", "A,I,x", "I"),
        ("path,target", "elsewhere/a.fits,T", "T"),
        ("path,target", "nsc/b.fits,T", "a"),
    ],
    ids=["target-column", "group-column", "object-is-no-target", "by-rootname", "copied-list", "other-file"],
)
def test_folder_reads_targets_from_the_parents_manifest(tmp_path: Path, write_fits: Write, head: str, line: str, expected: str) -> None:
    write_fits(tmp_path / "nsc" / "a.fits", 1)
    (tmp_path / "manifest.csv").write_text(f"{head}\n{line}\n")
    assert targets(read_folder(tmp_path, labels=LABELS))["nsc/a.fits"] == expected


def test_folder_listed_file_name_means_no_other_listed_file(tmp_path: Path, write_fits: Write) -> None:
    write_fits(tmp_path / "nsc" / "1_a.fits", 1)
    write_fits(tmp_path / "galaxy" / "1_a.fits", 2)
    (tmp_path / "manifest.csv").write_text("path,target\nnsc/1_a.fits,M5\n")
    assert targets(read_folder(tmp_path, labels=LABELS)) == {"nsc/1_a.fits": "M5", "galaxy/1_a.fits": "1"}


def test_folder_target_regex_wins_where_it_matches(tmp_path: Path, write_fits: Write) -> None:
    write_fits(tmp_path / "nsc" / "f606w-m5-1.fits", 1, TARGNAME="X")
    write_fits(tmp_path / "nsc" / "plain.fits", 2, TARGNAME="Y")
    found = targets(read_folder(tmp_path, labels=LABELS, target_regex=r"-(m\d+)-"))
    assert found == {"nsc/f606w-m5-1.fits": "m5", "nsc/plain.fits": "Y"}
    assert targets(read_folder(tmp_path, labels=LABELS, target_regex=r"(f)\d+w-(?P<target>m\d)"))["nsc/f606w-m5-1.fits"] == "m5"
    with pytest.raises(UsageError, match="is not a regular expression"):
        read_folder(tmp_path, labels=LABELS, target_regex="(")


def test_folder_equal_pixels_are_one_target(tmp_path: Path, write_fits: Write) -> None:
    for name, value in (("M3_a", 1), ("M5_a", 1), ("M5_b", 2), ("M9_a", 2), ("M10_a", 3)):
        write_fits(tmp_path / "nsc" / f"{name}.fits", value, EXPTIME=float(len(name)))
    manifest = read_folder(tmp_path, labels=LABELS)
    assert manifest.targets == ("M10", "M3")
    assert note(manifest, "same pixels") == "2 frames have the same pixels as another; frames with equal pixels are one target"
    assert note(manifest, "joined") == "targets joined by equal pixels: M5 = M3, M9 = M3"


def test_folder_refuses_equal_pixels_in_two_classes(tmp_path: Path, write_fits: Write) -> None:
    write_fits(tmp_path / "nsc" / "M5.fits", 1)
    write_fits(tmp_path / "galaxy" / "M82.fits", 1)
    with pytest.raises(DataError, match=r"nsc/M5\.fits\[0\]: got the pixels of galaxy/M82\.fits\[0\]"):
        read_folder(tmp_path, labels=LABELS)


def test_folder_lists_what_is_no_frame(tmp_path: Path, write_fits: Write) -> None:
    write_fits(tmp_path / "nsc" / "M5.fits", 1)
    (tmp_path / "nsc" / "readme.txt").write_text("hello")
    (tmp_path / "nsc" / "M3.fits").write_bytes(b"")
    manifest = read_folder(tmp_path, labels=LABELS)
    assert len(manifest) == 1
    assert note(manifest, "no readable").startswith("2 files are no readable frames: nsc/M3.fits (")
    (tmp_path / "galaxy").mkdir()
    with pytest.raises(DataError, match="got no readable frame, expected FITS images of class galaxy"):
        read_folder(tmp_path, labels=LABELS)


def test_folder_summarises_the_grouping(tmp_path: Path, write_fits: Write) -> None:
    for index, name in enumerate(("M5_a", "M5_b", "M3_a", "m5_c")):
        write_fits(tmp_path / "nsc" / f"{name}.fits", index)
    assert "NSC: 4 frames of 2 targets (M5 3, M3 1)" in read_folder(tmp_path, labels=LABELS).notes


def test_folder_groups_the_real_samples_by_the_group_column(real_data: Path) -> None:
    manifest = read_folder(real_data / "real", labels=LABELS)
    found = targets(manifest)
    assert found["galaxy/NGC4298_spitzak-dss2red.fits"] == found["galaxy/NGC4302_spitzak-dss2red.fits"] == "NGC4298-4302"
    assert found["nsc/NGC104_crds-hst-acshrc-f555w-j8bt05njqraw.fits"] == "NGC104"
    assert {row.label for row in manifest} == {"galaxy", "NSC"}
    assert note(manifest, "ignored folders other")
    assert note(manifest, "no readable frames")
