"""What an evaluation found: scores, their intervals by target, groups, and every frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.evaluation import metrics
from zoo.evaluation.metrics import Metrics
from zoo.intervals import Interval, accuracy_interval, jackknife, macro_interval

GROUPINGS = ("target", "instrument", "filter")


@dataclass(frozen=True)
class FrameResult:
    """One frame of the data, scored or refused.

    Attributes:
        path, hdu, plane, rootname, target, label, instrument, filter, product, exptime: as in the manifest; what it leaves empty comes
            from the headers. ``label`` is the true class. ``exptime`` in seconds, NaN where unknown.
        status, code, message: ``ok``, or ``refused`` with the reason, as in `zoo.prediction.Prediction`.
        predicted: the class of highest probability; empty when refused.
        probabilities: one per class of the model, by index; empty when refused.
        adapted: whether the frame has another shape than the model's input, and was padded or cut to fit.
        shortcut: the class that the best column alone says (`ShortcutScore`); empty where there is none.
    """

    path: str
    hdu: int | None
    plane: int | None
    rootname: str
    target: str
    label: str
    instrument: str
    filter: str
    product: str
    exptime: float
    status: str = "ok"
    code: str = ""
    message: str = ""
    predicted: str = ""
    probabilities: tuple[float, ...] = ()
    adapted: bool = False
    shortcut: str = ""


@dataclass(frozen=True)
class Group:
    """The accuracy on the frames that share a target, an instrument or a filter; ``shortcut``: that of the best column."""

    name: str
    labels: str
    n_frames: int
    n_targets: int
    accuracy: float
    interval: Interval
    shortcut: float


@dataclass(frozen=True)
class Baseline:
    """What a model without a network reaches on the same frames."""

    name: str
    accuracy: float
    balanced_accuracy: float
    interval: Interval


@dataclass(frozen=True)
class ShortcutScore:
    """What a rule that sees no pixel reaches on the frames of the model.

    Attributes:
        name: what it sees, such as ``instrument``. rule: what it says, learned from all frames.
        accuracy, balanced_accuracy, macro_target_accuracy: of each target guessed from the others.
        in_sample: accuracy by frame, learned and scored on the same frames.
        alarm: whether it beats the most frequent class by more than chance.
        gain: accuracy of the model minus that of the rule, with its interval by target.
    """

    name: str
    rule: str
    accuracy: Interval
    balanced_accuracy: float
    macro_target_accuracy: Interval
    in_sample: float
    alarm: bool
    gain: Interval


@dataclass(frozen=True)
class Evaluation:
    """The outcome of `zoo.evaluate`.

    Attributes:
        run, model, domain: the run's path, the model's name with its options, and what its training data were.
        data, split, data_domain: what it was evaluated on.
        labels: class names by index.
        metrics: the scores over all frames that could be read.
        intervals: score name -> 95 % interval by target; ``recall:CLASS`` for each class.
        groups: ``target``, ``instrument`` and ``filter`` -> accuracies.
        baselines: the run's baselines on the same frames; empty where the run has none.
        shortcuts: the best column alone, then all columns together, on the same frames; empty where there is nothing to guess.
        seen: targets that the run was trained or validated on.
        accuracy_new: accuracy on the other targets, where some but not all were seen; else ``None``.
        frames: every frame, in the order of the data; the refused ones too.
        notes: what a reader should know, one line each.
        path: where it is stored, or ``None``.
    """

    run: Path
    model: str
    domain: str
    data: str
    split: str
    data_domain: str
    labels: tuple[str, ...]
    metrics: Metrics
    intervals: dict[str, Interval]
    groups: dict[str, list[Group]]
    baselines: list[Baseline]
    shortcuts: list[ShortcutScore]
    seen: tuple[str, ...]
    accuracy_new: Interval | None
    frames: tuple[FrameResult, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def refused(self) -> tuple[FrameResult, ...]:
        """The frames that could not be scored."""
        return tuple(frame for frame in self.frames if frame.status != "ok")

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the scored frames as plain values; NaN stays NaN."""
        plain = asdict(self)
        plain["frames"] = len(self.frames)
        plain["refused"] = [
            {name: getattr(frame, name) for name in ("path", "hdu", "plane", "target", "label", "code", "message")}
            for frame in self.refused
        ]
        return plain

    def frames_csv(self) -> str:
        """Return one line per frame: where it is, what it is, what it was called and with which probabilities."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        names = [name for name in FrameResult.__dataclass_fields__ if name != "probabilities"]
        writer.writerow([*names, *(f"p_{label}" for label in self.labels)])
        for frame in self.frames:
            chances = frame.probabilities or ("",) * len(self.labels)
            writer.writerow([*(_cell(getattr(frame, name)) for name in names), *(_cell(value) for value in chances)])
        return out.getvalue()


def score_intervals(
    labels: NDArray[np.int64], chances: NDArray[np.float64], targets: Sequence[str], names: Sequence[str]
) -> dict[str, Interval]:
    """Return the 95 % intervals by target of every score in [0, 1].

    Recall and precision of a class are accuracies of the frames that are, or are called, of it, and count only the targets of those frames.

    Args:
        labels: ``(N,)`` class indices. chances: ``(N, K)``. targets: of each frame. names: the classes, by index.
    """
    called = chances.argmax(axis=1)
    right = called == labels
    held = np.asarray(targets)

    def matrix_score(reduce: Callable[[NDArray[np.int64]], float]) -> Interval:
        return jackknife(lambda mask: reduce(metrics.confusion_matrix(labels[mask], called[mask], len(names))), targets)

    def ranking_score(rank: Callable[[ArrayLike, ArrayLike], float]) -> Interval:
        return jackknife(
            lambda mask: metrics.headline(np.array([rank(labels[mask] == index, chances[mask, index]) for index in range(len(names))])),
            targets,
        )

    def among(mask: NDArray[np.bool_]) -> Interval:
        if not mask.any():
            return Interval(float("nan"), float("nan"), float("nan"), 0, "no frames")
        return accuracy_interval(right[mask], held[mask].tolist())

    recalls = {f"recall:{name}": among(labels == index) for index, name in enumerate(names)}
    two = len(names) == 2
    return {
        "accuracy": accuracy_interval(right, targets),
        "balanced_accuracy": matrix_score(metrics.balanced_accuracy),
        "macro_target_accuracy": macro_interval(right, targets),
        "precision": among(called == 1) if two else matrix_score(lambda matrix: metrics.headline(metrics.precision(matrix))),
        "recall": among(labels == 1) if two else matrix_score(lambda matrix: metrics.headline(metrics.recall(matrix))),
        "f1": matrix_score(lambda matrix: metrics.headline(metrics.f1(matrix))),
        "roc_auc": ranking_score(metrics.roc_auc),
        "average_precision": ranking_score(metrics.average_precision),
        **recalls,
    }


def group_frames(frames: Sequence[FrameResult]) -> dict[str, list[Group]]:
    """Return the accuracy by target, instrument and filter, by name; what has no name is ``unknown``."""
    groups: dict[str, list[Group]] = {}
    for grouping in GROUPINGS:
        members: dict[str, list[FrameResult]] = {}
        for frame in frames:
            members.setdefault(getattr(frame, grouping) or "unknown", []).append(frame)
        groups[grouping] = [_group(name, members[name]) for name in sorted(members)]
    return groups


def _group(name: str, frames: Sequence[FrameResult]) -> Group:
    right = [frame.predicted == frame.label for frame in frames]
    targets = [frame.target for frame in frames]
    interval = accuracy_interval(right, targets)
    labels = " ".join(sorted({frame.label for frame in frames}))
    shortcut = float(np.mean([frame.shortcut == frame.label for frame in frames])) if all(frame.shortcut for frame in frames) else np.nan
    return Group(name, labels, len(frames), len(set(targets)), interval.estimate, interval, shortcut)


def _cell(value: object) -> object:
    """Write NaN and None as empty, everything else as it is."""
    return "" if value is None or (isinstance(value, float) and value != value) else value
