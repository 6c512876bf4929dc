"""Work that waits for the network, in a few threads that an interruption does not have to wait for."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from zoo.transfer import Clock, StoppedError

_LINGER_S = 2.0  # threads that wait for a silent server are left behind after this; whatever they have written can be resumed

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(
    work: Callable[[Item], Result], items: Sequence[Item], ready: Callable[[Item, Result], None], *, threads: int, clock: Clock
) -> None:
    """Call ``work`` for every item in threads, and ``ready`` in this one with each item and its result, as they come.

    The first exception of ``work``, and Ctrl-C, stop the clock and are raised after the results that came meanwhile. The threads are
    daemons: one that waits for a silent server does not keep the program alive.
    """
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    results: list[tuple[Item, Result] | BaseException] = []  # not in the queue, from which Ctrl-C could lose the one being taken out
    arrived: queue.SimpleQueue[None] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def take() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item = todo.get_nowait()
                try:
                    clock.check()
                    results.append((item, work(item)))
                except BaseException as err:
                    results.append(err)
                    return
                finally:
                    arrived.put(None)

    running = [threading.Thread(target=take, daemon=True, name=f"zoo-fetch-{index}") for index in range(min(threads, len(items)))]
    for thread in running:
        thread.start()
    told = 0
    try:
        while told < len(items):
            arrived.get()
            result = results[told]
            if isinstance(result, BaseException):
                raise result
            ready(*result)
            told += 1
    except BaseException as err:
        clock.stop()
        until = time.monotonic() + _LINGER_S
        for thread in running:
            thread.join(max(until - time.monotonic(), 0))
        for result in results[told:]:
            if not isinstance(result, BaseException):
                ready(*result)
            elif isinstance(err, StoppedError) and not isinstance(result, StoppedError):
                raise result from None  # the cause of the stop came second
        raise
