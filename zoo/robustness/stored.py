"""Robustness in a run: written beside the evaluation of the same frames, read back without the model."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import zoo
from zoo import storage
from zoo.errors import StorageError
from zoo.evaluation.paired import INTERVAL
from zoo.evaluation.result import FrameResult
from zoo.evaluation.stored import EVALUATIONS_FOLDER
from zoo.evaluation.stored import RESULT_NAME as EVALUATION_NAME
from zoo.intervals import METHOD
from zoo.models import LoadedModel, resolve_run
from zoo.robustness.insertion import Rungs
from zoo.robustness.result import POINTS, Robustness
from zoo.robustness.sweep import Logits, Refusal, Swept

SCHEMA = 1
ROBUSTNESS_FOLDER = "robustness"
RESULT_NAME = "robustness.json"
FRAMES_NAME = "frames.csv"


def store_robustness(
    result: Robustness, degraded: Sequence[tuple[FrameResult, Swept]], rungs: Sequence[Rungs], loaded: LoadedModel
) -> Robustness:
    """Write a measurement and its frames to ``robustness/NAME`` of the run, NAME being that of the evaluation; one there is replaced.

    Args:
        result: with the name of its evaluation. degraded: what became of each frame. rungs: the axes. loaded: the model.

    Returns: the measurement with its path.
    """
    folder = result.run / ROBUSTNESS_FOLDER / result.evaluation
    stored = replace(result, path=folder)
    facts = {"schema": SCHEMA, "zoo": zoo.__version__, "method": METHOD, "method_drop": INTERVAL, "points_lost": POINTS}
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["path", "hdu", "plane", "target", "label", "axis", "level", "status", "code", "changed", "predicted"]
        + [f"p_{label}" for label in loaded.labels]
    )
    for frame, swept in degraded:
        for line in _lines(swept, rungs, loaded):
            writer.writerow([frame.path, _cell(frame.hdu), _cell(frame.plane), frame.target, frame.label, *line])
    with storage.sealed_directory(folder) as new:
        storage.write_json(new / RESULT_NAME, {**facts, **stored.to_dict()})
        storage.write_text(new / FRAMES_NAME, out.getvalue())
    return stored


def read_robustness(given: str | os.PathLike[str]) -> list[Robustness]:
    """Return the measurements that a run holds, the newest first.

    Args:
        given: a run, its model directory, ``"latest"``, a folder below its ``robustness/``, or one below its ``evaluations/``: then the
            measurement on the frames of that evaluation, if there is one.

    Raises:
        StorageError: there is no such run, a file was changed since it was written, or it has a layout that this zoo does not know.
    """
    path = Path(given)
    if (path / RESULT_NAME).is_file():
        return [_read(path)]
    if (path / EVALUATION_NAME).is_file() and path.resolve().parent.name == EVALUATIONS_FOLDER:
        beside = path.resolve().parent.parent / ROBUSTNESS_FOLDER / path.resolve().name
        return [_read(beside)] if (beside / RESULT_NAME).is_file() else []
    found = (resolve_run(given).parent / ROBUSTNESS_FOLDER).glob(f"*/{RESULT_NAME}")
    folders = [result.parent for result in found if not result.parent.name.startswith(storage.TEMPORARY_PREFIX)]
    folders.sort(key=lambda folder: (folder / RESULT_NAME).stat().st_mtime_ns, reverse=True)
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> Robustness:
    storage.verify_directory(folder)
    facts = storage.read_json(folder / RESULT_NAME)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise StorageError(f"{folder / RESULT_NAME}: got an unknown layout, expected schema {SCHEMA}; a newer zoo may have written it")
    # A run may have been moved since.
    return replace(Robustness.from_dict(facts), run=folder.resolve().parent.parent, path=folder.resolve())


def _lines(swept: Swept, rungs: Sequence[Rungs], loaded: LoadedModel) -> Iterator[list[object]]:
    """Axis, level, status, code, changed, class and probabilities of one frame, as it is and at each level."""

    def scored(logits: Logits) -> list[object]:
        return [loaded.labels[int(logits.argmax())], *loaded.probabilities(logits).tolist()]

    empty = [""] * (1 + len(loaded.labels))
    if swept.logits is None:
        yield ["", "", "refused", swept.refusal.code if swept.refusal else "", "", *empty]
        return
    yield ["", "", "ok", "", False, *scored(swept.logits)]
    for one in rungs:
        outcome = swept.axes[one.axis.name]
        if isinstance(outcome, Refusal):
            yield [one.axis.name, "", "refused", outcome.code, "", *empty]
            continue
        for level, logits, changed in zip(one.levels, outcome, swept.changed[one.axis.name], strict=True):
            yield [one.axis.name, level, "ok", "", changed, *scored(logits)]


def _cell(value: object) -> object:
    """Write None as empty."""
    return "" if value is None else value
