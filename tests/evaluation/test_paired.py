"""Paired statistics: equal to brute force and to scipy, honest on frames that go together by target."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, t

from zoo.errors import UsageError
from zoo.evaluation.paired import difference_interval, mcnemar_p, sign_flip_p, smallest_p, target_sums
from zoo.intervals import degrees_of_freedom


def brute_force(sums: list[int]) -> float:
    """The share of all sign patterns whose total is as far from 0, each pattern written out."""
    totals = [
        abs(sum(sign * value for sign, value in zip(signs, sums, strict=True))) for signs in itertools.product((-1, 1), repeat=len(sums))
    ]
    return sum(total >= abs(sum(sums)) for total in totals) / len(totals)


@pytest.mark.parametrize(
    "sums",
    [[3], [1, -1], [5, 0, 0], [2, 3, -1, 4], [1, 1, 1, 1, 1, 1], [-7, 2, 2, -1, 3, 0, 5], [10, -3, 4, 4, -6, 1, 1, 2, -2, 8]],
    ids=str,
)
def test_sign_flip_equals_brute_force(sums: list[int]) -> None:
    assert sign_flip_p(sums) == pytest.approx(brute_force(sums), abs=1e-14)
    assert sign_flip_p([-value for value in sums]) == pytest.approx(sign_flip_p(sums), abs=1e-14)


def test_sign_flip_equals_brute_force_on_random_sums() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        sums = rng.integers(-6, 7, rng.integers(1, 11)).tolist()
        assert sign_flip_p(sums) == pytest.approx(brute_force(sums), abs=1e-14)


def test_sign_flip_of_no_difference_is_one() -> None:
    assert sign_flip_p([0, 0, 0]) == 1.0
    assert sign_flip_p([4, -4]) == 1.0


def test_sign_flip_takes_many_targets_and_frames() -> None:
    assert sign_flip_p([50] * 400) == pytest.approx(2.0**-399, rel=1e-9)
    assert sign_flip_p([200, -200] * 200) == 1.0


@pytest.mark.parametrize("sums", [[1, 2, 3, 4], [1, -1, 2, 0, 5]])
def test_smallest_p_is_that_of_one_model_ahead_everywhere(sums: list[int]) -> None:
    assert smallest_p(sums) == sign_flip_p(np.abs(sums))
    assert smallest_p(sums) <= sign_flip_p(sums)


def test_sign_flip_holds_its_level_where_mcnemar_does_not() -> None:
    """2,000 draws of two equal models on 12 targets whose frames go together; three standard errors of allowance."""
    rng = np.random.default_rng(8)
    sizes = rng.integers(5, 40, 12)
    targets = np.repeat([f"T{i:02d}" for i in range(12)], sizes).tolist()
    by_target = by_frame = 0
    draws = 2000
    for _ in range(draws):
        one, two = (rng.random(sizes.sum()) < np.repeat(rng.beta(4.0, 1.0, 12), sizes) for _ in range(2))
        by_target += sign_flip_p(target_sums(one, two, targets)[0]) < 0.05
        by_frame += mcnemar_p(int((one & ~two).sum()), int((two & ~one).sum())) < 0.05
    assert by_target / draws < 0.05 + 3 * (0.05 * 0.95 / draws) ** 0.5
    assert by_target / draws > 0.02  # it can reject
    assert by_frame / draws > 0.3


@pytest.mark.parametrize(("one", "two"), [(0, 0), (1, 0), (3, 3), (9, 2), (2, 9), (40, 21), (250, 200)])
def test_mcnemar_equals_scipy(one: int, two: int) -> None:
    expected = binomtest(one, one + two).pvalue if one + two else 1.0
    assert mcnemar_p(one, two) == pytest.approx(expected, rel=1e-10)


def test_target_sums_count_who_is_right_alone() -> None:
    first, second = [True, True, False, True, False], [True, False, True, False, False]
    sums, counts = target_sums(first, second, ["b", "b", "a", "b", "a"])
    assert sums.tolist() == [-1, 2]
    assert counts.tolist() == [2, 3]
    with pytest.raises(UsageError, match="expected the same number"):
        target_sums(first, second, ["a"])
    with pytest.raises(UsageError, match="at least one"):
        target_sums([], [], [])


def test_difference_interval_equals_a_hand_calculation() -> None:
    interval = difference_interval([2, 0, -1, 1], [10, 10, 20, 10])
    without = np.array([0 / 40, 2 / 40, 3 / 30, 1 / 40])
    variance = 3 / 4 * ((without - without.mean()) ** 2).sum()
    degrees = degrees_of_freedom(np.array([10.0, 10.0, 20.0, 10.0]))
    assert 1 < degrees < 3
    half = t.ppf(0.975, degrees) * variance**0.5
    assert interval.estimate == pytest.approx(2 / 50)
    assert interval.lower == pytest.approx(2 / 50 - half)
    assert interval.upper == pytest.approx(2 / 50 + half)
    assert (interval.n_targets, interval.reason) == (4, "")


def test_difference_interval_stays_in_range() -> None:
    interval = difference_interval([4, 3, -4], [4, 4, 4])
    assert interval.lower == -1.0
    assert interval.upper == 1.0


@pytest.mark.parametrize(
    ("sums", "counts", "reason"), [([3], [9], "fewer than 2 targets"), ([0, 0], [3, 4], "every target has the same difference")]
)
def test_difference_without_an_interval_says_why(sums: list[int], counts: list[int], reason: str) -> None:
    interval = difference_interval(sums, counts)
    assert interval.reason.startswith(reason)
    assert np.isnan(interval.lower)
    assert interval.estimate == sum(sums) / sum(counts)


def test_difference_interval_refuses_a_level_out_of_range() -> None:
    with pytest.raises(UsageError, match="level must lie in"):
        difference_interval([1, 2], [3, 3], level=1.0)
