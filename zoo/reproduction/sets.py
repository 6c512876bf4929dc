"""The frames that networks are tested on: test frames of the data, and those derived from them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from zoo.data import DataSet, Row, open_data
from zoo.frames import Frame
from zoo.reproduction.recipe import Recipe, TestSet
from zoo.steps import Pipeline

# Frames that were derived once are kept for the next network up to this size: 200 of 512x1024, 16 of 2048x4096.
KEPT_BYTES = 2**29


def open_source(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> DataSet:
    """Return the data of a recipe with their splits; a registered set that is not there yet is made.

    Args:
        progress: called with the files that are ready and all of them.

    Raises:
        DataError: as `zoo.data.open_data`, for instance because there is no such list.
    """
    whole = recipe.trained_on is not None
    return open_data(recipe.source, root=recipe.root, options=recipe.options or None, split=not whole, progress=progress)


def open_training(recipe: Recipe, source: DataSet) -> DataSet:
    """Return the frames that are trained and validated on: those of ``source``, or of the list that stands in for them."""
    return source if recipe.trained_on is None else open_data(str(recipe.trained_on))


def open_set(recipe: Recipe, test: TestSet, source: DataSet) -> DataSet:
    """Return the frames of one set, all of them in the split ``test``.

    Args:
        source: what `open_source` gave.

    Raises:
        DataError: the set has a list of its own, which is not there.
    """
    data = source if test.source is None else open_data(test.source, root=recipe.root, split=False)
    every = recipe.trained_on is not None or test.source is not None
    rows = [replace(row, split="test") for row in data.select("all" if every else "test")]
    name = data.name if test.source is not None or not test.steps else f"{data.name}:{test.key}"
    opener = _Derived(data.open, Pipeline(test.steps)) if test.steps else data.open
    return replace(data, name=name, manifest=data.manifest.with_rows(_first(rows, test.per_target)), open=opener)


def _first(rows: list[Row], per_target: int) -> list[Row]:
    """The first so many frames of each target; all for 0."""
    if per_target == 0:
        return rows
    taken: Counter[str] = Counter()
    kept = []
    for row in rows:
        taken[row.target] += 1
        if taken[row.target] <= per_target:
            kept.append(row)
    return kept


@dataclass
class _Derived:
    """Opens frames through a pipeline and keeps them, because every network is tested on the same ones."""

    source: Callable[[Row], Frame]
    pipeline: Pipeline
    _kept: dict[tuple[str, int | None, int | None], Frame] = field(default_factory=dict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, row: Row) -> Frame:
        key = row.path or row.rootname, row.hdu, row.plane
        with self._lock:
            held = self._kept.get(key)
        if held is not None:
            return held
        # The exposure behind a degraded frame is five times its size, and no further degradation follows.
        frame = replace(self.pipeline.apply(self.source(row)), observation=None)
        size = frame.pixels.nbytes
        with self._lock:
            if key not in self._kept and self._bytes + size <= KEPT_BYTES:
                self._kept[key] = frame
                self._bytes += size
        return frame
