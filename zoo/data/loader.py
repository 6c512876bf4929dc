"""Batches, prepared ahead by threads. The same bits come out for any number of threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo.data.cache import CachedFrames, FrameCache, is_deterministic
from zoo.data.dataset import DataSet
from zoo.data.manifest import Row
from zoo.data.split import draw
from zoo.errors import DataError, UsageError, ZooError
from zoo.ops import buffers
from zoo.steps import Pipeline


@dataclass(frozen=True)
class Skipped:
    """A frame that could not be used, and why."""

    index: int
    row: Row
    error: Exception


@dataclass(frozen=True)
class Batch:
    """Frames ready for the model.

    Attributes:
        images: ``(N, 1, H, W)`` float32. With ``reuse`` its memory is overwritten once the next batch is asked for.
        labels: ``(N,)`` int64, class indices.
        rows, indices: the frames and their places in the rows that the loader was given, both in the order of ``images``.
        skipped: frames of this batch that were left out, with ``on_error="skip"``.
        whole_labels, whole_rows: of the whole batch where this is the part of one of several processes, else ``labels`` and ``rows``.
    """

    images: Tensor
    labels: Tensor
    rows: tuple[Row, ...]
    indices: tuple[int, ...]
    skipped: tuple[Skipped, ...]
    whole_labels: Tensor
    whole_rows: tuple[Row, ...]


def part_of(total: int, part: tuple[int, int]) -> range:
    """Return which of ``total`` things are those of process ``rank`` of ``size``; the parts follow each other and differ by one at most.

    Args:
        part: ``(rank, size)``.

    Example: >>> [list(part_of(5, (rank, 2))) for rank in (0, 1)] gives [[0, 1], [2, 3, 4]].
    """
    rank, size = part
    return range(total * rank // size, total * (rank + 1) // size)


class Loader:
    """Iterate over batches of preprocessed frames.

    Threads read frames and run the pipeline's frame part, each straight into its place of the batch; whoever finishes the last frame runs
    the batch part. At most ``prefetch`` batches are prepared ahead, so memory stays flat. Order and augmentation depend on
    ``(seed, epoch, index)`` only. Closing the iterator early stops the threads.

    Args:
        dataset: gives the frames and class indices.
        rows: the frames to visit; an index is a place in this sequence.
        pipeline: its frame part has to give every frame the same shape.
        batch_size: frames per batch, >= 1.
        seed, epoch: what order and augmentation are drawn from.
        shuffle: visit the rows in a random order that is new in every epoch.
        training: run random steps; otherwise they do nothing.
        workers: threads; 0 works in the caller's thread.
        drop_last: leave out the last batch if it is not full.
        start: batches to leave out at the beginning, for an exact resume; nothing of them is read.
        on_error: ``raise`` the first unreadable frame, or ``skip`` it and report it in its batch and in ``skipped``.
        prefetch: batches prepared ahead, >= 1.
        reuse: hand out ``prefetch + 1`` batch tensors in turn instead of new ones.
        pinned: batches in memory from which a GPU copies without the processor's help; needs a GPU.
        shape: ``(1, H, W)`` of the preprocessed frames; by default the first readable frame tells.
        part: ``(rank, size)``: read only the part of every batch that falls to this one of several processes (`part_of`). All processes get
            the same number of batches; the part of a short one may be empty.
        cache: keeps preprocessed frames between epochs and runs; not used in training with a frame part that draws.

    Attributes:
        skipped: every frame that the current iteration has skipped so far.

    Raises:
        DataError: no rows, or a label that is none of the classes. UsageError: an argument out of range.
    """

    def __init__(
        self,
        dataset: DataSet,
        rows: Sequence[Row],
        pipeline: Pipeline,
        *,
        batch_size: int,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = False,
        training: bool = False,
        workers: int = 2,
        drop_last: bool = False,
        start: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
        prefetch: int = 2,
        reuse: bool = False,
        pinned: bool = False,
        shape: tuple[int, int, int] | None = None,
        part: tuple[int, int] = (0, 1),
        cache: FrameCache | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 1), ("workers", workers, 0), ("start", start, 0)):
            if value < least:
                raise UsageError(f"{name} must be >= {least}, got {value}")
        if not rows:
            raise DataError(f"{dataset.name}: got no frames to load, expected at least one; is the split empty?")
        if drop_last and len(rows) < batch_size:
            raise UsageError(
                f"{dataset.name}: got {len(rows)} frames for batches of {batch_size}, expected a full batch; use a smaller batch_size"
            )
        if part[1] > 1 and on_error == "skip":
            raise UsageError(
                'got on_error="skip" with a part of every batch, expected "raise": the other parts would not know what is skipped'
            )
        self.dataset, self.rows, self.pipeline = dataset, tuple(rows), pipeline
        self.batch_size, self.seed, self.epoch, self.training = batch_size, seed, epoch, training
        self.workers, self.start, self.on_error, self.prefetch = workers, start, on_error, prefetch
        self.reuse, self.pinned = reuse, pinned
        self.skipped: list[Skipped] = []
        self._labels = tuple(dataset.class_index(row) for row in rows)
        order = list(range(len(rows)))
        if shuffle:
            order.sort(key=lambda index: (draw(seed, "order", epoch, index), index))
        self._plan = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
        if drop_last and len(self._plan[-1]) < batch_size:
            self._plan.pop()
        self._shape, self.part = shape, part
        self._most = -(-batch_size // part[1])
        used = cache if is_deterministic(pipeline, training=training) else None
        self._cached = CachedFrames(used, dataset, pipeline) if used is not None else None

    def __len__(self) -> int:
        """Batches that an iteration gives, without the ones before ``start``."""
        return max(0, len(self._plan) - self.start)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(1, H, W)`` of the preprocessed frames.

        Raises:
            DataError: no frame can be read.
        """
        if self._shape is None:
            self._shape = self._find_shape()
        return self._shape

    def __iter__(self) -> Iterator[Batch]:
        self.skipped = []
        plan = deque(self._plan[self.start :])
        pending: deque[_Assembly] = deque()
        free: list[Tensor] = []
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="zoo-loader") if self.workers else None

        def top_up(depth: int) -> None:
            while plan and len(pending) < depth:
                indices = plan.popleft()
                buffer = free.pop() if free else buffers.empty((self._most, *self.shape), pinned=self.pinned)
                assembly = _Assembly(self, indices, buffer, stop)
                pending.append(assembly)
                for place in range(len(assembly.indices)):
                    if pool is None:
                        assembly.load(place)
                    else:
                        pool.submit(assembly.load, place)

        try:
            while plan or pending:
                top_up(self.prefetch if pool else 1)
                assembly = pending.popleft()
                batch = assembly.batch.result()
                if pool:
                    top_up(self.prefetch)
                self.skipped.extend(batch.skipped)
                if batch.rows or self.part[1] > 1:
                    yield batch
                if self.reuse:
                    free.append(assembly.buffer)
        finally:
            stop.set()
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def read(self, row: Row, generator: torch.Generator | None, out: Tensor) -> Tensor:
        """The preprocessed frame of a row, ``(1, H, W)``; in ``out`` unless it comes from the cache."""
        if self._cached is not None:
            return self._cached.read(row, out)
        return self.pipeline.run_frame(self.dataset.open(row), generator=generator, out=out)

    def _find_shape(self) -> tuple[int, int, int]:
        """Preprocess frames, in the order of the rows, until one succeeds."""
        for row in self.rows:
            try:
                image = self.pipeline.run_frame(self.dataset.open(row))
            except Exception as err:
                if self.on_error == "raise" or not isinstance(err, ZooError | OSError):
                    raise _named(self.dataset, row, err) from err
                continue
            return (1, int(image.shape[-2]), int(image.shape[-1]))
        raise DataError(f"{self.dataset.name}: none of {len(self.rows)} frames can be read")


