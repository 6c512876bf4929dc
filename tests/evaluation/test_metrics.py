"""Scores against scikit-learn, the oracle, and against hand calculations where scikit-learn has none."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as oracle

from zoo.errors import UsageError
from zoo.evaluation import metrics

TOLERANCE = 1e-12


def _frames(seed: int, num_classes: int, n: int = 200) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels, probabilities with ties, and targets."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(num_classes), n).round(2) + 1e-3
    chances /= chances.sum(axis=1, keepdims=True)
    return rng.integers(0, num_classes, n), chances, [f"T{i}" for i in rng.integers(0, 20, n)]


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_score_equals_scikit_learn(seed: int, num_classes: int) -> None:
    labels, chances, targets = _frames(seed, num_classes)
    called = chances.argmax(axis=1)
    names = [f"c{i}" for i in range(num_classes)]
    got = metrics.score(labels, chances, targets, names)
    kind = {"average": "binary"} if num_classes == 2 else {"average": "macro"}
    wanted = chances[:, 1] if num_classes == 2 else chances
    auc = oracle.roc_auc_score(labels, chances[:, 1]) if num_classes == 2 else oracle.roc_auc_score(labels, chances, multi_class="ovr")
    expected = {
        "accuracy": oracle.accuracy_score(labels, called),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, called),
        "precision": oracle.precision_score(labels, called, **kind),
        "recall": oracle.recall_score(labels, called, **kind),
        "f1": oracle.f1_score(labels, called, **kind),
        "roc_auc": auc,
        "average_precision": oracle.average_precision_score(labels if num_classes == 2 else np.eye(num_classes)[labels], wanted),
        "log_loss": oracle.log_loss(labels, chances),
        "brier": oracle.brier_score_loss(labels, wanted),
    }
    for name, value in expected.items():
        assert getattr(got, name) == pytest.approx(value, abs=TOLERANCE), name
    assert got.confusion == oracle.confusion_matrix(labels, called).tolist()
    for i, name in enumerate(names):
        assert got.per_class[name]["f1"] == pytest.approx(oracle.f1_score(labels, called, labels=[i], average=None)[0], abs=TOLERANCE)


@given(
    hnp.arrays(np.int64, 30, elements=st.integers(0, 2)),
    hnp.arrays(np.int64, 30, elements=st.integers(0, 2)),
)
@settings(max_examples=60, deadline=None)
def test_class_scores_equal_scikit_learn_with_absent_classes(labels: np.ndarray, called: np.ndarray) -> None:
    matrix = metrics.confusion_matrix(labels, called, 3)
    arguments = {"labels": [0, 1, 2], "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(metrics.precision(matrix), oracle.precision_score(labels, called, **arguments), atol=TOLERANCE)
    np.testing.assert_allclose(metrics.recall(matrix), oracle.recall_score(labels, called, **arguments), atol=TOLERANCE)
    np.testing.assert_allclose(metrics.f1(matrix), oracle.f1_score(labels, called, **arguments), atol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that are called and never true
        expected = oracle.balanced_accuracy_score(labels, called)
    assert metrics.balanced_accuracy(matrix) == pytest.approx(expected, abs=TOLERANCE)


@given(hnp.arrays(np.float64, 25, elements=st.sampled_from([0.0, 0.1, 0.5, 0.5 + 1e-15, 1.0])))
@settings(max_examples=60, deadline=None)
def test_roc_auc_counts_ties_as_half(scores: np.ndarray) -> None:
    truth = np.arange(25) % 3 == 0
    pairs = np.subtract.outer(scores[truth], scores[~truth])
    assert metrics.roc_auc(truth, scores) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=TOLERANCE)
    assert metrics.roc_auc(truth, scores) == pytest.approx(1.0 - metrics.roc_auc(~truth, scores), abs=TOLERANCE)


@given(st.data(), st.integers(2, 4), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_every_score_equals_scikit_learn_or_is_nan(data: st.DataObject, num_classes: int, n: int) -> None:
    """Few frames, tied and certain probabilities, absent classes: a score that scikit-learn cannot define is NaN here."""
    labels = np.array(data.draw(st.lists(st.integers(0, num_classes - 1), min_size=n, max_size=n)))
    parts = data.draw(hnp.arrays(np.int64, (n, num_classes), elements=st.sampled_from([0, 0, 1, 1, 2, 5])))
    parts[parts.sum(axis=1) == 0] = 1
    chances = parts / parts.sum(axis=1, keepdims=True)
    called, present = chances.argmax(axis=1), np.unique(labels)
    got = metrics.score(labels, chances, ["T"] * n, [f"c{i}" for i in range(num_classes)])
    every = {"labels": range(num_classes), "average": None, "zero_division": np.nan}
    scores = [score(labels, called, **every) for score in (oracle.precision_score, oracle.recall_score, oracle.f1_score)]
    ones = np.eye(num_classes)[labels]
    areas = [oracle.roc_auc_score(ones[:, i], chances[:, i]) if 0 < ones[:, i].sum() < n else np.nan for i in range(num_classes)]
    averages = [oracle.average_precision_score(ones[:, i], chances[:, i]) if ones[:, i].any() else np.nan for i in range(num_classes)]
    for name, values in zip(("precision", "recall", "f1", "roc_auc", "average_precision"), (*scores, areas, averages), strict=True):
        mine = [one[name] for one in got.per_class.values()]
        np.testing.assert_allclose(mine, values, rtol=0, atol=TOLERANCE, err_msg=name)
        np.testing.assert_allclose(getattr(got, name), values[1] if num_classes == 2 else np.mean(values), rtol=0, atol=TOLERANCE)
    assert got.accuracy == pytest.approx(oracle.accuracy_score(labels, called), abs=TOLERANCE)
    recalls = oracle.recall_score(labels, called, labels=present, average=None)
    assert got.balanced_accuracy == pytest.approx(recalls.mean(), abs=TOLERANCE)
    assert got.log_loss == pytest.approx(oracle.log_loss(labels, chances, labels=range(num_classes)), abs=TOLERANCE)
    assert got.brier == pytest.approx(oracle.brier_score_loss(ones, chances), abs=TOLERANCE)
    assert got.macro_target_accuracy == got.accuracy


def test_log_loss_clips_certain_and_wrong() -> None:
    chances = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert metrics.log_loss([0, 1], chances) == pytest.approx(oracle.log_loss([0, 1], chances), abs=TOLERANCE)
    assert math.isfinite(metrics.log_loss([0, 1], chances))


def test_macro_target_accuracy_counts_each_target_once() -> None:
    labels, called = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 0])
    assert metrics.macro_target_accuracy(labels, called, ["a", "a", "a", "a", "b"]) == pytest.approx((0.75 + 0.0) / 2)


def test_a_class_without_frames_is_nan_not_zero() -> None:
    got = metrics.score([0, 0], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"], ["galaxy", "NSC"])
    assert got.accuracy == got.balanced_accuracy == got.majority_share == 1.0
    assert math.isnan(got.recall)
    assert math.isnan(got.roc_auc)
    assert got.per_class["NSC"]["frames"] == 0


def test_no_frames_are_nan() -> None:
    empty = np.array([], dtype=np.int64)
    assert math.isnan(metrics.accuracy(empty, empty))
    assert math.isnan(metrics.balanced_accuracy(metrics.confusion_matrix(empty, empty, 2)))
    assert math.isnan(metrics.macro_target_accuracy(empty, empty, []))
    assert math.isnan(metrics.log_loss(empty, np.zeros((0, 2))))


def test_score_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match="expected"):
        metrics.score([0, 1], [[1.0, 0.0]], ["a", "b"], ["x", "y"])
    with pytest.raises(UsageError, match="finite"):
        metrics.score([0], [[math.nan, 0.0]], ["a"], ["x", "y"])
    with pytest.raises(UsageError, match=r"0\.\.1"):
        metrics.confusion_matrix([0, 2], [0, 1], 2)


@given(hnp.arrays(np.float64, 25, elements=st.sampled_from([0.0, 0.1, 0.5, 0.5 + 1e-15, 1.0])))
@settings(max_examples=60, deadline=None)
def test_average_precision_lets_ties_pass_together(scores: np.ndarray) -> None:
    truth = np.arange(25) % 3 == 0
    assert metrics.average_precision(truth, scores) == pytest.approx(oracle.average_precision_score(truth, scores), abs=TOLERANCE)


def test_average_precision_needs_a_positive_frame() -> None:
    assert math.isnan(metrics.average_precision([False, False], [0.1, 0.9]))


def test_calibration_error_equals_a_calculation_by_hand() -> None:
    # two frames in (0.55, 0.6], one of them right; one in (0.95, 1], right; one at 0.8, which ends its bin, wrong
    chances = np.array([[0.4, 0.6], [0.42, 0.58], [0.03, 0.97], [0.8, 0.2]])
    by_hand = (abs(1 - (0.6 + 0.58)) + abs(1 - 0.97) + abs(0 - 0.8)) / 4
    assert metrics.calibration_error([1, 0, 1, 1], chances, bins=20) == pytest.approx(by_hand, abs=TOLERANCE)


def test_calibration_error_of_a_model_that_knows_itself_is_small() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1.0, 200_000)
    labels = (rng.random(sure.size) < sure).astype(np.int64)
    assert metrics.calibration_error(labels, np.stack([1 - sure, sure], axis=1)) < 0.005
    assert metrics.calibration_error(labels, np.stack([(1 - sure) ** 2, 1 - (1 - sure) ** 2], axis=1)) > 0.1
