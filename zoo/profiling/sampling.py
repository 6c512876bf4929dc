"""Running a step again and again within a budget: warm-up, then samples; in turn with a calibration; and in windows of throughput."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from zoo.profiling.samples import LEAST_BLOCKS, STEADY_VARIATION, Block, Lap, is_steady, mean_lap, variation

WARMUP_SHARE = 0.25  # of the budget at most
ENOUGH = 1000  # samples; p99 needs 662
RECENT = 3  # runs that foretell how long the next one takes

BLOCK_S = 0.05
CALIBRATION_SHARE = 0.2

WINDOW_S = 3.0
MOST_WINDOWS = 8


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
    """Times one call on a device: wall time, processor time, and on a GPU also the time between two events around the call.

    The device is idle when the time starts and has finished when it ends, so the wall time holds launch, work and wait.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, step: Callable[[], object]) -> Lap:
        """Make the call and return its times."""
        if self.device.type != "cuda":
            busy, start = time.process_time(), time.perf_counter()
            step()
            return Lap(time.perf_counter() - start, time.process_time() - busy)
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(self.device)
        busy, start = time.process_time(), time.perf_counter()
        before.record()
        step()
        after.record()
        torch.cuda.synchronize(self.device)
        wall = time.perf_counter() - start
        return Lap(wall, time.process_time() - busy, before.elapsed_time(after) * 1e-3)


def take_samples(
    measure: Callable[[], Lap],
    budget_s: float,
    *,
    after_first: Callable[[], object] = lambda: None,
    now: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Run until the times are steady, then until the budget is used or there are enough samples.

    Warm-up takes at most a quarter of the budget, beyond the first run. No run is begun that would probably end after the budget; the first
    is made whatever it takes, and is the only sample where nothing else fits.

    Args:
        measure: makes one run.
        budget_s: for warm-up and samples together.
        after_first: called once, after the first run.
        now: a clock in seconds.
    """
    began = now()
    warmup = [measure()]
    after_first()

    def fits(runs: list[Lap], share: float) -> bool:
        return now() - began + statistics.median(_walls(runs[-RECENT:])) <= share * budget_s

    while not is_steady(_walls(warmup)) and fits(warmup, WARMUP_SHARE):
        warmup.append(measure())
    steady, first = is_steady(_walls(warmup)), warmup[0].wall_s
    samples: list[Lap] = []
    while len(samples) < ENOUGH and fits(samples or warmup, 1.0):
        samples.append(measure())
    if not samples:
        samples.append(warmup.pop())
    device = tuple(lap.device_s for lap in samples if lap.device_s is not None)
    return Timing(tuple(_walls(samples)), device, first, len(warmup), steady)


def take_blocks(
    measure: Callable[[], Lap],
    calibrate: Callable[[], Lap],
    budget_s: float,
    *,
    once_s: float,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[Block, ...]:
    """Run a step and a calibration in turn, for `zoo.profiling.against`.

    A block is runs of `BLOCK_S` together, at least one, and after them calibrations of a fifth of their time, at least one. Where the
    budget does not hold the blocks that a comparison needs, none is made.

    Args:
        measure: makes one run of the step. calibrate: makes one of the calibration.
        budget_s: for all of it.
        once_s: how long a run of the step takes.
        now: a clock in seconds.
    """
    began = now()
    length = (1.0 + CALIBRATION_SHARE) * max(once_s, BLOCK_S)
    if LEAST_BLOCKS * length > budget_s:
        return ()
    for _ in range(RECENT):  # they warm up
        measure()
        calibrate()
    blocks: list[Block] = []
    while now() - began + length <= budget_s and len(blocks) < ENOUGH:
        start = now()
        runs = _repeat(measure, BLOCK_S)
        rests = _repeat(calibrate, CALIBRATION_SHARE * sum(_walls(runs)))
        blocks.append(Block(mean_lap(runs), mean_lap(rests)))
        length = now() - start
    return tuple(blocks)


def take_windows(
    step: Callable[[], object], wait: Callable[[], object], budget_s: float, *, frames: int, now: Callable[[], float] = time.perf_counter
) -> tuple[float, ...]:
    """Run a step again and again without waiting in between, and return the frames per second of each window of at least 3 seconds.

    It ends when the last three windows vary by less than 3 % (standard deviation over mean), or when the next would probably end after the
    budget. The first window is made whatever it takes.

    Args:
        step: one step, which may return before the device has finished.
        wait: waits for the device.
        budget_s: for warm-up and windows together; a quarter at most for the warm-up, beyond its first run.
        frames: per step.
        now: a clock in seconds.
    """
    began, runs = now(), 0
    while not runs or now() - began < min(1.0, WARMUP_SHARE * budget_s):
        step()
        wait()
        runs += 1
    once = (now() - began) / runs
    windows: list[float] = []
    while not windows or (len(windows) < MOST_WINDOWS and now() - began + max(WINDOW_S, once) <= budget_s):
        start, runs = now(), 0
        while not runs or now() - start < WINDOW_S:
            step()
            runs += 1
        wait()
        windows.append(runs * frames / (now() - start))
        if (change := variation(windows)) is not None and change < STEADY_VARIATION:
            break
    return tuple(windows)


def _walls(laps: Sequence[Lap]) -> list[float]:
    return [lap.wall_s for lap in laps]


def _repeat(measure: Callable[[], Lap], least_s: float) -> list[Lap]:
    """Make runs until they have taken so long on the wall together, at least one."""
    laps = [measure()]
    while sum(_walls(laps)) < least_s:
        laps.append(measure())
    return laps
