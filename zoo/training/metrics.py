"""``metrics.jsonl``: what happened, one JSON object per line, and the loggers that get the same records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from zoo import storage
from zoo.errors import StorageError
from zoo.registry import get_registry

METRICS_NAME = "metrics.jsonl"


class Logger(Protocol):
    """What a registered logger builds from a run directory."""

    def log(self, record: Mapping[str, object]) -> None:
        """Take one line of ``metrics.jsonl``."""

    def close(self) -> None:
        """The run has ended or was stopped."""


class MetricsLog:
    """Appends records to ``metrics.jsonl``, flushed one by one, and hands them to loggers.

    A logger that raises is left out from then on: it must not cost a training.

    Args:
        run: the run directory.
        loggers: registered names.
        keep_bytes: on resume, the length of the file at the checkpoint; the rest is cut off, and the loggers get the kept records again.
        warn: is told in one line when a logger fails.

    Raises:
        StorageError: the file is shorter than ``keep_bytes``. UnknownNameError, PluginError: a logger cannot be built.
    """

    def __init__(
        self, run: Path, *, loggers: Sequence[str] = (), keep_bytes: int = 0, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        path = run / METRICS_NAME
        size = path.stat().st_size if path.exists() else 0
        if size < keep_bytes:
            raise StorageError(f"{path}: got {size} bytes, expected the {keep_bytes} of the checkpoint or more; the file was changed")
        self._warn = warn
        self._loggers: dict[str, Logger] = {name: get_registry().build("loggers", name, run_dir=run) for name in loggers}
        self._stream = path.open("ab")
        self._stream.truncate(keep_bytes)
        for record in read_metrics(run):
            self._tell(record)

    def append(self, record: Mapping[str, object]) -> None:
        """Write one record; NaN becomes ``null``."""
        line = storage.finite(dict(record))
        self._stream.write((json.dumps(line, allow_nan=False) + "\n").encode())
        self._stream.flush()
        self._tell(line)

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return os.fstat(self._stream.fileno()).st_size

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()
        for name in list(self._loggers):
            self._call(name, "close")

    def _tell(self, record: Mapping[str, object]) -> None:
        for name in list(self._loggers):
            self._call(name, "log", record)

    def _call(self, name: str, method: str, *arguments: object) -> None:
        try:
            getattr(self._loggers[name], method)(*arguments)
        except Exception as err:
            del self._loggers[name]
            self._warn(f"logger {name!r} failed and gets no more records: {type(err).__name__}: {err}")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run, oldest first; a last line that was cut by a kill is left out. Raises: StorageError: no such file."""
    try:
        lines = (run / METRICS_NAME).read_bytes().split(b"\n")[:-1]
    except OSError as err:
        raise StorageError(f"{run / METRICS_NAME}: cannot be read: {err.strerror or err}") from err
    return [json.loads(line) for line in lines]
