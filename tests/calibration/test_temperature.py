"""Temperatures whose answer is known, and what they leave alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from zoo.calibration import HIGHEST, LOWEST, fit_temperature, softmax
from zoo.calibration.temperature import log_loss, target_weights
from zoo.errors import DataError, UsageError


def drawn(temperature: float, count: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes drawn with the chances that they say at a temperature."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 4, (count, classes))
    chances = special.softmax(logits / temperature, axis=1)
    return logits, (chances.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(0, classes - 1)


def test_softmax_equals_scipys_and_is_nan_where_the_model_is() -> None:
    logits = np.array([[1.0, -2.0, 700.0], [3.0, 3.0, 3.0], [np.inf, 0.0, 0.0], [np.nan, 0.0, 0.0]])
    chances = softmax(logits, 2.0)
    assert np.allclose(chances[:2], special.softmax(logits[:2] / 2, axis=1), atol=1e-15)
    assert np.isnan(chances[2:]).all()
    assert softmax([0.0, 0.0]).tolist() == [0.5, 0.5]
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError):
            softmax([0.0, 0.0], temperature)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_the_temperature_of_the_draw_is_found(temperature: float, classes: int) -> None:
    logits, labels = drawn(temperature, 6000, classes)
    found = fit_temperature(logits, labels, [str(i) for i in range(6000)])
    assert found == pytest.approx(temperature, rel=0.1)
    weights = np.full(6000, 1 / 6000)
    assert log_loss(logits, labels, weights, found) < log_loss(logits, labels, weights)
    assert log_loss(logits, labels, weights, found) == pytest.approx(-np.log(softmax(logits, found)[np.arange(6000), labels]).mean())


def test_a_target_of_many_frames_counts_once() -> None:
    logits, labels = drawn(1.0, 400)
    targets = [str(i) for i in range(400)]
    alone = fit_temperature(logits, labels, targets)
    # The last target again a thousand times, as exposures of the same thing.
    many = fit_temperature(
        np.vstack([logits, np.repeat(logits[-1:], 1000, 0)]), np.append(labels, [labels[-1]] * 1000), targets + ["399"] * 1000
    )
    assert many == pytest.approx(alone, rel=1e-4)
    assert target_weights(["a", "b", "b"]).tolist() == [0.5, 0.25, 0.25]


def test_separable_frames_give_a_bounded_temperature() -> None:
    assert fit_temperature([[5.0, -5.0], [-5.0, 5.0]], [0, 1], ["a", "b"]) == pytest.approx(LOWEST)
    assert fit_temperature([[5.0, -5.0], [-5.0, 5.0]], [1, 0], ["a", "b"]) == pytest.approx(HIGHEST)


def test_frames_that_say_nothing_are_refused() -> None:
    with pytest.raises(DataError):
        fit_temperature(np.empty((0, 2)), [], [])
    with pytest.raises(DataError):
        fit_temperature([[np.nan, 1.0]], [0], ["a"])
    with pytest.raises(UsageError):
        fit_temperature([[0.0, 1.0]], [0, 1], ["a"])
