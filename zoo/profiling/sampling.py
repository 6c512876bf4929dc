"""Running a step again and again within a budget: warm-up, then samples."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from zoo.profiling.samples import is_steady

WARMUP_SHARE = 0.25  # of the budget at most
ENOUGH = 1000  # samples; p99 needs 662
RECENT = 3  # runs that foretell how long the next one takes


@dataclass(frozen=True)
class Timing:
    """How long the runs of one step took.

    Attributes:
        samples_s: wall time of each run that counts, in order, with the wait for the device inside.
        device_s: time of the same runs between two events on the GPU's stream; empty on the CPU.
        first_s: the very first run, which prepares kernels and memory.
        warmup: runs that do not count.
        steady: whether warm-up ended because the times had settled, not because the budget ended it.
    """

    samples_s: tuple[float, ...]
    device_s: tuple[float, ...]
    first_s: float
    warmup: int
    steady: bool


class Clock:
    """Times one call on a device: wall time, and on a GPU also the time between two events around the call.

    The device is idle when the time starts and has finished when it ends, so the wall time holds launch, work and wait.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, step: Callable[[], object]) -> tuple[float, float | None]:
        """Return the seconds of the call on the wall, and on the device where that is a GPU."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            step()
            return time.perf_counter() - start, None
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        before.record()
        step()
        after.record()
        torch.cuda.synchronize(self.device)
        wall = time.perf_counter() - start
        return wall, before.elapsed_time(after) * 1e-3


def take_samples(
    measure: Callable[[], tuple[float, float | None]], budget_s: float, *, now: Callable[[], float] = time.perf_counter
) -> Timing:
    """Run until the times are steady, then until the budget is used or there are enough samples.

    Warm-up takes at most a quarter of the budget, beyond the first run. No run is begun that would probably end after the budget; the first
    is made whatever it takes, and is the only sample where nothing else fits.

    Args:
        measure: makes one run and returns its wall and device time in seconds.
        budget_s: for warm-up and samples together.
        now: a clock in seconds.
    """
    began = now()
    warmup: list[tuple[float, float | None]] = [measure()]

    def walls(runs: list[tuple[float, float | None]]) -> list[float]:
        return [wall for wall, _ in runs]

    def fits(runs: list[tuple[float, float | None]], share: float) -> bool:
        return now() - began + statistics.median(walls(runs[-RECENT:])) <= share * budget_s

    while not is_steady(walls(warmup)) and fits(warmup, WARMUP_SHARE):
        warmup.append(measure())
    steady, first = is_steady(walls(warmup)), warmup[0][0]
    samples: list[tuple[float, float | None]] = []
    while len(samples) < ENOUGH and fits(samples or warmup, 1.0):
        samples.append(measure())
    if not samples:
        samples.append(warmup.pop())
    device = tuple(seconds for _, seconds in samples if seconds is not None)
    return Timing(tuple(walls(samples)), device, first, len(warmup), steady)
