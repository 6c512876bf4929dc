"""What a step allocates and releases, in order, and what follows from that: the peak, its parts, and both for any batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

KINDS = ("weights", "gradients", "optimizer", "saved", "transient", "input")


class Change(NamedTuple):
    """Memory that was taken or given back.

    Attributes:
        size: bytes; negative when they are given back.
        kind: one of `KINDS`.
        layer: the module that allocated them, by its name in the model; ``""`` for what belongs to none.
        phase: ``rest`` (before the step), ``forward`` or ``backward``.
    """

    size: int
    kind: str
    layer: str
    phase: str


@dataclass(frozen=True)
class Peak:
    """The instant of a step at which it holds most.

    Attributes:
        total: bytes.
        parts: bytes of each of `KINDS`.
        layer: the module at work then. phase: as in `Change`.
        holders: module and bytes of what it allocated and is still alive, gradients, saved and transient, largest first.
    """

    total: int
    parts: dict[str, int]
    layer: str
    phase: str
    holders: tuple[tuple[str, int], ...]


def find_peak(tape: Iterable[Change]) -> Peak:
    """Return the first instant with the highest sum."""
    changes = list(tape)
    total = highest = top = 0
    for index, change in enumerate(changes):
        total += change.size
        if total > highest:
            highest, top = total, index
    parts, held = dict.fromkeys(KINDS, 0), Counter[str]()
    for change in changes[: top + 1]:
        parts[change.kind] += change.size
        if change.kind in ("gradients", "saved", "transient"):
            held[change.layer] += change.size
    holders = tuple((layer, size) for layer, size in held.most_common() if size > 0)
    at = changes[top] if changes else Change(0, "weights", "", "rest")
    return Peak(highest, parts, at.layer, at.phase, holders)


def merge_releases(tape: Iterable[Change]) -> list[Change]:
    """Return the tape with each run of releases sorted and summed by kind and layer.

    No peak is changed by that. Caches, such as autocast's of weights, are emptied in the order of addresses, which no two runs share.
    """
    merged: list[Change] = []
    run: dict[tuple[str, str, str], int] = {}
    for change in [*tape, Change(0, "weights", "", "end")]:
        if change.size < 0:
            run[change[1:]] = run.get(change[1:], 0) + change.size
            continue
        merged += [Change(size, *rest) for rest, size in sorted(run.items())]
        run.clear()
        merged.append(change)
    return merged[:-1]


class StepMemory:
    """The memory of one kind of step as a function of the batch.

    Every tensor of a network is a constant and a multiple of the batch, so two recorded steps tell the size of each at any batch, and the
    order of events does not change. Single frames, which torch treats in their own way here and there, are recorded by themselves, and so
    is every batch where the two recordings do not agree event by event (code that branches on the batch).

    Args:
        record: makes the tape of a step with this batch.
    """

    def __init__(self, record: Callable[[int], Iterable[Change]]) -> None:
        self._record = record
        self._tapes: dict[int, list[Change]] = {}

    def peak(self, batch: int) -> Peak:
        """Return the peak of a step with this batch."""
        return find_peak(self.tape(batch))

    def tape(self, batch: int) -> list[Change]:
        """Return what a step with this batch allocates and releases."""
        if batch <= 3 or batch in self._tapes or not _alike(self._tape(2), self._tape(3)):
            return self._tape(batch)
        pairs = zip(self._tape(2), self._tape(3), strict=True)
        return [two._replace(size=two.size + (batch - 2) * (three.size - two.size)) for two, three in pairs]

    def largest_batch(self, limit: int) -> int:
        """Return the largest batch whose peak is at most ``limit`` bytes, 0 where not even one frame fits."""
        if self.peak(1).total > limit:
            return 0
        low, high = 1, 2
        while self.peak(high).total <= limit:
            low, high = high, 2 * high
            if low >= MOST:
                return MOST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.peak(middle).total <= limit else (low, middle)
        return low

    def _tape(self, batch: int) -> list[Change]:
        if batch not in self._tapes:
            self._tapes[batch] = merge_releases(self._record(batch))
        return self._tapes[batch]


MOST = 1 << 16  # frames; a larger batch is of no use to anybody


def _alike(one: list[Change], two: list[Change]) -> bool:
    return len(one) == len(two) and all(a[1:] == b[1:] and (a.size > 0) == (b.size > 0) for a, b in zip(one, two, strict=True))
