"""What a training tells while it runs. The library is silent; the command line derives from `Progress`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.models.pretrained import PretrainedReport
    from zoo.training.plan import Plan


class Progress:
    """Receives what happens; every method does nothing here."""

    def note(self, text: str) -> None:
        """One line that a user should read."""

    def files(self, ready: int, total: int) -> None:
        """Files of the data set were read, or made where it is a registered one that was not there yet."""

    def plan(self, plan: Plan, run: Path) -> None:
        """The run is settled and its directory is there."""

    def fetched(self, done: int, total: int) -> None:
        """Bytes of pretrained weights were fetched; a ``total`` of 0 is not known."""

    def pretrained(self, report: PretrainedReport) -> None:
        """The run starts from other weights; what became of each tensor."""

    def baselines(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """The baselines are fitted: accuracies on the validation frames."""

    def begin(self, steps_done: int, steps: int) -> None:
        """The first step follows; a resumed run has done some already."""

    def step(self, record: Mapping[str, Any]) -> None:
        """An optimizer step was done; the line that was written to ``metrics.jsonl``."""

    def skipped(self, record: Mapping[str, Any], description: str) -> None:
        """A step was left out because its loss or gradient is not finite; likewise, and what a user should read of it."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch was done and validated; likewise."""

    def finished(self, record: Mapping[str, Any]) -> None:
        """The model is settled: the ``epoch`` that its weights are of, ``kept`` (``last`` or ``best``), and its validation scores."""

    @contextmanager
    def stage(self, description: str, total: int, *, unit: str = "frames") -> Iterator[Callable[[int], None]]:
        """Something other than training steps takes time; yields a function that takes how many units were just done."""
        yield lambda count: None
