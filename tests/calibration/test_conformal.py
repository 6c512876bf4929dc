"""Sets of classes: p-values by hand, coverage over new targets by simulation, what cannot be attained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo import storage
from zoo.calibration import Calibration, attainable_level, calibrate, needed_targets
from zoo.calibration.conformal import p_values, scores_of
from zoo.errors import CheckFailedError, DataError, StorageError, UsageError

LABELS = ("galaxy", "NSC")


def sky(rng: np.random.Generator, targets: int, frames: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Logits of targets whose frames share most of their difficulty; classes in turn."""
    truth = np.repeat(np.arange(targets) % 2, frames)
    margin = np.repeat(rng.normal(1.5, 1.5, targets), frames) + rng.normal(0, 0.5, targets * frames)
    sign = np.where(truth == 1, 1, -1) * margin
    return np.stack([-sign, sign], axis=1), truth, [f"T{i // frames}" for i in range(targets * frames)]


def test_p_values_by_hand() -> None:
    # Target 0 has frames 1 and 3, target 1 has 2: of three targets with the new one.
    found = p_values(np.array([0.5, 1.0, 2.0, 2.5, 9.0]), np.array([1.0, 3.0, 2.0]), np.array([0, 0, 1]))
    assert found == pytest.approx([3 / 3, 3 / 3, 2.5 / 3, 1.5 / 3, 1 / 3])


def test_it_is_the_mean_over_all_draws_of_one_frame_per_target() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=60), np.repeat(np.arange(12), 5)
    new = 0.7
    draws = [1 + sum(scores[5 * t + rng.integers(5)] >= new for t in range(12)) for _ in range(4000)]
    assert p_values(np.array(new), scores, targets) == pytest.approx(np.mean(draws) / 13, abs=0.005)


def test_scores_are_the_log_loss_of_each_class() -> None:
    scores = scores_of(np.array([[2.0, 0.0]]), 2.0)
    assert scores[0] == pytest.approx([np.log(1 + np.exp(-1)), np.log(1 + np.exp(1))])


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_new_targets_are_covered(level: float) -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(300):
        calibration = calibrate(*sky(rng, 24, 4), LABELS)
        logits, truth, _ = sky(rng, 12, 4)
        sets = calibration.sets(logits, level)
        covered.append(np.mean([LABELS[label] in classes for label, classes in zip(truth, sets, strict=True)]))
    # One standard deviation of the mean is below 0.006.
    assert level - 0.015 < np.mean(covered) < level + 0.04


def test_a_level_needs_its_targets() -> None:
    assert [needed_targets(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    assert attainable_level(19) == pytest.approx(0.95)
    rng = np.random.default_rng(3)
    calibration = calibrate(*sky(rng, 18, 2), LABELS, data="mine")
    assert calibration.attainable == 18 / 19
    with pytest.raises(CheckFailedError, match=r"level 0.95 need 19 calibration targets, got 18 \(mine, split val\).*0.9473"):
        calibration.sets([[1.0, 0.0]], 0.95)
    assert calibration.sets([[50.0, -50.0], [0.0, 0.0]], 0.9) == [("galaxy",), ("galaxy", "NSC")]
    for level in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError):
            calibration.check_level(level)


def test_19_targets_allow_a_decision_at_95_per_cent() -> None:
    rng = np.random.default_rng(4)
    calibration = calibrate(*sky(rng, 19, 1), LABELS)
    assert calibration.sets([90.0, -90.0], 0.95) == [("galaxy",)]
    assert not calibration.by_class(0.95)
    assert calibration.by_class(0.8)


def test_by_class_each_class_is_covered() -> None:
    rng = np.random.default_rng(5)
    covered: dict[int, list[bool]] = {0: [], 1: []}
    for _ in range(200):
        logits, truth, targets = sky(rng, 40, 2)
        logits[truth == 1] -= [-1.2, 1.2]  # one class is harder
        calibration = calibrate(logits, truth, targets, LABELS)
        assert calibration.by_class(0.9)
        logits, truth, _ = sky(rng, 10, 2)
        logits[truth == 1] -= [-1.2, 1.2]
        for label, classes in zip(truth.tolist(), calibration.sets(logits, 0.9), strict=True):
            covered[label].append(LABELS[label] in classes)
    assert all(0.87 < np.mean(values) < 0.95 for values in covered.values())


def test_a_frame_unlike_all_is_undecided() -> None:
    logits = np.repeat([[20.0, -20.0], [-20.0, 20.0]], 25, axis=0)
    calibration = calibrate(logits, np.repeat([0, 1], 25), [str(i) for i in range(50)], LABELS)
    assert calibration.sets([0.0, 0.0], 0.8) == [LABELS]


def test_a_calibration_is_stored_and_read_again(tmp_path: Any) -> None:
    calibration = calibrate(*sky(np.random.default_rng(6), 20, 3), LABELS, data="mine", split="test")
    storage.write_json(tmp_path / "c.json", calibration.to_dict())
    again = Calibration.from_dict(storage.read_json(tmp_path / "c.json"))
    assert again.to_dict() == calibration.to_dict()
    assert (again.logits == calibration.logits).all()
    before, after = again.log_losses()
    assert after <= before
    for broken in ({}, {"schema": 9}, {"schema": 1, "labels": ["a"]}):
        with pytest.raises(StorageError):
            Calibration.from_dict(broken)


def test_frames_without_finite_logits_are_left_out() -> None:
    calibration = calibrate([[np.nan, 0.0], [1.0, 0.0]], [0, 0], ["a", "b"], LABELS)
    assert calibration.targets == ("b",)
    with pytest.raises(DataError, match="none of 1 frames"):
        calibrate([[np.nan, 0.0]], [0], ["a"], LABELS)
