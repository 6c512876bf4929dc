"""The batches of a run: those it learns from, the same frames without augmentation, and the validation frames.

Each of several processes reads its part of every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from zoo.data import Row
from zoo.data.loader import Loader
from zoo.training.plan import Plan


def training_batches(plan: Plan, *, epoch: int, start: int) -> Loader:
    """Return the batches of an epoch from batch ``start`` on, augmented; what does not fill the last one is left out."""
    return _loader(plan, plan.train, epoch=epoch, start=start, training=True)


def clean_batches(plan: Plan, stop_if_asked: Callable[[], None], advance: Callable[[int], None]) -> Iterator[Tensor]:
    """Yield the training frames without augmentation, shuffled so that every batch holds all classes.

    Args:
        stop_if_asked: called before each batch is used.
        advance: told how many frames were just used.
    """
    for batch in _loader(plan, plan.train, training=False):
        stop_if_asked()
        yield batch.images.to(plan.device)
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
        shape=plan.input_shape,
        part=plan.ranks.part,
        cache=plan.frame_cache,
    )
