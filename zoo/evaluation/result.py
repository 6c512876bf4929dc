"""What an evaluation found: scores, their intervals by target, groups, and every frame."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.evaluation.metrics import Metrics
from zoo.evaluation.reliability import Reliability
from zoo.intervals import Coverage, Interval

if TYPE_CHECKING:
    from zoo.evaluation.selection import Selection

LATER = ("chip", "offset_arcmin", "signal_to_noise", "filled", "valid", "saturated", "flags")
"""Columns of the table of frames behind the probabilities, so that the earlier ones stay where they were."""


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
        chip: of the detector, as the header numbers it; empty where it does not.
        offset_arcmin: distance of the middle of the frame from the target; NaN where one of the two is not known.
        signal_to_noise, filled, valid, saturated: as in `zoo.data.condition.Condition`; NaN where they were not measured.
        flags: what is odd about the frame, as in `zoo.predict`.
        logits: what the model gave, one per class; empty when refused.
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
    chip: str = ""
    offset_arcmin: float = math.nan
    signal_to_noise: float = math.nan
    filled: float = math.nan
    valid: float = math.nan
    saturated: float = math.nan
    flags: tuple[str, ...] = ()
    logits: tuple[float, ...] = ()


@dataclass(frozen=True)
class Group:
    """The accuracy on the frames that share a target, a camera, ...; ``shortcut``: that of the best column, NaN where there is none."""

    name: str
    labels: str
    n_frames: int
    n_targets: int
    accuracy: float
    interval: Interval
    shortcut: float


@dataclass(frozen=True)
class Baseline:
    """What a model without a network reaches on the same frames; ``gain``: accuracy of the model minus its own, by target."""

    name: str
    accuracy: float
    balanced_accuracy: float
    interval: Interval
    gain: Interval


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
class Gain:
    """How much better the model is than the best of all that needs no network.

    Attributes:
        over: the best of the shortcuts, the baselines and the largest class, such as ``instrument``. kind: ``shortcut``, ``baseline`` or
            ``majority``.
        accuracy: what it reaches on the same frames.
        difference: accuracy of the model minus that, with its interval by target.
    """

    over: str
    kind: str
    accuracy: float
    difference: Interval


@dataclass(frozen=True)
class Evaluation:
    """The outcome of `zoo.evaluate`.

    Attributes:
        run, model, domain: the run's path, the model's name with its options, and what its training data were.
        data, split, data_domain: what it was evaluated on.
        labels: class names by index.
        metrics: the scores over all frames that could be read.
        intervals: score name -> 95 % interval by target; ``recall:CLASS`` for each class.
        groups: ``target``, ``instrument``, ``filter``, ``chip``, ``exposure time`` and ``offset`` -> accuracies.
        baselines: the run's baselines on the same frames; empty where the run has none.
        shortcuts: the best column alone, then all columns together, on the same frames; empty where there is nothing to guess.
        seen: targets that the run was trained or validated on.
        accuracy_new: accuracy on the other targets, where some but not all were seen; else ``None``.
        frames: every frame, in the order of the data; the refused ones too.
        notes: what a reader should know, one line each.
        path: where it is stored, or ``None``.
        gain: over the best of the shortcuts, the baselines and the largest class.
        calibration: how often the probabilities come true; ``None`` where the frames have no logits.
        coverage: how often intervals like that of the accuracy held the truth in simulation.
        selection: the data, opened; ``None`` for an evaluation that was not made in this process.
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
    gain: Gain | None = None
    calibration: Reliability | None = None
    coverage: Coverage | None = None
    selection: Selection | None = field(default=None, repr=False, compare=False)

    @property
    def refused(self) -> tuple[FrameResult, ...]:
        """The frames that could not be scored."""
        return tuple(frame for frame in self.frames if frame.status != "ok")

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the scored frames as plain values; NaN stays NaN."""
        plain = asdict(replace(self, frames=(), selection=None))
        del plain["selection"]
        plain["frames"] = len(self.frames)
        plain["refused"] = [
            {name: getattr(frame, name) for name in ("path", "hdu", "plane", "target", "label", "code", "message")}
            for frame in self.refused
        ]
        return plain

    def frames_csv(self) -> str:
        """Return one line per frame: where it is, what it is, what it was called and with which probabilities, and its condition."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        names = [name for name in FrameResult.__dataclass_fields__ if name not in ("probabilities", "logits", *LATER)]
        writer.writerow([*names, *(f"p_{label}" for label in self.labels), *LATER, *(f"logit_{label}" for label in self.labels)])
        nothing = ("",) * len(self.labels)
        for frame in self.frames:
            told = (getattr(frame, name) for name in names)
            later = (getattr(frame, name) for name in LATER)
            cells = (*told, *(frame.probabilities or nothing), *later, *(frame.logits or nothing))
            writer.writerow([_cell(value) for value in cells])
        return out.getvalue()


def _cell(value: object) -> object:
    """Write NaN and None as empty, several words with spaces between them, everything else as it is."""
    if isinstance(value, tuple):
        return " ".join(value)
    return "" if value is None or (isinstance(value, float) and value != value) else value
