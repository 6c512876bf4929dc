"""Confidence intervals that take a target, not a frame, as what was sampled.

Estimand: the score over all frames of *new* targets, drawn as these were. Frames of one target share their subject, and labels belong to
targets, so an interval by frame is far too narrow: with the cluster sizes of the LCID test list it holds the truth in a quarter to a half
of the cases where it claims 95 %. ``benchmarks/bench_intervals.py`` measures how often each method does.
"""

from zoo.intervals.accuracy import (
    accuracy_interval,
    count_interval,
    exceeding_p,
    holm,
    jackknife,
    macro_interval,
    not_offered,
    share_interval,
)
from zoo.intervals.coverage import Coverage, simulated_coverage
from zoo.intervals.interval import DEFAULT, LEVEL, METHOD, METHODS, Interval, check_request, no_interval
from zoo.intervals.jackknife import degrees_of_freedom

__all__ = [
    "DEFAULT",
    "LEVEL",
    "METHOD",
    "METHODS",
    "Coverage",
    "Interval",
    "accuracy_interval",
    "check_request",
    "count_interval",
    "degrees_of_freedom",
    "exceeding_p",
    "holm",
    "jackknife",
    "macro_interval",
    "no_interval",
    "not_offered",
    "share_interval",
    "simulated_coverage",
]
