"""Loggers for ``zoo train --logger``."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from zoo import storage
from zoo.errors import UsageError

CSV_NAME = "metrics.csv"
STDOUT = "-"


class CsvLogger:
    """Writes ``metrics.csv`` beside ``metrics.jsonl``: one line per record, one column per key, empty where a record lacks it.

    The file is written whole when the run ends or stops, and in between after each record that is no step, so that a reader never sees
    half a line. A resumed run gives it the records before the checkpoint again.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.path = Path(run_dir) / CSV_NAME
        self._records: list[dict[str, object]] = []

    def log(self, record: Mapping[str, object]) -> None:
        """Take one record."""
        self._records.append(dict(_flat(record)))
        if record.get("event") != "step":
            self._write()

    def close(self) -> None:
        """Write what is left."""
        self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(key for record in self._records for key in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._records)
        storage.write_text(self.path, text.getvalue())


class JsonlLogger:
    """Writes flat records as lines of JSON, each with the path of its run: to one file for many runs, or to stdout for a log collector.

    A file is appended to. When a run is resumed its own lines are taken out first and written anew up to the checkpoint, so none is there
    twice; what other runs wrote stays. To stdout a resumed run writes what comes after its checkpoint.

    Args:
        run_dir: the run directory.
        path: the file, relative to the run directory; ``-`` is stdout, whose last line is still the result of the command.

    Raises:
        UsageError: ``path`` is a file that the run itself writes. OSError: it cannot be read or written.
    """

    def __init__(self, run_dir: str | os.PathLike[str], *, path: str = STDOUT) -> None:
        self._run = str(Path(run_dir).resolve())
        self._file = None if path == STDOUT else Path(run_dir).resolve() / path
        if self._file is None:
            return
        if self._file.resolve() in (Path(self._run) / "metrics.jsonl", Path(self._run) / "config.toml"):
            raise UsageError(f"jsonl: option path must not be a file that the run itself writes, got {path}")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file.is_file():
            lines = self._file.read_text().splitlines(keepends=True)
            others = [line for line in lines if f'"run": {json.dumps(self._run)}' not in line]
            if len(others) < len(lines):
                storage.write_text(self._file, "".join(others))
        self._stream = self._file.open("a")

    def log(self, record: Mapping[str, object]) -> None:
        """Write one record."""
        print(json.dumps({"run": self._run, **dict(_flat(record))}), file=self._stream if self._file else sys.stdout, flush=True)

    def replay(self, record: Mapping[str, object]) -> None:
        """Take a record from before the checkpoint of a resumed run; stdout had it already."""
        if self._file:
            self.log(record)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._stream.close()


def _flat(record: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the items of a record with text for lists and dotted keys for tables."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
