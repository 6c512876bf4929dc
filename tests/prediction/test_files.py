"""Rows into files: the three formats say the same, files are whole or absent, and nothing is replaced unasked."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import StorageError, UsageError
from zoo.prediction import FORMATS, Prediction, RowFile, check_output, columns
from zoo.prediction import files as module

LABELS = ("galaxy", "NSC")
ROWS = [
    Prediction("a.fits", 1, None, predicted="NSC", probabilities={"galaxy": 0.1, "NSC": 0.9}, rootname="j8", height=20, width=30),
    Prediction("ü,\n.fits", 0, 3, predicted="galaxy", probabilities={"galaxy": 1.0, "NSC": 0.0}, product="flt", adapted=True),
    Prediction("c.fits", status="refused", code="missing", message='c.fits: got "no such file"'),
]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file as a user reads them."""
    if path.name.endswith(".csv"):
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    if path.name.endswith(".jsonl"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet")
    found: list[dict[str, Any]] = parquet.ParquetFile(path).read().to_pylist()
    return found


def write(path: Path, rows: list[Prediction], **options: Any) -> RowFile:
    with RowFile(path, LABELS, **options) as file:
        for row in rows:
            file.write(row.row(LABELS))
    return file


def _write_and_raise(file: RowFile, rows: list[Prediction], error: BaseException) -> None:
    with file:
        for row in rows:
            file.write(row.row(LABELS))
        raise error


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_typed_formats_hold_every_value(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    assert write(path, ROWS).rows == 3
    assert read(path) == [row.row(LABELS) for row in ROWS]


def test_csv_holds_every_value_as_text(tmp_path: Path) -> None:
    write(tmp_path / "out.csv", ROWS)
    expected = [{name: "" if value is None else str(value) for name, value in row.row(LABELS).items()} for row in ROWS]
    assert read(tmp_path / "out.csv") == expected


def test_parquet_has_the_types_of_the_columns(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "out.parquet", [])
    schema = parquet.read_schema(tmp_path / "out.parquet")
    names = {str: "string", int: "int32", float: "double", bool: "bool"}
    assert {field.name: str(field.type) for field in schema} == {name: names[kind] for name, kind in columns(LABELS).items()}
    assert [field.name for field in schema if not field.nullable] == ["path", "status"]
    assert json.loads(schema.metadata[b"labels"]) == list(LABELS)


def test_parquet_rows_leave_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(module, "GROUP_ROWS", 4)
    with RowFile(tmp_path / "out.parquet", LABELS) as file:
        for number in range(10):
            file.write(Prediction(f"{number}.fits").row(LABELS))
            assert len(file._writer._held) == (number + 1) % 4  # type: ignore[union-attr]  # it is the Parquet one
    found = parquet.ParquetFile(tmp_path / "out.parquet")
    assert [found.metadata.row_group(index).num_rows for index in range(found.num_row_groups)] == [4, 4, 2]
    assert [row["path"] for row in read(tmp_path / "out.parquet")] == [f"{number}.fits" for number in range(10)]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("old", [False, True])
def test_an_error_keeps_the_old_file_and_the_rows_so_far(tmp_path: Path, suffix: str, old: bool) -> None:
    path = tmp_path / f"out{suffix}"
    if old:
        path.write_text("old")
    file = RowFile(path, LABELS, force=True)
    with pytest.raises(KeyboardInterrupt):
        _write_and_raise(file, ROWS[:2], KeyboardInterrupt())
    assert (path.read_text() if path.exists() else None) == ("old" if old else None)
    assert file.partial == tmp_path / f"out{suffix}.partial"
    readable = file.partial.rename(tmp_path / f"partial{suffix}")
    assert [row["path"] for row in read(readable)] == ["a.fits", "ü,\n.fits"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([readable.name, *([path.name] if old else [])])


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_error_before_the_first_row_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    file = RowFile(tmp_path / f"out{suffix}", LABELS)
    with pytest.raises(ValueError, match="no"):
        _write_and_raise(file, [], ValueError("no"))
    assert file.partial is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_is_replaced_only_with_force(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")
    with pytest.raises(UsageError, match=r"is there already; choose another name, or replace it with --force"):
        check_output(path)
    with pytest.raises(UsageError):
        RowFile(path, LABELS)
    assert path.read_text() == "old"
    write(path, ROWS, force=True)
    assert len(read(path)) == 3


@pytest.mark.parametrize("name", ["out", "out.txt", "out.csv.gz", "out.json"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected \.csv, \.jsonl or \.parquet"):
        check_output(tmp_path / name)
    check_output(tmp_path / "OUT.CSV")


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'celestial-zoo\[parquet\]', or write \.csv or \.jsonl"):
        check_output(tmp_path / "out.parquet")
    check_output(tmp_path / "out.csv")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_is_a_clear_error(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"out{suffix}"
    kind = {".csv": module._Csv, ".jsonl": module._JsonLines, ".parquet": module._Parquet}[suffix]
    close = kind.close

    def full(writer: Any, *_row: object) -> None:
        close(writer)
        raise OSError(28, "No space left on device")

    for name, kept in (("write", []), ("close", [f"{path.name}.partial"])):
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, full)
            with pytest.raises(StorageError, match=r"out\..*cannot be written: No space left on device; check free space"):
                write(path, ROWS)
        assert [entry.name for entry in tmp_path.iterdir()] == kept


def test_unknown_probability_is_null(tmp_path: Path) -> None:
    assert math.isnan(ROWS[2].probability)
    assert ROWS[2].row(LABELS)["probability"] is None
