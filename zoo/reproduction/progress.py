"""What a reproduction tells while it runs. The library is silent; the command line derives from `Progress`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from zoo import training


class Progress:
    """Receives what happens; every method does nothing here."""

    def note(self, text: str) -> None:
        """One line that a user should read."""

    def part(self, number: int, total: int, title: str, left_s: float | None) -> None:
        """A part begins: the ``number``-th of ``total``; ``left_s`` is what this and the rest will take, where that can be told."""

    def done(self, title: str, seconds: float, *, found: bool) -> None:
        """A part has ended, or was ``found`` finished."""

    def work(self, stage: str, done: int, total: int) -> None:
        """Units of a stage inside a part were done."""

    def training(self) -> AbstractContextManager[training.Progress]:
        """Return what is told of one training."""
        return nullcontext(training.Progress())
