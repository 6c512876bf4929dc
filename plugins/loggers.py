"""Loggers for ``zoo train --logger``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from zoo import storage

CSV_NAME = "metrics.csv"


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
        self._records.append(dict(record))
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
