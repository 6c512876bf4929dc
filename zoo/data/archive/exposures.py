"""Which exposures a list asks for: manifests, tables and plain lists of Hubble names."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.data.folders import is_manifest
from zoo.data.manifest import Manifest, Row
from zoo.errors import DataError

NAME_COLUMNS = ("rootname", "obsid", "obs_id", "dataset")
"""Columns of a table that hold names of exposures, matched without case: ours, the authors', MAST's portal and its Hubble search form."""

_NAME = re.compile(r"([a-z][a-z0-9]{8})(?:_[a-z0-9]{3}\.fits)?\Z")
_EXPECTED = "the name of an exposure, a letter and 8 letters or digits such as j8bt05njq"


@dataclass(frozen=True)
class Exposures:
    """What lists ask for.

    Attributes:
        names: rootnames in lower case, each once, in the order of the lists.
        rows: the labelled frames of the lists that are manifests, each with its rootname.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, Row], ...]


def read_exposures(sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Exposures:
    """Read which exposures are wanted.

    Args:
        sources: one or several of: a manifest; another CSV with one of `NAME_COLUMNS`; a text file with one name per line, where ``#``
            begins a comment; the name of an exposure, or of one of its files (``j8bt05njq_raw.fits``).

    Raises:
        DataError: a file cannot be read, a name is none, or there is not a single one. The message has file and line.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    names: dict[str, None] = {}
    rows: list[tuple[str, Row]] = []
    for source in given:
        path = Path(source)
        if not path.is_file():
            names[_name_or_refuse(source)] = None
        elif is_manifest(path):
            found = [(_name_of(row, path), row) for row in Manifest.read_csv(path, find=False)]
            rows += found
            names |= dict.fromkeys(name for name, _ in found)
        else:
            names |= dict.fromkeys(_listed(path))
    if not names:
        raise DataError(f"{', '.join(os.fspath(source) for source in given) or 'the list'}: got no exposure, expected {_EXPECTED}")
    return Exposures(tuple(names), tuple(rows))


def _name(text: str) -> str | None:
    match = _NAME.match(Path(text.strip().lower()).name)
    return match[1] if match else None


def _name_or_refuse(source: str | os.PathLike[str]) -> str:
    name = _name(os.fspath(source))
    if name is None or Path(source).is_dir():
        got = "a folder" if Path(source).is_dir() else "no such file"
        raise DataError(f"{source}: {got}, expected a manifest, a list of exposures, or {_EXPECTED}")
    return name


def _name_of(row: Row, path: Path) -> str:
    name = _name(row.rootname) or _name(row.path)
    if name is None:
        raise DataError(f"{path}: {row.name}: got rootname {row.rootname!r}, expected {_EXPECTED}")
    return name


def _listed(path: Path) -> Iterator[str]:
    """The names in a table or a plain list."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {err}") from err
    first = next(csv.reader(lines), [])
    columns = [column.strip().casefold() for column in first]
    column = next((columns.index(name) for name in NAME_COLUMNS if name in columns), None)
    if column is None:
        cells = [(number, line.partition("#")[0]) for number, line in enumerate(lines, 1)]
    else:
        reader = csv.reader(lines)
        next(reader)
        cells = [(reader.line_num, line[column] if column < len(line) else "?") for line in reader if line]
    for number, text in cells:
        if text.strip():
            name = _name(text)
            if name is None:
                raise DataError(f"{path}: line {number}: got {text.strip()[:60]!r}, expected {_EXPECTED}")
            yield name
