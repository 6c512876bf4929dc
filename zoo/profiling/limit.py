"""The smallest limit of memory under which a step still succeeds, found by halving an interval."""

from __future__ import annotations

from collections.abc import Callable

PRECISION = 0.02  # of the limit: where the search ends
HEADROOM = 1.25  # of the peak, for the first trial, which says whether the step can be limited at all
SPARE_BYTES = 64 << 20  # on top of it: a small step has more of what is not tensors


def find_limit(lower: int, upper: int, succeeds: Callable[[int], bool]) -> int | None:
    """Return the smallest limit found to suffice, within `PRECISION` of one that does not; ``None`` where ``upper`` does not.

    Args:
        lower: bytes below which the step cannot succeed. upper: bytes to begin with.
        succeeds: whether the step does, under this limit.
    """
    if not succeeds(upper):
        return None
    while upper - lower > PRECISION * upper:
        middle = (lower + upper) // 2
        if succeeds(middle):
            upper = middle
        else:
            lower = middle
    return upper
