"""What rules that see no pixel reach on the frames that a model was scored on: the figures that an accuracy has to beat.

The rules are those of `zoo.auditing.shortcuts`, learned on the frames evaluated and scored on each target with what the others teach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.auditing.shortcuts import Shortcut, find_best
from zoo.auditing.table import read_table
from zoo.data import Manifest, Row
from zoo.evaluation import metrics
from zoo.evaluation.paired import difference_interval, target_sums
from zoo.evaluation.result import FrameResult, ShortcutScore


def score_shortcuts(
    rows: Sequence[Row], frames: Sequence[FrameResult], labels: Sequence[str]
) -> tuple[list[ShortcutScore], tuple[FrameResult, ...], dict[str, NDArray[np.int64]]]:
    """Find what the best column, and all of them together, say of the frames that the model scored.

    Args:
        rows: of the frames, with what the manifest says of them.
        frames: the same after the model; instrument, filter and exposure time come from here, where headers have filled them in.
        labels: class names by index.

    Returns: the best column, then all columns together; empty where there is nothing to guess: one class, one target, or columns without
        two values. The frames, those that were scored with the class that the best column says. And, by the name of each rule, the class
        index that it says of each frame that was scored.
    """
    scored = [place for place, frame in enumerate(frames) if frame.status == "ok"]
    ok = [frames[place] for place in scored]
    found = find_best(read_table([("frames", Manifest(tuple(map(_told, (rows[place] for place in scored), ok)), Path()))]))
    answers = dict(zip(scored, found[0][1], strict=True)) if found else {}
    told = tuple(replace(frame, shortcut=answers.get(place, "")) for place, frame in enumerate(frames))
    guesses = {shortcut.name: np.array([labels.index(name) for name in said], dtype=np.int64) for shortcut, said in found}
    return [_score(shortcut, guesses[shortcut.name], ok, labels) for shortcut, _ in found], told, guesses


def _score(shortcut: Shortcut, called: NDArray[np.int64], frames: Sequence[FrameResult], labels: Sequence[str]) -> ShortcutScore:
    """One rule beside the model."""
    truth = np.array([labels.index(frame.label) for frame in frames])
    sums, counts = target_sums([frame.predicted == frame.label for frame in frames], called == truth, [frame.target for frame in frames])
    return ShortcutScore(
        name=shortcut.name,
        rule=shortcut.rule,
        accuracy=shortcut.outside,
        balanced_accuracy=metrics.balanced_accuracy(metrics.confusion_matrix(truth, called, len(labels))),
        macro_target_accuracy=shortcut.outside_macro,
        in_sample=shortcut.inside.estimate,
        alarm=shortcut.alarm,
        gain=difference_interval(sums, counts),
    )


def _told(row: Row, frame: FrameResult) -> Row:
    """What is known of a frame without its pixels."""
    known = {name: getattr(frame, name) for name in ("rootname", "instrument", "filter", "product", "exptime")}
    return replace(row, **known)
