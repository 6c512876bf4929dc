"""Places in batches: threads that prepare frames write each straight into the batch that the model will get."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from zoo.errors import MemoryLimitError
from zoo.ops import buffers
from zoo.training.device import is_out_of_memory


@dataclass(frozen=True, eq=False)
class Place:
    """Where one frame goes: row ``index`` of ``batch`` ``(N, 1, H, W)`` float32."""

    batch: Tensor
    index: int

    @property
    def image(self) -> Tensor:
        """``(1, H, W)``, a view."""
        return self.batch[self.index]

    def put(self, image: Tensor) -> Place:
        """Copy an image into its place, unless it was written there already; returns the place."""
        if image.data_ptr() != self.image.data_ptr():
            self.image.copy_(image)
        return self


Take = Callable[[int], list[Place]]


class Places:
    """Gives out the places of one batch after the other, in the order of the tasks that ask, whichever thread is first.

    So the frames of a batch, and with them the last bits of its logits, do not depend on which thread was faster. Memory comes from
    `zoo.ops.buffers` and goes back there once nobody holds a place of a batch.

    Args:
        shape: ``(1, H, W)`` of a frame. batch_size: frames of a batch.
        pinned: batches that a GPU copies while it computes.
    """

    def __init__(self, shape: tuple[int, int, int], batch_size: int, *, pinned: bool = False) -> None:
        self._shape, self._pinned = (batch_size, *shape), pinned
        self._turn, self._asked = 0, threading.Condition()
        self._batch: Tensor | None = None
        self._used = 0

    @contextmanager
    def turn(self, number: int) -> Iterator[Take]:
        """Give the task of this number, from 0, a function that takes places, once, and waits until all tasks before it have taken theirs.

        A task that takes none has had its turn when the block ends. Every number must come, and start in a thread after those before it.
        """
        taken = False

        def take(count: int) -> list[Place]:
            nonlocal taken
            assert not taken, "a task takes its places at once"
            taken = True
            return self._take(number, count)

        try:
            yield take
        finally:
            if not taken:
                self._take(number, 0)

    def _take(self, number: int, count: int) -> list[Place]:
        with self._asked:
            self._asked.wait_for(lambda: self._turn == number)
            try:
                return [self._next() for _ in range(count)]
            finally:
                self._turn += 1
                self._asked.notify_all()

    def _next(self) -> Place:
        if self._batch is None or self._used == len(self._batch):
            self._batch, self._used = self._new_batch(), 0
        place = Place(self._batch, self._used)
        self._used += 1
        if self._used == len(self._batch):
            self._batch = None  # its memory is free as soon as those who hold its places let go
        return place

    def _new_batch(self) -> Tensor:
        try:
            return buffers.empty(self._shape, pinned=self._pinned)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            frames, _, height, width = self._shape
            raise MemoryLimitError(f"{frames} frames of {height}x{width} do not fit into memory; use a smaller --batch-size") from error


def gather(places: Sequence[Place]) -> Tensor:
    """Return the frames of some places of one batch, in ascending order, as ``(n, 1, H, W)``; gaps between them are closed in place."""
    batch, first = places[0].batch, places[0].index
    for offset, place in enumerate(places):
        if place.index != first + offset:
            batch[first + offset].copy_(place.image)
    return batch[first : first + len(places)]
