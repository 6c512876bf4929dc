"""What a model knows of its own outputs: the temperature, and the validation frames that sets of classes are made with."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import zoo
from zoo.calibration import conformal
from zoo.calibration.temperature import fit_temperature, log_loss, softmax, target_weights
from zoo.errors import CheckFailedError, DataError, StorageError, UsageError

SCHEMA = 1
CALIBRATION_NAME = "calibration.json"


@dataclass(frozen=True, eq=False)
class Calibration:
    """Logits of frames that the model has not learned from, and the temperature fitted on them.

    Attributes:
        labels: class names by index.
        temperature: logits are divided by it; see `fit_temperature`.
        logits: ``(N, K)``. truth: ``(N,)`` class indices. targets: of each frame.
        data, split: where the frames come from.
    """

    labels: tuple[str, ...]
    temperature: float
    logits: NDArray[np.float64] = field(repr=False)
    truth: NDArray[np.int64] = field(repr=False)
    targets: tuple[str, ...] = field(repr=False)
    data: str = ""
    split: str = "val"

    @cached_property
    def _index(self) -> NDArray[np.int64]:
        """The target of each frame by index."""
        return np.unique(np.asarray(self.targets), return_inverse=True)[1].astype(np.int64)

    @property
    def n_targets(self) -> int:
        """How many targets the frames are of."""
        return len(set(self.targets))

    @property
    def attainable(self) -> float:
        """The highest level of which `sets` can leave out a class: n / (n + 1) for n targets."""
        return conformal.attainable_level(self.n_targets)

    def log_losses(self) -> tuple[float, float]:
        """Return the log loss of the frames without and with the temperature, every target with the same weight."""
        weights = target_weights(self.targets)
        return log_loss(self.logits, self.truth, weights), log_loss(self.logits, self.truth, weights, self.temperature)

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return ``(..., K)``, the softmax of ``logits / temperature``."""
        return softmax(logits, self.temperature)

    def by_class(self, level: float) -> bool:
        """Return whether the level holds for each class by itself, because each has `conformal.needed_targets` of its own."""
        each = [len(set(self._index[self.truth == label].tolist())) for label in range(len(self.labels))]
        return min(each) >= conformal.needed_targets(level)

    def check_level(self, level: float) -> None:
        """Raise where sets of a level are not possible.

        Raises:
            UsageError: the level is not in (0, 1). CheckFailedError: there are too few targets; names the attainable level.
        """
        if not 0 < level < 1:
            raise UsageError(f"got the level {level:g} of sets of classes (--abstain), expected one between 0 and 1, such as 0.95")
        needed, got = conformal.needed_targets(level), self.n_targets
        if got < needed:
            raise CheckFailedError(
                f"sets of level {level:g} need {needed} calibration targets, got {got} ({self.data or 'data'}, split {self.split}); "
                f"attainable are levels up to {math.floor(1e4 * self.attainable) / 1e4:.4f}; more targets: 'zoo calibrate RUN --data ...'"
            )

    def sets(self, logits: ArrayLike, level: float) -> list[tuple[str, ...]]:
        """Return the classes that a frame may be of: the true one is among them for at least a share ``level`` of frames of new targets.

        The level holds for each class where `by_class` says so, else over the classes as they are mixed in the calibration frames. It
        is a promise about frames like the calibration frames, and not about other cameras or skies. See `zoo.calibration.conformal`.

        Args:
            logits: ``(M, K)`` or ``(K,)``, finite. level: in (0, 1).

        Returns: for each frame its classes, by index; all of them where it cannot be decided.

        Raises:
            UsageError, CheckFailedError: as `check_level`.
        """
        self.check_level(level)
        values = np.atleast_2d(np.asarray(logits, dtype=np.float64))
        scores, own = conformal.scores_of(values, self.temperature), self._scores
        kept = conformal.sets_of(scores, own, self.truth, self._index, level, by_class=self.by_class(level))
        return [tuple(label for label, inside in zip(self.labels, row, strict=True) if inside) for row in kept]

    @cached_property
    def _scores(self) -> NDArray[np.float64]:
        return conformal.scores_of(self.logits, self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        before, after = self.log_losses()
        return {
            "schema": SCHEMA,
            "zoo": zoo.__version__,
            "labels": list(self.labels),
            "temperature": self.temperature,
            "data": self.data,
            "split": self.split,
            "n_frames": len(self.truth),
            "n_targets": self.n_targets,
            "log_loss_before": before,
            "log_loss_after": after,
            "frames": [
                {"target": target, "label": self.labels[label], "logits": row}
                for target, label, row in zip(self.targets, self.truth.tolist(), self.logits.tolist(), strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`. Raises: StorageError: another schema, or incomplete."""
        if stored.get("schema") != SCHEMA:
            raise StorageError(f"got a calibration of schema {stored.get('schema')!r}, expected {SCHEMA}; run 'zoo calibrate' again")
        try:
            labels, frames = tuple(map(str, stored["labels"])), stored["frames"]
            return cls(
                labels,
                float(stored["temperature"]),
                np.array([frame["logits"] for frame in frames], dtype=np.float64).reshape(len(frames), len(labels)),
                np.array([labels.index(frame["label"]) for frame in frames], dtype=np.int64),
                tuple(str(frame["target"]) for frame in frames),
                str(stored["data"]),
                str(stored["split"]),
            )
        except (KeyError, TypeError, ValueError) as err:
            raise StorageError(f"got an incomplete calibration ({type(err).__name__}: {err}); run 'zoo calibrate' again") from err


def calibrate(
    logits: ArrayLike, truth: ArrayLike, targets: Sequence[str], labels: Sequence[str], *, data: str = "", split: str = "val"
) -> Calibration:
    """Fit the temperature and keep the frames. Frames whose logits are NaN or infinite are left out.

    Args:
        logits: ``(N, K)``. truth: ``(N,)`` class indices. targets: of each frame. labels: the K classes. data, split: for the record.

    Raises:
        DataError: no frame is left.
    """
    values = np.asarray(logits, dtype=np.float64).reshape(-1, len(labels))
    finite = np.asarray(np.isfinite(values).all(axis=1))
    if not finite.any():
        raise DataError(
            f"{data or 'the data'}, split {split}: none of {len(values)} frames has finite logits, so nothing can be calibrated"
        )
    kept = [target for target, good in zip(targets, finite.tolist(), strict=True) if good]
    chosen, classes = values[finite], np.asarray(truth, dtype=np.int64)[finite]
    return Calibration(tuple(labels), fit_temperature(chosen, classes, kept), chosen, classes, tuple(kept), data, split)


def usable(calibration: Calibration | None, level: float, where: str | os.PathLike[str]) -> Calibration:
    """Return the calibration of a run, with which sets of classes of this level can be made.

    Args:
        calibration: ``None`` where the run has none. where: the run, for the message.

    Raises:
        CheckFailedError: there is none, or it has too few targets; names the attainable level. UsageError: the level is not in (0, 1).
    """
    if calibration is None:
        raise CheckFailedError(f"{where}: sets of classes need a calibration, and this model has none; 'zoo calibrate {where}' makes it")
    calibration.check_level(level)
    return calibration
