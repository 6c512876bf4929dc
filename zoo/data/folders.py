"""Class folders: one sub-folder per class, frames at any depth below it."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from zoo.data.manifest import Manifest, Row, summarise, unify_targets, walk_files
from zoo.errors import DataError, UsageError, ZooError
from zoo.frames import FrameInfo, read_frames

MANIFEST_NAME = "manifest.csv"
TARGET_COLUMNS = ("target", "id", "group")
"""Columns of a manifest.csv that name the target of a file, in this order, matched without case."""

_FILE_COLUMNS = ("path", "rootname", "obsid")


Progress = Callable[[int, int], None]
"""Called with the number of files that are ready, and of all."""


@dataclass(frozen=True)
class _Found:
    """What one file holds: the facts and pixel hash of every frame, or why there is none."""

    path: Path
    frames: tuple[tuple[FrameInfo, str], ...] = ()
    refusal: str = ""


def is_manifest(path: Path) -> bool:
    """Whether a file is a CSV that says label, target and file of its frames, and so can stand for its folder."""
    names = set(_header(path))
    return "label" in names and bool(names & {"target", "id"}) and bool(names & set(_FILE_COLUMNS))


def read_folder(
    root: Path | str,
    *,
    labels: Sequence[str],
    target_regex: str | None = None,
    hdu: int | None = None,
    plane: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Make a manifest from class folders.

    The folders of ``root`` whose names are classes (without case) are searched; others are left out with one note. A file's target is, in
    this order: what ``target_regex`` finds; the column ``target``, ``ID`` or ``group`` of a ``manifest.csv`` in the class folder or in
    ``root`` that names the file (by path, rootname or file name); the header's ``TARGNAME``; the sub-folder it lies in; its name up to the
    first ``_``. ``OBJECT`` is never used: it holds anything from coordinates to the observer's notes. Frames with equal pixels are one
    target. Names of targets match without case.

    Args:
        root: the folder.
        labels: class names in the spelling that the rows get.
        target_regex: searched in the path below the class folder; its group ``target``, else its first group, else the whole match names
            the target. Files it does not match follow the other rules.
        hdu, plane: take these of every file instead of its science frames.
        progress: called after every file.

    Returns: a manifest with the frames in the order of their paths; its notes say what was left out and how frames were grouped.

    Raises:
        DataError: no class folder, or no readable frame in one; equal pixels in two classes. UsageError: a bad regular expression.
    """
    root = Path(root)
    pattern = _compile(target_regex)
    spelling = {label.casefold(): label for label in labels}
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    classes = [folder for folder in folders if folder.name.casefold() in spelling]
    if not classes:
        names = summarise([folder.name for folder in folders]) or "none"
        raise DataError(f"{root}: got folders {names}; expected one per class, {', '.join(labels)}. Name others with --labels")
    notes = []
    if others := [folder.name for folder in folders if folder not in classes]:
        notes.append(f"ignored folders {summarise(others)}: not among the classes {', '.join(labels)}; --labels names others")
    rows: list[Row] = []
    hashes: list[str] = []
    sources: Counter[str] = Counter()
    refused: list[str] = []
    listed = {folder: {**_listed_targets(root), **_listed_targets(folder)} for folder in classes}
    for folder, found in _scan(classes, partial(_look_into, hdu=hdu, plane=plane), progress):
        if not found.frames:
            refused.append(f"{found.path.relative_to(root)} ({found.refusal})")
        for info, pixels in found.frames:
            target, source = _target(found.path, folder, info, listed[folder], pattern)
            sources[source] += 1
            hashes.append(pixels)
            rows.append(_row(info, found.path.relative_to(root).as_posix(), spelling[folder.name.casefold()], target))
    for folder in classes:
        if not any(row.path.startswith(f"{folder.name}/") for row in rows):
            raise DataError(f"{folder}: got no readable frame, expected FITS images of class {spelling[folder.name.casefold()]}")
    if refused:
        notes.append(f"{len(refused)} files are no readable frames: {summarise(refused, 3)}")
    grouped, merged = _merge_equal_pixels(unify_targets(rows), hashes)
    notes += merged
    notes.append("targets from " + ", ".join(f"{source} ({count} frames)" for source, count in sources.most_common()))
    return Manifest(grouped, root, source=root, notes=(*notes, *_grouping(grouped, labels)))


def _scan(folders: Sequence[Path], look: Callable[[Path], _Found], progress: Progress | None) -> Iterator[tuple[Path, _Found]]:
    """Look into every file, a few at a time because hashing waits for the disk; order is that of the paths."""
    files = [(folder, file) for folder in folders for file in walk_files(folder) if file.name.casefold() != MANIFEST_NAME]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        looks = pool.map(look, (file for _, file in files))
        for ready, ((folder, _), found) in enumerate(zip(files, looks, strict=True), start=1):
            if progress is not None:
                progress(ready, len(files))
            yield folder, found


