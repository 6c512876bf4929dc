"""The rows of all lists as columns of numbers, so that nothing below loops over rows."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data import SPLITS, Manifest, Row
from zoo.data.groups import HST_NAME, same_target

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coded:
    """A column of names as numbers: ``names[codes[i]]`` is the name of row i, and code -1 stands for unknown."""

    codes: Integers
    names: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The rows of all lists, one after the other.

    Attributes:
        rows: as they were read.
        lists: the list of each row; parts: the same, or list and split where it has splits, such as ``frames.csv:test``.
        label, target: spellings of one target (``NGC 346``, ``ngc0346``) are one.
        file: path; exposure: rootname, for which the suffixes q and s are one; frame: exposure, HDU and plane; visit, programme: from the
            rootname where it is one of HST's, else from the columns. Unknown where nothing says it.
        ra, dec: degrees; exptime: seconds. NaN where unknown.
        corners: ``(N, 4, 3)`` unit vectors to the corners of the frames, NaN where their headers were not read or do not tell.
    """

    rows: tuple[Row, ...]
    lists: Coded
    parts: Coded
    label: Coded
    target: Coded
    file: Coded
    exposure: Coded
    frame: Coded
    visit: Coded
    programme: Coded
    ra: Floats
    dec: Floats
    exptime: Floats
    corners: Floats

    def __len__(self) -> int:
        return len(self.rows)


def read_table(manifests: Sequence[tuple[str, Manifest]]) -> Table:
    """Make the table of named lists."""
    rows = tuple(row for _, manifest in manifests for row in manifest)
    lists = [name for name, manifest in manifests for _ in range(len(manifest))]
    files = [file for _, manifest in manifests for file in _files(manifest)]
    exposures = [_exposure(row, file) for row, file in zip(rows, files, strict=True)]
    hst = [bool(HST_NAME.fullmatch(name)) for name in exposures]
    sent = [name[:-1] if known and name[-1] in "qs" else name for name, known in zip(exposures, hst, strict=True)]
    spellings = {name: same_target(name) for name in {row.target for row in rows}}
    return Table(
        rows=rows,
        lists=encode(lists, fixed=[name for name, _ in manifests]),
        parts=_parts(lists, rows, [name for name, _ in manifests]),
        label=encode([row.label for row in rows]),
        target=encode([row.target for row in rows], keys=[spellings[row.target] for row in rows]),
        file=encode(files),
        exposure=encode(exposures, keys=sent),
        frame=encode([row.name for row in rows], keys=[(name, row.hdu, row.plane) for name, row in zip(sent, rows, strict=True)]),
        visit=encode([name[:6] if known else _visit(row) for name, row, known in zip(exposures, rows, hst, strict=True)]),
        programme=encode([row.proposal or (name[:4] if known else "") for name, row, known in zip(exposures, rows, hst, strict=True)]),
        ra=np.array([row.ra for row in rows], dtype=np.float64),
        dec=np.array([row.dec for row in rows], dtype=np.float64),
        exptime=np.array([row.exptime for row in rows], dtype=np.float64),
        corners=np.full((len(rows), 4, 3), np.nan),
    )


def encode(values: Sequence[str], *, keys: Sequence[Hashable] | None = None, fixed: Iterable[str] = ()) -> Coded:
    """Number names in the order in which they appear.

    Args:
        values: the names; an empty one is unknown.
        keys: what makes two of them equal, by default the name itself; the first name of a key stands for it.
        fixed: names that come first, present or not.
    """
    places: dict[Hashable, int] = {}
    names: list[str] = []
    for name in fixed:
        places[name] = len(names)
        names.append(name)
    codes = np.empty(len(values), dtype=np.int64)
    for index, (value, key) in enumerate(zip(values, values if keys is None else keys, strict=True)):
        if not value:
            codes[index] = -1
            continue
        place = places.get(key)
        if place is None:
            place = places[key] = len(names)
            names.append(value)
        codes[index] = place
    return Coded(codes, tuple(names))


def distinct_pairs(first: Integers, second: Integers) -> Integers:
    """``(K, 2)``: every pair of two columns, values from 0, once and in order; ten times as fast as `numpy.unique` with an axis."""
    if not first.size:
        return np.empty((0, 2), dtype=np.int64)
    width = int(second.max()) + 1
    return np.column_stack(np.divmod(np.unique(first * width + second), width))


def _parts(lists: Sequence[str], rows: Sequence[Row], names: Sequence[str]) -> Coded:
    """List and split of every row; parts without rows are left out."""
    parts = [f"{name}:{row.split}" if row.split else name for name, row in zip(lists, rows, strict=True)]
    there = set(parts)
    return encode(parts, fixed=[part for name in names for part in (name, *(f"{name}:{split}" for split in SPLITS)) if part in there])


def _files(manifest: Manifest) -> list[str]:
    """Absolute path of every row's file, folders free of links; empty where there is none."""
    folders: dict[str, str] = {}
    files = []
    root = os.fspath(manifest.root)
    for row in manifest:
        if not row.path:
            files.append("")
            continue
        folder, name = os.path.split(row.path)
        if folder not in folders:
            folders[folder] = os.path.realpath(os.path.join(root, folder))  # noqa: PTH118 - pathlib takes a second per 100,000 rows
        files.append(f"{folders[folder]}{os.sep}{name}")
    return files


def _exposure(row: Row, file: str) -> str:
    """Name of the exposure: the rootname, else the one that the file is named after, else the file."""
    if row.rootname:
        return row.rootname.casefold()
    stem = row.path.rpartition("/")[2].partition("_")[0].casefold()
    return stem if HST_NAME.fullmatch(stem) else file


def _visit(row: Row) -> str:
    """Visit as the columns tell it; a visit's number means something within its programme only."""
    return f"{row.proposal}/{row.visit}" if row.visit and row.proposal else ""
