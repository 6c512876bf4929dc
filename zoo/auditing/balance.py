"""How many frames, exposures and targets each class has, and how many targets that amounts to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zoo.auditing.table import Table


@dataclass(frozen=True)
class Balance:
    """One class of one list.

    Attributes:
        list, label: names. frames, exposures, targets: how many.
        effective_targets: how many targets of equal size give an average over frames as much weight on few of them: the square of the sum
            of their frames over the sum of the squares (Kish 1965, on unequal weights).
        largest, largest_share: the target with most frames, and its share of the frames of the class.
        share: of the frames of the list. missing: frames whose file is not there; ``None`` where frames are no files.
    """

    list: str
    label: str
    frames: int
    exposures: int
    targets: int
    effective_targets: float
    largest: str
    largest_share: float
    share: float
    missing: int | None


def find_balance(table: Table, missing: list[np.ndarray | None]) -> tuple[Balance, ...]:
    """Count every class of every list.

    Args:
        table: the rows. missing: for each list, ``(rows of the list,)`` whether the file is absent, or ``None`` where frames are no files.
    """
    return tuple(_of_lists(table, missing))


def _of_lists(table: Table, missing: list[np.ndarray | None]) -> Iterator[Balance]:
    for place, name in enumerate(table.lists.names):
        in_list = np.flatnonzero(table.lists.codes == place)
        for code, label in enumerate(table.label.names):
            chosen = table.label.codes[in_list] == code
            rows = in_list[chosen]
            if not rows.size:
                continue
            counts = np.bincount(table.target.codes[rows])
            absent = missing[place]
            yield Balance(
                list=name,
                label=label,
                frames=int(rows.size),
                exposures=int(np.unique(table.exposure.codes[rows]).size),
                targets=int((counts > 0).sum()),
                effective_targets=float(rows.size**2 / (counts.astype(np.float64) ** 2).sum()),
                largest=table.target.names[int(counts.argmax())],
                largest_share=float(counts.max() / rows.size),
                share=float(rows.size / in_list.size),
                missing=None if absent is None else int(absent[chosen].sum()),
            )
