"""The logistic regression against scikit-learn, and what happens to NaN, constants, one class and tiny data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.logistic import PENALTIES, Logistic, fit_binary


def sample(count: int = 90, columns: int = 6, classes: int = 2) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(3)
    labels = np.arange(count) % classes
    features = random.normal(size=(count, columns)) + 0.8 * labels[:, None] * (np.arange(columns) < 2)
    return features, labels, [f"T{i // 3}" for i in range(count)]


@pytest.mark.parametrize("columns", [6, 120], ids=["tall", "wide"])
@pytest.mark.parametrize("penalty", PENALTIES[::2])
def test_fit_binary_equals_scikit_learn(penalty: float, columns: int) -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels, _ = sample(columns=columns)
    weights, intercept = fit_binary(features, labels == 1, penalty)
    oracle = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(features, labels)
    np.testing.assert_allclose(weights, oracle.coef_[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(intercept, oracle.intercept_[0], rtol=1e-4, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PENALTIES), st.integers(1, 40))
def test_fit_binary_gradient_vanishes(seed: int, penalty: float, columns: int) -> None:
    random = np.random.default_rng(seed)
    features, positive = random.normal(size=(20, columns)) * 10.0 ** random.integers(-2, 3), np.arange(20) % 4 == 0
    weights, intercept = fit_binary(features, positive, penalty)
    residual = 1 / (1 + np.exp(-(features @ weights + intercept))) - positive
    scale = np.abs(features).sum(axis=0).max() + 1
    assert np.abs(features.T @ residual + penalty * weights).max() < 1e-4 * scale
    assert abs(residual.sum()) < 1e-4 * len(positive)


def test_logistic_separates_what_can_be_separated() -> None:
    features, labels, groups = sample()
    features[:, 0] = labels * 2.0 - 1
    model = Logistic.fit(features, labels, groups, classes=2)
    chance = model.predict(features)
    np.testing.assert_allclose(chance.sum(axis=1), 1)
    assert (chance.argmax(axis=1) == labels).all()
    assert np.isfinite(model.weights).all()


def test_logistic_shrinks_where_there_is_nothing_to_learn() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 200)), np.arange(60) % 2
    model = Logistic.fit(features, labels, [f"T{i}" for i in range(60)], classes=2)
    assert model.penalty >= 100


def test_logistic_holds_out_whole_targets() -> None:
    # Every target is recognisable, and its label has nothing to do with the rest: only held-out frames, not targets, could gain.
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(20), 10)
    features = np.eye(20)[targets] + 0.01 * random.normal(size=(200, 20))
    by_target = Logistic.fit(features, targets % 2, [str(t) for t in targets], classes=2)
    by_frame = Logistic.fit(features, targets % 2, [str(i) for i in range(200)], classes=2)
    assert by_target.penalty > by_frame.penalty


def test_logistic_nan_counts_as_the_mean() -> None:
    features, labels, groups = sample()
    features[::7, 1] = np.nan
    features[:, 3] = np.nan
    features[:, 4] = 5.0
    model = Logistic.fit(features, labels, groups, classes=2)
    known = features[:, 1][np.isfinite(features[:, 1])]
    assert model.mean[1] == pytest.approx(known.mean())
    assert model.scale[1] == pytest.approx(known.std())
    assert (model.scale[3], model.weights[0, 3], model.weights[0, 4]) == (1.0, 0.0, 0.0)
    filled = np.where(np.isfinite(features), features, model.mean)
    np.testing.assert_array_equal(model.predict(features), model.predict(filled))


def test_logistic_more_classes_one_against_the_rest() -> None:
    features, labels, groups = sample(classes=3)
    features += 3 * np.eye(6)[labels]
    model = Logistic.fit(features, labels, groups, classes=3)
    assert model.weights.shape == (3, 6)
    assert (model.predict(features).argmax(axis=1) == labels).mean() > 0.8
    np.testing.assert_allclose(model.predict(features).sum(axis=1), 1)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]])
def test_logistic_survives_too_little_data(labels: list[int]) -> None:
    features = np.arange(8.0).reshape(4, 2)
    model = Logistic.fit(features, np.array(labels), ["a", "b", "c", "d"], classes=2)
    assert np.isfinite(model.predict(features)).all()
    assert (model.predict(features)[:, 1] > 0.5).tolist() == [bool(round(sum(labels) / 4))] * 4 or len(set(labels)) == 2


def test_logistic_round_trips_through_json() -> None:
    features, labels, groups = sample()
    model = Logistic.fit(features, labels, groups, classes=2)
    again = Logistic.from_dict(json.loads(json.dumps(model.to_dict())))
    np.testing.assert_array_equal(again.predict(features), model.predict(features))
    with pytest.raises(ValueError, match="lengths"):
        Logistic.from_dict({**model.to_dict(), "mean": [0.0]})
