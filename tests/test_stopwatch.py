"""Marks on the way of a frame: who gets which time, and that they are silent where nobody listens."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from zoo import stopwatch
from zoo.stopwatch import Stopwatch, listening, part


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time in seconds; a test moves it on."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    yield now
    assert not listening()


def test_the_innermost_mark_gets_the_time_and_all_of_it_is_given(clock: list[float]) -> None:
    with Stopwatch() as watch:
        clock[0] += 1
        with part("gate"):
            clock[0] += 2
            with part("read"):
                clock[0] += 4
            clock[0] += 8
        with part("read"):
            clock[0] += 16
        clock[0] += 32
    assert watch.seconds == {"gate": 10.0, "read": 20.0}
    assert watch.uncovered_s == 33.0


def test_a_mark_ends_with_an_error_inside_it(clock: list[float]) -> None:
    def fail() -> None:
        with part("gate"):
            clock[0] += 1
            raise ValueError("planted")

    with Stopwatch() as watch:
        with pytest.raises(ValueError, match="planted"):
            fail()
        clock[0] += 2
    assert (watch.seconds, watch.uncovered_s) == ({"gate": 1.0}, 2.0)


def test_the_device_is_waited_for_at_every_mark(clock: list[float]) -> None:
    def wait() -> None:
        clock[0] += 1

    with Stopwatch(wait) as watch, part("model"):
        pass
    assert watch.seconds == {"model": 1.0}


def test_nothing_happens_where_nobody_listens_or_in_another_thread(clock: list[float]) -> None:
    with part("read"):
        assert not listening()
    heard: list[bool] = []
    with Stopwatch() as watch:
        thread = threading.Thread(target=lambda: heard.append(listening()))
        thread.start()
        thread.join()
        assert listening()
    assert heard == [False]
    assert watch.seconds == {}
