"""The manifest of a folder of fetched files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from zoo.data.folders import MANIFEST_NAME
from zoo.data.manifest import Manifest, Row, summarise
from zoo.errors import DataError, UsageError

_PRODUCT_NAMES = {"raw": "raw", "flt": "flt", "flc": "flt", "drz": "drz", "drc": "drz"}


def read_listing(root: Path) -> tuple[Row, ...]:
    """The rows of the manifest that an earlier fetch left in a folder. Raises: UsageError: there is another kind of file."""
    path = root / MANIFEST_NAME
    if not path.exists():
        return ()
    try:
        return Manifest.read_csv(path, root, find=False).rows
    except DataError as err:
        raise UsageError(f"{path} is in the way of the manifest of the fetched files ({err}); move it, or choose another folder") from err


def write_listing(
    root: Path, before: Iterable[Row], rows: Iterable[tuple[str, Row]], files: Mapping[str, Path], product: str
) -> tuple[Path, tuple[str, ...]]:
    """Write the manifest of a folder: the rows it had, and those of the lists with the paths of their files.

    Rows whose file could not be had stay, with the path it would have. A drizzled image stands for both chips of its exposure.

    Args:
        root: the folder. before: rows of its manifest so far. rows: rootname and row of every frame of the lists.
        files: rootname -> file. product: what was fetched.

    Returns: the manifest, and notes for the user.

    Raises:
        StorageError: it cannot be written.
    """
    merged = {(row.path, row.hdu, row.plane): row for row in before}
    new: dict[tuple[str, int | None, int | None], list[Row]] = {}
    for name, row in rows:
        file = files.get(name, root / f"{name}_{product}.fits").relative_to(root).as_posix()
        hdu = 1 if _PRODUCT_NAMES[product] == "drz" else row.hdu
        placed = replace(row, path=file, rootname=row.rootname or name, hdu=hdu, product=_PRODUCT_NAMES[product])
        new.setdefault((file, hdu, row.plane), []).append(placed)
    clashing = [key for key, same in new.items() if len({row.label.casefold() for row in same}) > 1]
    joined = sum(len(same) - 1 for key, same in new.items() if key not in clashing)
    for key, same in new.items():
        merged.pop(key, None)
        if key not in clashing:
            merged[key] = same[0]
    path = root / MANIFEST_NAME
    Manifest(tuple(merged.values()), root.resolve()).write_csv(path)
    notes = [f"{joined} rows name a frame that another row names too; each frame is listed once"] if joined else []
    if clashing:
        named = summarise([str(key[0]) for key in clashing])
        notes.append(f"left out of the manifest, because the lists give them two labels: {named}")
    return path, tuple(notes)
