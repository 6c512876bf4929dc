"""What an interval is, and the methods there are."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.errors import UsageError

LEVEL = 0.95
METHODS = {
    "jackknife": "delete-one-target jackknife, logit scale, Student's t with degrees of freedom for unequal targets",
    "bootstrap": "studentised bootstrap of whole targets, logit scale, 1999 resamples",
    "frame": "by frame (Wilson), as if the frames of a target were independent",
}
"""How each method works, by name. The first is the default: in simulation it holds the truth most reliably."""

DEFAULT = "jackknife"
METHOD = METHODS[DEFAULT]


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval.

    Attributes:
        estimate: the score on all frames.
        lower, upper: the ends; NaN where the method has nothing to work with.
        n_targets: how many targets the score depends on.
        reason: why there is no interval; empty when there is one.
        floor: for an accuracy without an interval, a bound that stands in for ``lower``; NaN otherwise. It is the lower Clopper-Pearson
            end of the chance that *every* frame of a target is right, which is at most the accuracy over targets: conservative.
        method: one of `METHODS`.
    """

    estimate: float
    lower: float
    upper: float
    n_targets: int
    reason: str = ""
    floor: float = float("nan")
    method: str = DEFAULT

    @property
    def bound(self) -> float:
        """The lower end, or the exact floor where there is no interval; NaN where there is neither."""
        return self.floor if self.reason else self.lower

    def __str__(self) -> str:
        if not self.reason:
            return f"{self.lower:.4f}-{self.upper:.4f}"
        return f"n/a ({self.reason})"


def no_interval(estimate: float, n_targets: int, reason: str, *, method: str = DEFAULT) -> Interval:
    """Return an estimate that has no interval, and why."""
    return Interval(estimate, float("nan"), float("nan"), n_targets, reason, method=method)


def check_request(level: float, method: str) -> None:
    """Raise `UsageError` unless ``level`` lies in (0, 1) and ``method`` is one of `METHODS`."""
    if not 0.0 < level < 1.0:
        raise UsageError(f"level must lie in (0, 1), got {level}")
    if method not in METHODS:
        raise UsageError(f"interval must be one of {', '.join(METHODS)}, got {method!r}")
