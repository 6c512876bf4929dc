"""Evaluations that runs hold, read back without the model: what was right and wrong, frame by frame."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.errors import StorageError
from zoo.evaluation.result import Evaluation
from zoo.models import resolve_run
from zoo.models.places import model_hash

SCHEMA = 1
EVALUATIONS_FOLDER = "evaluations"
RESULT_NAME = "evaluation.json"
FRAMES_NAME = "frames.csv"

FrameKey = tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What one frame is, and what the model called it; ``code`` says why it was refused, and is empty for a scored frame."""

    target: str
    label: str
    predicted: str
    code: str

    @property
    def right(self) -> bool:
        """Whether it was called what it is."""
        return self.predicted == self.label


@dataclass(frozen=True)
class Measured:
    """One run on one list of frames.

    Attributes:
        given: the run as the user named it.
        run: its folder.
        path: the stored evaluation; ``None`` for one that was not stored.
        model, domain, data, split, data_domain, labels, seen: as in `Evaluation`.
        precision, parameters, time_s: of the evaluation, the model, and both together; empty or ``None`` where they were not stored.
        current: whether the run's model still has the weights that were measured.
        outcomes: every frame, the refused ones too. Its key is the same on a machine where the files lie elsewhere.
    """

    given: str
    run: Path
    path: Path | None
    model: str
    domain: str
    data: str
    split: str
    data_domain: str
    labels: tuple[str, ...]
    seen: tuple[str, ...]
    precision: str
    parameters: int | None
    time_s: float | None
    current: bool
    outcomes: Mapping[FrameKey, Outcome] = field(repr=False)

    @property
    def source(self) -> str:
        """The data and the split, in words."""
        return f"{self.data}, split {self.split}"

    @property
    def scored(self) -> frozenset[FrameKey]:
        """The frames that were not refused."""
        return frozenset(key for key, outcome in self.outcomes.items() if not outcome.code)


def from_evaluation(evaluation: Evaluation) -> Measured:
    """Return what `zoo.evaluate` returned, stored or not."""
    return _measured(str(evaluation.run), evaluation.run, evaluation.path, evaluation.to_dict(), evaluation.frames_csv(), current=True)


def read_evaluations(given: str | os.PathLike[str]) -> list[Measured]:
    """Return the evaluations that a run holds, the newest first; or one, where ``given`` is its folder.

    Args:
        given: a run, its model directory, ``"latest"``, or a folder below ``evaluations/`` of a run.

    Raises:
        StorageError: there is no such run, a file was changed since it was written, or it has a layout that this zoo does not know.
    """
    path = Path(given)
    if (path / RESULT_NAME).is_file():
        return [_read(str(given), path.resolve().parent.parent, path, weights=None)]
    model = resolve_run(given)
    run = model.parent
    folders = [result.parent for result in (run / EVALUATIONS_FOLDER).glob(f"*/{RESULT_NAME}")]
    folders = [folder for folder in folders if not folder.name.startswith(storage.TEMPORARY_PREFIX)]  # being written, or cut off
    folders.sort(key=lambda folder: (folder / RESULT_NAME).stat().st_mtime_ns, reverse=True)
    weights = model_hash(model)
    return [_read(str(given), run, folder, weights=weights) for folder in folders]


def _read(given: str, run: Path, folder: Path, *, weights: str | None) -> Measured:
    """Read one stored evaluation; it is current if it is of these weights, or if nobody asks."""
    storage.verify_directory(folder)
    facts = storage.read_json(folder / RESULT_NAME)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise StorageError(f"{folder / RESULT_NAME}: got an unknown layout, expected schema {SCHEMA}; a newer zoo may have written it")
    text = (folder / FRAMES_NAME).read_text(encoding="utf-8")
    return _measured(given, run, folder, facts, text, current=weights in (None, facts["model_sha256"]))


def _measured(given: str, run: Path, path: Path | None, facts: Mapping[str, Any], frames: str, *, current: bool) -> Measured:
    rows = list(csv.DictReader(io.StringIO(frames, newline="")))
    return Measured(
        given=given,
        run=run,
        path=path,
        **{name: str(facts[name]) for name in ("model", "domain", "data", "split", "data_domain")},
        labels=tuple(facts["labels"]),
        seen=tuple(facts["seen"]),
        precision=str(facts.get("precision", "")),
        parameters=facts.get("parameters"),
        time_s=facts.get("time_s"),
        current=current,
        outcomes={
            key: Outcome(row["target"], row["label"], row["predicted"], row["code"]) for key, row in zip(_keys(rows), rows, strict=True)
        },
    )


def _keys(rows: Sequence[Mapping[str, str]]) -> list[FrameKey]:
    """Return a key for each frame: the name of its file, HDU, plane and target; where that is not unique the whole path, and a count."""
    short = [(Path(row["path"]).name or row["rootname"], row["hdu"], row.get("plane", ""), row["target"]) for row in rows]
    often, listed = Counter(short), Counter[FrameKey]()
    keys: list[FrameKey] = []
    for key, row in zip(short, rows, strict=True):
        if often[key] == 1:
            keys.append(key)
            continue
        whole = (row["path"], *key[1:])
        keys.append((*whole, str(listed[whole])))
        listed[whole] += 1
    return keys
