"""The methods against their definitions, their degenerate cases, and how often they hold the truth."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from zoo import intervals
from zoo.errors import UsageError
from zoo.evaluation import metrics
from zoo.settings import INTERVALS

ROOT = Path(__file__).resolve().parents[2]
CORRECT = [1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1]
TARGETS = list("aaaabbbccddd")


def _degrees(counts: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom of the jackknife, with the whole matrices."""
    g, w = counts.size, counts / counts.sum()
    deviations = (np.eye(g) - 1 / g) @ np.diag(w / (1 - w)) @ (np.eye(g) - np.outer(np.ones(g), w))
    form = deviations.T @ deviations
    return float(np.trace(form) ** 2 / np.trace(form @ form))


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
    degrees = _degrees(np.array([(targets == name).sum() for name in names]))
    centre, half = math.log(p / (1 - p)), float(stats.t.ppf(0.975, degrees)) * error
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
    alike = np.array([1 / TARGETS.count(name) for name in TARGETS])
    again = intervals.jackknife(
        lambda mask: metrics.macro_target_accuracy(ones[mask], correct[mask], names[mask].tolist()), TARGETS, weights=alike
    )
    assert (macro.lower, macro.upper) == pytest.approx((again.lower, again.upper), abs=1e-12)


@pytest.mark.parametrize("counts", [[6] * 24, [226, 190, 182, 64, 38, 38, 5], [3, 1], [300, 10, 10]], ids=str)
def test_degrees_of_freedom_equal_the_whole_matrices(counts: list[int]) -> None:
    weights = np.array(counts, dtype=float)
    got = intervals.degrees_of_freedom(weights)
    assert got == pytest.approx(_degrees(weights), rel=1e-9)
    assert got == pytest.approx(intervals.degrees_of_freedom(7 * weights), rel=1e-9)
    if len(set(counts)) == 1:
        assert got == pytest.approx(len(counts) - 1)


@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_interval_does_not_depend_on_the_order_of_frames(method: str) -> None:
    order = np.random.default_rng(0).permutation(len(CORRECT))
    shuffled = intervals.accuracy_interval(np.array(CORRECT)[order], [TARGETS[i] for i in order], method=method)
    straight = intervals.accuracy_interval(CORRECT, TARGETS, method=method)
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


def test_bootstrap_equals_the_definition() -> None:
    """Every resample made of its targets, one at a time."""
    hits, counts = np.array([5, 9, 2, 8, 3, 6, 4.0]), np.array([6, 10, 5, 9, 5, 6, 8.0])
    g, p = hits.size, hits.sum() / counts.sum()

    def error(h: np.ndarray, n: np.ndarray) -> float:
        share = h.sum() / n.sum()
        return math.sqrt(g / (g - 1) * ((h - share * n) ** 2).sum()) / n.sum() / (share * (1 - share))

    away = []
    for times in np.random.default_rng(0).multinomial(g, np.full(g, 1 / g), 1999):
        h, n = hits.repeat(times), counts.repeat(times)
        if h.sum() == n.sum():
            away.append(math.inf)
        else:
            away.append((math.log(h.sum() / (n - h).sum()) - math.log(p / (1 - p))) / error(h, n))
    low, high = np.quantile(away, [0.025, 0.975], method="higher")
    centre, spread = math.log(p / (1 - p)), error(hits, counts)
    got = intervals.count_interval(hits, counts, [f"T{i}" for i in range(g)], method="bootstrap")
    assert got.method == "bootstrap"
    assert got.lower == pytest.approx(1 / (1 + math.exp(high * spread - centre)), rel=1e-9)
    assert got.upper == pytest.approx(1 / (1 + math.exp(low * spread - centre)), rel=1e-9)


@pytest.mark.parametrize(
    ("hits", "counts", "reason"),
    [
        ([2, 2], [2, 2], "the score is 1"),
        ([1], [2], "fewer than 2 targets"),
        ([1, 2, 3], [2, 4, 6], "every target has the same score"),
        ([9] * 20 + [3], [9] * 21, "too many resamples of the targets score 1"),
    ],
)
def test_bootstrap_says_why_there_is_no_interval(hits: list[int], counts: list[int], reason: str) -> None:
    got = intervals.count_interval(hits, counts, [f"T{i}" for i in range(len(hits))], method="bootstrap")
    assert got.reason.startswith(reason)
    assert math.isnan(got.lower)
    assert got.bound == got.floor < 1.0


def test_interval_by_frame_is_that_of_wilson() -> None:
    got = intervals.accuracy_interval(CORRECT, TARGETS, method="frame")
    expected = stats.binomtest(sum(CORRECT), len(CORRECT)).proportion_ci(0.95, "wilson")
    assert (got.lower, got.upper) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert got.n_targets == 4
    assert intervals.macro_interval(CORRECT, TARGETS, method="frame").reason == "--interval frame is for shares of frames"


def test_p_value_belongs_to_the_interval() -> None:
    hits, counts, names = [5, 9, 2, 8], [6, 10, 5, 9], list("abcd")
    p_value = intervals.exceeding_p(hits, counts, names, 0.5)
    assert intervals.count_interval(hits, counts, names, level=1 - 2 * p_value).lower == pytest.approx(0.5, abs=1e-9)


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
    with pytest.raises(UsageError, match="interval must be one of jackknife, bootstrap, frame, got 'normal'"):
        intervals.accuracy_interval([1, 0], ["a", "b"], method="normal")


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


def test_the_coverage_that_is_quoted_is_the_recorded_one() -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "intervals.json").read_text())
    shipped = json.loads((ROOT / "zoo" / "intervals" / "coverage.json").read_text())
    assert shipped["layouts"] == recorded["layouts"]
    for one, other in zip(shipped["results"], recorded["results"], strict=True):
        assert [one[key] for key in ("layout", "accuracy", "intra_target_correlation")] == [
            other[key] for key in ("layout", "accuracy", "intra_target_correlation")
        ]
        assert one["coverage"] == {method: shares["coverage"] for method, shares in other["methods"].items()}


def test_the_default_holds_the_truth_most_reliably() -> None:
    results = json.loads((ROOT / "zoo" / "intervals" / "coverage.json").read_text())["results"]
    lowest = {method: min(cell["coverage"][method] for cell in results) for method in intervals.METHODS}
    assert tuple(intervals.METHODS) == INTERVALS
    assert lowest[intervals.DEFAULT] == max(lowest.values()) >= 0.93


def test_quoted_coverage_is_that_of_the_nearest_layout_and_accuracy() -> None:
    results = json.loads((ROOT / "zoo" / "intervals" / "coverage.json").read_text())["results"]
    cells = [cell for cell in results if cell["layout"] == "24 targets of 6" and cell["accuracy"] == 0.88]
    got = intervals.simulated_coverage([7] * 20, 0.9, method="bootstrap")
    assert got.simulated == min(cell["coverage"]["bootstrap"] for cell in cells)
    assert (got.nominal, got.of) == (0.95, "24 targets of 6 frames, accuracy 0.88")
    assert str(got) == f"nominal 95 %, {100 * got.simulated:.1f} % in simulation (24 targets of 6 frames, accuracy 0.88)"
    assert intervals.simulated_coverage([200, 150, 30, 10, 3], 1.0).of == "7 targets of 5 to 226 frames, accuracy 0.95"
    assert intervals.simulated_coverage([200, 150, 80, 90, 70, 30, 40] * 3, 0.0).of == "21 targets of 5 to 226 frames, accuracy 0.75"
