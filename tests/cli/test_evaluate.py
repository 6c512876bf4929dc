"""``zoo evaluate``: tables, JSON, per-frame CSV, warnings and exit codes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner, Result
from tiny_run import make_run, tiny_registry, two_levels, write_frame

from zoo.cli.data import data
from zoo.cli.evaluate import evaluate
from zoo.data import Manifest
from zoo.errors import CheckFailedError, DataError, StorageError, UsageError


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


def _write_list(folder: Path, wrong: tuple[tuple[str, int], ...]) -> Path:
    """Five targets a class of two frames each, the first of each class for training; the frames in ``wrong`` look like the other class."""
    lines = ["path,hdu,label,target,instrument,filter,split"]
    for label, letter in (("galaxy", "G"), ("NSC", "N")):
        for number in range(5):
            for exposure in range(2):
                bright = (label == "NSC") != ((f"{letter}{number}", exposure) in wrong)
                path = write_frame(folder / f"{letter}{number}_{exposure}.fits", 0.7 if bright else 0.3)
                lines.append(f"{path},0,{label},{letter}{number},ACS/WFC,F606W,{'test' if number else 'train'}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return _write_list(tmp_path / "frames", (("G1", 0), ("N2", 1)))


@pytest.fixture
def run(tmp_path: Path, listed: Path) -> str:
    folder = make_run(tmp_path / "run", domain="simulated", config='[data]\nsource = "/gone/list.csv"\n')
    (folder / "manifest.csv").write_text(listed.read_text())
    return str(folder)


def _zoo(*arguments: str) -> Result:
    return CliRunner().invoke(evaluate, list(arguments))


def _tables(text: str) -> list[list[dict[str, str]]]:
    blocks = ["\n".join(line for line in block.splitlines() if not line.startswith("#")) for block in text.split("\n\n")]
    return [list(csv.DictReader(block.splitlines(), delimiter="\t")) for block in blocks]


def test_tables_hold_scores_classes_confusion_baselines_and_groups(run: str) -> None:
    result = _zoo(run)
    assert result.exception is None
    scores, classes, confusion, others, reliability, groups = _tables(result.stdout)
    values = {row["score"]: row for row in scores}
    assert float(values["accuracy"]["value"]) == 0.875
    assert float(values["accuracy"]["lower"]) < 0.875 < float(values["accuracy"]["upper"])
    assert values["recall"]["lower"] == "n/a"
    assert "without target N2" in values["recall"]["note"]
    assert [row["frames"] for row in classes] == ["8", "8"]
    assert confusion[0] == {"true class": "galaxy", "called galaxy": "7", "called NSC": "1"}
    assert [row["on the same frames"] for row in others] == ["level", "largest class always"]
    assert {row["by"] for row in groups} == {"target", "instrument", "filter", "chip", "exposure time", "offset"}
    assert sum(int(row["frames"]) for row in reliability) == 16
    assert re.search(r"# nominal 95 %, \d\d\.\d % in simulation \(\d+ targets of ", result.stdout)
    assert "# gain over the best of them, the largest class always: +0.3750, 95 % interval by target" in result.stdout
    assert "fewer than 8 targets: galaxy 4, NSC 4" in result.stderr
    assert "hold for the simulator only" in result.stderr
    assert "no baselines" in result.stderr


def test_the_best_rule_without_pixels_stands_beside_the_accuracy(run: str, listed: Path) -> None:
    """Cameras that give the class of every target away; the model calls two of 16 frames wrong."""
    text = listed.read_text()
    listed.write_text(re.sub(r",NSC,(N\d),ACS/WFC", r",NSC,\1,WFC3/UVIS", text))
    result = _zoo(run, "--data", str(listed))
    scores, _, _, others, _, groups = _tables(result.stdout)
    assert {row["score"]: row["best shortcut"] for row in scores if row["best shortcut"]} == {
        "accuracy": "1",
        "balanced accuracy": "1",
        "macro accuracy per target": "1",
    }
    assert others[1]["on the same frames"] == "shortcut: instrument"
    assert float(others[1]["accuracy"]) == 1.0
    assert {row["best shortcut"] for row in groups} == {"1"}
    assert "# best shortcut: instrument alone, each target guessed from the others (ACS/WFC: galaxy, WFC3/UVIS: NSC)" in result.stdout
    assert "instrument alone reaches 1.0000 without a pixel; the model does not beat it" in result.stderr
    shortcut = json.loads(_zoo(run, "--data", str(listed), "--json").stdout)["results"]["shortcuts"]
    assert [one["gain"]["estimate"] for one in shortcut] == [pytest.approx(-2 / 16)]
    (stored,) = (Path(run) / "evaluations").glob("*/evaluation.json")
    assert json.loads(stored.read_text())["shortcuts"][0]["accuracy"]["estimate"] == 1.0


def test_cached_frames_give_the_same_evaluation(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    plain = _zoo(run, "--csv", str(tmp_path / "plain.csv"))
    first = _zoo(run, "--csv", str(tmp_path / "first.csv"), "--frame-cache", "1MB")
    assert CliRunner().invoke(data, ["cache", "show"]).stdout.split("\n")[1].split("\t")[1] == "16"
    monkeypatch.setattr("zoo.frames.fits.open_source", None)  # nothing is opened any more
    again = _zoo(run, "--csv", str(tmp_path / "again.csv"), "--frame-cache", "1MB")
    assert again.exception is None
    assert plain.stdout == first.stdout == again.stdout
    assert (tmp_path / "plain.csv").read_text() == (tmp_path / "first.csv").read_text() == (tmp_path / "again.csv").read_text()
    assert "removed 16 frames" in CliRunner().invoke(data, ["cache", "clear"]).stderr


def test_json_is_one_document(run: str) -> None:
    document = json.loads(_zoo(run, "--json").stdout)
    assert document["schema"] == 1
    assert document["results"]["metrics"]["accuracy"] == 0.875
    assert document["results"]["intervals"]["recall"]["lower"] is None
    assert document["results"]["refused"] == []
    assert document["results"]["domain"] == "simulated"


def test_csv_holds_every_frame(run: str, tmp_path: Path) -> None:
    assert _zoo(run, "--csv", str(tmp_path / "frames.csv")).exception is None
    rows = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    assert len(rows) == 16
    assert sum(row["predicted"] == row["label"] for row in rows) == 14


def test_csv_that_is_there_is_kept_without_force(run: str, tmp_path: Path) -> None:
    (tmp_path / "frames.csv").write_text("mine")
    refused = _zoo("no-such-run", "--csv", str(tmp_path / "frames.csv"))  # before the run, which is not there, is asked for
    assert isinstance(refused.exception, UsageError)
    assert "is there already" in str(refused.exception)
    assert (tmp_path / "frames.csv").read_text() == "mine"
    assert _zoo(run, "--csv", str(tmp_path / "frames.csv"), "--force").exception is None
    assert len((tmp_path / "frames.csv").read_text().splitlines()) == 17


def test_unreadable_frames_exit_3_with_results(run: str, listed: Path) -> None:
    (listed.parent / "G1_0.fits").write_bytes(b"no")
    result = _zoo(run)
    assert isinstance(result.exception, DataError)
    assert "1 of 16 frames could not be scored (not-fits 1)" in str(result.exception)
    assert float(_tables(result.stdout)[0][0]["value"]) == pytest.approx(14 / 15, abs=1e-6)
    assert f"refused: {listed.parent / 'G1_0.fits'}: not-fits: got" in result.stderr


def test_min_lower_exits_5_unless_the_interval_lies_above(run: str) -> None:
    assert _zoo(run, "--min-lower", "0.1").exception is None
    failed = _zoo(run, "--min-lower", "0.87")
    assert isinstance(failed.exception, CheckFailedError)
    assert failed.exception.exit_code == 5
    assert "expected a lower end above 0.87" in str(failed.exception)
    assert failed.stdout


def test_interval_is_chosen(run: str) -> None:
    result = _zoo(run, "--interval", "frame")
    rows = {row["score"]: row for row in _tables(result.stdout)[0]}
    assert "# 95 % intervals: by frame (Wilson)" in result.stdout
    assert (rows["accuracy"]["lower"], rows["F1"]["lower"]) == ("0.639772", "n/a")
    assert "95 % interval by frame" in result.stderr
    assert isinstance(_zoo(run, "--interval", "frame", "--min-lower", "0.1").exception, UsageError)


def test_min_lower_takes_the_exact_bound_where_there_is_no_interval(tmp_path: Path) -> None:
    listed = _write_list(tmp_path / "frames", ())
    run = make_run(tmp_path / "run")
    result = _zoo(str(run), "--data", str(listed), "--min-lower", "0.5")
    assert result.exception is None
    assert "95 % interval n/a: the score is 1; at least 0.6306 by the exact bound over 8 targets" in result.stderr
    assert isinstance(_zoo(str(run), "--data", str(listed), "--min-lower", "0.64").exception, CheckFailedError)


def test_targets_of_the_training_are_said_aloud(run: str) -> None:
    result = _zoo(run, "--split", "all")
    assert "# NOT A TEST: 2 of 10 targets were used in training" in result.stdout
    assert "warning: 2 of 10 targets were used in training or validation: G0, N0" in result.stderr
    assert "on the 8 new targets: 0.8750" in result.stderr
    assert "no target is new" in _zoo(run, "--split", "train").stderr
    assert "used in training" not in _zoo(run).stdout


def test_unknown_run_exits_3(tmp_path: Path) -> None:
    result = _zoo(str(tmp_path / "none"))
    assert isinstance(result.exception, StorageError)
    assert result.exception.exit_code == 3


def test_min_lower_does_not_hold_on_targets_of_the_training(run: str, listed: Path) -> None:
    rows = Manifest.read_csv(listed).rows
    Manifest(tuple(replace(row, split="train") for row in rows), listed.parent).write_csv(Path(run) / "manifest.csv")
    result = _zoo(run, "--data", str(listed), "--min-lower", "0.1")
    assert isinstance(result.exception, CheckFailedError)
    assert "used in training" in str(result.exception)


def test_refused_frames_are_named_with_their_file(run: str, listed: Path) -> None:
    (listed.parent / "G1_0.fits").unlink()
    large = write_frame(listed.parent / "G1_0.fits", 0.3, (64, 128))
    result = _zoo(run, "--geometry", "refuse")
    assert f"refused: {large}: bad-size: got a frame of 64x128" in result.stderr
    taken = _zoo(run, "--geometry", "crop", "--json")
    assert taken.exception is None
    assert "1 frame is not of the size of the training" in taken.stderr
    assert json.loads(taken.stdout)["results"]["path"] != json.loads(_zoo(run, "--json").stdout)["results"]["path"]


def test_hdu_and_plane_choose_where_the_list_does_not(run: str, tmp_path: Path) -> None:
    lines = ["path,label,target"]
    for label, level in (("galaxy", 0.2), ("NSC", 0.8)):
        for number in range(2):
            path = tmp_path / f"{label}{number}.fits"
            cube = np.stack([two_levels(0.5 + 0.01 * number), two_levels(level + 0.01 * number)])
            fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(two_levels(0.9)), fits.ImageHDU(cube)]).writeto(path)
            lines.append(f"{path},{label},{label}{number}")
    (tmp_path / "cubes.csv").write_text("\n".join(lines))
    data = ("--data", str(tmp_path / "cubes.csv"), "--json")
    right = json.loads(_zoo(run, *data, "--hdu", "2", "--plane", "1", "--csv", str(tmp_path / "f.csv")).stdout)["results"]["metrics"][
        "accuracy"
    ]
    assert right == 1.0
    assert [(row["hdu"], row["plane"]) for row in csv.DictReader((tmp_path / "f.csv").read_text().splitlines())] == [("2", "1")] * 4
    assert json.loads(_zoo(run, *data).stdout)["results"]["metrics"]["accuracy"] == 0.5  # the first image of each file is bright
    assert isinstance(_zoo(run, "--hdu", "1").exception, UsageError)


def test_products_not_trained_on_are_counted(tmp_path: Path, listed: Path) -> None:
    run = make_run(tmp_path / "raws", products=("raw",))
    result = _zoo(str(run), "--data", str(listed), "--allow-product")
    assert result.exception is None
    assert "--allow-product: other 16 frames; the run was trained on raw" in result.stderr
