"""`calibrate`: what a finished run says of frames it has not learned from becomes its temperature and the frames of its sets."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

from zoo.calibration import CALIBRATION_NAME, RANGE_NAME, Calibration, FrameRange, measure_range, spread_rows
from zoo.calibration import calibrate as fit
from zoo.data import DataSet, Manifest, summarise
from zoo.errors import DataError, UsageError
from zoo.evaluation.measure import Report, evaluate
from zoo.evaluation.selection import select_data
from zoo.models import LoadedModel, load
from zoo.models.directory import update_model


def calibrate(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str] | DataSet | None = None,
    *,
    split: str | None = None,
    progress: Report | None = None,
    notify: Callable[[str], object] | None = None,
    **settings: Any,
) -> tuple[Calibration, int]:
    """Calibrate a run on labelled frames and store that with its model, under a new seal.

    Weights and card stay as they are, and so does the identity to which stored evaluations refer. A run whose model does not say what
    its training frames looked like, because an older zoo trained it, learns that too if it is calibrated on its own data.

    Args:
        run: a run, a model directory, or ``"latest"``.
        data: as for `zoo.evaluate`; by default the data that the run was trained on.
        split: by default ``val``, and for other data ``all``. Targets that the model was trained on make it look surer than it is; they
            are refused.
        progress, notify, settings: as for `zoo.evaluate`.

    Returns: the calibration, and how many frames were left out because they could not be read.

    Raises:
        DataError: no frame can be read. UsageError: a target was trained on. StorageError: there is no such run, or the model cannot be
            written.
    """
    loaded = load(run)
    chosen = split or ("val" if data is None else "all")
    result = evaluate(loaded, data, split=chosen, store=False, progress=progress, notify=notify, **settings)
    scored = [frame for frame in result.frames if frame.status == "ok"]
    _refuse_trained(loaded, {frame.target for frame in scored})
    truth = [loaded.labels.index(frame.label) for frame in scored]
    targets = [frame.target for frame in scored]
    found = fit([frame.logits for frame in scored], truth, targets, loaded.labels, data=result.data, split=chosen)
    files = {CALIBRATION_NAME: found.to_dict()}
    if loaded.range is None and data is None and (frame_range := _range(loaded, settings.get("workers", 2), progress)) is not None:
        files[RANGE_NAME] = frame_range.to_dict()
    update_model(loaded.path, files)
    return found, len(result.refused)


def _refuse_trained(loaded: LoadedModel, targets: set[str]) -> None:
    """Raise UsageError where the run was trained on one of the targets, as far as it says."""
    path = None if loaded.run is None else loaded.run / "manifest.csv"
    if path is None or not path.is_file():
        return
    trained = {row.target.casefold() for row in Manifest.read_csv(path).select(split="train")}
    shared = sorted(target for target in targets if target.casefold() in trained)
    if shared:
        raise UsageError(
            f"{loaded.run}: got {summarise(shared, 3)}, on which the model was trained; calibrate on other targets, such as --split val"
        )


def _range(loaded: LoadedModel, workers: int, progress: Report | None) -> FrameRange | None:
    """The range of the training frames; ``None`` where they are no longer there."""
    try:
        chosen = select_data(loaded, None, split="train", root=None, labels=None, target_regex=None)
    except (DataError, UsageError):
        return None
    rows, done = spread_rows(chosen.rows), itertools.count(1)
    report = progress or (lambda stage, count, total: None)
    return measure_range(chosen.data, rows, workers=workers, progress=lambda _: report("training frames", next(done), len(rows)))
