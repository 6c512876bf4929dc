"""The way of a frame from its FITS file to its class, and what each part of it takes, measured on the path that `zoo.predict` takes."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from zoo.costs.process import MEASURED
from zoo.costs.subject import CLASSES, Job, Subject
from zoo.errors import DataError
from zoo.models import LoadedModel
from zoo.models.directory import make_card
from zoo.prediction import RowFile, expand, predict
from zoo.prediction.rows import Prediction
from zoo.profiling.figures import PARTS, PathProfile
from zoo.profiling.sky import write_frames
from zoo.registry import get_registry
from zoo.steps import Pipeline, default_pipeline
from zoo.stopwatch import Stopwatch, part

FILES = 4  # that are simulated; they stay in the page cache, so none is read from a disk
MOST_PASSES = 400
LABELS = ("galaxy", "NSC")


class Pass(NamedTuple):
    """One file on its way. ``seconds`` of each part and ``uncovered_s`` where it was watched, else none."""

    whole_s: float
    frames: int
    seconds: dict[str, float] | None = None
    uncovered_s: float = 0.0


def measure_path(loaded: LoadedModel, job: Job, device: torch.device, started: Callable[[], object]) -> dict[str, Any]:
    """Predict files again and again within a budget, every other time with a stopwatch, and return what `PathProfile` holds.

    Args:
        loaded: the model with its pipeline.
        job: ``frames``, a file or folder, or empty for simulated frames; ``precision``; ``budget_s``.
        device: where the model runs.
        started: is called when all files are there.

    Raises:
        DataError: the folder holds no FITS file, or none of the files could be classified.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-profile-") as folder:
        if job["frames"]:
            files = _files_of(job["frames"])
        else:
            size = loaded.card.get("frame_size") or loaded.input_shape[1:]
            files = write_frames(Path(folder), (int(size[0]), int(size[1])), FILES)
        started()
        passes, refused = _run(loaded, files, job, device, Path(folder) / "rows.csv")
    if not passes:
        raise DataError(f"none of the files could be classified: {refused[0].message}" if refused else "no file was classified in time")
    return {
        **dataclasses.asdict(summarise(passes)),
        "source": job["frames"] or "simulated",
        "precision": job["precision"],
        "refused": len({row.path for row in refused}),
    }


def in_memory(subject: Subject, job: Job) -> LoadedModel:
    """Return a model with everything that a prediction needs: the run that it came from, or the default pipeline around new weights.

    Raises:
        PipelineError: its frames have other than one channel.
    """
    if subject.loaded is not None:
        return subject.loaded
    pipeline = Pipeline(default_pipeline(subject.input_shape))
    entry = get_registry().get("models", job["name"])
    card = make_card(
        entry,
        entry.parse_options(job["options"]),
        input_shape=subject.input_shape,
        labels=LABELS[:CLASSES],
        pipeline=pipeline,
        domain="files",
        products=(),
        training={},
    )
    return LoadedModel(subject.model.eval(), pipeline, LABELS[:CLASSES], card, Path(), None)


def summarise(passes: Sequence[Pass]) -> PathProfile:
    """Return the figures of some passes, per frame.

    Parts are means over the watched passes whose whole lies between the quartiles of all of them: means add up, and what a busy machine
    does to single passes does not matter.
    """
    watched = sorted((run for run in passes if run.seconds is not None), key=lambda run: run.whole_s / run.frames)
    skip = len(watched) // 4
    middle = watched[skip : len(watched) - skip]
    frames = sum(run.frames for run in middle)
    parts = {name: sum((run.seconds or {}).get(name, 0.0) for run in middle) / frames for name in PARTS}
    plain = [run for run in passes if run.seconds is None]
    if len(plain) > 1:
        del plain[0]  # it warmed up
    return PathProfile(
        MEASURED,
        parts_s=parts,
        whole_s=sum(run.whole_s for run in middle) / frames,
        samples_s=tuple(run.whole_s / run.frames for run in plain),
        watched=len(watched),
        frames_per_file=sum(run.frames for run in passes) / len(passes),
    )


def _files_of(source: str) -> list[Path]:
    found = list(expand([source]))
    files = [item for item in found if isinstance(item, Path)]
    if not files:
        raise DataError(next(item.message for item in found if isinstance(item, Prediction)))
    return files


def _run(loaded: LoadedModel, files: Sequence[Path], job: Job, device: torch.device, output: Path) -> tuple[list[Pass], list[Prediction]]:
    """Predict the files in turn; return the passes that count and the rows that were refused."""
    passes: list[Pass] = []
    refused: list[Prediction] = []
    rows_of_file: list[Prediction] = []
    wait = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else None
    began, budget_s = time.perf_counter(), job["budget_s"]

    def keep(run: Pass) -> None:
        """Count a pass, unless a frame of it was refused: that takes a shorter way."""
        bad = [row for row in rows_of_file if row.status != "ok"]
        refused.extend(bad)
        if not bad:
            passes.append(run._replace(frames=len(rows_of_file)))
        rows_of_file.clear()

    def feed() -> Iterator[Path]:
        """Hand out one file after the other; whoever asks for the next has written the row of the one before."""
        turn, last_s = 0, 0.0
        while turn < 2 or (turn < MOST_PASSES and time.perf_counter() - began + last_s <= budget_s):
            # The first pass warms up; then with and without a stopwatch, in turn, the same file for both.
            start = time.perf_counter()
            if turn % 2:
                with Stopwatch(wait) as watch:
                    yield files[(turn - 1) // 2 % len(files)]
                run = Pass(time.perf_counter() - start, 0, watch.seconds, watch.uncovered_s)
            else:
                yield files[max(0, turn - 1) // 2 % len(files)]
                run = Pass(time.perf_counter() - start, 0)
            last_s = run.whole_s
            keep(run)
            turn += 1

    with RowFile(output, loaded.labels) as file:
        # One frame at a time in one thread, as latency is defined; what is measured is the cost, so any product will do.
        rows = predict(loaded, feed(), batch_size=1, workers=0, device=str(device), precision=job["precision"], allow_product=True)
        for row in rows:
            with part("write"):
                file.write(row.row(loaded.labels))
                rows_of_file.append(row)
    return passes, refused
