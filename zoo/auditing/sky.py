"""Which frames show the same piece of the sky, from the positions of their chips and the size of these.

How a chip is turned is not in a manifest, so two limits stand for its outline: the circle inside it, and the circle around it. Chips whose
inner circles overlap share sky however they are turned; chips whose outer circles do not overlap share none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.auditing.footprints import sizes_of
from zoo.auditing.table import Floats, Integers, Table, distinct_pairs
from zoo.data.footprints import ARCMIN_PER_RADIAN, chip_of, directions

_SAME = 0.1  # arcmin; frames of one group that lie in one such cell are looked at once, a small part of a chip
_CHUNK = 2000


@dataclass(frozen=True)
class Overlaps:
    """Which frames share sky with which other groups of frames.

    Attributes:
        certain: ``(M, 2)`` pairs of a row and another group of which it shares sky with a frame, however the chips are turned.
        possible: the same where they may share sky, depending on how they are turned.
    """

    certain: Integers
    possible: Integers


def chips(table: Table) -> Floats:
    """``(N, 2)`` width and height in arcmin: as the header says, else `chip_of` the row; NaN also where the position is unknown."""
    one_of_each = {(row.instrument, row.product): row for row in table.rows}
    size_of = {key: chip_of(row) for key, row in one_of_each.items()}
    sizes = np.array([size_of[row.instrument, row.product] for row in table.rows], dtype=np.float64).reshape(-1, 2)
    told = np.isfinite(table.corners[:, 0, 0])
    sizes[told] = sizes_of(table.corners[told])
    sizes[~np.isfinite(table.ra + table.dec)] = np.nan
    return sizes


def separation(ra: Floats, dec: Floats, ra_to: Floats, dec_to: Floats) -> Floats:
    """Angle between positions in degrees, in arcmin, from the chord, which is exact for small angles too."""
    chord = np.linalg.norm(directions(ra, dec) - directions(ra_to, dec_to), axis=-1)
    return np.asarray(2 * np.arcsin(np.minimum(chord / 2, 1.0)) * ARCMIN_PER_RADIAN, dtype=np.float64)


def find_overlaps(table: Table, groups: Integers) -> Overlaps:
    """Find frames that share sky with frames of another group.

    Frames far from every other group are set aside by a grid; of the others, those that lie in one cell of 0.1 arcmin with a frame of
    their own group are looked up together, in a k-d tree. So time and memory follow the frames that share sky, not their square.

    Args:
        table: N rows. groups: ``(N,)``; pairs within a group are not looked at.
    """
    from scipy.spatial import cKDTree

    sizes = chips(table)
    rows = np.flatnonzero(np.isfinite(sizes[:, 0]))
    none = np.empty((0, 2), dtype=np.int64)
    if not rows.size:
        return Overlaps(none, none)
    points = directions(table.ra[rows], table.dec[rows])
    inner, outer = sizes[rows].min(axis=1) / 2 / ARCMIN_PER_RADIAN, np.hypot(*sizes[rows].T) / 2 / ARCMIN_PER_RADIAN
    reach = 2 * float(outer.max())
    near = _mixed(points, groups[rows], reach)
    rows, points, inner, outer = rows[near], points[near], inner[near], outer[near]
    if not rows.size:
        return Overlaps(none, none)
    cells = np.floor(points / (_SAME / ARCMIN_PER_RADIAN)).astype(np.int64)
    alike = np.column_stack([cells, groups[rows], np.round(outer * 1e9).astype(np.int64)])
    _, first, member = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    member = member.ravel()  # numpy 2.0 gives it a second axis
    points, inner, outer, group = points[first], inner[first], outer[first], groups[rows][first]
    tree = cKDTree(points)
    found: tuple[list[Integers], list[Integers]] = ([none], [none])
    for start in range(0, len(points), _CHUNK):
        pairs = cKDTree(points[start : start + _CHUNK]).sparse_distance_matrix(tree, reach, output_type="ndarray")
        i, j, angle = pairs["i"] + start, pairs["j"], pairs["v"]
        for kind, radius in zip(found, (inner, outer), strict=True):
            kept = (group[i] != group[j]) & (angle < radius[i] + radius[j])
            kind.append(distinct_pairs(i[kept], group[j[kept]]))
    return Overlaps(*(_rows_of(np.concatenate(kind), rows, member) for kind in found))


def _mixed(points: Floats, groups: Integers, reach: float) -> NDArray[np.bool_]:
    """Whether a frame of another group lies in the cell of a frame or one of the 26 around it; cells are as wide as ``reach``."""
    side = int(2 / reach) + 4
    cells = np.floor((points + 1) / reach).astype(np.int64) + 1
    keys, member = np.unique((cells[:, 0] * side + cells[:, 1]) * side + cells[:, 2], return_inverse=True)
    low, high = np.full(keys.size, np.iinfo(np.int64).max), np.full(keys.size, -1)
    np.minimum.at(low, member, groups)
    np.maximum.at(high, member, groups)
    least, most = low.copy(), high.copy()
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            for dz in (-1, 0, 1):
                other = keys + (dx * side + dy) * side + dz
                place = np.minimum(np.searchsorted(keys, other), keys.size - 1)
                there = keys[place] == other
                least[there] = np.minimum(least[there], low[place[there]])
                most[there] = np.maximum(most[there], high[place[there]])
    return np.asarray((least < most)[member], dtype=np.bool_)


def _rows_of(found: Integers, rows: Integers, member: Integers) -> Integers:
    """Give every row what was found for the one that stood for it: ``(row, group)`` pairs."""
    if not found.size:
        return found
    found = found[np.argsort(found[:, 0], kind="stable")]
    starts = np.searchsorted(found[:, 0], member, side="left")
    counts = np.searchsorted(found[:, 0], member, side="right") - starts
    owner = np.repeat(np.arange(member.size), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
    return np.column_stack([rows[owner], found[place, 1]])
