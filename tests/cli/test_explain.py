"""``zoo evaluate --explain``: the tables, JSON, the pictures on disk, and refusals before any work."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_run import make_run, tiny_registry, write_frame

from zoo.cli.evaluate import evaluate
from zoo.errors import UsageError
from zoo.explaining import read_explanation


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A run, and a list of four targets a class of two frames each, of which two look like the other class."""
    lines = ["path,hdu,label,target,instrument"]
    for label in ("galaxy", "NSC"):
        for number in range(4):
            for exposure in range(2):
                bright = (label == "NSC") != ((number, exposure) == (1, 0))
                path = write_frame(tmp_path / f"{label}{number}_{exposure}.fits", 0.7 if bright else 0.3)
                lines.append(f"{path},0,{label},{label}{number},ACS/WFC")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    return [str(make_run(tmp_path / "run")), "--data", str(tmp_path / "list.csv"), "--workers", "0"]


def _zoo(arguments: list[str], *more: str) -> Result:
    return CliRunner().invoke(evaluate, [*arguments, *more])


def test_tables_stand_behind_those_of_the_evaluation(arguments: list[str]) -> None:
    result = _zoo(arguments, "--explain", "--worst", "1")
    assert result.exception is None
    before, after = result.stdout.split("\n\n# why it errs\n")
    assert before.startswith("# level on list.csv, split all: 16 frames of 8 targets\nscore\t")
    blocks = after.strip().split("\n\n")
    rates, facts, worst = (
        list(csv.DictReader([line for line in block.splitlines() if not line.startswith("#")], delimiter="\t")) for block in blocks
    )
    assert {row["error rate by"] for row in rates} == {"loss"}  # of frames without noise nothing else is known
    assert [(row["frames"], row["error rate"]) for row in rates] == [("16", "0.125")]  # 14 of them have the same loss
    assert [row["speaks to"] for row in facts if row["fact"] == "filled"] == ["too few features"]
    assert [row["unknown"] for row in facts if row["fact"] == "ratio"] == ["16"]
    assert len(worst) == 1
    assert Path(worst[0]["worst errors"]).name in ("galaxy1_0.fits", "NSC1_0.fits")
    assert "does not make it the cause" in result.stdout
    assert "2 wrong frames among 16" in result.stderr
    assert "no map of convolutions" in result.stderr
    (folder,) = (Path(arguments[0]) / "explanations").iterdir()
    assert f"written: {folder} (3 pictures)" in result.stderr  # one wrong frame, and a right one of each class
    assert len(read_explanation(folder).pictures) == 3


def test_json_holds_the_explanation_beside_the_scores(arguments: list[str]) -> None:
    result = _zoo(arguments, "--explain", "--json")
    assert result.exception is None
    found = json.loads(result.stdout)["results"]
    assert found["metrics"]["accuracy"] == 0.875
    explanation = found["explanation"]
    assert [entry["kind"] for entry in explanation["gallery"]] == ["wrong", "wrong", "right", "right"]
    assert {table["fact"] for table in explanation["tables"]} >= {"loss", "ratio", "signal_to_noise"}


def test_missing_libraries_are_told_before_any_work(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = _zoo(arguments, "--explain")
    assert isinstance(result.exception, UsageError)
    assert "celestial-zoo[report]" in str(result.exception)
    assert not (Path(arguments[0]) / "evaluations").exists()
