"""``zoo reproduce``: tables, JSON, what goes to stderr, and errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from zoo.cli.reproduce import reproduce
from zoo.errors import UnknownNameError, UsageError
from zoo.reproduction import Recipe


@pytest.fixture
def command(
    make_recipe: Callable[..., Recipe], simulated_sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Return a function that runs the command with a recipe of seconds."""

    def find(**arguments: Any) -> Recipe:
        return make_recipe(simulated_sky)

    monkeypatch.setattr("zoo.reproduction.run.find_recipe", find)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(reproduce, ["2312.04948", "--device", "cpu", *words])


def test_tables_and_progress(command: Callable[..., Result], tmp_path: Path) -> None:
    result = command("--quick", "--only", "hrcn")
    assert result.exception is None
    blocks = result.stdout.split("\n\n")
    assert [block.splitlines()[0].split(":")[0] for block in blocks] == ["# SIMULATED SKY"] * 4
    lines = [line for line in blocks[1].splitlines() if not line.startswith("#")]
    (row, *_) = csv.DictReader(lines, delimiter="\t")
    assert row["network"] == "HR-CelestialNet"
    assert len(row["provenance"]) == 10
    folder = tmp_path / "runs" / "reproduce-2312.04948"
    assert "[2/5] train hrcn-seed0\n" in result.stderr
    assert "[3/5] evaluate hrcn-seed0, test set; about 0:00:" in result.stderr
    assert "[2/5] train hrcn-seed0: took 0:00:" in result.stderr
    assert "these numbers hold for the simulator only" in result.stderr
    assert (folder / "report.html").read_text().count("SIMULATED SKY: accuracy on the test set") >= 1
    document = json.loads(command("--quick", "--only", "hrcn", "--json").stdout)
    assert document["schema"] == 1
    assert [table["key"] for table in document["results"]["tables"]] == ["data", "test", "blurry", "hardware"]
    assert row["provenance"] in document["results"]["provenance"]


def test_wrong_words_have_their_errors(command: Callable[..., Result], tmp_path: Path) -> None:
    assert isinstance(command("--only", "vgg12").exception, UnknownNameError)
    assert command("--data", str(tmp_path / "absent")).exit_code == 2
    assert command("--seeds", "0").exit_code == 2
    (tmp_path / "list.csv").write_text("")
    assert isinstance(command("--train-list", "list.csv").exception, UsageError)
