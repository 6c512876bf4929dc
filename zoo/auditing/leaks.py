"""What two parts of the data share that they must not, and what contradicts itself within one.

A part is a list, or one split of a list. Whatever two parts share makes a score on one say less about the other: the same frame most, the
same visit least. Within a part, frames that show the same thing under two targets would be torn apart by a split by target.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.auditing.sky import find_overlaps
from zoo.auditing.table import Coded, Integers, Table, distinct_pairs

EXAMPLES = 5
RELATIONS: Mapping[str, str] = {
    "file": "the same file",
    "frame": "the same chip of the same exposure (suffixes q and s are one)",
    "exposure": "the same exposure",
    "chip pair": "the two chips of one exposure",
    "visit": "the same visit of the telescope",
    "target": "the same target",
    "sky": "footprints that overlap however the chips are turned",
    "pixels": "equal pixels",
    "near pixels": "nearly equal pixels",
}
"""What two parts can share, the closest first."""


@dataclass(frozen=True)
class Leak:
    """What two parts share by one relation.

    Attributes:
        first, second: names of the parts. relation: one of `RELATIONS`.
        shared: how many files, exposures, ... both have; of the sky, pairs of targets.
        frames_first, frames_second: frames of each part that are involved.
        examples: some of what is shared.
        checked: ``False`` where nothing is known to compare: no path, no position, no pixels.
    """

    first: str
    second: str
    relation: str
    shared: int
    frames_first: int
    frames_second: int
    examples: tuple[str, ...] = ()
    checked: bool = True


@dataclass(frozen=True)
class Conflict:
    """Something that contradicts itself within one part.

    Attributes:
        part: its name. kind: one phrase, such as ``exposures with two targets``.
        count: how many. frames: frames involved. examples: some of them.
    """

    part: str
    kind: str
    count: int
    frames: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Leakage:
    """What parts share and what contradicts itself.

    Attributes:
        leaks: of every two parts and relation. conflicts: within parts.
        possible_sky: pairs of targets that may share sky, depending on how chips are turned.
    """

    leaks: tuple[Leak, ...]
    conflicts: tuple[Conflict, ...]
    possible_sky: int


def find_leakage(table: Table, pixels: Coded | None = None, near: Coded | None = None) -> Leakage:
    """Compare every two parts of a table, and look into each.

    Args:
        table: the rows. pixels, near: the same number for frames of equal, or nearly equal, pixels; ``None`` where no pixels were read.
    """
    same: dict[str, Coded | None] = {
        "file": table.file,
        "frame": table.frame,
        "exposure": table.exposure,
        "visit": table.visit,
        "target": table.target,
        "pixels": pixels,
        "near pixels": near,
    }
    present = {name: _presence(table, coded) for name, coded in same.items() if coded is not None}
    sky, possible = _shared_sky(table)
    leaks = []
    for first, second in itertools.combinations(range(len(table.parts.names)), 2):
        names = table.parts.names[first], table.parts.names[second]
        for relation in RELATIONS:
            if relation == "sky":
                leaks.append(_sky_leak(table, sky, first, second))
                continue
            coded = same.get("exposure" if relation == "chip pair" else relation)
            if coded is None or not (coded.codes >= 0).any():
                leaks.append(Leak(*names, relation, 0, 0, 0, checked=False))
                continue
            if relation == "chip pair":
                shared = _chip_pairs(table, present, first, second)
            else:
                there = present[relation]
                shared = there[:, first] & there[:, second]
            involved = shared[coded.codes] & (coded.codes >= 0)
            of_first, of_second = (int((involved & (table.parts.codes == part)).sum()) for part in (first, second))
            examples = tuple(coded.names[code] for code in np.flatnonzero(shared)[:EXAMPLES])
            leaks.append(Leak(*names, relation, int(shared.sum()), of_first, of_second, examples))
    conflicts = tuple(_conflicts(table, sky, pixels, near))
    return Leakage(tuple(leaks), conflicts, possible)


def _presence(table: Table, coded: Coded) -> NDArray[np.bool_]:
    """``(names, parts)``: whether a part has a name."""
    there = np.zeros((max(len(coded.names), 1), len(table.parts.names)), dtype=np.bool_)
    known = coded.codes >= 0
    there[coded.codes[known], table.parts.codes[known]] = True
    return there


def _chip_pairs(table: Table, present: Mapping[str, NDArray[np.bool_]], first: int, second: int) -> NDArray[np.bool_]:
    """Exposures that both parts have, with different chips among them."""
    exposures, frames = present["exposure"], present["frame"]
    either = frames[:, first] | frames[:, second]
    owner = np.zeros(frames.shape[0], dtype=np.int64)
    owner[table.frame.codes] = table.exposure.codes
    chips = np.bincount(owner[either], minlength=exposures.shape[0])
    return np.asarray(exposures[:, first] & exposures[:, second] & (chips > 1), dtype=np.bool_)


def _shared_sky(table: Table) -> tuple[Integers, int]:
    """Rows that share sky for certain with a group of another part or target, ``(M, 2)``, and how many pairs of groups only may."""
    groups = _groups(table)
    overlaps = find_overlaps(table, groups)
    certain, maybe = (
        {(min(a, b), max(a, b)) for a, b in distinct_pairs(groups[pairs[:, 0]], pairs[:, 1]).tolist()}
        for pairs in (overlaps.certain, overlaps.possible)
    )
    return overlaps.certain, len(maybe - certain)


def _groups(table: Table) -> Integers:
    """One number for the frames of a target in a part."""
    return table.parts.codes * max(len(table.target.names), 1) + table.target.codes


def _sky_leak(table: Table, sky: Integers, first: int, second: int) -> Leak:
    """Sky that two parts share."""
    names = table.parts.names[first], table.parts.names[second]
    if not np.isfinite(table.ra).any():
        return Leak(*names, "sky", 0, 0, 0, checked=False)
    part, target = np.divmod(sky[:, 1], max(len(table.target.names), 1))
    own = table.parts.codes[sky[:, 0]]
    forth, back = (own == first) & (part == second), (own == second) & (part == first)
    pairs = distinct_pairs(table.target.codes[sky[forth, 0]], target[forth])
    examples = tuple(_pair(table, a, b) for a, b in pairs[:EXAMPLES].tolist())
    of_first, of_second = (int(np.unique(sky[chosen, 0]).size) for chosen in (forth, back))
    return Leak(*names, "sky", len(pairs), of_first, of_second, examples)


def _pair(table: Table, first: int, second: int) -> str:
    names = table.target.names
    return names[first] if first == second else f"{names[first]} and {names[second]}"


def _conflicts(table: Table, sky: Integers, pixels: Coded | None, near: Coded | None) -> Iterator[Conflict]:
    """What contradicts itself, part by part."""
    parts = table.parts
    yield from _repeated(parts, table.frame, "frames listed twice")
    yield from _several(parts, table.exposure, table.target, "exposures with two targets")
    yield from _several(parts, table.exposure, table.label, "exposures with two labels")
    yield from _several(parts, table.target, table.label, "targets with two labels")
    count = max(len(table.target.names), 1)
    part, other = np.divmod(sky[:, 1], count)
    within = table.parts.codes[sky[:, 0]] == part
    for place, name in enumerate(parts.names):
        chosen = within & (part == place)
        if not chosen.any():
            continue
        own = table.target.codes[sky[chosen, 0]]
        pairs = distinct_pairs(np.minimum(own, other[chosen]), np.maximum(own, other[chosen]))
        examples = tuple(_pair(table, a, b) for a, b in pairs[:EXAMPLES].tolist())
        yield Conflict(name, "pairs of targets on the same sky", len(pairs), int(np.unique(sky[chosen, 0]).size), examples)
    if pixels is not None:
        yield from _repeated(parts, pixels, "frames with the pixels of another")
    if near is not None:
        yield from _several(parts, near, table.target, "nearly equal frames under two targets")


def _repeated(parts: Coded, coded: Coded, kind: str) -> Iterator[Conflict]:
    """Names that stand more than once in a part."""
    yield from _found(parts, coded, kind, np.arange(coded.codes.size))


def _several(parts: Coded, coded: Coded, value: Coded, kind: str) -> Iterator[Conflict]:
    """Names that have more than one value in a part."""
    yield from _found(parts, coded, kind, value.codes)


def _found(parts: Coded, coded: Coded, kind: str, values: Integers) -> Iterator[Conflict]:
    """Conflicts of names with more than one distinct value within a part."""
    known = np.flatnonzero(coded.codes >= 0)
    if not known.size:
        return
    keys = parts.codes[known] * len(coded.names) + coded.codes[known]
    distinct = distinct_pairs(keys, values[known])
    key, count = np.unique(distinct[:, 0], return_counts=True)
    bad = key[count > 1]
    involved = np.isin(keys, bad)
    for place, name in enumerate(parts.names):
        mine = bad[bad // len(coded.names) == place]
        if mine.size:
            frames = int((involved & (parts.codes[known] == place)).sum())
            yield Conflict(
                name, kind, int(mine.size), frames, tuple(coded.names[code % len(coded.names)] for code in mine[:EXAMPLES].tolist())
            )
