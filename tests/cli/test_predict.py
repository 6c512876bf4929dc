"""``zoo predict``: what goes to stdout, to files and to stderr, and with which exit code."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_run import make_run, tiny_registry, write_frame

from zoo.cli.predict import predict
from zoo.errors import DataError, InterruptedRunError, StorageError, UsageError


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
    assert [row["predicted"] for row in rows] == ["galaxy", "NSC", "galaxy"]
    assert float(rows[0]["p_galaxy"]) + float(rows[0]["p_NSC"]) == pytest.approx(1, abs=1e-5)
    assert "3 rows: galaxy 2, NSC 1" in result.stderr


def test_refused_inputs_are_rows_and_exit_3(run: str, frames: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.fits"
    bad.write_text("no")
    result = _zoo(run, frames[0], str(bad), frames[1])
    assert len(result.stdout.splitlines()) == 4
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3
    assert "1 of 3 rows was refused (not-fits 1)" in str(result.exception)
    assert _zoo(run, frames[0], str(bad), "--allow-bad", "1").exception is None
    assert isinstance(_zoo(run, str(bad), str(bad), "--allow-bad", "1").exception, DataError)


def test_json_document_holds_rows_and_summary(run: str, frames: list[str]) -> None:
    result = _zoo(run, *frames, "/no/such.fits", "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["schema"] == 1
    assert document["metadata"]["labels"] == ["galaxy", "NSC"]
    assert document["metadata"]["geometry"] == "resize"
    assert [row["status"] for row in document["results"]] == ["ok"] * 3 + ["refused"]
    assert document["results"][3]["p_NSC"] is None
    assert document["summary"]["refused"] == {"missing": 1}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_output_file_holds_every_row(run: str, frames: list[str], tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    result = _zoo(run, *frames, "/no/such.fits", "-o", str(out))
    assert isinstance(result.exception, DataError)
    assert result.stdout == ""
    rows = _read(out)
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "refused"]
    assert [row["predicted"] or None for row in rows] == ["galaxy", "NSC", "galaxy", None]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".zoo", "out"))] == [out.name]


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        return rows
    text = path.read_text().splitlines()
    return [json.loads(line) for line in text] if path.suffix == ".jsonl" else list(csv.DictReader(text))


def test_an_output_is_replaced_only_with_force(run: str, frames: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    refused = _zoo("/no/such/run", frames[0], "-o", str(out))  # said before anything else is done
    assert isinstance(refused.exception, UsageError)
    assert "is there already" in str(refused.exception)
    assert out.read_text() == "old"
    assert _zoo(run, frames[0], "-o", str(out), "--force").exception is None
    assert len(_read(out)) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("old", [False, True])
def test_a_signal_keeps_the_old_file_and_the_rows(run: str, frames: list[str], tmp_path: Path, number: int, code: int, old: bool) -> None:
    out = tmp_path / "out.csv"
    if old:
        out.write_text("old")

    def inputs() -> Iterator[str]:
        yield from frames * 40
        signal.raise_signal(number)
        yield from frames

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.cli.predict.given_paths", lambda _paths: inputs())
        result = _zoo(run, frames[0], "-o", str(out), "--force", "--batch-size", "8")
    assert isinstance(result.exception, InterruptedRunError)
    assert result.exception.exit_code == code
    assert out.exists() == old
    assert not old or out.read_text() == "old"
    kept = (tmp_path / "out.csv.partial").read_text().splitlines()
    assert str(result.exception).startswith(f"after {len(kept) - 1} rows; they are in {out}.partial, and {out} ")
    assert 100 <= len(kept) - 1 <= 120
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_refused_inputs_are_explained_on_stderr(run: str, frames: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.fits"
    bad.write_text("no")
    result = _zoo(run, frames[0], str(bad), *(f"/no/{number}.fits" for number in range(12)), "-o", str(tmp_path / "out.csv"))
    told = [line for line in result.stderr.splitlines() if line.startswith("refused: ")]
    assert told[0] == "refused: /no/0.fits: missing: got no such file, expected a FITS file (11 more with this code)"
    assert told[1].startswith(f"refused: {bad}: not-fits: got ")
    assert "more with this code" not in told[1]
    assert told[2:] == ["refused: the column 'message' of -o, --json and TSV has the reason of each"]
    assert "13 of 14 rows were refused (missing 12, not-fits 1)" in str(result.exception)


def test_other_files_of_folders_are_counted(run: str, frames: list[str], tmp_path: Path) -> None:
    folder = Path(frames[0]).parent
    assert "not looked at" not in _zoo(run, str(folder)).stderr
    (folder / "night.png").write_bytes(b"")
    assert "1 other file in the folders was not looked at\n" in _zoo(run, str(folder)).stderr
    (folder / "0.fits.Z").write_bytes(b"")
    result = _zoo(run, str(folder), f"{tmp_path}/i*")
    assert result.exception is None
    assert "4 other files in the folders were not looked at\n" in result.stderr


def test_geometry_and_plane_reach_the_library(run: str, frames: list[str], tmp_path: Path) -> None:
    large = str(write_frame(tmp_path / "large.fits", 0.7, (64, 128)))
    taken = _zoo(run, large, frames[0], "--geometry", "crop")
    assert taken.exception is None
    assert "1 frame is not of the size of the training: averaged, cut or padded" in taken.stderr
    refused = _zoo(run, large, frames[0], "--geometry", "refuse")
    assert "bad-size 1" in str(refused.exception)
    assert f"refused: {large}: bad-size: got a frame of 64x128" in refused.stderr
    assert "bad-plane 1" in str(_zoo(run, frames[0], "--plane", "1").exception)


def test_a_killed_prediction_leaves_no_file_that_looks_complete(run: str, frames: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.cli.predict._Tally.add", stop)
    out = tmp_path / "out.csv"
    assert isinstance(_zoo(run, *frames, "-o", str(out)).exception, InterruptedRunError)
    assert not out.exists()
    assert (tmp_path / "out.csv.partial").read_text().count("\n") == 2


def test_an_old_output_survives_a_failure(run: str, frames: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    assert isinstance(_zoo(run, str(tmp_path / "none*.fits"), "-o", str(out), "--force").exception, DataError)
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
        (["{run}", "{tmp}", "-o", "{tmp}/x.txt"], UsageError, r"expected \.csv, \.jsonl or \.parquet"),
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
    assert head == ["path", "hdu", "predicted", "p_galaxy", "p_NSC", "instrument", "code", "flags"]


def test_long_paths_keep_the_columns_of_a_terminal_aligned(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = str(write_frame(tmp_path / ("night" * 10) / "j8xa01bcq.fits", 0.2))
    assert _zoo(run, long).stdout.splitlines()[1].startswith(f"{long}\t")
    monkeypatch.setattr("zoo.cli.predict.stdout_is_terminal", lambda: True)
    monkeypatch.setattr("zoo.cli.output.stdout_is_terminal", lambda: True)
    head, row = _zoo(run, long).stdout.splitlines()
    assert row.startswith(f"{long[:10]}...")
    assert "nightnight/j8xa01bcq.fits  " in row
    assert row.index("galaxy") == head.index("predicted")
