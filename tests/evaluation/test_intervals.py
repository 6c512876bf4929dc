"""The jackknife against its definition, its degenerate cases, and how often it covers the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from zoo import intervals
from zoo.errors import UsageError
from zoo.evaluation import metrics

CORRECT = [1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1]
TARGETS = list("aaaabbbccddd")


def _by_hand(correct: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """The definition, one target at a time."""
    names = sorted(set(targets.tolist()))
    thetas = []
    for name in names:
        p = correct[targets != name].mean()
        thetas.append(math.log(p / (1 - p)))
    g = len(names)
    error = math.sqrt((g - 1) / g * sum((t - sum(thetas) / g) ** 2 for t in thetas))
    p = correct.mean()
    centre, half = math.log(p / (1 - p)), float(stats.t.ppf(0.975, g - 1)) * error
    return 1 / (1 + math.exp(half - centre)), 1 / (1 + math.exp(-half - centre))


def test_accuracy_interval_equals_the_definition() -> None:
    got = intervals.accuracy_interval(CORRECT, TARGETS)
    low, high = _by_hand(np.array(CORRECT), np.array(TARGETS))
    assert got.reason == ""
    assert got.n_targets == 4
    assert (got.lower, got.upper) == pytest.approx((low, high), abs=1e-12)
    assert got.lower < got.estimate < got.upper
    assert got.bound == got.lower


def test_jackknife_of_any_statistic_agrees_with_the_closed_form() -> None:
    correct = np.array(CORRECT, dtype=bool)
    closed = intervals.accuracy_interval(correct, TARGETS)
    general = intervals.jackknife(lambda mask: float(correct[mask].mean()), TARGETS)
    assert (general.lower, general.upper) == pytest.approx((closed.lower, closed.upper), abs=1e-12)
    macro = intervals.macro_interval(correct, TARGETS)
    names, ones = np.array(TARGETS), np.ones(len(TARGETS))
    again = intervals.jackknife(lambda mask: metrics.macro_target_accuracy(ones[mask], correct[mask], names[mask].tolist()), TARGETS)
    assert (macro.lower, macro.upper) == pytest.approx((again.lower, again.upper), abs=1e-12)


def test_interval_does_not_depend_on_the_order_of_frames() -> None:
    order = np.random.default_rng(0).permutation(len(CORRECT))
    shuffled = intervals.accuracy_interval(np.array(CORRECT)[order], [TARGETS[i] for i in order])
    straight = intervals.accuracy_interval(CORRECT, TARGETS)
    assert (shuffled.lower, shuffled.upper) == pytest.approx((straight.lower, straight.upper), abs=1e-12)


@pytest.mark.parametrize(
    ("correct", "targets", "reason"),
    [
        ([1, 1, 1], ["a", "b", "c"], "the score is 1"),
        ([0, 0, 0], ["a", "b", "c"], "the score is 0"),
        ([1, 0], ["a", "a"], "fewer than 2 targets"),
        ([1, 1, 1, 0], ["a", "a", "b", "c"], "without target c the score is 1"),
        ([1, 0, 1, 0], ["a", "a", "b", "b"], "every target has the same score"),
    ],
)
def test_degenerate_cases_say_why(correct: list[int], targets: list[str], reason: str) -> None:
    got = intervals.accuracy_interval(correct, targets)
    assert got.reason.startswith(reason)
    assert math.isnan(got.lower)
    assert math.isnan(got.upper)
    assert str(got).startswith("n/a (")
    assert 0.0 <= got.floor < 1.0
    assert got.bound == got.floor


def test_floor_is_the_exact_bound_of_wholly_right_targets() -> None:
    all_right = intervals.accuracy_interval(np.ones(48), [f"t{i // 2}" for i in range(48)])
    assert all_right.floor == pytest.approx(0.025 ** (1 / 24), abs=1e-12)
    one_wrong = intervals.accuracy_interval([0] + [1] * 47, [f"t{i // 2}" for i in range(48)])
    assert one_wrong.floor == pytest.approx(stats.binomtest(23, 24).proportion_ci(0.95, "exact").low, abs=1e-9)


def test_statistic_that_a_deletion_leaves_undefined_has_no_interval() -> None:
    labels = np.array([0, 0, 1])
    got = intervals.jackknife(lambda mask: metrics.roc_auc(labels[mask] == 1, np.array([0.1, 0.9, 0.5])[mask]), ["a", "b", "nsc"])
    assert got.reason == "not defined without target nsc"
    assert math.isnan(got.bound)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        intervals.accuracy_interval([], [])
    with pytest.raises(UsageError, match="same number"):
        intervals.accuracy_interval([1, 0], ["a"])
    with pytest.raises(UsageError, match="level"):
        intervals.accuracy_interval([1, 0], ["a", "b"], level=95)


def test_coverage_by_target_holds_where_by_frame_fails() -> None:
    """24 targets of 2 to 12 frames, accuracy 0.8, intra-target correlation 0.3: 400 draws of a beta-binomial."""
    rng = np.random.default_rng(2)
    accuracy, correlation = 0.8, 0.3
    strength = 1 / correlation - 1
    sizes = np.array([2, 3, 4, 6, 8, 12] * 4)
    targets = np.repeat(np.arange(24), sizes).astype(str).tolist()
    by_target = by_frame = 0
    for _ in range(400):
        chance = rng.beta(accuracy * strength, (1 - accuracy) * strength, 24)
        correct = rng.random(sizes.sum()) < np.repeat(chance, sizes)
        got = intervals.accuracy_interval(correct, targets)
        by_target += got.lower <= accuracy <= got.upper
        half = 1.96 * math.sqrt(correct.mean() * (1 - correct.mean()) / correct.size)
        by_frame += abs(correct.mean() - accuracy) <= half
    assert by_target / 400 >= 0.92
    assert by_frame / 400 <= 0.80


def test_holm_equals_a_hand_calculation() -> None:
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert intervals.holm([0.2]) == [0.2]
    assert intervals.holm([]) == []
