"""Manifests: a CSV with one line per frame. The authors' published lists are manifests as they stand."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo import storage
from zoo.errors import DataError

COLUMNS = (
    "path", "hdu", "label", "target", "rootname", "instrument", "detector", "filter", "product",
    "exptime", "ra", "dec", "visit", "proposal", "split", "plane",
)  # fmt: skip
SPLITS = ("train", "val", "test")

_FLOATS = ("exptime", "ra", "dec")
_ALIASES = {"id": "target", "obsid": "rootname", "hdu index": "hdu"}  # the authors' spelling
_LISTED = 5  # names in a message before "and N more"


@dataclass(frozen=True)
class Row:
    """One frame of a data set.

    Attributes:
        path: file of the frame, relative to the manifest's root or absolute; empty while no file has been found.
        hdu: index of the HDU that holds the pixels; ``None`` stands for the only frame of the file.
        label: class name. target: the object observed. rootname: HST name of the exposure.
        instrument: ``ACS/WFC``, ``WFC3/UVIS``, ... detector, filter, visit, proposal: as in the header.
        product: ``raw``, ``flt``, ``drz`` or ``other``.
        exptime: seconds. ra, dec: degrees (ICRS). All three are NaN when unknown.
        split: ``train``, ``val``, ``test`` or empty.
        plane: which plane of a cube, from 0; ``None`` where the image has two axes.
        extra: the columns that zoo does not know, kept as text.
    """

    path: str = ""
    hdu: int | None = None
    label: str = ""
    target: str = ""
    rootname: str = ""
    instrument: str = ""
    detector: str = ""
    filter: str = ""
    product: str = ""
    exptime: float = math.nan
    ra: float = math.nan
    dec: float = math.nan
    visit: str = ""
    proposal: str = ""
    split: str = ""
    plane: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """File and HDU for messages: ``j8bt05njq_raw.fits[1]``, and the plane of a cube: ``cube.fits[0, plane 2]``."""
        file = self.path or f"{self.rootname}_raw.fits"
        parts = ([] if self.hdu is None else [str(self.hdu)]) + ([] if self.plane is None else [f"plane {self.plane}"])
        return f"{file}[{', '.join(parts)}]" if parts else file


@dataclass(frozen=True)
class Manifest:
    """Rows of a data set and the folder that their paths are relative to.

    Attributes:
        rows: the frames, in the order of the file.
        root: relative paths start here.
        source: the CSV or folder that the rows come from, for messages.
        notes: what a user should be told about how the rows were read, one line each.
    """

    rows: tuple[Row, ...]
    root: Path
    source: Path | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Distinct class names, sorted."""
        return tuple(sorted({row.label for row in self.rows}))

    @property
    def targets(self) -> tuple[str, ...]:
        """Distinct target names, sorted."""
        return tuple(sorted({row.target for row in self.rows}))

    def select(self, *, split: str) -> tuple[Row, ...]:
        """Rows of one split, in order; ``all`` gives every row.

        Raises:
            DataError: ``split`` is not train, val, test or all.
        """
        if split == "all":
            return self.rows
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}, all")
        return tuple(row for row in self.rows if row.split == split)

    def path_of(self, row: Row) -> Path:
        """The file of ``row``; for a row whose file was not found, where it was expected."""
        return self.root / (row.path or f"{row.rootname}_raw.fits")

    def missing(self) -> tuple[Row, ...]:
        """Rows whose file does not exist."""
        root = os.fspath(self.root)
        files = {row.path for row in self.rows if row.path}
        present = {path: os.path.isfile(os.path.join(root, path)) for path in files}  # noqa: PTH113, PTH118 - pathlib takes seconds for 100,000
        return tuple(row for row in self.rows if not (row.path and present[row.path]))

    def with_rows(self, rows: Iterable[Row], *notes: str) -> Manifest:
        """The same manifest with other rows and further notes."""
        return replace(self, rows=tuple(rows), notes=self.notes + notes)

    def with_labels(self, labels: Sequence[str]) -> Manifest:
        """Keep the rows of these classes, spelt as here; matching ignores case, and a note counts the rows of other labels.

        Raises:
            DataError: no row has any of the labels.
        """
        spelling = {label.casefold(): label for label in labels}
        kept = ((row, spelling[row.label.casefold()]) for row in self.rows if row.label.casefold() in spelling)
        rows = tuple(row if row.label == label else replace(row, label=label) for row, label in kept)
        where = self.source or self.root
        others = sorted({row.label for row in self.rows if row.label.casefold() not in spelling})
        named = summarise([repr(other) for other in others])
        if not rows:
            got = f"labels {named}" if others else "no rows"
            raise DataError(f"{where}: got {got}, expected rows with label {', '.join(labels)}; name other classes with --labels")
        if not others:
            return replace(self, rows=rows)
        left_out = len(self.rows) - len(rows)
        return self.with_rows(rows, f"left out {left_out} rows with label {named}; --labels names the classes")

    def fingerprint(self) -> str:
        """SHA-256 of what the rows say, without where the files lie: equal for equal lists on different machines."""
        rows = (replace(row, path=Path(row.path).name) for row in self.rows)
        return hashlib.sha256(_to_csv(rows).encode()).hexdigest()

    def write_csv(self, path: Path | str) -> None:
        """Write the rows, unknown columns last. Paths below the CSV's folder are written relative to it, others absolute.

        Raises:
            StorageError: the file cannot be written.
        """
        path = Path(path)
        folder = path.resolve().parent
        storage.write_text(path, _to_csv(replace(row, path=self._path_from(folder, row)) for row in self.rows))

    def _path_from(self, folder: Path, row: Row) -> str:
        """Path of a row as written in a CSV in ``folder``."""
        if not row.path:
            return ""
        absolute = Path(os.path.abspath(self.path_of(row)))  # noqa: PTH100 - resolve() would follow links to the data out of the folder
        return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else absolute.as_posix()

    @classmethod
    def read_csv(cls, path: Path | str, root: Path | str | None = None, *, find: bool = True) -> Manifest:
        """Read a manifest.

        Column names match without case. ``ID``, ``OBSID`` and ``HDU Index`` of the published lists stand for ``target``, ``rootname`` and
        ``hdu``. A row without a path is the file ``<rootname>_raw.fits`` anywhere below the root, or the same exposure's other copy
        (suffix q or s). Empty numbers are NaN.

        Args:
            path: the CSV, UTF-8.
            root: relative paths and files without a path are looked for below it; by default the CSV's own folder.
            find: whether to look for the files of rows without a path.

        Raises:
            DataError: a column is missing or named twice, a value cannot be read, or two rows name the same frame. The message has file and
                line.
        """
        path = Path(path)
        root = path.parent if root is None else Path(root)
        if not root.is_dir():
            raise DataError(f"{root}: got no such folder, expected the folder that holds the frames of {path}")
        rows = unify_targets(tuple(_read_rows(path)))
        manifest = cls(rows, root, source=path)
        return _find_files(manifest) if find and any(not row.path for row in rows) else manifest


