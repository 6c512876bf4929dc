"""The numbers of a reliability diagram against a calculation by hand and against the calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.evaluation import metrics
from zoo.evaluation.reliability import measure_reliability
from zoo.intervals import accuracy_interval

# Four frames between 9/15 and 10/15, two of them right; one at 0.8, the end of its bin; one certain.
LABELS = [1, 0, 1, 0, 0, 1]
CHANCES = np.array([[0.38, 0.62], [0.36, 0.64], [0.35, 0.65], [0.34, 0.66], [0.8, 0.2], [0.0, 1.0]])
TARGETS = ["a", "a", "b", "c", "c", "c"]


def test_bins_equal_a_calculation_by_hand() -> None:
    found = measure_reliability(LABELS, CHANCES, CHANCES, TARGETS)
    assert [(round(15 * one.lower), round(15 * one.upper), one.count, one.n_targets) for one in found.bins] == [
        (9, 10, 4, 3),
        (11, 12, 1, 1),
        (14, 15, 1, 1),
    ]
    assert [one.accuracy for one in found.bins] == [0.5, 1.0, 1.0]
    assert [one.confidence for one in found.bins] == pytest.approx([(0.62 + 0.64 + 0.65 + 0.66) / 4, 0.8, 1.0])
    assert found.bins[0].interval == accuracy_interval([1, 0, 1, 0], ["a", "a", "b", "c"])


def test_bins_add_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    before = rng.dirichlet([1.0, 1.0, 1.0], 300)
    after = np.sqrt(before) / np.sqrt(before).sum(axis=1, keepdims=True)
    labels, targets = rng.integers(0, 3, 300), [f"T{i}" for i in rng.integers(0, 12, 300)]
    found = measure_reliability(labels, before, after, targets, temperature=2.0, fitted_targets=7)
    for bins, chances, error in (
        (found.bins_before, before, found.calibration_error_before),
        (found.bins, after, found.calibration_error_after),
    ):
        assert sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / 300 == pytest.approx(error, abs=1e-12)
        assert error == pytest.approx(metrics.calibration_error(labels, chances), abs=1e-12)
    assert (found.n_frames, found.n_targets, found.temperature, found.fitted_targets) == (300, 12, 2.0, 7)
    assert found.log_loss_before == pytest.approx(metrics.log_loss(labels, before))
    assert found.brier_after == pytest.approx(metrics.brier(labels, after))
