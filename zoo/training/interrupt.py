"""Ctrl-C and SIGTERM as a request to stop at the next good place."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Inside ``with``, the first SIGINT or SIGTERM is noted instead of acted on; the second acts as it did before.

    Processes of a launcher ignore the second: it passes on what they may have got directly, and kills what does not stop in its time.

    In a thread other than the main one nothing is caught, for Python delivers signals to the main thread only.

    Args:
        launched: whether a launcher started this process with others.

    Attributes:
        received: number of the signal that came, or ``None``.
    """

    def __init__(self, *, launched: bool = False) -> None:
        self.received: int | None = None
        self._launched = launched
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if not self._launched:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()
