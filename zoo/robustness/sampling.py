"""A part of the frames that looks like all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.data import Row
from zoo.data.split import draw
from zoo.errors import UsageError


def pick_frames(rows: Sequence[Row], count: int | None) -> list[int]:
    """Return the places of at most ``count`` rows, in their order: every class and target has its share of them, to within one.

    The rows are put in order of class and target, those of a target by chance, and taken at equal distances. The same rows give the same
    part whenever they are asked.

    Args:
        rows: the frames. count: how many; ``None`` for all.

    Raises:
        UsageError: ``count`` is below 1.
    """
    if count is not None and count < 1:
        raise UsageError(f"got {count} frames to degrade, expected at least 1")
    if count is None or count >= len(rows):
        return list(range(len(rows)))

    def place(index: int) -> tuple[str, str, int, int]:
        row = rows[index]
        # Not of the folder: the same frames on a machine where the files lie elsewhere.
        return row.label, row.target, draw(0, "robustness", Path(row.path).name or row.rootname, row.hdu or 0, row.plane or 0), index

    order = sorted(range(len(rows)), key=place)
    return sorted(order[(2 * number + 1) * len(rows) // (2 * count)] for number in range(count))
