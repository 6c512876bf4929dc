"""``zoo data``: counts, missing files, written manifests; stdout carries the result and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from click.testing import CliRunner, Result

import zoo
from zoo.cli.data import data
from zoo.data import DataSet, Manifest, Row
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.frames import Frame, read_frame
from zoo.registry import Registry, use_registry


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(data, [str(word) for word in words], catch_exceptions=False)


def table(result: Result) -> list[list[str]]:
    return [line.split("\t") for line in result.stdout.splitlines()]


def write_frame(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(np.full((4, 8), value, np.int16)).writeto(path)
    return path


def build_drawn(root: Path | None, *, named: bool) -> DataSet:
    """A set without files: its rows have names for a seed, or only an exposure."""
    place = "path" if named else "rootname"
    rows = tuple(Row(label=label, target=label, split="train", **{place: label}) for label in ("galaxy", "NSC"))
    return DataSet("drawn", Manifest(rows, root or Path()), [], domain="simulated", open=lambda row: Frame(torch.zeros(1, 4, 8), None))


def build(root: Path | None, *, targets: int, lazy: bool, progress: Callable[[int, int], None] | None = None) -> DataSet:
    assert root is not None
    rows = tuple(
        Row(path=f"{label}{i}.fits", label=label, target=f"{label}{i}", split=("train", "test")[i % 2])
        for label in ("galaxy", "NSC")
        for i in range(targets)
    )
    for ready, row in enumerate(rows if not lazy else (), start=1):
        write_frame(root / row.path, ready)
        if progress is not None:
            progress(ready, len(rows))

    def opener(row: Row) -> Frame:
        return read_frame(write_frame(root / row.path, 0))

    arguments: dict[str, Any] = {"open": opener} if lazy else {}
    return DataSet("toy", Manifest(rows, root), [{"step": "normalize"}], domain="simulated", **arguments)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    module = ModuleType("toys")

    def register_datasets(register: Callable[..., None]) -> None:
        options = {"targets": zoo.Option(int, 2, "per class")}
        register("toy", partial(build, lazy=False), options=options, summary="toy sky", licence="BSD-3-Clause")
        register("toy:lazy", partial(build, lazy=True), options=options)
        register("drawn", partial(build_drawn, named=True))
        register("drawn:exposures", partial(build_drawn, named=False))
        register("taken", lambda root: replace(build(root, targets=2, lazy=False), domain="files"))

    module.register_datasets = zoo.hookimpl(register_datasets)  # type: ignore[attr-defined]
    with use_registry(Registry.from_plugins([module])):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("galaxy/M82_a", "galaxy/M82_b", "galaxy/M81_a", "nsc/M5_a", "nsc/M3_a", "star/x")):
        write_frame(tmp_path / "data" / f"{name}.fits", index)
    return tmp_path / "data"


def test_list_names_every_registered_set() -> None:
    rows = {row[0]: row for row in table(invoke("list"))}
    assert rows["toy"] == ["toy", "toys", "toy sky", "targets=2", "BSD-3-Clause"]
    assert {"simulated", "simulated:full", "simulated:shifted"} <= rows.keys()
    listed = json.loads(invoke("list", "--json").stdout)
    assert listed["schema"] == 1
    assert {"name", "owner", "summary", "options", "licence"} == set(listed["results"][0])


def test_show_counts_a_folder_and_tells_how_it_was_read(folder: Path) -> None:
    result = invoke("show", folder)
    rows = table(result)
    assert rows[:4] == [
        ["group", "value", "frames", "exposures", "targets"],
        ["all", "data", "5", "5", "4"],
        ["label", "galaxy", "3", "3", "2"],
        ["label", "NSC", "2", "2", "2"],
    ]
    assert ["target", "M82", "2", "2", "1"] in rows
    assert "ignored folders star" in result.stderr
    assert "galaxy: 3 frames of 2 targets (M82 2, M81 1)" in result.stderr


def test_show_json_holds_groups_pipeline_and_notes(folder: Path) -> None:
    shown = json.loads(invoke("show", folder, "--labels", "NSC,galaxy,star", "--json").stdout)
    assert shown["metadata"]["data"] == "data"
    results = shown["results"]
    assert results["total"] == {"frames": 6, "exposures": 6, "targets": 5}
    assert results["labels"] == ["NSC", "galaxy", "star"]
    assert results["groups"]["label"][0] == {"value": "galaxy", "frames": 3, "exposures": 3, "targets": 2}
    assert results["missing"] == {"frames": 0, "files": []}
    assert results["pipeline"][0] == {"step": "overscan"}
    assert results["domain"] == "files"


def test_show_lists_the_missing_files_of_the_authors_list(real_data: Path) -> None:
    result = invoke("show", real_data / "lcid" / "LCID_test.csv")
    rows = table(result)
    assert rows[1:4] == [
        ["all", "LCID_test.csv", "1595", "875", "21"],
        ["label", "galaxy", "852", "475", "14"],
        ["label", "NSC", "743", "400", "7"],
    ]
    assert ["instrument", "ACS/WFC", "954"] in [row[:3] for row in rows]
    assert rows[-1][0] == "missing"
    assert "and 870 more" in rows[-1][1]
    assert "1595 of 1595 frames are missing (875 files)" in result.stderr


def test_show_makes_a_registered_set(tmp_path: Path) -> None:
    rows = table(invoke("show", "toy", "--root", tmp_path, "--option", "targets=3"))
    assert rows[1] == ["all", "toy", "6", "6", "6"]
    assert ["split", "train", "4", "4", "4"] in rows
    assert len(list(tmp_path.iterdir())) == 6
    lazy = table(invoke("show", "toy:lazy", "--root", tmp_path / "lazy"))
    assert all(row[0] != "missing" for row in lazy)  # frames that are made when they are opened do not lack


@pytest.mark.parametrize("name", ["toy", "toy:lazy"])
def test_simulate_writes_files_and_a_manifest(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    result = invoke("simulate", out, "--set", name, "--option", "targets=4")
    assert table(result) == [
        ["split", "label", "frames", "exposures", "targets"],
        *[[split, label, str(n), str(n), str(n)] for split, n in (("train", 2), ("val", 0), ("test", 2)) for label in ("galaxy", "NSC")],
    ]
    assert "simulator only" in result.stderr
    manifest = Manifest.read_csv(out / "manifest.csv")
    assert len(manifest) == 8
    assert not manifest.missing()
    with pytest.raises(UsageError, match="exists, expected a folder without one"):
        invoke("simulate", out, "--set", name)
    with pytest.raises(UnknownNameError, match="did you mean 'toy'"):
        invoke("simulate", out, "--set", "toyy")


@pytest.mark.parametrize("name", ["drawn", "drawn:exposures"])
def test_simulate_refuses_a_set_without_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} has no files: .* use it as --data {name} instead$"):
        invoke("simulate", tmp_path / "out", "--set", name)
    assert not (tmp_path / "out").exists()


def test_simulate_refuses_a_set_that_is_not_simulated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"taken is of domain files, expected a simulated set; .* use it as --data taken"):
        invoke("simulate", tmp_path / "out", "--set", "taken")
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_split_writes_a_manifest_with_every_target_in_one_split(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    result = invoke("split", folder, "-o", out, "--seed", "3")
    assert f"wrote {out}" in result.stderr
    manifest = Manifest.read_csv(out)
    assert {row.split for row in manifest} == {"train", "test"}
    assert len({(row.target, row.split) for row in manifest}) == len(manifest.targets) == 4
    assert not manifest.missing()
    counted = json.loads(invoke("split", folder, "-o", out, "--seed", "3", "--force", "--json").stdout)
    assert counted["metadata"]["manifest"] == str(out)
    assert [line["targets"] for line in counted["results"]] == [1, 1, 0, 0, 1, 1]
    with pytest.raises(UsageError, match=r"split\.csv exists"):
        invoke("split", folder, "-o", out)


def test_split_writes_folds_and_their_balance(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds" / "cv.csv"
    result = invoke("split", folder, "-o", out, "--folds", "2", "--val", "0", "--json")
    lines = json.loads(result.stdout)["results"]
    assert [(line["fold"], line["split"], line["label"], line["targets"]) for line in lines if line["split"] == "test"] == [
        (1, "test", "galaxy", 1), (1, "test", "NSC", 1), (2, "test", "galaxy", 1), (2, "test", "NSC", 1),
    ]  # fmt: skip
    assert {line["asked"] for line in lines} == {0.5, 0.0}
    tested = [{row.target for row in Manifest.read_csv(out.with_name(f"cv-fold{k}.csv")) if row.split == "test"} for k in (1, 2)]
    assert tested[0] | tested[1] == {"M81", "M82", "M3", "M5"}
    assert not tested[0] & tested[1]
    with pytest.raises(UsageError, match=r"cv-fold1\.csv exists"):
        invoke("split", folder, "-o", out, "--folds", "2", "--val", "0")
    with pytest.raises(UsageError, match=r"got --test 0\.3 with --folds 2, expected one of them"):
        invoke("split", folder, "-o", out, "--folds", "2", "--test", "0.3")
    with pytest.raises(DataError, match="class galaxy: got 2 targets; expected at least 3"):
        invoke("split", folder, "-o", tmp_path / "three.csv", "--folds", "3")


def test_split_by_visit_opens_again_with_a_note(tmp_path: Path) -> None:
    lines = ["path,rootname,hdu,label,target"]
    for index, (label, visit) in enumerate((label, visit) for label in ("galaxy", "NSC") for visit in ("01", "02", "03")):
        name = f"j8b{label[0].lower()}{visit}aaq"
        write_frame(tmp_path / f"{name}.fits", index)
        lines.append(f"{name}.fits,{name},0,{label},{label}-target")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="class galaxy: got 1 target"):
        invoke("split", tmp_path / "list.csv", "-o", tmp_path / "split.csv")
    table(invoke("split", tmp_path / "list.csv", "-o", tmp_path / "split.csv", "--by", "visit", "--val", "0"))
    from zoo.data import open_data

    opened = open_data(tmp_path / "split.csv")
    assert "split by visit: targets stand in several splits; no score is that of new ones" in opened.notes
    assert {row.split for row in opened.select("all")} == {"train", "test"}


def test_split_refuses_a_class_of_one_target(folder: Path, tmp_path: Path) -> None:
    (folder / "nsc" / "M3_a.fits").unlink()
    with pytest.raises(DataError, match=r"class NSC: got 1 target \(M5\)"):
        invoke("split", folder, "-o", tmp_path / "split.csv")
    assert not (tmp_path / "split.csv").exists()


def test_split_keeps_the_authors_list_whole(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "lcid.csv"
    invoke("split", real_data / "lcid" / "LCID_test.csv", "-o", out)
    before, after = Manifest.read_csv(real_data / "lcid" / "LCID_test.csv"), Manifest.read_csv(out)
    assert [(row.rootname, row.hdu, row.label) for row in after] == [(row.rootname, row.hdu, row.label) for row in before]
    assert {row.split for row in after} == {"train", "val", "test"}


def test_frames_of_a_written_set_open(tmp_path: Path) -> None:
    invoke("simulate", tmp_path, "--set", "toy")
    from zoo.data import open_data

    opened = open_data(tmp_path)
    assert torch.equal(opened.open(opened.select("train")[0]).decode(), torch.ones(1, 4, 8))
