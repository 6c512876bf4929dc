"""The range of the training frames: whether a frame looks like those that the model has learned from, by statistics of its image.

The statistics of the training frames have a mean and a covariance; how far a frame lies from that mean is its Mahalanobis distance
(Mahalanobis 1936; for this use Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples", with image
statistics in the place of features of the network). The threshold is the distance that a stated share of frames of the same kind exceeds.
Distances of frames to a mean that they took part in are too small, so each training target is measured against the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import zoo
from zoo.calibration.temperature import target_weights
from zoo.data import DataSet, Row
from zoo.data.condition import STATISTICS, Condition, measure_condition
from zoo.errors import StorageError, ZooError

SCHEMA = 1
RANGE_NAME = "range.json"

FALSE_ALARMS = 0.02
"""Share of frames of new targets of the same kind that lie outside the range."""
LEAST_TARGETS = 5
"""Below so many targets there is no range: nothing is known of how targets differ."""

MOST_FRAMES = 2000
"""Training frames that are opened again to learn what they look like."""

_SHRINKAGE = 0.02  # of the variances is added to the diagonal, so that statistics that go together do not make the covariance singular

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FrameRange:
    """What the training frames looked like.

    Attributes:
        names: statistics of `zoo.data.condition.Condition`, D of those that the training frames have.
        mean: ``(D,)``. covariance: ``(D, D)``. Every target has the same weight.
        threshold: distance beyond which a frame is out of range.
        rate: share of frames of new targets that were beyond it when each training target was measured against the others.
        n_frames, n_targets: what was measured.
        instruments: cameras of the training frames; empty where none is known.
    """

    names: tuple[str, ...]
    mean: Array
    covariance: Array = field(repr=False)
    threshold: float
    rate: float
    n_frames: int
    n_targets: int
    instruments: tuple[str, ...] = ()

    def distance(self, condition: Condition) -> float:
        """Return the Mahalanobis distance of a frame in the statistics that it has; infinite where it has none."""
        values = _select(condition.statistics(), self.names)
        return float(_distances(values[None], self.mean, self.covariance)[0])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "schema": SCHEMA,
            "zoo": zoo.__version__,
            "statistics": list(self.names),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "threshold": self.threshold,
            "rate": self.rate,
            "n_frames": self.n_frames,
            "n_targets": self.n_targets,
            "instruments": list(self.instruments),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FrameRange:
        """The inverse of `to_dict`. Raises: StorageError: another schema, other statistics, or incomplete."""
        try:
            names = tuple(map(str, stored["statistics"]))
            if stored.get("schema") != SCHEMA or set(names) - set(STATISTICS):
                raise StorageError(f"got a range of schema {stored.get('schema')!r} with statistics {', '.join(names)}, expected {SCHEMA}")
            return cls(
                names,
                np.array(stored["mean"], dtype=np.float64),
                np.array(stored["covariance"], dtype=np.float64).reshape(len(names), len(names)),
                float(stored["threshold"]),
                float(stored["rate"]),
                int(stored["n_frames"]),
                int(stored["n_targets"]),
                tuple(map(str, stored["instruments"])),
            )
        except (KeyError, TypeError, ValueError) as err:
            raise StorageError(f"got an incomplete range of training frames ({type(err).__name__}: {err})") from err


def fit_range(
    conditions: Sequence[Condition], targets: Sequence[str], instruments: Sequence[str] = (), *, rate: float = FALSE_ALARMS
) -> FrameRange | None:
    """Learn the range of training frames.

    Args:
        conditions: of N frames; those that lack a statistic which others have are left out.
        targets: of each. instruments: of each, or none.
        rate: wanted share of frames of new targets beyond the threshold. Of n targets the least that can be asked for is 1 / (n + 1), which
            is taken instead where it is more; the threshold is then the largest distance seen.

    Returns: the range; ``None`` where there are fewer than `LEAST_TARGETS` targets, or no statistic.
    """
    table = np.array([condition.statistics() for condition in conditions]).reshape(-1, len(STATISTICS))
    used = np.isfinite(table).any(axis=0)
    whole = np.isfinite(table[:, used]).all(axis=1)
    kept = np.asarray(targets, dtype=str)[whole]
    values = table[whole][:, used]
    names = tuple(name for name, there in zip(STATISTICS, used.tolist(), strict=True) if there)
    each = np.unique(kept)
    if len(each) < LEAST_TARGETS or not names:
        return None
    distances = np.empty(len(values))
    for target in each:
        mine = kept == target
        distances[mine] = _distances(values[mine], *_moments(values[~mine], kept[~mine]))
    order = np.argsort(distances)
    mass = np.cumsum(target_weights(kept.tolist())[order]) * len(each) / (len(each) + 1)
    place = int(np.searchsorted(mass, 1 - rate))
    mean, covariance = _moments(values, kept)
    return FrameRange(
        names,
        mean,
        covariance,
        float(distances[order[min(place, len(order) - 1)]]),
        max(rate, 1 / (len(each) + 1)),
        len(values),
        len(each),
        tuple(sorted({name for name in instruments if name})),
    )


def spread_rows(rows: Sequence[Row]) -> list[Row]:
    """Return at most about `MOST_FRAMES` of the rows, spread over all targets, in order; at least one of each."""
    targets: dict[str, list[Row]] = {}
    for row in rows:
        targets.setdefault(row.target, []).append(row)
    most = max(1, MOST_FRAMES // max(1, len(targets)))
    return [row for mine in targets.values() for row in mine[:: -(-len(mine) // most)]]


def measure_range(
    data: DataSet, rows: Sequence[Row], *, workers: int = 2, progress: Callable[[int], None] | None = None
) -> FrameRange | None:
    """Open frames, measure their condition and learn their range, as `fit_range`. Frames that cannot be read are left out.

    Args:
        data: opens the rows. rows: the training frames. workers: threads. progress: called with 1 after every frame.
    """

    def look(row: Row) -> tuple[Condition, str] | None:
        with suppress(ZooError, OSError):
            frame = data.open(row)
            return measure_condition(frame), frame.info.instrument or row.instrument
        return None

    found: list[tuple[Condition, str, str]] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for row, seen in zip(rows, pool.map(look, rows), strict=True):
                if seen is not None:
                    found.append((*seen, row.target))
                if progress is not None:
                    progress(1)
        finally:
            pool.shutdown(cancel_futures=True)
    return fit_range([each[0] for each in found], [each[2] for each in found], [each[1] for each in found])


def _moments(values: Array, targets: NDArray[np.str_]) -> tuple[Array, Array]:
    """Mean and covariance, every target with the same weight."""
    weights = target_weights(targets.tolist())
    mean = weights @ values
    centred = values - mean
    covariance = (centred * weights[:, None]).T @ centred
    variances = np.diag(covariance).copy()
    # A statistic that is the same in all training frames counts as known to a thousandth of its unit.
    return mean, covariance + np.diag(_SHRINKAGE * variances + 1e-6)


def _distances(values: Array, mean: Array, covariance: Array) -> Array:
    """Mahalanobis distances of ``(N, D)`` values, each in the statistics that it has; infinite without any."""
    deviations = values - mean
    there = np.isfinite(deviations)
    if there.all():
        return np.asarray(np.sqrt(np.einsum("ni,ni->n", deviations, np.linalg.solve(covariance, deviations.T).T)))
    result = np.full(len(values), math.inf)
    for place, (row, own) in enumerate(zip(values, there, strict=True)):
        if own.any():
            result[place] = _distances(row[None, own], mean[own], covariance[np.ix_(own, own)])[0]
    return result


def _select(statistics: ArrayLike, names: Sequence[str]) -> Array:
    """The named ones of all statistics."""
    values = np.asarray(statistics, dtype=np.float64)
    return values[[STATISTICS.index(name) for name in names]]
