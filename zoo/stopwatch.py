"""Where the time of a frame goes: marks in the code that a frame passes, which cost nothing worth counting unless somebody listens.

`zoo.profiling` listens on the path that `zoo.predict` takes, so that its figures are those of the real path and not of a copy of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType

_listener: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


class Stopwatch:
    """Adds up the time between two calls by the marks of `part` that are open; a context manager that listens in its own thread.

    Of nested marks the innermost gets the time, so the seconds of all parts and of what no mark covers add up to the whole.

    Args:
        wait: called at every mark, before the clock is read; on a GPU it waits for the work that was launched.

    Attributes:
        seconds: of each part.
        uncovered_s: outside any mark.
    """

    def __init__(self, wait: Callable[[], object] | None = None) -> None:
        self._wait = wait
        self.seconds: dict[str, float] = {}
        self.uncovered_s = 0.0
        self._open: list[str] = []
        self._since = 0.0

    def __enter__(self) -> Stopwatch:
        self._token = _listener.set(self)
        self._since = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._credit()
        _listener.reset(self._token)

    def push(self, name: str) -> None:
        """Begin a part."""
        self._credit()
        self._open.append(name)

    def pop(self) -> None:
        """End the part that began last."""
        self._credit()
        self._open.pop()

    def _credit(self) -> None:
        if self._wait is not None:
            self._wait()
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        else:
            self.uncovered_s += now - self._since
        self._since = now


class part:  # noqa: N801 - reads as the statement that it is: with part("read")
    """Mark a block as a part of a frame's way; it does nothing where no `Stopwatch` listens in this thread.

    Args:
        name: ``read``, ``gate``, ``decode``, ``normalize``, ``transfer``, ``model`` or ``write``.
    """

    __slots__ = ("_name", "_watch")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._watch = _listener.get()
        if self._watch is not None:
            self._watch.push(self._name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._watch is not None:
            self._watch.pop()


def listening() -> bool:
    """Return whether a `Stopwatch` listens in this thread."""
    return _listener.get() is not None
