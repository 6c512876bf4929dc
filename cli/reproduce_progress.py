"""What ``zoo reproduce`` shows on stderr: one line when a part begins and ends, and what is done inside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from zoo.cli.output import note, stages
from zoo.cli.training_progress import TrainingProgress, clock
from zoo.reproduction.progress import Progress

# Of the plan of a training: what differs from network to network.
_SUBJECTS = ("frames", "model", "training", "memory")


class ReproductionProgress(Progress):
    """Writes to stderr only; use it in a ``with`` block, which ends the bar."""

    def __init__(self) -> None:
        self._bar = ExitStack()
        self._report: Callable[[str, int, int], None] | None = None
        self._place = ""

    def __enter__(self) -> ReproductionProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_bar()

    def note(self, text: str) -> None:
        """Print the line."""
        note(f"note      {text}")

    def part(self, number: int, total: int, title: str, left_s: float | None) -> None:
        """Print what begins, and how long it and the rest will take."""
        self._end_bar()
        self._place = f"[{number}/{total}]"
        note(f"{self._place} {title}{'' if left_s is None else f'; about {clock(left_s)} left'}")

    def done(self, title: str, seconds: float, *, found: bool) -> None:
        """Print how long it took."""
        self._end_bar()
        note(f"{self._place} {title}: {'was done before, in' if found else 'took'} {clock(seconds)}")

    def work(self, stage: str, done: int, total: int) -> None:
        """Move the bar of the stage."""
        if self._report is None:
            self._report = self._bar.enter_context(stages("units"))
        self._report(stage, done, total)

    def training(self) -> TrainingProgress:
        """Show a training as ``zoo train`` does, with fewer lines before it."""
        self._end_bar()
        return TrainingProgress(_SUBJECTS)

    def _end_bar(self) -> None:
        """Rich allows one bar at a time."""
        self._bar.close()
        self._report = None
