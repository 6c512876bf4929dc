"""What the benchmarks share: a time beside a copy of the same frame, and the circumstances of a run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from zoo.ops.native import backend
from zoo.profiling.machine import processor_name
from zoo.training.run import source_commit

SHAPE = (2048, 4096)


def room(shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Float32 memory to write into, of numpy, which asks for huge pages as zoo's own pool of results does."""
    return torch.from_numpy(np.zeros(shape, dtype=np.float32))


def seconds(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call by a clock: that on the wall, or ``time.process_time``, which a busy machine disturbs less."""
    start = clock()
    call()
    return clock() - start


def time_beside_copy(call: Callable[[], Any], *, repeats: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Median and spread of a call, and of one memcpy of a float32 frame between two buffers that exist, measured in turn with it.

    The copy is numpy's, on one thread whatever the number of threads of the call.
    """
    source, target = np.ones(SHAPE, dtype=np.float32), np.zeros(SHAPE, dtype=np.float32)
    call(), np.copyto(target, source)
    pairs = [(seconds(call, clock), seconds(lambda: np.copyto(target, source), clock)) for _ in range(repeats)]
    times, copies = ([pair[i] for pair in pairs] for i in (0, 1))
    lower, upper = np.percentile(times, [25, 75])
    median, copy = statistics.median(times), statistics.median(copies)
    return {
        "time_s": median,
        "iqr_s": float(upper - lower),
        "least_s": min(times),
        "repeats": len(times),
        "copy_s": copy,
        "copies": median / copy,
    }


def verdict(copies: float, target: float | None) -> str:
    """How a time in copies stands to its target, for a table; empty where there is none."""
    if target is None:
        return ""
    return f"<= {target:g} met" if copies <= target else f"<= {target:g} missed, {copies / target:.2f}x"


def circumstances(**more: Any) -> dict[str, Any]:
    """Versions, commit, processor, threads and load; call it before the work, which raises the load."""
    return {
        "threads": torch.get_num_threads(),
        "simd": backend()["simd"],
        "torch": torch.__version__,
        "commit": source_commit(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "load_average_before": os.getloadavg()[0],
        **more,
    }
