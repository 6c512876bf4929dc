"""What ``zoo train`` shows on stderr: a bar on a terminal, one line per epoch or interval elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zoo.cli import output
from zoo.training.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from zoo.models.pretrained import PretrainedReport
    from zoo.training.plan import Plan

_SMOOTHING = 0.9  # share of the old value in the loss and accuracy that are shown


class TrainingProgress(Progress):
    """Writes to stderr only; use it in a ``with`` block, which ends the bar.

    Args:
        subjects: the lines of a plan to print; all without.
    """

    def __init__(self, subjects: Sequence[str] = ()) -> None:
        self._subjects = subjects
        self._bar: Bar | None = None
        self._files = ExitStack()
        self._advance: Callable[[int], None] | None = None
        self._ready = self._fetched = 0
        self._steps, self._epochs, self._first = 0, 0, 0
        self._began_s = self._told_s = 0.0
        self._shown: dict[str, float] = {}
        self._majority = 0.0

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._files.close()
        self._end_bar()

    def files(self, ready: int, total: int) -> None:
        """Show a bar from the first report on, which says how many there are."""
        if self._advance is None:
            self._advance = self._files.enter_context(output.progress("preparing data", total, unit="files"))
        self._advance(ready - self._ready)
        self._ready = ready

    def fetched(self, done: int, total: int) -> None:
        """Show a bar of the download, in MiB."""
        if self._advance is None:
            self._advance = self._files.enter_context(output.progress("fetching weights", total // 2**20 or None, unit="MiB"))
        self._advance(done // 2**20 - self._fetched)
        self._fetched = done // 2**20

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._say(f"note      {text}")

    def plan(self, plan: Plan, run: Path) -> None:
        """Print what will be trained on what."""
        self._files.close()
        self._epochs = plan.config.train.epochs
        counts = Counter(row.label for row in plan.val)
        self._majority = max(counts.values(), default=0) / max(len(plan.val), 1)
        for subject, text in plan.describe():
            if self._subjects and subject not in self._subjects:
                continue
            self._say(f"{subject:<9} {text}")
        self._say(f"run       {run}")

    def pretrained(self, report: PretrainedReport) -> None:
        """Print where the first weights come from and what became of them."""
        for line in report.summary().splitlines():
            self._say(f"weights   {line}")

    def baselines(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Print what a network has to beat."""
        accuracies = "".join(f", {name} {score['accuracy']:.1%}" for name, score in scores.items())
        self._say(f"baselines larger class {self._majority:.1%}{accuracies} (accuracy on the validation frames, without a network)")

    def begin(self, steps_done: int, steps: int) -> None:
        """Start the clock, and the bar on a terminal."""
        self._first, self._steps = steps_done, steps
        self._began_s = self._told_s = time.monotonic()
        if steps_done:
            self._say(f"resumed   after step {steps_done} of {steps}")
        if not output.stderr_is_terminal():
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        facts = TextColumn("{task.fields[facts]}", markup=False)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            facts,
            console=output.console(),
            transient=True,
        )
        self._bar.add_task("training", total=steps, completed=steps_done, facts="")
        self._bar.start()

    def step(self, record: Mapping[str, Any]) -> None:
        """Move the bar, or write a line when the interval has passed."""
        for key in ("loss", "accuracy", "frames_per_s"):
            self._shown[key] = _SMOOTHING * self._shown.get(key, record[key]) + (1 - _SMOOTHING) * record[key]
        facts = (
            f"loss {self._shown['loss']:.3f}  accuracy {self._shown['accuracy']:.1%}  {self._shown['frames_per_s']:.1f} frames/s  "
            f"{record['memory_bytes'] / 2**30:.1f} GiB"
        )
        if self._bar is not None:
            task = self._bar.tasks[0].id
            self._bar.update(task, completed=record["step"], description=f"epoch {record['epoch']}/{self._epochs}", facts=facts)
        elif time.monotonic() - self._told_s >= output.LOG_INTERVAL_S:
            self._told_s = time.monotonic()
            done = record["step"] - self._first
            eta_s = (self._told_s - self._began_s) / done * (self._steps - record["step"])
            self._say(f"step      {record['step']}/{self._steps}  epoch {record['epoch']}/{self._epochs}  {facts}  eta {clock(eta_s)}")

    def skipped(self, record: Mapping[str, Any], description: str) -> None:
        """Move the bar and print why a step was left out."""
        if self._bar is not None:
            self._bar.update(self._bar.tasks[0].id, completed=record["step"])
        self._say(f"skipped   step {record['step']}: {description}")

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print the scores of an epoch."""
        parts = [f"{record['epoch']}/{self._epochs}", f"train loss {record['train_loss']:.3f} accuracy {record['train_accuracy']:.1%}"]
        if "val_loss" in record:
            parts.append(f"val loss {record['val_loss']:.3f} accuracy {record['val_accuracy']:.1%}")
        self._say(f"epoch     {'  '.join([*parts, clock(record['elapsed_s'])])}")

    def finished(self, record: Mapping[str, Any]) -> None:
        """Print the scores of the model that is kept, which differ from those of its epoch: BatchNorm is measured again."""
        weights = f"epoch {record['epoch']}, the best" if record["kept"] == "best" else "the last step"
        self._say(f"kept      weights of {weights}  val loss {record['val_loss']:.3f} accuracy {record['val_accuracy']:.1%}")

    @contextmanager
    def stage(self, description: str, total: int, *, unit: str = "frames") -> Iterator[Callable[[int], None]]:
        """Show another bar; rich allows one at a time."""
        self._end_bar()
        with output.progress(description, total, unit=unit) as advance:
            yield advance

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            output.note(text)


def clock(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
