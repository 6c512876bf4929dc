"""How far frames lie from the objects they are labelled by. Labels belong to targets: a frame beside its target may show something else."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.auditing.footprints import distance_to
from zoo.auditing.sky import chips, separation
from zoo.auditing.table import Floats, Integers, Table
from zoo.data.footprints import directions
from zoo.data.groups import same_target
from zoo.errors import DataError

COLUMNS = ("target_ra", "target_dec")
FAR = 4.0
"""Arcmin; a chip of ACS/WFC is 3.4 x 1.7 arcmin."""

_NAMES = ("target", "name", "id")
_RADII = {"radius_arcmin": 1.0, "diameter_arcmin": 0.5}


@dataclass(frozen=True)
class Centre:
    """Where a target is: degrees, and its radius in arcmin, NaN where unknown."""

    ra: float
    dec: float
    radius: float = math.nan


@dataclass(frozen=True)
class Offset:
    """The frames of one target of one list.

    Attributes:
        list, target: names. source: where the centre comes from: ``table``, ``column``, or ``median of its frames``.
        frames: with a position. median, largest: arcmin from the centre. far: frames more than 4 arcmin away.
        missing: frames whose footprint misses the centre, or the whole target where its radius is known; of a frame whose header was not
            read, however the chip may be turned.
    """

    list: str
    target: str
    source: str
    frames: int
    median: float
    largest: float
    far: int
    missing: int

    @property
    def known(self) -> bool:
        """Whether the centre was given, and not taken from the frames themselves."""
        return self.source in ("table", "column")


def read_centres(path: str | os.PathLike[str]) -> dict[str, Centre]:
    """Read the centres of targets.

    Args:
        path: CSV with the columns ``target`` (or ``name``, ``ID``), ``ra`` and ``dec`` in degrees (ICRS), and maybe ``radius_arcmin`` or
            ``diameter_arcmin``; others do not count.

    Returns: centres by `same_target` of their names.

    Raises:
        DataError: the file or a column is missing, or a value is no number; the message has file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{os.fspath(path)}: cannot be read as a UTF-8 CSV: {err}") from err
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = {(name or "").strip().casefold(): name for name in reader.fieldnames or ()}
    key = next((columns[name] for name in _NAMES if name in columns), None)
    if key is None or not {"ra", "dec"} <= columns.keys():
        got = ", ".join(name for name in columns if name) or "none"
        raise DataError(f"{os.fspath(path)}: line 1: got columns {got}; expected target, ra and dec, in degrees")
    size = next(((columns[name], factor) for name, factor in _RADII.items() if name in columns), None)
    centres = {}
    for cells in reader:
        where = f"{os.fspath(path)}: line {reader.line_num}"
        radius = _number(cells[size[0]], "radius", where) * size[1] if size and cells[size[0]] else math.nan
        centres[same_target(cells[key] or "")] = Centre(*_position(cells[columns["ra"]], cells[columns["dec"]], where), radius)
    return centres


def find_offsets(table: Table, centres: Mapping[str, Centre], *, medians: bool = False) -> tuple[Offset, ...]:
    """Measure the offsets of the frames of every target whose centre is known.

    A centre comes from ``centres``, else from the columns ``target_ra`` and ``target_dec`` of a row.

    Args:
        table: the rows. centres: by `same_target`.
        medians: for other targets take the median position of their frames. That is no centre: where a target was observed on one side
            only, it lies there too.

    Raises:
        DataError: ``target_ra`` or ``target_dec`` is no number.
    """
    ra, dec, radius = (np.full(len(table), math.nan) for _ in range(3))
    source = np.full(len(table), "", dtype="<U24")
    for code, name in enumerate(table.target.names):
        if (known := centres.get(same_target(name))) is not None:
            mine = table.target.codes == code
            ra[mine], dec[mine], radius[mine], source[mine] = known.ra, known.dec, known.radius, "table"
    for place, row in enumerate(table.rows):
        if not source[place] and row.extra.get(COLUMNS[0]) and row.extra.get(COLUMNS[1]):
            ra[place], dec[place] = _position(row.extra[COLUMNS[0]], row.extra[COLUMNS[1]], row.name)
            source[place] = "column"
    if medians:
        for code in np.unique(table.target.codes[source == ""]).tolist():
            mine = (table.target.codes == code) & (source == "") & np.isfinite(table.ra + table.dec)
            if mine.any():
                ra[mine], dec[mine] = _median(table.ra[mine], table.dec[mine])
                source[mine] = "median of its frames"
    away = separation(table.ra, table.dec, ra, dec)
    sizes = chips(table)
    gap = away - np.hypot(*sizes.T) / 2
    told = np.isfinite(table.corners[:, 0, 0])
    gap[told] = distance_to(table.corners[told], directions(ra[told], dec[told]))
    beside = gap > np.nan_to_num(radius)
    groups = np.where(np.isfinite(away), table.lists.codes * max(len(table.target.names), 1) + table.target.codes, -1)
    return tuple(_offset(table, rows, str(source[rows[0]]), away[rows], int(beside[rows].sum())) for rows in _grouped(groups))


def _grouped(groups: Integers) -> list[Integers]:
    """Rows of each group, the smallest first; -1 is none."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if order.size else []
    return [rows for rows in parts if groups[rows[0]] >= 0]


def _offset(table: Table, rows: Integers, source: str, away: Floats, missing: int) -> Offset:
    names = table.lists.names[table.lists.codes[rows[0]]], table.target.names[table.target.codes[rows[0]]]
    return Offset(*names, source, rows.size, float(np.median(away)), float(away.max()), int((away > FAR).sum()), missing)


def _median(ra: Floats, dec: Floats) -> tuple[float, float]:
    """Position in degrees of the median of the unit vectors, which knows no jump at 360 degrees."""
    x, y, z = np.median(directions(ra, dec), axis=0)
    return float(np.degrees(np.arctan2(y, x))) % 360.0, float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def _position(ra: str, dec: str, where: str) -> tuple[float, float]:
    """A position in degrees."""
    a, d = _number(ra, "ra", where), _number(dec, "dec", where)
    if not (0.0 <= a <= 360.0 and -90.0 <= d <= 90.0):
        raise DataError(f"{where}: got position {a}, {d}, expected degrees, 0 to 360 and -90 to 90")
    return a, d


def _number(text: str | None, name: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: got {name} {text!r}, expected a number in degrees (a radius in arcmin)")
    return value
