"""What commands share that write rows of files one by one: their inputs, signals, the fate of the output, paths that fit a terminal."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from zoo.cli.output import counted
from zoo.errors import InterruptedRunError

if TYPE_CHECKING:
    from zoo.prediction import RowFile

PATH_WIDTH = 40


def given_paths(paths: Sequence[str]) -> Iterator[str]:
    """Yield the inputs, with the lines of standard input in the place of ``-``."""
    for path in paths:
        if path == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield path


class _Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, by an exception, so that files are closed and what is there is said."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: Any) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupted(stop: KeyboardInterrupt, rows: int, file: RowFile | None) -> InterruptedRunError:
    """The error for work that a signal ended after so many rows."""
    number = signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT
    return InterruptedRunError(f"after {counted(rows, 'row')}{fate(file)}", signal_number=number)


def fate(file: RowFile | None) -> str:
    """What became of the output of interrupted work."""
    if file is None:
        return ""
    kept = "no row was kept" if file.partial is None else f"they are in {file.partial}"
    return f"; {kept}, and {file.path} {'is as it was' if file.path.exists() else 'was not written'}"


def shorten(path: str) -> str:
    """Leave out the middle of a path that is wider than its column; most of its end stays, where file names differ."""
    head = PATH_WIDTH // 4
    return path if len(path) <= PATH_WIDTH else f"{path[:head]}...{path[head + 3 - PATH_WIDTH :]}"