def summarise(names: Sequence[str], limit: int = _LISTED) -> str:
    """The first few names and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def unify_targets(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Spell every target as it is spelt first, where spellings differ in case only."""
    spelling: dict[str, str] = {}
    named = ((row, spelling.setdefault(row.target.casefold(), row.target)) for row in rows)
    return tuple(row if row.target == target else replace(row, target=target) for row, target in named)


def walk_files(root: Path) -> Iterator[Path]:
    """Every file below ``root`` in sorted order; linked folders are entered once, hidden ones not at all."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _columns(header: Sequence[str], path: Path) -> list[str]:
    """Canonical name of every column; unknown ones keep their spelling."""
    plain = [name.strip() for name in header]
    given = {name.casefold() for name in plain}
    names = []
    for name in plain:
        key = name.casefold()
        key = _ALIASES[key] if _ALIASES.get(key) not in (None, *given) else key
        names.append(key if key in COLUMNS else name)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: line 1: got column {twice[0]!r} twice, expected every column once")
    absent = [name for name in ("label", "target") if name not in names]
    if "path" not in names:
        absent += [name for name in ("rootname", "hdu") if name not in names]
    if absent:
        raise DataError(
            f"{path}: line 1: got columns {', '.join(plain) or 'none'}; expected also {', '.join(absent)} "
            "(a manifest has label, target and path, or rootname and hdu, at least)"
        )
    return names


def _read_rows(path: Path) -> Iterator[Row]:
    """Rows of a CSV, checked one by one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: cannot be read as a UTF-8 CSV: {err}") from err
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    lines: dict[tuple[str, int | None, int | None], int] = {}
    try:
        for cells in reader:
            if not cells:
                continue
            if names is None:
                names = _columns(cells, path)
                continue
            where = f"{path}: line {reader.line_num}"
            if len(cells) != len(names):
                raise DataError(f"{where}: got {len(cells)} fields, expected {len(names)} as in the first line")
            row = _parse(dict(zip(names, cells, strict=True)), where)
            key = (row.path or row.rootname.casefold(), row.hdu, row.plane)
            if key in lines:
                raise DataError(f"{where}: got {row.name} again, expected every frame once; it stands in line {lines[key]}")
            lines[key] = reader.line_num
            yield row
    except csv.Error as err:
        raise DataError(f"{path}: line {reader.line_num}: not a CSV: {err}") from err
    if names is None:
        raise DataError(f"{path}: got an empty file, expected a first line with column names")


