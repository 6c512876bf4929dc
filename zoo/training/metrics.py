"""``metrics.jsonl``: what happened, one JSON object per line, and the loggers that get the same records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from zoo import storage
from zoo.errors import StorageError, UsageError, ZooError
from zoo.registry import get_registry
from zoo.settings import parse_assignments

METRICS_NAME = "metrics.jsonl"


class Logger(Protocol):
    """What a registered logger builds from a run directory."""

    def log(self, record: Mapping[str, object]) -> None:
        """Take one line of ``metrics.jsonl``."""

    def close(self) -> None:
        """The run has ended or was stopped."""

    # Optional: replay(record), which gets the lines before the checkpoint of a resumed run instead of log.


def check_loggers(specs: Sequence[str]) -> None:
    """Check before a run begins that loggers can be had, such as ``csv`` or ``jsonl:path=records.jsonl``.

    Raises:
        UnknownNameError: no such logger or option. UsageError: a spec cannot be read, a bad value, or a package that the logger needs is
            not installed. PluginError: it cannot be imported.
    """
    for spec in specs:
        name, options = parse_logger(spec)
        entry = get_registry().get("loggers", name)
        entry.parse_options(options)
        entry.load()


def parse_logger(spec: str) -> tuple[str, dict[str, str]]:
    """Return the name and the options of ``name`` or ``name:option=value,option=value``; an owner may stand before: ``owner:name``.

    Raises:
        UsageError: an option without name or value, or given twice.
    """
    head, equals, tail = spec.partition("=")
    if not equals:
        return spec, {}
    name, _, key = head.rpartition(":")
    if not name:
        raise UsageError(f"cannot read logger {spec!r}; write it as name:option=value,option=value")
    return name, parse_assignments(f"{key}={tail}".split(","))


class MetricsLog:
    """Appends records to ``metrics.jsonl``, flushed one by one, and hands them to loggers.

    A logger that raises is left out from then on: it must not cost a training. What zoo raises on purpose while a logger is built passes
    through, for that is a wrong option.

    Args:
        run: the run directory.
        loggers: as `check_loggers` takes them.
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
        self._loggers: dict[str, Logger] = {}
        for spec in loggers:
            self._build(spec, run)
        self._path, self._stream = path, path.open("ab", buffering=0)
        self._stream.truncate(keep_bytes)
        for record in read_metrics(run):
            for spec, logger in list(self._loggers.items()):
                self._call(spec, "replay" if hasattr(logger, "replay") else "log", record)

    def append(self, record: Mapping[str, object]) -> None:
        """Write one record; NaN becomes ``null``. Raises: StorageError: the disk is full; a resume cuts off what was written of it."""
        line = storage.finite(dict(record))
        rest = (json.dumps(line, allow_nan=False) + "\n").encode()
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as err:
            raise storage.write_error(self._path, err, needed=len(rest)) from err
        self._tell(line)

    def sync(self) -> int:
        """Bring the file to the disk, so that a power cut leaves what a checkpoint counts on; return its length."""
        os.fsync(self._stream.fileno())
        return os.fstat(self._stream.fileno()).st_size

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()
        for name in list(self._loggers):
            self._call(name, "close")

    def _build(self, spec: str, run: Path) -> None:
        name, options = parse_logger(spec)
        try:
            self._loggers[spec] = get_registry().build("loggers", name, options=options, run_dir=run)
        except ZooError:
            raise
        except Exception as err:
            self._warn(f"logger {spec!r} failed and gets no records: {type(err).__name__}: {err}")

    def _tell(self, record: Mapping[str, object]) -> None:
        for name in list(self._loggers):
            self._call(name, "log", record)

    def _call(self, name: str, method: str, *arguments: object) -> None:
        try:
            getattr(self._loggers[name], method)(*arguments)
        except Exception as err:
            del self._loggers[name]
            self._warn(f"logger {name!r} failed and gets no more records: {type(err).__name__}: {err}")


class NoMetrics:
    """Stands for `MetricsLog` in the processes that write nothing."""

    def append(self, record: Mapping[str, object]) -> None:
        """Forget the record."""

    def sync(self) -> int:
        """There is no file."""
        return 0

    def __enter__(self) -> NoMetrics:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run, oldest first; a last line that was cut by a kill is left out. Raises: StorageError: no such file."""
    try:
        lines = (run / METRICS_NAME).read_bytes().split(b"\n")[:-1]
    except OSError as err:
        raise StorageError(f"{run / METRICS_NAME}: cannot be read: {err.strerror or err}") from err
    return [json.loads(line) for line in lines]
