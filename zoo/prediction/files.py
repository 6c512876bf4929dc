"""Rows of a prediction into a file, one by one: CSV, JSON lines or Parquet."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import zoo
from zoo import storage
from zoo.errors import StorageError, UsageError
from zoo.prediction.rows import columns

FORMATS = (".csv", ".jsonl", ".parquet")

GROUP_ROWS = 4096
"""Rows of a Parquet row group, which are held until it is full: about 2 MB."""


class RowFile:
    """A file of rows that takes its name when the last row is in it; a context manager.

    Where the block raises, the file of that name stays as it was, or absent, and the rows so far are kept beside it as ``NAME.partial``.

    Args:
        path: ends in ``.csv``, ``.jsonl`` (an object a line, unknown values null) or ``.parquet`` (needs pyarrow).
        labels: classes of the run, which name the columns; see `zoo.prediction.columns`.
        force: replace a file that is there.
        kinds: other columns with the type of their values, where the rows are not predictions.

    Attributes:
        rows: how many were written.
        partial: where the rows so far are after an error; ``None`` where there are none, and without an error.

    Raises:
        UsageError: as `check_output`. StorageError: it cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], labels: Sequence[str], *, force: bool = False, kinds: Mapping[str, type] | None = None
    ) -> None:
        check_output(path, force=force)
        self.path, self.labels, self.rows = Path(path), tuple(labels), 0
        self._kinds = dict(columns(labels) if kinds is None else kinds)
        self.partial: Path | None = None

    def __enter__(self) -> RowFile:
        writers: dict[str, type[_Csv | _JsonLines | _Parquet]] = {".csv": _Csv, ".jsonl": _JsonLines, ".parquet": _Parquet}
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(storage.atomic_path(self.path))
            try:
                self._writer = writers[self.path.suffix.lower()](self._temporary, self.labels, self._kinds)
            except OSError as error:
                raise self._failure(error) from error
            self._stack = stack.pop_all()
        return self

    def write(self, row: dict[str, object]) -> None:
        """Write one row, as `Prediction.row` gives it. Raises: StorageError: the disk is full, for instance."""
        try:
            self._writer.write(row)
        except OSError as error:
            raise self._failure(error) from error
        self.rows += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        failure: StorageError | None = None
        try:
            self._writer.close()
        except OSError as cause:
            failure = self._failure(cause)
            failure.__cause__ = cause
        if (error or failure) and self.rows and self._temporary.exists():
            self.partial = self.path.with_name(f"{self.path.name}.partial")
            self._temporary.replace(self.partial)
        stop = error or failure
        self._stack.__exit__(None if stop is None else type(stop), stop, trace)
        if failure and error is None:
            raise failure

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(f"{self.path}: cannot be written: {error.strerror or error}; check free space and permissions")


def check_output(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise where rows cannot go to a file of this name, before any work is done.

    Raises:
        UsageError: the suffix is none of the three, the file is there and ``force`` is not set, or pyarrow is not there for Parquet.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: got the suffix {path.suffix!r}, expected .csv, .jsonl or .parquet")
    if path.exists() and not force:
        raise UsageError(f"{path}: this file is there already; choose another name, or replace it with --force")
    if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"{path}: Parquet needs pyarrow; run pip install 'celestial-zoo[parquet]', or write .csv or .jsonl")


class _Text:
    """What the two text formats share."""

    def __init__(self, path: Path) -> None:
        self._stream: IO[str] = path.open("w", encoding="utf-8", newline="")

    def close(self) -> None:
        self._stream.close()


class _Csv(_Text):
    def __init__(self, path: Path, labels: Sequence[str], kinds: Mapping[str, type]) -> None:
        super().__init__(path)
        self._writer = csv.DictWriter(self._stream, list(kinds), lineterminator="\n")
        self._writer.writeheader()

    def write(self, row: dict[str, object]) -> None:
        self._writer.writerow({name: "" if value is None else value for name, value in row.items()})


class _JsonLines(_Text):
    def __init__(self, path: Path, labels: Sequence[str], kinds: Mapping[str, type]) -> None:
        super().__init__(path)

    def write(self, row: dict[str, object]) -> None:
        self._stream.write(json.dumps(storage.finite(row), ensure_ascii=False) + "\n")


class _Parquet:
    """Row groups of `GROUP_ROWS`; text, int32, float64 and bool columns, all but ``path`` and ``status`` nullable."""

    def __init__(self, path: Path, labels: Sequence[str], kinds: Mapping[str, type]) -> None:
        import pyarrow as arrow
        from pyarrow import parquet

        types = {str: arrow.string(), int: arrow.int32(), float: arrow.float64(), bool: arrow.bool_()}
        fields = [arrow.field(name, types[kind], nullable=name not in ("path", "status")) for name, kind in kinds.items()]
        self._schema = arrow.schema(fields, metadata={"zoo": zoo.__version__, "labels": json.dumps(list(labels))})
        self._table: Any = arrow.Table
        self._writer: Any = parquet.ParquetWriter(path, self._schema)
        self._held: list[dict[str, object]] = []

    def write(self, row: dict[str, object]) -> None:
        self._held.append(row)
        if len(self._held) == GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        try:
            if self._held:
                self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        self._writer.write_table(self._table.from_pylist(held, schema=self._schema))
