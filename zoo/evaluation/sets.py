"""How good the sets of classes are: how often they hold the true class, and how many frames they decide."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import numpy as np

from zoo import storage
from zoo.calibration import CALIBRATION_NAME, Calibration, usable
from zoo.errors import DataError
from zoo.evaluation.result import Evaluation
from zoo.intervals import Interval, accuracy_interval
from zoo.models.places import resolve_run


@dataclass(frozen=True)
class SetScores:
    """Sets of classes on frames of targets that the run has not seen.

    Attributes:
        level: what was asked for. by_class: whether it was calibrated for each class by itself.
        calibration_targets: how many targets the sets are made with.
        n_frames, n_targets: those scored; frames of targets of the training or the calibration are left out.
        coverage: share of the frames whose set holds the true class, with its interval by target.
        coverage_of: the same for each class.
        decided: frames whose set is a single class. accuracy: share of them that was called right; NaN where none is.
        sets: how many frames have each set, such as ``galaxy|NSC``.
    """

    level: float
    by_class: bool
    calibration_targets: int
    n_frames: int
    n_targets: int
    coverage: Interval
    coverage_of: dict[str, float]
    decided: int
    accuracy: float
    sets: dict[str, int]


def find_calibration(run: str | os.PathLike[str], level: float) -> Calibration:
    """Return the calibration of a run, read without its weights. Raises: CheckFailedError, UsageError, as `zoo.calibration.usable`."""
    path = resolve_run(run) / CALIBRATION_NAME
    return usable(Calibration.from_dict(storage.read_json(path)) if path.is_file() else None, level, run)


def score_sets(result: Evaluation, calibration: Calibration, level: float) -> SetScores:
    """Score the sets of an evaluation.

    Args:
        result: with the logits of its frames. calibration: of the same run. level: of the sets.

    Raises:
        DataError: every target was seen in training or calibration. UsageError, CheckFailedError: as `Calibration.check_level`.
    """
    known = {*result.seen, *calibration.targets}
    frames = [frame for frame in result.frames if frame.status == "ok" and frame.target not in known]
    if not frames:
        raise DataError(
            f"{result.data}, split {result.split}: every target was used in training or calibration, expected new ones to score sets on"
        )
    sets = calibration.sets(np.array([frame.logits for frame in frames]), level)
    covered = np.array([frame.label in classes for frame, classes in zip(frames, sets, strict=True)])
    single = [frame.label == classes[0] for frame, classes in zip(frames, sets, strict=True) if len(classes) == 1]
    truth = np.array([frame.label for frame in frames])
    return SetScores(
        level=level,
        by_class=calibration.by_class(level),
        calibration_targets=calibration.n_targets,
        n_frames=len(frames),
        n_targets=len({frame.target for frame in frames}),
        coverage=accuracy_interval(covered, [frame.target for frame in frames]),
        coverage_of={label: float(covered[truth == label].mean()) for label in result.labels if (truth == label).any()},
        decided=len(single),
        accuracy=float(np.mean(single)) if single else float("nan"),
        sets=dict(Counter("|".join(classes) for classes in sets).most_common()),
    )
