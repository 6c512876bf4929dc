"""The batches of a run: those it learns from, the same frames without augmentation, and the validation frames.

Each of several processes reads its part of every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from zoo.data import Row
from zoo.data.loader import Batch, Loader
from zoo.training.memory import PREFETCH
from zoo.training.plan import Plan


class TrainingBatches:
    """The batches of an epoch, augmented; what does not fill the last one is left out.

    Args:
        plan: says what is read. epoch: from 0.
    """

    def __init__(self, plan: Plan, *, epoch: int) -> None:
        self._plan, self._epoch = plan, epoch
        self._batches: Iterator[Batch] | None = None
        self._next = 0

    def read(self, start: int, count: int) -> Iterator[Batch]:
        """Yield ``count`` batches from batch ``start`` on; those that were given before are read again, to the same bits."""
        if self._batches is None or self._next != start:
            self._batches = iter(_loader(self._plan, self._plan.train, epoch=self._epoch, start=start, training=True))
            self._next = start
        for _ in range(count):
            self._next += 1
            yield next(self._batches)


def parts_of(batch: Batch, most: int) -> Iterator[Batch]:
    """Cut a batch into parts of at most ``most`` frames; the batch itself where it has no more. It has to be that of a single process."""
    frames = len(batch.rows)
    if frames <= most:
        yield batch
        return
    for first in range(0, frames, most):
        cut = slice(first, first + most)
        labels, rows = batch.labels[cut], batch.rows[cut]
        yield Batch(batch.images[cut], labels, rows, batch.indices[cut], (), whole_labels=labels, whole_rows=rows)


def clean_batches(plan: Plan, stop_if_asked: Callable[[], None], advance: Callable[[int], None]) -> Iterator[Tensor]:
    """Yield the training frames without augmentation, shuffled so that every batch holds all classes.

    Args:
        stop_if_asked: called before each batch is used.
        advance: told how many frames were just used.
    """
    for batch in _loader(plan, plan.train, training=False):
        stop_if_asked()
        yield batch.images.to(plan.device, non_blocking=True)
        advance(len(batch.whole_rows))


def validation_batches(plan: Plan) -> Loader:
    """Return the validation frames in the order of the manifest, all of them."""
    return _loader(plan, plan.val, training=False, shuffle=False)


def _loader(plan: Plan, rows: tuple[Row, ...], *, epoch: int = 0, start: int = 0, training: bool, shuffle: bool = True) -> Loader:
    return Loader(
        plan.dataset,
        rows,
        plan.pipeline,
        batch_size=plan.batch_size,
        seed=plan.config.train.seed,
        epoch=epoch,
        start=start,
        shuffle=shuffle,
        drop_last=shuffle,
        training=training,
        workers=plan.config.train.workers,
        prefetch=PREFETCH if plan.memory else 2,
        pinned=plan.device.type == "cuda",
        shape=plan.input_shape,
        part=plan.ranks.part,
        cache=plan.frame_cache,
    )
