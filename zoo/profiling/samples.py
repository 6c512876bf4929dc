"""Statistics of repeated timings: percentiles and the samples they need, intervals by order statistics, and when warm-up has ended."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zoo.errors import UsageError

CONFIDENCE = 0.95

# Samples that a percentile needs before it is given. MLPerf's early stopping (Inference rules, appendix on early stopping) asks for as many
# at its 90th and 99th percentile; the median is always given.
FLOORS = {50: 1, 90: 64, 99: 662}

WARMUP_GROUP = 10
WARMUP_TOLERANCE = 0.02
WARMUP_LEAST_S = 2.0

WINDOWS = 3  # of throughput, which must agree
LEAST_BLOCKS = 20  # of a comparison
STEADY_VARIATION = 0.03

_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|m|h)?")


class Lap(NamedTuple):
    """One timed call.

    Attributes:
        wall_s: on the wall, with launch, work and wait.
        processor_s: of all threads of this process on the CPU.
        device_s: between two events on the GPU's stream; ``None`` on the CPU.
    """

    wall_s: float
    processor_s: float
    device_s: float | None = None


class Block(NamedTuple):
    """Mean times of some runs of a step in a row, and of the calibration right after them."""

    step: Lap
    calibration: Lap


def mean_lap(laps: Sequence[Lap]) -> Lap:
    """Return the mean times of some laps."""
    device = [lap.device_s for lap in laps if lap.device_s is not None]
    wall, processor = (statistics.fmean(times) for times in ([lap.wall_s for lap in laps], [lap.processor_s for lap in laps]))
    return Lap(wall, processor, statistics.fmean(device) if device else None)


@dataclass(frozen=True)
class Percentile:
    """A percentile of a latency.

    Attributes:
        value_s: seconds; ``None`` with fewer samples than `FLOORS` asks for.
        lower_s, upper_s: ends of the 95 % interval; ``None`` where the samples are too few for one.
        samples: how many there are.
    """

    value_s: float | None
    lower_s: float | None
    upper_s: float | None
    samples: int


def percentile(samples_s: Sequence[float], percent: int) -> Percentile:
    """Return a percentile with its interval.

    The median is the mean of the two middle samples where their number is even; other percentiles are the smallest sample that is not
    exceeded by ``percent`` per cent of them (nearest rank), so that they are a latency which occurred.

    Args:
        samples_s: durations in seconds, any order; may be empty.
        percent: 50, 90 or 99.
    """
    count = len(samples_s)
    if count < FLOORS[percent]:
        return Percentile(None, None, None, count)
    ordered = sorted(samples_s)
    value = statistics.median(ordered) if percent == 50 else ordered[math.ceil(percent * count / 100) - 1]
    ranks = interval_ranks(count, percent / 100)
    if ranks is None:
        return Percentile(value, None, None, count)
    return Percentile(value, ordered[ranks[0] - 1], ordered[ranks[1] - 1], count)


def interval_ranks(count: int, share: float, *, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Return the ranks, from 1, of the two ordered samples between which the quantile lies with at least this confidence.

    How many of ``count`` independent samples lie below the quantile is binomial with chance ``share``, whatever their distribution. Each
    end errs with at most half of what the confidence leaves.

    Returns: (lower, upper), or ``None`` where even the extremes do not hold the quantile that surely: the median needs 6 samples.

    References: David and Nagaraja, Order Statistics (2003), section 7.1.
    """
    allowed = (1.0 - confidence) / 2.0
    lower, below, upper, cumulated = 0, 0.0, 0, 0.0
    for rank in range(count + 1):
        below, cumulated = cumulated, cumulated + _binomial(count, rank, share)
        if rank and below <= allowed:
            lower = rank
        if cumulated >= 1.0 - allowed:
            upper = rank + 1
            break
    return (lower, upper) if lower >= 1 and 1 <= upper <= count else None


def _binomial(count: int, hits: int, share: float) -> float:
    """Chance of ``hits`` in ``count`` trials, by logarithms: the coefficient exceeds a float above 1,029 trials."""
    coefficient = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return math.exp(coefficient + hits * math.log(share) + (count - hits) * math.log1p(-share))


def is_steady(times_s: Sequence[float]) -> bool:
    """Return whether warm-up has ended: the median of the last ten runs is within 2 % of that of the ten before, and 2 s have passed."""
    if len(times_s) < 2 * WARMUP_GROUP or sum(times_s) < WARMUP_LEAST_S:
        return False
    last, before = statistics.median(times_s[-WARMUP_GROUP:]), statistics.median(times_s[-2 * WARMUP_GROUP : -WARMUP_GROUP])
    return abs(last - before) <= WARMUP_TOLERANCE * before


def variation(windows: Sequence[float]) -> float | None:
    """Return the coefficient of variation of the last three windows; ``None`` with fewer."""
    last = windows[-WINDOWS:]
    return statistics.stdev(last) / statistics.fmean(last) if len(last) == WINDOWS else None


def parse_duration(value: str | float) -> float:
    """Return seconds: ``"30s"``, ``"2m"``, ``"1.5h"``, ``"500ms"``, or a number of seconds.

    Raises:
        UsageError: any other form, or not above 0.
    """
    text = str(value).strip().lower()
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _UNITS_S[found[2] or "s"] if found else 0.0
    if not 0.0 < seconds < math.inf:
        raise UsageError(f"a budget is a time above 0, such as 30s, 2m or 90 (seconds); got {value!r}")
    return seconds


def parse_batches(value: str | int) -> tuple[int, ...]:
    """Return batch sizes: ``8`` alone, or of ``"1:16"`` both ends and what doubling the first gives between them.

    Raises:
        UsageError: any other form, or not above 0.
    """
    words = str(value).split(":")
    ends = [int(word) for word in words if word.strip().isdecimal()]
    if len(ends) != len(words) or len(ends) > 2 or min(ends) < 1 or ends != sorted(ends):
        raise UsageError(f"batch must be >= 1, or a range such as 1:16; got {value!r}")
    batches, last = [ends[0]], ends[-1]
    while batches[-1] < last:
        batches.append(min(2 * batches[-1], last))
    return tuple(batches)
