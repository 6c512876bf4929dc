"""How a budget is spent on warm-up and samples, on a clock that only the runs move."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
import torch

from zoo.profiling.samples import Block, Lap
from zoo.profiling.sampling import Clock, Timing, take_blocks, take_samples, take_windows


def simulate(durations: Iterable[float], budget_s: float) -> Timing:
    """Runs that take these times, the last for ever."""
    time_s = 0.0
    runs = iter(durations)
    last = 0.0

    def measure() -> Lap:
        nonlocal time_s, last
        last = next(runs, last)
        time_s += last
        return Lap(last, last)

    return take_samples(measure, budget_s, now=lambda: time_s)


def test_steady_times_are_sampled_until_the_budget_is_used() -> None:
    timing = simulate([1.5, *[0.5] * 500], 100.0)
    assert timing.steady
    assert timing.warmup == 20
    assert timing.first_s == 1.5
    assert len(timing.samples_s) == 178  # of the 100 s, 11 went to the warm-up
    assert set(timing.samples_s) == {0.5}


def test_warm_up_takes_at_most_a_quarter_of_the_budget() -> None:
    timing = simulate(itertools.cycle([1.0, 2.0, 3.0]), 60.0)
    assert not timing.steady
    assert timing.warmup in (7, 8)
    assert 12 <= sum(timing.samples_s) <= 46


def test_a_first_run_that_leaves_no_room_is_the_sample() -> None:
    timing = simulate([70.0], 60.0)
    assert timing.samples_s == (70.0,)
    assert (timing.warmup, timing.steady, timing.first_s) == (0, False, 70.0)


def test_a_second_run_that_fits_makes_the_first_the_warm_up() -> None:
    timing = simulate([20.0, 19.0], 60.0)
    assert timing.warmup == 1
    assert timing.samples_s == (19.0, 19.0)


def test_enough_samples_end_it_before_the_budget() -> None:
    timing = simulate([0.01], 1e6)
    assert len(timing.samples_s) == 1000
    assert timing.warmup == 200  # 2 s


def test_clock_measures_the_call_on_the_cpu() -> None:
    calls: list[int] = []
    lap = Clock(torch.device("cpu"))(lambda: calls.append(1))
    assert calls == [1]
    assert lap.wall_s >= 0.0
    assert lap.processor_s >= 0.0
    assert lap.device_s is None


def test_cuda_clock_waits_before_and_after_and_reads_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            order.append("record")

        def elapsed_time(self, other: Event) -> float:
            return 12.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append("wait"))
    lap = Clock(torch.device("cuda", 0))(lambda: order.append("step"))
    assert order == ["wait", "record", "step", "record", "wait"]
    assert lap.device_s == 0.0125


def test_blocks_are_steps_and_calibrations_in_turn() -> None:
    time_s = 0.0

    def take(seconds: float) -> Lap:
        nonlocal time_s
        time_s += seconds
        return Lap(seconds, seconds / 2, seconds / 4)

    blocks = take_blocks(lambda: take(0.02), lambda: take(0.004), 10.0, once_s=0.02, now=lambda: time_s)
    assert len(blocks) in (137, 138)  # each 3 runs and 3 calibrations, 72 ms, after 3 of both that warm up
    assert blocks[0] == Block(pytest.approx(Lap(0.02, 0.01, 0.005)), pytest.approx(Lap(0.004, 0.002, 0.001)))
    assert time_s <= 10.0


def test_no_block_is_made_where_the_budget_does_not_hold_enough() -> None:
    def never() -> Lap:
        pytest.fail("a run was made")

    assert take_blocks(never, never, 10.0, once_s=0.5) == ()


@pytest.mark.parametrize(("times", "count"), [([1.0], 3), ([1.0, 1.0, 1.0, 1.3, 1.3, 1.3, *[1.0] * 60], 5), ([7.0], 2)])
def test_windows_end_once_three_agree_or_the_budget_is_used(times: list[float], count: int) -> None:
    time_s, runs = 0.0, iter(times)
    last = times[0]

    def step() -> None:
        nonlocal time_s, last
        last = next(runs, last)
        time_s += last

    windows = take_windows(step, lambda: None, 24.0, frames=2, now=lambda: time_s)
    assert len(windows) == count
    assert windows[-1] == pytest.approx(2 / last)
