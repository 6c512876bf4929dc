"""How often each method held the truth in simulation, and which of those figures belongs to a set of frames.

``coverage.json`` is what ``benchmarks/bench_intervals.py`` recorded; nothing in it is typed by hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zoo.intervals.interval import DEFAULT, LEVEL, METHODS

NAME = "coverage.json"


@dataclass(frozen=True)
class Coverage:
    """What a method achieved where targets were most like those of a data set.

    Attributes:
        nominal: what the interval claims. simulated: how often it held the truth, of the draws that have an interval.
        method: in words. of: the simulated targets and accuracy, in words.
    """

    nominal: float
    simulated: float
    method: str
    of: str

    def __str__(self) -> str:
        return f"nominal {self.nominal:.0%}, {self.simulated:.1%} in simulation ({self.of})".replace("%", " %")


def simulated_coverage(counts: ArrayLike, accuracy: float, *, method: str = DEFAULT) -> Coverage:
    """Return the coverage that was recorded for the targets and the accuracy nearest to these.

    Nearest are the layout whose number of targets, and number of targets of equal size that would weigh as much (Kish 1965), differ by the
    smallest factors, and then the accuracy on the logit scale. How alike the frames of a target are is not known, so it is the lowest
    figure over the correlations within targets that were simulated.

    Args:
        counts: ``(G,)``, frames of each target. accuracy: in [0, 1]. method: one of `METHODS`.
    """
    recorded = _recorded()
    mine = _size(np.asarray(counts, dtype=np.float64))
    name = min(recorded["layouts"], key=lambda one: math.dist(mine, _size(np.array(recorded["layouts"][one], dtype=np.float64))))
    cells = [cell for cell in recorded["results"] if cell["layout"] == name]
    effects = sorted({float(cell["accuracy"]) for cell in cells})
    effect = min(effects, key=lambda one: abs(_logit(one) - _logit(accuracy)))
    lowest = min(cell["coverage"][method] for cell in cells if cell["accuracy"] == effect)
    return Coverage(LEVEL, float(lowest), METHODS[method], f"{_describe(recorded['layouts'][name])}, accuracy {effect:g}")


@cache
def _recorded() -> Any:
    return json.loads(resources.files("zoo.intervals").joinpath(NAME).read_text(encoding="utf-8"))


def _size(counts: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """The logarithms of the number of targets, and of targets of equal size that would weigh as much."""
    return math.log(counts.size), 2 * math.log(counts.sum()) - math.log((counts * counts).sum())


def _logit(share: float) -> float:
    held = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(held / (1 - held))


def _describe(counts: Sequence[int]) -> str:
    frames = f"{min(counts)} frames" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)} frames"
    return f"{len(counts)} targets of {frames}"
