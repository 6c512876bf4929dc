"""``--report`` and ``--figures`` of ``zoo evaluate`` and ``zoo compare``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from tiny_run import make_run, tiny_registry, write_frame

from zoo.cli.compare import compare
from zoo.cli.evaluate import evaluate
from zoo.errors import UsageError


@pytest.fixture(scope="module", autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two runs with other thresholds and the list that both are evaluated on."""
    folder = tmp_path_factory.mktemp("runs")
    lines = ["path,hdu,label,target"]
    for number in range(8):
        label = "NSC" if number % 2 else "galaxy"
        path = write_frame(folder / "frames" / f"{number}.fits", 0.8 if number % 2 else 0.3 + 0.05 * number)
        lines.append(f"{path},0,{label},T{number}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    for name, threshold in (("low", 0.5), ("high", 0.7)):
        make_run(folder / name, steps=("overscan", f"normalize:limits=manual,lower=0,upper={2 * threshold},stretch=linear"))
    return [str(folder / name) for name in ("low", "high", "list.csv")]


def _zoo(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_report_and_figures_are_written_beside_the_tables(runs: list[str], tmp_path: Path) -> None:
    low, high, data = runs
    options = ("--data", data, "--report", tmp_path / "one.html", "--figures", tmp_path / "figures")
    result = _zoo(evaluate, low, *options)
    assert result.exception is None, result.output
    page = (tmp_path / "one.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "What goes together with errors" in page  # --report implies --explain
    assert f"written: {tmp_path / 'one.html'}" in result.stderr
    assert (tmp_path / "figures" / "confusion.svg").is_file()
    (tmp_path / "one.html").write_text("mine")
    assert isinstance(_zoo(evaluate, low, *options).exception, UsageError)
    assert _zoo(evaluate, low, *options[:4], "--force").exception is None
    assert (tmp_path / "one.html").read_text().startswith("<!doctype html>")

    assert _zoo(evaluate, high, "--data", data).exception is None
    result = _zoo(compare, low, high, "--report", tmp_path / "two.html", "--figures", tmp_path / "pairs")
    assert result.exception is None, result.output
    assert "Differences in accuracy" in (tmp_path / "two.html").read_text()
    assert (tmp_path / "pairs" / "ranking.png").is_file()
    assert result.stdout.startswith("# 2 runs on list.csv")


def test_what_cannot_be_written_is_said_before_any_work(runs: list[str], tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text("mine")
    for command, given in ((evaluate, runs[:1]), (compare, runs[:2])):
        result = _zoo(command, *given, "--report", tmp_path / "there.html")
        assert isinstance(result.exception, UsageError)
        assert "replace it with --force" in str(result.exception)
        assert result.stderr == ""
    assert (tmp_path / "there.html").read_text() == "mine"


def test_model_outside_a_run_stores_nothing_to_report(runs: list[str], tmp_path: Path) -> None:
    model = Path(runs[0]) / "model"
    alone = tmp_path / "model"
    alone.mkdir()
    for file in model.iterdir():
        (alone / file.name).write_bytes(file.read_bytes())
    result = _zoo(evaluate, alone, "--data", runs[2], "--report", tmp_path / "out.html")
    assert isinstance(result.exception, UsageError)
    assert "run" in str(result.exception)
    assert not (tmp_path / "out.html").exists()
