"""Splits: what belongs together is in one part only, so a score never comes from a target, or a visit, that was trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from zoo.data.groups import UNITS, group_rows
from zoo.data.manifest import SPLITS, Row, summarise
from zoo.errors import DataError, UsageError

RULE = "frames are split by target, so every class needs at least 2 targets: one to train on and another to test on"
UNIT_COLUMN = "split_by"
"""Column of a manifest that says what its split keeps whole, where that is not the target."""

FOLD_COLUMN = "fold"
"""Column that says in which fold of a cross-validation, from 1, a frame is tested on."""


@dataclass(frozen=True)
class Balance:
    """One class in one part of a split.

    Attributes:
        split, label: the part and the class. frames, exposures, targets, groups: what of the class is in the part.
        asked: the share of the groups of the class that was asked for. share_groups, share_frames: what the part got of the class.
    """

    split: str
    label: str
    frames: int
    exposures: int
    targets: int
    groups: int
    asked: float
    share_groups: float
    share_frames: float


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
    """Refuse rows that cannot be split by target.

    Raises:
        DataError: a class has fewer than two targets, or a target two classes.
    """
    groups = targets_by_label(rows)
    for label in labels:
        targets = groups.get(label, [])
        if len(targets) < 2:
            got = f"1 target ({targets[0]})" if targets else "no target"
            raise DataError(f"class {label}: got {got}; {RULE}. Add frames of another target, or name the targets in a manifest.csv")


def assign_splits(
    rows: Sequence[Row],
    *,
    labels: Sequence[str],
    seed: int = 0,
    val: float = 0.15,
    test: float = 0.25,
    by: str = "target",
    radius: float | None = None,
) -> tuple[Row, ...]:
    """Put every group of frames into train, val or test.

    Each class is split for itself: its groups are ordered by a keyed digest of seed, class and name, the first go to test, the next
    to val, the rest to train. Test and train get at least one group of every class; val gets none where a class has fewer than 4. A group
    that holds several classes counts for the one of them that has the fewest groups.

    Args:
        rows: the frames; a split they carry is replaced.
        labels: the classes that have to be there.
        seed: another seed gives another split.
        val, test: fractions of the groups of a class, rounded to whole groups.
        by, radius: what stays whole, as `zoo.data.groups.group_rows` takes it.

    Returns: the rows in the same order, with their split; where it is not by target, a column ``split_by`` says so.

    Raises:
        DataError: a class has fewer than two groups, a target has two classes, or a row lacks what the groups are made of.
        UsageError: the fractions are negative or leave nothing to train on, or ``by`` and ``radius`` do not fit.
    """
    if not (val >= 0 and test > 0 and val + test < 1):  # NaN too
        raise UsageError(f"fractions of val and test must be >= 0 and > 0 with a sum below 1, got {val} and {test}")
    names, strata = _stratify(rows, labels, parts=2, seed=seed, by=by, radius=radius)
    split: dict[str, str] = {}
    for order in strata.values():
        n_test = min(max(1, round(test * len(order))), len(order) - 1)
        split |= dict.fromkeys(order[:n_test], "test") | _train_and_val(order[n_test:], len(order), val)
    return _with_parts(rows, names, split, labels, by)


def assign_folds(
    rows: Sequence[Row],
    *,
    labels: Sequence[str],
    folds: int,
    seed: int = 0,
    val: float = 0.15,
    by: str = "target",
    radius: float | None = None,
) -> tuple[tuple[Row, ...], ...]:
    """Split ``folds`` times, so that every group is tested on once.

    The groups of a class are dealt to the folds in the order of `assign_splits`, as many at a time as there are folds, the one with the
    most frames to the fold with the fewest so far: folds differ by one group of a class at most, and as little in frames as that allows.

    Args:
        rows, labels, seed, by, radius: as for `assign_splits`.
        folds: >= 2.
        val: fraction of the groups of a class that each fold takes for validation from those it does not test on.

    Returns: one tuple of rows per fold, in the same order, with their split and the fold in which they are tested on.

    Raises:
        DataError: a class has fewer groups than there are folds, and as `assign_splits`. UsageError: a number is out of range.
    """
    if folds < 2:
        raise UsageError(f"folds must be >= 2, got {folds}")
    if not 0 <= val < 1 - 1 / folds:
        raise UsageError(f"with {folds} folds the fraction of val must be >= 0 and below {1 - 1 / folds:.3g}, got {val}")
    names, strata = _stratify(rows, labels, parts=folds, seed=seed, by=by, radius=radius)
    sizes = Counter(names)
    fold_of: dict[str, int] = {}
    for order in strata.values():
        filled = [0] * folds
        for start in range(0, len(order), folds):
            block = sorted(order[start : start + folds], key=lambda group: -sizes[group])
            for group, fold in zip(block, sorted(range(folds), key=lambda fold: filled[fold]), strict=False):
                fold_of[group] = fold
                filled[fold] += sizes[group]
    result = []
    for fold in range(folds):
        split: dict[str, str] = {}
        for label, order in strata.items():
            tested = [group for group in order if fold_of[group] == fold]
            rest = sorted(set(order) - set(tested), key=lambda group: (draw(seed, "fold", fold, label, group), group))
            split |= dict.fromkeys(tested, "test") | _train_and_val(rest, len(order), val)
        result.append(_with_parts(rows, names, split, labels, by, fold_of))
    return tuple(result)


def measure_balance(
    rows: Sequence[Row], *, labels: Sequence[str], asked: Mapping[str, float], by: str = "target", radius: float | None = None
) -> tuple[Balance, ...]:
    """Count what every part of a split has of every class, and how that compares with what was asked for.

    Args:
        rows: frames with a split. labels: the classes. asked: part -> share of the groups. by, radius: as for `assign_splits`.

    Returns: one entry per part and class, in the order of train, val, test and of ``labels``.
    """
    names = group_rows(rows, by=by, radius=radius)
    result = []
    for split in SPLITS:
        for label in labels:
            every = [(row, name) for row, name in zip(rows, names, strict=True) if row.label == label]
            part = [(row, name) for row, name in every if row.split == split]
            groups = len({name for _, name in part})
            result.append(
                Balance(
                    split=split,
                    label=label,
                    frames=len(part),
                    exposures=len({row.path or row.rootname for row, _ in part}),
                    targets=len({row.target for row, _ in part}),
                    groups=groups,
                    asked=asked[split],
                    share_groups=groups / max(len({name for _, name in every}), 1),
                    share_frames=len(part) / max(len(every), 1),
                )
            )
    return tuple(result)


def check_splits(rows: Iterable[Row]) -> str:
    """Check splits that a manifest came with.

    A target has to be in one split only, unless the column ``split_by`` of every row says that visits or exposures were kept whole instead.

    Returns: what was kept whole: ``target``, ``visit``, ``exposure`` or ``sky``.

    Raises:
        DataError: something that should be whole stands in two splits, or some rows have a split, or a ``split_by``, and others another.
    """
    rows = tuple(rows)
    units = sorted({row.extra.get(UNIT_COLUMN, "") or "target" for row in rows})
    if len(units) > 1 or (units and units[0] not in UNITS):
        raise DataError(f"got {UNIT_COLUMN} {', '.join(units)}, expected one of {', '.join(UNITS)} for all rows")
    unit = units[0] if units else "target"
    filled = sum(bool(row.split) for row in rows)
    if filled and filled < len(rows):
        got = f"a split for {filled} rows and none for {len(rows) - filled}"
        raise DataError(f"got {got}, expected one for all or none; 'zoo data split' makes new ones")
    if not filled:
        return unit
    finer = unit in ("visit", "exposure")
    names = group_rows(rows, by=unit) if finer else [row.target for row in rows]
    where: dict[str, str] = {}
    leaks = {
        name: f"{name} ({where[name]}, {row.split})"
        for row, name in zip(rows, names, strict=True)
        if where.setdefault(name, row.split) != row.split
    }
    if leaks:
        what = unit if finer else "target"
        named = summarise(list(leaks.values()))
        raise DataError(f"got {what}s in two splits: {named}; expected every {what} in one. 'zoo data split' makes new ones")
    return unit


def _stratify(
    rows: Sequence[Row], labels: Sequence[str], *, parts: int, seed: int, by: str, radius: float | None
) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The group of every row, and the groups that count for each class, in an order drawn from the seed."""
    if by == "target":
        check_classes(rows, labels)
    targets_by_label(rows)
    names = group_rows(rows, by=by, radius=radius)
    classes: dict[str, set[str]] = {}
    for row, name in zip(rows, names, strict=True):
        classes.setdefault(name, set()).add(row.label)
    counts = Counter(label for held in classes.values() for label in held)
    for label in labels:
        if counts[label] < parts:
            raise DataError(_too_few(rows, names, label, counts[label], parts, by))
    strata: dict[str, list[str]] = {}
    for name, held in classes.items():
        strata.setdefault(min(held, key=lambda label: (counts[label], label)), []).append(name)
    return names, {
        label: sorted(groups, key=lambda group, label=label: (draw(seed, "split", label, group), group))  # type: ignore[misc]
        for label, groups in strata.items()
    }


