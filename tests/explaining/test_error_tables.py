"""Error rates against facts of the frames: bins, counts and the separation, by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from zoo.explaining.gallery import choose_right, choose_worst
from zoo.explaining.result import FrameFacts
from zoo.explaining.tables import quantile_bins, tabulate_errors
from zoo.intervals import accuracy_interval

_NAN = float("nan")


def _frame(number: int, *, wrong: bool = False, target: str = "", filled: float = _NAN, loss: float = 0.1) -> FrameFacts:
    label = "galaxy" if number % 2 else "NSC"
    other = "NSC" if label == "galaxy" else "galaxy"
    return FrameFacts(
        path=f"/sky/{number}.fits",
        hdu=0,
        plane=None,
        target=target or f"T{number % 6}",
        label=label,
        predicted=other if wrong else label,
        probability=0.8,
        loss=loss,
        signal_to_noise=_NAN,
        filled=filled,
        offset_arcmin=_NAN,
        nearest_other=None,
        distance_other=_NAN,
        nearest_same=None,
        distance_same=_NAN,
        ratio=_NAN,
    )


def test_table_by_hand() -> None:
    # 20 frames in two bins: of the ten emptiest six are wrong, of the others one.
    frames = [_frame(number, filled=number / 100, wrong=number in (0, 1, 2, 3, 4, 5, 15)) for number in range(20)]
    frames.append(_frame(20, wrong=True))
    table = next(table for table in tabulate_errors(frames) if table.fact == "filled")
    assert table.speaks_to == "too few features"
    assert table.missing == 1
    low, high = table.rows
    assert (low.n_frames, low.n_wrong, low.n_targets, low.error_rate, low.name) == (10, 6, 6, 0.6, "0 to 0.09")
    assert (high.n_frames, high.n_wrong, high.error_rate, high.lower, high.upper) == (10, 1, 0.1, 0.10, 0.19)
    wrong = [frame.wrong for frame in frames[:10]]
    assert low.interval == accuracy_interval(wrong, [frame.target for frame in frames[:10]])
    # Of the 7 x 13 pairs the wrong frame is the fuller one in 9: frame 15 against 6 to 14.
    assert table.separation.estimate == pytest.approx(9 / 91)
    assert table.separation.n_targets == 6


def test_facts_that_are_not_known_have_empty_tables() -> None:
    tables = {table.fact: table for table in tabulate_errors([_frame(number, wrong=number < 2) for number in range(20)])}
    assert tables["signal_to_noise"].rows == ()
    assert tables["signal_to_noise"].missing == 20
    assert math.isnan(tables["signal_to_noise"].separation.estimate)
    assert tables["signal_to_noise"].separation.reason
    assert len(tables["loss"].rows) == 1  # all the same


def test_no_errors_and_nothing_but_errors_have_no_separation() -> None:
    for wrong, reason in ((False, "no wrong frames"), (True, "no right frames")):
        tables = tabulate_errors([_frame(number, wrong=wrong, filled=number) for number in range(9)])
        assert {table.separation.reason for table in tables if table.missing == 0} == {reason}


@pytest.mark.parametrize(
    ("values", "sizes"),
    [
        (range(50), [10] * 5),
        (range(17), [8, 9]),
        (range(3), [3]),
        ([0.0] * 30 + [1.0] * 20, [30, 20]),
        ([0.0] * 48 + [1.0] * 2, [50]),
        ([0.0] * 2 + [1.0] * 30 + [2.0] * 18, [32, 18]),
        ([math.inf] * 10 + [1.0] * 10, [10, 10]),
        ([], []),
    ],
)
def test_bins_hold_as_many_frames_each_and_equal_values_together(values: list[float], sizes: list[int]) -> None:
    given = np.array(list(values), dtype=np.float64)
    masks = quantile_bins(given)
    assert [int(mask.sum()) for mask in masks] == sizes
    for lower, upper in itertools.pairwise(masks):
        assert given[lower].max() < given[upper].min()


def test_gallery_takes_the_worst_of_every_target_before_a_second_one() -> None:
    frames = [_frame(number, wrong=True, target="crowded", loss=10 - number) for number in range(5)]
    frames += [_frame(5, wrong=True, target="A", loss=1), _frame(6, wrong=True, target="B", loss=0.9), _frame(7, loss=0.01)]
    assert choose_worst(frames, 3) == [0, 5, 6]
    assert choose_worst(frames, 4) == [0, 1, 5, 6]
    assert choose_worst(frames, 12) == [0, 1, 5, 6]  # two of one target at most
    assert choose_worst(frames, 0) == []


def test_gallery_takes_the_surest_right_frame_of_each_class() -> None:
    frames = [_frame(1, loss=0.3), _frame(3, loss=0.2), _frame(2, wrong=True, loss=3), replace(_frame(4), loss=0.4)]
    assert choose_right(frames, ("galaxy", "NSC")) == [1, 3]
    assert choose_right(frames[:3], ("galaxy", "NSC")) == [1]
