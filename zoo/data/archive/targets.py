"""Objects of known class, to build a list from: a table of the user, or the one that comes with zoo.

Names, positions, sizes and types in `targets.csv` are those of OpenNGC by Mattia Verga (https://github.com/mattiaverga/OpenNGC), licence
CC-BY-SA-4.0. Every object lies more than half a degree from each frame of the published test and blurry lists, so that nothing learned from
it has seen what these lists ask.
"""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.footprints import ARCMIN_PER_RADIAN, directions
from zoo.data.groups import same_target
from zoo.errors import DataError

SHIPPED = Path(__file__).with_name("targets.csv")
COLUMNS = ("name", "class", "ra", "dec", "diameter_arcmin")

# Arcmin from the centre within which an exposure counts as one of the object: its radius, but at least a chip's width, and of large objects
# the inner part, where the label is beyond doubt.
_LEAST_REACH, _MOST_REACH = 2.0, 6.0


@dataclass(frozen=True)
class Target:
    """An object of known class.

    Attributes:
        name, label: of it and its class. ra, dec: degrees (ICRS). diameter: arcmin. source: where the facts come from.
    """

    name: str
    label: str
    ra: float
    dec: float
    diameter: float
    source: str = ""

    @property
    def reach(self) -> float:
        """Arcmin from the centre within which an exposure is taken for one of the object."""
        return min(max(self.diameter / 2, _LEAST_REACH), _MOST_REACH)


def read_targets(path: str | os.PathLike[str] | None = None) -> tuple[Target, ...]:
    """Read a table of targets.

    Args:
        path: CSV with `COLUMNS` (positions in degrees) and maybe ``source``; other columns do not count. ``None`` for the one of zoo.

    Raises:
        DataError: the file or a column is missing, a value cannot be, a name stands twice, the reaches of two objects of different classes
            overlap, or there are fewer than two classes. The message has file and line.
    """
    file = SHIPPED if path is None else Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{file}: cannot be read as a UTF-8 CSV: {err}") from err
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = {(name or "").strip().casefold(): name for name in reader.fieldnames or ()}
    if absent := [name for name in COLUMNS if name not in names]:
        raise DataError(f"{file}: line 1: got columns {', '.join(filter(None, names)) or 'none'}; expected also {', '.join(absent)}")
    targets: list[Target] = []
    lines: dict[str, int] = {}
    for cells in reader:
        where = f"{file}: line {reader.line_num}"
        target = _read(cells, names, where)
        if (line := lines.setdefault(same_target(target.name), reader.line_num)) != reader.line_num:
            raise DataError(f"{where}: got {target.name} again, expected every target once; it stands in line {line}")
        targets.append(target)
    if len({target.label for target in targets}) < 2:
        raise DataError(f"{file}: got targets of {len({target.label for target in targets})} class, expected at least two classes")
    _check_apart(targets, file)
    return tuple(targets)


def separations(targets: tuple[Target, ...] | list[Target], ra: float, dec: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Angle of every target from a position in degrees, in arcmin."""
    places = directions(np.array([target.ra for target in targets]), np.array([target.dec for target in targets]))
    chord = np.linalg.norm(places - directions(np.array([ra]), np.array([dec])), axis=1)
    return np.asarray(2 * np.arcsin(np.minimum(chord / 2, 1.0)) * ARCMIN_PER_RADIAN, dtype=np.float64)


def _read(cells: dict[str, str], names: dict[str, str], where: str) -> Target:
    text = {column: (cells.get(name) or "").strip() for column, name in names.items()}
    numbers = {}
    for column, low, high in (("ra", 0.0, 360.0), ("dec", -90.0, 90.0), ("diameter_arcmin", 0.0, 10_800.0)):
        try:
            numbers[column] = float(text[column])
        except ValueError:
            numbers[column] = math.nan
        if not low <= numbers[column] <= high:
            raise DataError(f"{where}: got {column} {text[column]!r}, expected a number from {low:g} to {high:g}")
    for column in ("name", "class"):
        if not text[column]:
            raise DataError(f"{where}: got an empty {column}, expected one for every target")
    return Target(text["name"], text["class"], numbers["ra"], numbers["dec"], numbers["diameter_arcmin"], text.get("source", ""))


def _check_apart(targets: list[Target], file: Path) -> None:
    """Refuse two objects of different classes of which one exposure could show both."""
    for place, target in enumerate(targets):
        away = separations(targets, target.ra, target.dec)
        for other in targets[:place]:
            if other.label != target.label and away[targets.index(other)] < target.reach + other.reach:
                raise DataError(
                    f"{file}: got {other.name} ({other.label}) and {target.name} ({target.label}), {away[targets.index(other)]:.1f} arcmin "
                    "apart; expected objects of different classes that no exposure shows together"
                )
