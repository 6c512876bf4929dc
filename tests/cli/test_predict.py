"""``zoo predict``: what goes to stdout, to files and to stderr, and with which exit code."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_run import make_run, tiny_registry, write_frame

from zoo.cli.predict import predict
from zoo.errors import DataError, StorageError, UsageError


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(make_run(tmp_path / "run"))


@pytest.fixture
def frames(tmp_path: Path) -> list[str]:
    return [str(write_frame(tmp_path / "in" / f"{i}.fits", level)) for i, level in enumerate((0.2, 0.8, 0.4))]


def _zoo(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(predict, list(arguments), input=text)


def test_table_is_tsv_with_every_column(run: str, frames: list[str]) -> None:
    result = _zoo(run, *frames)
    assert result.exception is None
    rows = list(csv.DictReader(result.stdout.splitlines(), delimiter="\t"))
    assert [row["path"] for row in rows] == frames
    assert [row["label"] for row in rows] == ["galaxy", "NSC", "galaxy"]
    assert float(rows[0]["p_galaxy"]) + float(rows[0]["p_NSC"]) == pytest.approx(1, abs=1e-5)
    assert "3 rows: galaxy 2, NSC 1" in result.stderr


def test_refused_inputs_are_rows_and_exit_3(run: str, frames: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.fits"
    bad.write_text("no")
    result = _zoo(run, frames[0], str(bad), frames[1])
    assert len(result.stdout.splitlines()) == 4
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3
    assert "1 of 3 inputs were refused (not-fits 1)" in str(result.exception)
    assert _zoo(run, frames[0], str(bad), "--allow-bad", "1").exception is None
    assert isinstance(_zoo(run, str(bad), str(bad), "--allow-bad", "1").exception, DataError)


def test_json_document_holds_rows_and_summary(run: str, frames: list[str]) -> None:
    result = _zoo(run, *frames, "/no/such.fits", "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["schema"] == 1
    assert document["metadata"]["labels"] == ["galaxy", "NSC"]
    assert [row["status"] for row in document["results"]] == ["ok"] * 3 + ["refused"]
    assert document["results"][3]["p_NSC"] is None
    assert document["summary"]["refused"] == {"missing": 1}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_output_file_holds_every_row(run: str, frames: list[str], tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    result = _zoo(run, *frames, "/no/such.fits", "-o", str(out))
    assert isinstance(result.exception, DataError)
    assert result.stdout == ""
    text = out.read_text().splitlines()
    rows = [json.loads(line) for line in text] if suffix == ".jsonl" else list(csv.DictReader(text))
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "refused"]
    assert [row["label"] or None for row in rows] == ["galaxy", "NSC", "galaxy", None]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".zoo", "out"))] == [out.name]


def test_a_killed_prediction_leaves_no_file_that_looks_complete(run: str, frames: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.cli.predict._Tally.add", stop)
    out = tmp_path / "out.csv"
    assert _zoo(run, *frames, "-o", str(out)).exit_code != 0
    assert not out.exists()
    assert (tmp_path / "out.csv.partial").read_text().count("\n") == 2


def test_an_old_output_survives_a_failure(run: str, frames: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    assert isinstance(_zoo(run, str(tmp_path / "none*.fits"), "-o", str(out)).exception, DataError)
    assert out.read_text() == "old"


def test_standard_input_names_files(run: str, frames: list[str]) -> None:
    result = _zoo(run, "-", text="\n".join([frames[1], "", frames[0]]) + "\n")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()[1:]] == [frames[1], frames[0]]
    assert isinstance(_zoo(run, "-", text="\n").exception, DataError)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["{run}", "{tmp}/none*.fits"], DataError, "no file matches"),
        (["{run}", "{tmp}/empty"], DataError, "folder without FITS files"),
        (["{tmp}/no-run", "{tmp}"], StorageError, "no such run"),
        (["{run}", "{tmp}", "-o", "{tmp}/x.parquet"], UsageError, r"expected \.csv or \.jsonl"),
        (["{run}", "{tmp}", "--device", "cuda:99"], UsageError, "device"),
    ],
)
def test_errors_say_what_is_wrong(run: str, tmp_path: Path, arguments: list[str], kind: type[Exception], words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.fits").write_bytes(b"")
    result = _zoo(*(argument.format(run=run, tmp=tmp_path) for argument in arguments))
    assert isinstance(result.exception, kind)
    with pytest.raises(kind, match=words):
        raise result.exception
    assert result.stdout == ""


def test_simulated_domain_and_other_products_are_said(tmp_path: Path, frames: list[str]) -> None:
    run = str(make_run(tmp_path / "sim", domain="simulated", products=("raw",)))
    refused = _zoo(run, frames[0])
    assert "trained on the simulator only" in refused.stderr
    assert "other-product" in refused.stdout
    assert "--allow-product" in refused.stdout
    allowed = _zoo(run, frames[0], "--allow-product")
    assert allowed.exception is None
    assert "--allow-product: other 1 frames; the run was trained on raw" in allowed.stderr


def test_terminal_shows_the_main_columns(run: str, frames: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.cli.predict.stdout_is_terminal", lambda: True)
    monkeypatch.setattr("zoo.cli.output.stdout_is_terminal", lambda: True)
    head = _zoo(run, frames[0]).stdout.splitlines()[0].split()
    assert head == ["path", "hdu", "label", "p_galaxy", "p_NSC", "instrument", "code"]
