"""What needs no network, beside the model on the same frames: baselines, and the best of all that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.evaluation import metrics
from zoo.evaluation.paired import difference_interval, target_sums
from zoo.evaluation.result import Baseline, Gain
from zoo.intervals import DEFAULT, accuracy_interval

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

MAJORITY = "largest class always"


def score_baselines(
    guesses: Mapping[str, Integers], right: Booleans, truth: Integers, targets: Sequence[str], classes: int, *, method: str = DEFAULT
) -> list[Baseline]:
    """Return how good the guesses of each baseline are.

    Args:
        guesses: class indices ``(N,)`` by the name of the baseline. right: ``(N,)``, whether the model called each frame right.
        truth: ``(N,)`` class indices. targets: of each frame. classes: how many there are.
        method: of the interval of the accuracy, one of `zoo.intervals.METHODS`.
    """
    scored = []
    for name, called in guesses.items():
        interval = accuracy_interval(called == truth, targets, method=method)
        balanced = metrics.balanced_accuracy(metrics.confusion_matrix(truth, called, classes))
        gain = difference_interval(*target_sums(right, called == truth, targets))
        scored.append(Baseline(name, interval.estimate, balanced, interval, gain))
    return scored


def find_gain(
    right: Booleans, truth: Integers, targets: Sequence[str], *, shortcuts: Mapping[str, Integers], baselines: Mapping[str, Integers]
) -> Gain:
    """Return how much better the model is than the best of the shortcuts, the baselines and the largest class.

    The best is chosen by its accuracy on these very frames, which flatters it and not the model; of equals the first counts.

    Args:
        right: ``(N,)``, whether the model called each frame right. truth: ``(N,)`` class indices. targets: of each frame.
        shortcuts, baselines: class indices ``(N,)`` by name.
    """
    rivals = [
        *(("shortcut", name, called) for name, called in shortcuts.items()),
        *(("baseline", name, called) for name, called in baselines.items()),
        ("majority", MAJORITY, np.full(truth.size, np.bincount(truth).argmax())),
    ]
    kind, name, called = max(rivals, key=lambda rival: int((rival[2] == truth).sum()))
    theirs = called == truth
    return Gain(name, kind, float(theirs.mean()), difference_interval(*target_sums(right, theirs, targets)))
