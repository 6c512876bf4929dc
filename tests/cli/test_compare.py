"""``zoo compare``: tables, JSON, what goes to stderr, and errors with their exit codes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_run import make_run, tiny_registry, write_frame

import zoo
from zoo.cli.compare import compare
from zoo.errors import DataError, UsageError


@pytest.fixture(scope="module", autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three runs whose thresholds are 0.5, 0.65 and 0.9; galaxies of 3 of 8 targets lie at 0.6, clusters at 0.8."""
    folder = tmp_path_factory.mktemp("runs")
    lines = ["path,hdu,label,target,split"]
    for label in ("galaxy", "NSC"):
        for number in range(8):
            level = 0.8 if label == "NSC" else 0.6 if number < 3 else 0.3
            path = write_frame(folder / "frames" / f"{label}{number}.fits", level)
            lines.append(f"{path},0,{label},{label}{number},{'train' if number == 7 else 'test'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    made = []
    for name, threshold in (("half", 0.5), ("more", 0.65), ("most", 0.9)):
        steps = ("overscan", f"normalize:limits=manual,lower=0,upper={2 * threshold},stretch=linear")
        run = make_run(folder / name, steps=steps, domain="simulated", config='[data]\nsource = "/gone/list.csv"\n')
        (run / "manifest.csv").write_text((folder / "list.csv").read_text())
        zoo.evaluate(run)
        made.append(str(run))
    return made


def _zoo(*arguments: str) -> Result:
    return CliRunner().invoke(compare, list(arguments))


def _tables(text: str) -> list[list[dict[str, str]]]:
    blocks = ["\n".join(line for line in block.splitlines() if not line.startswith("#")) for block in text.split("\n\n")]
    return [list(csv.DictReader(block.splitlines(), delimiter="\t")) for block in blocks]


def test_two_runs_give_a_ranking_a_pair_and_a_verdict(runs: list[str]) -> None:
    result = _zoo(*runs[:2], "--split", "test")
    assert result.exception is None
    ranking, pairs = _tables(result.stdout)
    assert [(row["rank"], row["run"], row["accuracy"]) for row in ranking] == [("1", "more", "1"), ("1", "half", "0.7857")]
    assert ranking[0]["behind"] == ""
    assert ranking[1]["behind"] == "0.2143"
    (pair,) = pairs
    assert (pair["only first"], pair["only second"], pair["p"], pair["McNemar p"]) == ("3", "0", "0.25", "0.25")
    assert "p Holm" not in pair
    assert result.stdout.splitlines()[0] == "# 2 runs on list.csv, split test: 14 frames of 14 targets"
    assert result.stdout.splitlines()[-1].startswith("# more and half cannot be told apart: +0.2143")
    assert result.stdout.splitlines()[-1].endswith("they differ on too few targets for p to fall below 0.25.")


def test_three_runs_are_ranked_with_corrected_p_values(runs: list[str]) -> None:
    result = _zoo(*runs, "--split", "test")
    ranking, pairs = _tables(result.stdout)
    assert [(row["rank"], row["run"]) for row in ranking] == [("1", "more"), ("1", "half"), ("2", "most")]
    assert len(pairs) == 3
    assert min(float(pair["p Holm"]) for pair in pairs) == pytest.approx(3 * 2 / 2**7, rel=1e-2)
    assert result.stdout.splitlines()[-1] == "# more is more accurate than most, and cannot be told apart from half."


def test_run_that_is_given_again_counts_once(runs: list[str], tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(runs[0])
    latest = str(tmp_path / "latest")
    result = _zoo(runs[0], latest, runs[1], runs[1], f"{runs[1]}/model", "--split", "test")
    assert result.stdout == _zoo(*runs[:2], "--split", "test").stdout
    (line,) = [line for line in result.stderr.splitlines() if "counted once" in line]
    assert line.endswith(f"counted once: {latest} is {runs[0]}; {runs[1]} is given again; {runs[1]}/model is {runs[1]}")
    alone = _zoo(runs[0], latest)
    assert isinstance(alone.exception, UsageError)
    assert f"got one run 2 times ({runs[0]}, {latest})" in str(alone.exception)


def test_what_figures_are_worth_goes_to_stderr(runs: list[str]) -> None:
    result = _zoo(*runs, "--split", "test")
    assert result.stderr.count("these numbers hold for the simulator only") == 1
    assert "NOT A TEST" not in result.stderr
    for run in runs[:2]:
        zoo.evaluate(run, split="all")
    seen = _zoo(*runs[:2], "--split", "all")
    assert "warning: NOT A TEST: more was trained or validated on 2 of 16 targets: NSC7, galaxy7" in seen.stderr


def test_json_is_one_document(runs: list[str]) -> None:
    document = json.loads(_zoo(*runs, "--split", "test", "--json").stdout)
    assert document["schema"] == 1
    assert document["metadata"]["test"] == "sign flips of whole targets, exact, two-sided"
    results = document["results"]
    assert [run["rank"] for run in results["standings"]] == [1, 1, 2]
    assert results["standings"][0]["behind"] is None
    assert [pair["distinct"] for pair in results["pairs"]] == [False, True, False]
    assert results["verdict"] == "more is more accurate than most, and cannot be told apart from half."


def test_common_frames_are_compared_on_request(runs: list[str], tmp_path: Path) -> None:
    lines = (Path(runs[0]).parent / "list.csv").read_text().splitlines()
    (tmp_path / "list.csv").write_text("\n".join(lines[:-3]) + "\n")  # without the last target of the test, and those of the training
    for run, source in ((runs[0], tmp_path / "list.csv"), (runs[1], Path(runs[0]).parent / "list.csv")):
        zoo.evaluate(run, source, split="train")
    refused = _zoo(*runs[:2], "--split", "train")
    assert isinstance(refused.exception, DataError)
    assert refused.exception.exit_code == 3
    assert "--common compares on the common ones" in str(refused.exception)
    result = _zoo(*runs[:2], "--split", "train", "--common")
    assert result.exception is None
    assert "1 frames were left out" in result.stderr


def test_nothing_of_the_model_is_imported(runs: list[str]) -> None:
    code = "import sys; from zoo.cli import main\ntry: main()\nexcept SystemExit as end: sys.exit(end.code or ('torch' in sys.modules) * 9)"
    words = [sys.executable, "-c", code, "compare", *runs, "--split", "test"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_errors_have_their_exit_codes(runs: list[str], tmp_path: Path) -> None:
    one = _zoo(runs[0])
    assert isinstance(one.exception, UsageError)
    assert one.exception.exit_code == 2
    none = _zoo(*runs, str(make_run(tmp_path / "new")))
    assert isinstance(none.exception, DataError)
    assert none.exception.exit_code == 3
    assert "run 'zoo evaluate" in str(none.exception)