class _Assembly:
    """One batch being put together by several threads."""

    def __init__(self, loader: Loader, whole: Sequence[int], buffer: Tensor, stop: threading.Event) -> None:
        self.loader, self.whole, self.buffer, self.stop = loader, whole, buffer, stop
        self.indices = [whole[place] for place in part_of(len(whole), loader.part)]
        self.batch: Future[Batch] = Future()
        self._errors: list[Exception | None] = [None] * len(self.indices)
        self._generators = [self._generator(index) for index in self.indices] if loader.training else None
        self._left = len(self.indices)
        self._lock = threading.Lock()
        if not self.indices:
            self.batch.set_result(self._finish())

    def _generator(self, index: int) -> torch.Generator:
        """The random numbers of one frame in one epoch."""
        return torch.Generator().manual_seed(draw(self.loader.seed, "frame", self.loader.epoch, index))

    def load(self, place: int) -> None:
        """Fill one place of the batch; the thread that fills the last one finishes the batch."""
        if self.stop.is_set():
            return
        loader, row = self.loader, self.loader.rows[self.indices[place]]
        out = self.buffer[place]
        try:
            image = loader.read(row, self._generators[place] if self._generators else None, out)
            if image.data_ptr() != out.data_ptr():
                if image.shape != out.shape:
                    raise DataError(
                        f"got a frame of shape {tuple(image.shape)} after preprocessing, expected {tuple(out.shape)} as the others"
                    )
                out.copy_(image)
        except BaseException as err:  # a thread that ended without counting down would leave the batch waiting for ever
            self._errors[place] = _named(loader.dataset, row, err)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            try:
                self.batch.set_result(self._finish())
            except BaseException as err:
                self.batch.set_exception(err)

    def _finish(self) -> Batch:
        """Close the gaps that skipped frames left and run the batch part."""
        loader = self.loader
        skipped = []
        kept = []
        for place, (index, error) in enumerate(zip(self.indices, self._errors, strict=True)):
            if error is None:
                kept.append(place)
            elif loader.on_error == "skip" and isinstance(error, DataError):
                skipped.append(Skipped(index, loader.rows[index], error))
            else:
                raise error
        for place, source in enumerate(kept):
            if place != source:
                self.buffer[place].copy_(self.buffer[source])
        images = self.buffer[: len(kept)]
        if kept:
            images = loader.pipeline.run_batch(images, generators=[self._generators[place] for place in kept] if self._generators else None)
        indices = tuple(self.indices[place] for place in kept)
        labels = torch.tensor([loader._labels[index] for index in indices], dtype=torch.int64)
        rows = tuple(loader.rows[index] for index in indices)
        whole_labels, whole_rows = labels, rows
        if loader.part[1] > 1:
            whole_labels = torch.tensor([loader._labels[index] for index in self.whole], dtype=torch.int64)
            whole_rows = tuple(loader.rows[index] for index in self.whole)
        return Batch(images, labels, rows, indices, tuple(skipped), whole_labels, whole_rows)


def _named(dataset: DataSet, row: Row, error: BaseException) -> ZooError:
    """The error with its file in the message: DataError for what is wrong with a frame, ZooError for a failure of the code."""
    file = str(dataset.manifest.path_of(row))
    if isinstance(error, DataError) and file in str(error):
        return error
    kind: Callable[[str], ZooError] = DataError if isinstance(error, ZooError | OSError) else ZooError
    detail = str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
    wrapped = kind(f"{file}{'' if row.hdu is None else f': HDU {row.hdu}'}: {detail}")
    wrapped.__cause__ = error
    return wrapped