def _parse(cells: Mapping[str, str], where: str) -> Row:
    """One line as a Row."""
    known = {name: cells[name].strip() for name in COLUMNS if name in cells}
    extra = {name: value for name, value in cells.items() if name not in known}
    floats = {name: _float(known.pop(name, ""), name, where) for name in _FLOATS}
    for name, low, high in (("ra", 0, 360), ("dec", -90, 90)):
        if not (math.isnan(floats[name]) or low <= floats[name] <= high):
            raise DataError(f"{where}: got {name} {floats[name]:g}, expected {low} to {high} degrees, or nothing")
    hdu = _index(known.pop("hdu", ""), "hdu", "index of an HDU", where)
    plane = _index(known.pop("plane", ""), "plane", "number of a plane", where)
    if not known.get("path"):
        if not known.get("rootname") or hdu is None:
            raise DataError(f"{where}: got neither a path nor a rootname with an hdu, expected one of them to say where the frame is")
        known["product"] = known.get("product") or "raw"  # such rows mean <rootname>_raw.fits
    for name in ("label", "target"):
        if not known[name]:
            raise DataError(f"{where}: got an empty {name}, expected one for every frame")
    if known.get("split", "") not in ("", *SPLITS):
        raise DataError(f"{where}: got split {known['split']!r}, expected {', '.join(SPLITS)} or nothing")
    return Row(hdu=hdu, plane=plane, extra=extra, **known, **floats)  # type: ignore[arg-type]  # the texts and the floats go to fields of their type


def _float(text: str, name: str, where: str) -> float:
    """A finite number, or NaN when empty."""
    if text.casefold() in ("", "nan"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise DataError(f"{where}: got {name} {text!r}, expected a finite number or nothing")
    return value


def _index(text: str, name: str, meaning: str, where: str) -> int | None:
    """A number from 0, or None when empty."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise DataError(f"{where}: got {name} {text!r}, expected the {meaning} (0, 1, ...)")
    return int(text)


def twin_of(rootname: str) -> str:
    """The name of an exposure's other copy, retransmitted or not: suffix ``s`` for ``q`` and the reverse; other names as they are."""
    return rootname[:-1] + {"q": "s", "s": "q"}.get(rootname[-1:], rootname[-1:])


def _find_files(manifest: Manifest) -> Manifest:
    """Fill in the paths of rows that name only an exposure."""
    found: dict[str, Path] = {}
    for file in walk_files(manifest.root):
        if file.name.casefold().endswith("_raw.fits"):
            name = file.name.casefold().removesuffix("_raw.fits")
            if name not in found or len(file.parts) < len(found[name].parts):
                found[name] = file
    twins: set[str] = set()
    rows = []
    for row in manifest.rows:
        name = row.rootname.casefold()
        twin = twin_of(name)
        if not row.path and name not in found and twin in found:
            twins.add(row.rootname)
        match = found.get(name) or found.get(twin)
        rows.append(row if row.path or match is None else replace(row, path=match.relative_to(manifest.root).as_posix()))
    note = f"took the other copy (suffix q or s) of {len(twins)} exposures: {summarise(sorted(twins))}"
    return manifest.with_rows(rows, *([note] if twins else []))


def _to_csv(rows: Iterable[Row]) -> str:
    """CSV text with every known column and the union of the unknown ones."""
    rows = tuple(rows)
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *extra])
    for row in rows:
        writer.writerow([*(_cell(getattr(row, name)) for name in COLUMNS), *(row.extra.get(name, "") for name in extra)])
    return out.getvalue()


def _cell(value: object) -> str:
    """Text of a value; None and NaN are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)  # float(): numpy writes its type too
