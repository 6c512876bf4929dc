"""Percentiles and their floors, intervals against calculations by hand, the end of warm-up, budgets."""

from __future__ import annotations

import math
import random

import pytest
import scipy.stats

from zoo.errors import UsageError
from zoo.profiling.samples import interval_ranks, is_steady, parse_duration, percentile


def test_median_is_given_for_any_sample_and_other_percentiles_from_their_floors_on() -> None:
    for percent, floor in ((90, 64), (99, 662)):
        few, enough = (percentile([1.0] * count, percent) for count in (floor - 1, floor))
        assert few.value_s is None
        assert few.samples == floor - 1
        assert enough.value_s == 1.0
    assert percentile([3.0], 50).value_s == 3.0
    assert percentile([], 50).value_s is None


def test_median_is_the_mean_of_the_middle_and_others_are_samples_themselves() -> None:
    times = [float(number) for number in range(1, 1001)]
    random.Random(0).shuffle(times)
    assert percentile(times, 50).value_s == 500.5
    assert percentile(times, 90).value_s == 900.0
    assert percentile(times, 99).value_s == 990.0


# With 6 samples all lie on one side of the median with chance 2/64 = 3.1 %; with 5, 2/32 = 6.3 %. With 10, at most one on a side has chance
# (1 + 10)/1024 = 1.1 %, at most two (1 + 10 + 45)/1024 = 5.5 %: the second and the ninth sample.
@pytest.mark.parametrize(("count", "ranks"), [(0, None), (5, None), (6, (1, 6)), (10, (2, 9)), (9, (2, 8))])
def test_interval_of_the_median_by_hand(count: int, ranks: tuple[int, int] | None) -> None:
    assert interval_ranks(count, 0.5) == ranks


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [36, 64, 368, 662, 1000, 5000])
def test_intervals_hold_the_quantile_and_are_the_narrowest_that_do(count: int, share: float) -> None:
    ranks = interval_ranks(count, share)
    below = scipy.stats.binom(count, share)
    if ranks is None:  # not even the largest sample is surely above the quantile
        assert below.pmf(count) > 0.025
        return
    lower, upper = ranks
    assert below.cdf(lower - 1) <= 0.025 < below.cdf(lower)
    assert below.sf(upper - 1) <= 0.025 < below.sf(upper - 2)


def test_interval_covers_the_median_as_often_as_it_says() -> None:
    draw = random.Random(0)
    hits = 0
    for _ in range(2000):
        found = percentile([draw.expovariate(1.0) for _ in range(20)], 50)
        assert found.lower_s is not None
        assert found.upper_s is not None
        hits += found.lower_s <= math.log(2) <= found.upper_s
    assert hits / 2000 >= 0.945  # 0.959 for 20 samples; the standard error is 0.005


def test_warm_up_ends_when_two_groups_of_ten_agree_and_two_seconds_have_passed() -> None:
    assert not is_steady([1.0] * 19)
    assert is_steady([1.0] * 20)
    assert not is_steady([0.09] * 20)  # 1.8 s
    assert is_steady([0.09] * 23)
    assert not is_steady([1.03] * 10 + [1.0] * 10)
    assert is_steady([5.0] + [1.01] * 9 + [1.0] * 10)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2m", 120), ("1.5h", 5400), ("500ms", 0.5), ("90", 90), (45, 45), (0.5, 0.5), (" 2 M ", 120)]
)
def test_budgets(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-3", "ten", "3 days", "1e3", "s", float("nan"), float("inf"), 0])
def test_bad_budgets_are_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="30s, 2m or 90"):
        parse_duration(text)
