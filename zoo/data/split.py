"""Splits by target: a target is in one split only, so a score never comes from a target that was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from zoo.data.manifest import Row, summarise
from zoo.errors import DataError, UsageError

RULE = "frames are split by target, so every class needs at least 2 targets: one to train on and another to test on"


def draw(seed: int, *words: object) -> int:
    """A 64-bit number that depends on the seed and the words only: equal on every machine and version.

    Args:
        seed: any integer. words: integers or texts; each is kept apart from the next.
    """
    text = "\x1f".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def targets_by_label(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Targets of each class, sorted.

    Raises:
        DataError: a target has frames in two classes.
    """
    owner: dict[str, str] = {}
    for row in rows:
        label = owner.setdefault(row.target, row.label)
        if label != row.label:
            raise DataError(
                f"{row.name}: got target {row.target} with labels {label} and {row.label}, expected one label for all frames of a target; "
                "correct the label, or give the two objects different targets"
            )
    groups: dict[str, list[str]] = {}
    for target in sorted(owner):
        groups.setdefault(owner[target], []).append(target)
    return groups


def check_classes(rows: Iterable[Row], labels: Sequence[str]) -> None:
    """Refuse rows that cannot be split.

    Raises:
        DataError: a class has fewer than two targets, or a target two classes.
    """
    groups = targets_by_label(rows)
    for label in labels:
        targets = groups.get(label, [])
        if len(targets) < 2:
            got = f"1 target ({targets[0]})" if targets else "no target"
            raise DataError(f"class {label}: got {got}; {RULE}. Add frames of another target, or name the targets in a manifest.csv")


def assign_splits(rows: Sequence[Row], *, labels: Sequence[str], seed: int = 0, val: float = 0.15, test: float = 0.25) -> tuple[Row, ...]:
    """Put every target into train, val or test.

    Each class is split for itself: its targets are ordered by a keyed digest of seed, class and target name, the first go to test, the next
    to val, the rest to train. Test and train get at least one target of every class; val gets none where a class has fewer than 4 targets.

    Args:
        rows: the frames; a split they carry is replaced.
        labels: the classes that have to be there.
        seed: another seed gives another split.
        val, test: fractions of the targets of a class, rounded to whole targets.

    Returns: the rows in the same order, with their split.

    Raises:
        DataError: a class has fewer than two targets, or a target two classes.
        UsageError: the fractions are negative or leave nothing to train on.
    """
    if val < 0 or test <= 0 or val + test >= 1:
        raise UsageError(f"fractions of val and test must be >= 0 and > 0 with a sum below 1, got {val} and {test}")
    check_classes(rows, labels)
    split: dict[str, str] = {}
    for label, targets in targets_by_label(rows).items():
        order = sorted(targets, key=lambda target, label=label: (draw(seed, "split", label, target), target))  # type: ignore[misc]
        n_test = min(max(1, round(test * len(order))), len(order) - 1)
        n_val = min(round(val * len(order)), len(order) - n_test - 1) if len(order) >= 4 else 0
        for place, target in enumerate(order):
            split[target] = "test" if place < n_test else "val" if place < n_test + n_val else "train"
    return tuple(replace(row, split=split[row.target]) for row in rows)


def check_splits(rows: Iterable[Row]) -> None:
    """Check splits that a manifest came with.

    Raises:
        DataError: a target stands in two splits, or some rows have a split and others none.
    """
    where: dict[str, str] = {}
    leaks: dict[str, str] = {}
    empty = filled = 0
    for row in rows:
        filled += bool(row.split)
        empty += not row.split
        if where.setdefault(row.target, row.split) != row.split:
            leaks[row.target] = f"{row.target} ({where[row.target] or 'none'}, {row.split or 'none'})"
    if filled and empty:
        raise DataError(
            f"got a split for {filled} rows and none for {empty}, expected one for all or none; 'zoo data split' makes new ones"
        )
    if leaks:
        names = summarise(list(leaks.values()))
        raise DataError(f"got targets in two splits: {names}; expected every target in one. 'zoo data split' makes new ones")