def _look_into(path: Path, *, hdu: int | None, plane: int | None) -> _Found:
    """Facts and hashes of the frames of one file; pixels are mapped, hashed and let go."""
    try:
        return _Found(path, tuple((frame.info, frame.sha256()) for frame in read_frames(path, hdu=hdu, plane=plane)))
    except (ZooError, OSError) as err:
        return _Found(path, refusal=getattr(err, "code", "") or type(err).__name__)


def _row(info: FrameInfo, path: str, label: str, target: str) -> Row:
    """A row with what the headers say."""
    return Row(
        path=path,
        hdu=info.hdu,
        plane=info.plane,
        label=label,
        target=target,
        rootname=info.rootname,
        instrument=info.instrument,
        detector=info.detector,
        filter=info.filter,
        product=info.product,
        exptime=info.exptime,
        ra=info.ra,
        dec=info.dec,
        visit=info.visit,
        proposal=info.proposal,
    )


def _compile(target_regex: str | None) -> re.Pattern[str] | None:
    """The user's regular expression."""
    if target_regex is None:
        return None
    try:
        return re.compile(target_regex)
    except re.error as err:
        raise UsageError(f"--target-regex {target_regex!r} is not a regular expression: {err}") from err


def _target(path: Path, folder: Path, info: FrameInfo, listed: Mapping[str, str], pattern: re.Pattern[str] | None) -> tuple[str, str]:
    """Target of a frame and the rule that gave it."""
    below = path.relative_to(folder)
    if pattern is not None and (match := pattern.search(below.as_posix())):
        named = match.groupdict().get("target")
        target = named or (match.group(1) if pattern.groups else match.group(0))
        if target:
            return target, "--target-regex"
    for key in (str(path.resolve()), str(path.absolute()), info.rootname.casefold(), path.name.casefold()):
        if key in listed:
            return listed[key], MANIFEST_NAME
    if info.target:
        return " ".join(info.target.split()), "TARGNAME"
    if len(below.parts) > 1:
        return below.parts[0], "sub-folder"
    stem = path.name.partition(".")[0]
    return stem.partition("_")[0] or stem, "file name"


def _header(path: Path) -> list[str]:
    """Column names of a CSV in lower case; empty where there is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [name.strip().casefold() for name in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _listed_targets(folder: Path) -> dict[str, str]:
    """Targets by absolute path, rootname and file name, from a manifest.csv in a folder; names of several targets are left out."""
    path = folder / MANIFEST_NAME
    names = _header(path)
    column = next((name for name in TARGET_COLUMNS if name in names), None)
    keys = [name for name in _FILE_COLUMNS if name in names]
    if column is None or not keys:
        return {}
    listed: dict[str, str] = {}
    clashing: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for cells in list(csv.reader(stream, strict=True))[1:]:
                row = dict(zip(names, cells, strict=False))
                target = row.get(column, "").strip()
                for key in keys:
                    value = row.get(key, "").strip()
                    for name in _keys(folder, value, is_path=key == "path") if value and target else ():
                        if listed.setdefault(name, target) != target:
                            clashing.add(name)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: cannot be read as a UTF-8 CSV: {err}") from err
    return {name: target for name, target in listed.items() if name not in clashing}


def _keys(folder: Path, value: str, *, is_path: bool) -> tuple[str, ...]:
    """What a cell of a manifest.csv can be found by."""
    if not is_path:
        return (value.casefold(),)
    path = (folder / value).absolute()
    # A list that was copied next to a selection of its files still names them, but never files of another folder that it lists too.
    return (str(path),) if path.exists() else (str(path), path.name.casefold())


def _merge_equal_pixels(rows: Sequence[Row], hashes: Sequence[str]) -> tuple[tuple[Row, ...], list[str]]:
    """Give frames with equal pixels, and all frames of their targets, one target: the first of the names."""
    parent = {row.target: row.target for row in rows}

    def top(target: str) -> str:
        while parent[target] != target:
            target = parent[target]
        return target

    first: dict[str, Row] = {}
    copies = 0
    for row, pixels in zip(rows, hashes, strict=True):
        other = first.setdefault(pixels, row)
        if other.label != row.label:
            raise DataError(f"{row.name}: got the pixels of {other.name}, but labels {row.label} and {other.label}; remove one of the two")
        copies += other is not row
        low, high = sorted((top(other.target), top(row.target)))
        parent[high] = low
    merged = [f"{target} = {top(target)}" for target in sorted(parent) if top(target) != target]
    notes = [f"{copies} frames have the same pixels as another; frames with equal pixels are one target"] if copies else []
    if merged:
        notes.append(f"targets joined by equal pixels: {summarise(merged)}")
    return tuple(replace(row, target=top(row.target)) for row in rows), notes


def _grouping(rows: Sequence[Row], labels: Sequence[str]) -> list[str]:
    """One line per class: frames, targets, and the largest of them."""
    lines = []
    for label in labels:
        counts = Counter(row.target for row in rows if row.label == label)
        largest = [f"{target} {count}" for target, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
        lines.append(f"{label}: {counts.total()} frames of {len(counts)} targets ({summarise(largest) or 'none'})")
    return lines
