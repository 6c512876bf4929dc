"""Where a curve has lost 5 points: by hand."""

from __future__ import annotations

import math

import pytest

from zoo.intervals import Interval
from zoo.robustness.result import Crossing, Point, find_crossing


def curve(levels: list[float], drops: list[float], half: float = 0.02, unknown: tuple[int, ...] = ()) -> list[Point]:
    """Points whose drops have intervals of a half width; those of some levels have none."""
    points = []
    for place, (level, drop) in enumerate(zip(levels, drops, strict=True)):
        ends = (0.0, 0.0) if place == 0 else (drop - half, drop + half)
        interval = Interval(drop, math.nan, math.nan, 9, "one target") if place in unknown else Interval(drop, *ends, 9)
        points.append(Point(level, Interval(0.9 - drop, 0.8, 0.95, 9), interval, 100, 9, 0, 0, 0.8))
    return points


def test_the_loss_is_interpolated_between_two_levels() -> None:
    crossing = find_crossing(curve([0.0, 1.0, 2.0, 4.0], [0.0, 0.02, 0.04, 0.08]))
    # 0.05 lies a quarter of the way from 0.04 to 0.08; the upper ends are 0, 0.04, 0.06, the lower ones 0, 0, 0.02, 0.06.
    assert (crossing.level, crossing.first, crossing.last) == pytest.approx((2.5, 1.5, 3.5))
    assert crossing.reason == ""


def test_levels_may_fall_as_frames_get_worse() -> None:
    crossing = find_crossing(curve([1.0, 0.5, 0.1], [0.0, 0.025, 0.075], half=0.0))
    assert (crossing.level, crossing.first, crossing.last) == pytest.approx((0.3, 0.3, 0.3))


def test_the_first_of_several_crossings_counts() -> None:
    assert find_crossing(curve([0.0, 1.0, 2.0, 3.0], [0.0, 0.1, 0.0, 0.2])).level == pytest.approx(0.5)


def test_a_loss_of_exactly_5_points_is_one() -> None:
    # 19 of 20 frames: 1 - 0.95 is 0.05 plus a rounding step, and 0.05 minus one may come out of other sums.
    assert find_crossing(curve([0.0, 1.0], [0.0, 0.05 - 1e-17])).level == pytest.approx(1.0)


def test_what_is_not_within_the_range_is_not_invented() -> None:
    crossing = find_crossing(curve([0.0, 1.0, 2.0], [0.0, -0.01, 0.04]))
    assert (crossing.level, crossing.last) == (None, None)
    assert crossing.first == pytest.approx(1 + 0.04 / 0.05)
    assert crossing.reason == "not within the range: at most 4.0 points are lost (95 %: up to 6.0)"
    assert find_crossing([]) == Crossing(None, None, None, "no frames")


def test_a_level_without_an_interval_excludes_and_proves_nothing() -> None:
    crossing = find_crossing(curve([0.0, 1.0, 2.0, 3.0], [0.0, 0.01, 0.1, 0.2], half=0.01, unknown=(2,)))
    assert crossing.level == pytest.approx(1 + 0.04 / 0.09)
    assert crossing.first == 1.0  # the last level at which it is excluded
    assert crossing.last == 3.0  # the first at which it is certain
