"""What files the inputs of a prediction mean: files, folders and patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from zoo.data.manifest import walk_files
from zoo.errors import DataError
from zoo.prediction.rows import Prediction

FITS_NAME = re.compile(r"\.(fits?|fts)(\.(gz|fz|bz2))?$|\.fz$", re.IGNORECASE)
FITS_NAMES = "*.fits, *.fit, *.fts, the same with .gz, .bz2 or .fz, and *.fz"


def expand(paths: Iterable[str | os.PathLike[str]], *, on_other: Callable[[Path], object] | None = None) -> Iterator[Path | Prediction]:
    """Yield every file that the inputs mean, and one refused row for a folder or pattern that means none.

    Args:
        paths: files, folders and patterns, as `zoo.predict` takes them. A file that does not exist is passed on, to be refused when it is
            read.
        on_other: called with every other file of the folders: one whose name is none of FITS files.
    """
    for given in paths:
        text = os.fspath(given)
        found = False
        for file in _files(text, on_other):
            found = True
            yield file
        if not found:
            yield Prediction(text, status="refused", code="no-frames", message=_nothing(text))


def check_inputs(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise DataError for the first folder without FITS files or pattern without a match; files are not looked at."""
    for given in paths:
        text = os.fspath(given)
        if next(_files(text), None) is None:
            raise DataError(_nothing(text))


def _files(text: str, on_other: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield the files that one input means."""
    path = Path(text)
    if path.is_dir():
        for file in walk_files(path):
            if FITS_NAME.search(file.name):
                yield file
            elif on_other is not None:
                on_other(file)
    elif glob.has_magic(text) and not path.exists():
        for match in sorted(glob.iglob(text, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
            yield from _files(match, on_other) if Path(match).is_dir() else [Path(match)]
    else:
        yield path


def _nothing(text: str) -> str:
    if Path(text).is_dir():
        return f"{text}: got a folder without FITS files, expected {FITS_NAMES} in it or below it"
    return f"{text}: no file matches this pattern"