def _too_few(rows: Sequence[Row], names: Sequence[str], label: str, count: int, parts: int, by: str) -> str:
    """What to say of a class that cannot be divided into so many parts."""
    noun = {"sky": "region of the sky"}.get(by, by)
    got = f"{count} {noun}{'s' if count != 1 and by != 'sky' else ''}"
    targets = sorted({row.target for row in rows if row.label == label})
    if by in ("target", "sky") and len(targets) > count:
        got += f" of {len(targets)} targets ({summarise(targets)}), which exposures, visits or the sky join"
    return (
        f"class {label}: got {got}; expected at least {parts}, one for each part, because a {noun} is never divided; "
        f"ask for {'a smaller radius or ' if by == 'sky' else ''}fewer folds, or add frames of others"
    )


def _train_and_val(rest: Sequence[str], total: int, val: float) -> dict[str, str]:
    """Divide the groups of a class that are not tested on; one at least is trained on."""
    n_val = min(round(val * total), len(rest) - 1) if total >= 4 and rest else 0
    return dict.fromkeys(rest[:n_val], "val") | dict.fromkeys(rest[n_val:], "train")


def _with_parts(
    rows: Sequence[Row],
    names: Sequence[str],
    split: Mapping[str, str],
    labels: Sequence[str],
    by: str,
    fold_of: Mapping[str, int] | None = None,
) -> tuple[Row, ...]:
    """The rows with their split. Raises: DataError: a class is missing where it has to be."""
    done = []
    for row, name in zip(rows, names, strict=True):
        extra = {key: value for key, value in row.extra.items() if key not in (UNIT_COLUMN, FOLD_COLUMN)}
        if by != "target":
            extra[UNIT_COLUMN] = by
        if fold_of is not None:
            extra[FOLD_COLUMN] = str(fold_of[name] + 1)
        done.append(replace(row, split=split[name], extra=extra))
    there = {(row.split, row.label) for row in done}
    for part in ("train", "test"):
        for label in labels:
            if (part, label) not in there:
                raise DataError(
                    f"class {label}: got none for {part}, because its frames are joined with those of other classes; try another seed, "
                    f"or a split that keeps less together than the {by}"
                )
    return tuple(done)
