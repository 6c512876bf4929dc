"""A data set: rows, classes, the steps that suit its frames, and how a row becomes a Frame."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from zoo.data.folders import Progress, is_manifest, read_folder
from zoo.data.manifest import Manifest, Row, summarise
from zoo.data.split import assign_splits, check_splits
from zoo.errors import DataError, FrameError, PluginError, UsageError
from zoo.frames import Frame, read_frame, read_info
from zoo.frames.products import product_of
from zoo.registry import get_registry
from zoo.steps import default_pipeline

LABELS = ("galaxy", "NSC")
COMPRESSED = (".gz", ".bz2")  # files whose headers cannot be read without unpacking all of it

_SAMPLED = 16  # frames opened to learn shape and domain of a list; they are mapped, not read


@dataclass(frozen=True)
class DataSet:
    """Frames with classes and splits.

    Attributes:
        name: what the user called it: a registered name, or the name of a file or folder.
        manifest: the frames.
        pipeline: default steps, ``[{"step": "overscan"}, {"step": "normalize", "upper": 99.5}, ...]``; for files those of
            :func:`zoo.steps.default_pipeline` for the shape of the frames (the median one where shapes differ), and ``flip``.
        labels: class names; their order gives the class indices.
        domain: ``simulated``, or ``files``.
        open: gives the Frame of a row; by default the HDU of the file that the row names.
        notes: what a user should be told about how the data were read, one line each.
    """

    name: str
    manifest: Manifest
    pipeline: list[dict[str, Any]]
    labels: tuple[str, ...] = LABELS
    domain: str = "files"
    open: Callable[[Row], Frame] = None  # type: ignore[assignment]  # never None once __post_init__ has run
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if cast(object, self.open) is None:
            object.__setattr__(self, "open", partial(_open_file, self.manifest.root))

    @property
    def reads_files(self) -> bool:
        """Whether a frame is the HDU of an existing file; otherwise frames may be made when they are first opened."""
        return isinstance(self.open, partial) and self.open.func is _open_file

    def select(self, split: str) -> tuple[Row, ...]:
        """Rows of ``train``, ``val``, ``test`` or ``all``, in order."""
        return self.manifest.select(split=split)

    def class_index(self, row: Row) -> int:
        """Index of the row's class.

        Raises:
            DataError: the row's label is none of the classes.
        """
        try:
            return self.labels.index(row.label)
        except ValueError:
            raise DataError(f"{row.name}: got label {row.label!r}, expected one of {', '.join(self.labels)}") from None


def open_data(
    spec: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | None = None,
    target_regex: str | None = None,
    hdu: int | None = None,
    plane: int | None = None,
    options: Mapping[str, object] | None = None,
    seed: int = 0,
    split: bool = True,
    missing: Literal["drop", "keep", "refuse"] = "drop",
    progress: Progress | None = None,
) -> DataSet:
    """Open a manifest, a folder with one sub-folder per class, or a registered data set.

    A text without a path separator that is a registered name means that data set; ``./simulated`` means the folder. A folder that holds a
    manifest (``manifest.csv`` with columns for label, target and file) is that manifest.

    Args:
        spec: CSV file, folder, or registered name.
        root: where the files of a manifest are, or where a registered data set keeps its files.
        labels: the classes in index order, matched without case; rows and folders of other labels are left out with a note.
        target_regex: class folders only, see :func:`zoo.data.folders.read_folder`.
        hdu, plane: of every file of class folders, instead of its science frames; of the rows of a manifest that name none themselves.
        options: options of a registered data set.
        seed: of the split, for data that come without one.
        split: whether data that come without splits are split by target. ``False`` leaves them without, for scoring a whole list.
        missing: what happens to rows whose file is absent: left out with a note, kept with a note, or refused.
        progress: called with the files that are ready and all of them, while class folders are read or a registered data set is made.

    Raises:
        DataError: nothing is there, no frame is left, a class has fewer than two targets, or a target is in two splits.
        UnknownNameError: ``spec`` is neither a path nor a registered name. UsageError: an option does not fit the kind of data.
    """
    text = os.fspath(spec)
    classes = tuple(labels) if labels else LABELS
    if isinstance(spec, str) and _is_registered(text):
        if hdu is not None or plane is not None:
            raise UsageError(f"{text}: got --hdu or --plane, but a registered data set names its frames itself")
        built = _build(text, root, options or {}, progress)
        classes = classes if labels else built.labels
        manifest = built.manifest.with_labels(classes) if labels else built.manifest
        if split:
            manifest = _with_splits(manifest, classes, seed)
        return replace(built, manifest=replace(manifest, notes=()), labels=classes, notes=(*built.notes, *manifest.notes))
    if options:
        raise UsageError(f"{text}: got options {', '.join(options)}, but only registered data sets have options; this is a file or folder")
    manifest = _read(Path(text), root, classes, target_regex, (hdu, plane), progress).with_labels(classes)
    manifest = _without_missing(manifest, missing)
    if split:
        manifest = _with_splits(manifest, classes, seed)
    data = DataSet(Path(text).resolve().name, replace(manifest, notes=()), [], classes, notes=manifest.notes)
    frames = _sample(data)
    domain = "simulated" if any(frame.info.simulated for frame in frames) else "files"
    sizes = [frame.layout.science_shape if frame.layout else (frame.shape[1], frame.shape[2]) for frame in frames]
    return replace(data, pipeline=pipeline_for_sizes(sizes), domain=domain)


def with_products(data: DataSet, *, workers: int = 2) -> DataSet:
    """Fill in the product of rows that do not say theirs, so that products are not mixed unnoticed.

    It comes from the headers; of compressed files, which would have to be unpacked, from the name. Frames that are made when they are
    opened, and files that cannot be read, stay without.

    Args:
        data: any. workers: threads that open files.
    """
    if not data.reads_files:
        return data

    def product(row: Row) -> str:
        if row.product or not row.path:
            return row.product
        path = data.manifest.path_of(row)
        if row.path.casefold().endswith(COMPRESSED):
            return product_of(path, {}, {})
        with suppress(FrameError):
            return read_info(path, row.hdu, row.plane).product
        return ""

    with ThreadPoolExecutor(max(1, workers)) as pool:
        products = list(pool.map(product, data.manifest.rows))
    rows = (replace(row, product=found) for row, found in zip(data.manifest.rows, products, strict=True))
    return replace(data, manifest=data.manifest.with_rows(rows))


def pipeline_for_sizes(sizes: Sequence[tuple[int, int]], *, largest: bool = False) -> list[dict[str, Any]]:
    """Return the default steps for frames of these sizes, and ``flip``.

    Args:
        sizes: ``(H, W)`` of each frame, pixels, without bias columns. One size is kept; of several the median height and width are taken,
            rounded up to multiples of 32, so that half of the frames lose nothing; without any it is that of HST frames.
        largest: take the largest height and width instead of the median, not rounded.
    """
    height, width = (sorted(side)[-1 if largest else len(sizes) // 2] for side in zip(*sizes, strict=True)) if sizes else (2048, 4096)
    if len(set(sizes)) > 1 and not largest:
        height, width = -(-height // 32) * 32, -(-width // 32) * 32
    return [*default_pipeline((1, height, width)), {"step": "flip"}]


def _open_file(root: Path, row: Row) -> Frame:
    """The frame of a row from its file."""
    if not row.path:
        raise DataError(f"{row.rootname}_raw.fits is not below {root}; say with --root where the files are")
    return read_frame(root / row.path, row.hdu, row.plane)


def _is_registered(text: str) -> bool:
    """Whether a text names a registered data set; a text that is no path at all must, and the error suggests the nearest name."""
    if "/" in text or os.sep in text:
        return False
    registry = get_registry()
    if text in registry.names("datasets"):
        return True
    if Path(text).exists() or Path(text).suffix.casefold() == ".csv":
        return False
    registry.get("datasets", text)
    return True


def _build(name: str, root: str | os.PathLike[str] | None, options: Mapping[str, object], progress: Progress | None) -> DataSet:
    """Build a registered data set; its progress is reported if it takes a callable for it."""
    arguments: dict[str, object] = {"root": None if root is None else Path(root)}
    if progress is not None and "progress" in inspect.signature(get_registry().get("datasets", name).load()).parameters:
        arguments["progress"] = progress
    built = get_registry().build("datasets", name, options=options, **arguments)
    if not isinstance(built, DataSet):
        raise PluginError(f"data set {name!r} built a {type(built).__name__}, expected a zoo.DataSet")
    return built


def _read(
    path: Path,
    root: str | os.PathLike[str] | None,
    labels: Sequence[str],
    target_regex: str | None,
    place: tuple[int | None, int | None],
    progress: Progress | None,
) -> Manifest:
    """A manifest or class folders."""
    csv = path / "manifest.csv" if path.is_dir() and is_manifest(path / "manifest.csv") else path
    if csv.is_file():
        if target_regex is not None:
            raise UsageError(f"{csv}: got --target-regex {target_regex!r}, but a manifest names its targets itself")
        return _with_place(Manifest.read_csv(csv, None if root is None else Path(root)), *place)
    if not path.is_dir():
        raise DataError(f"{path}: got no such file or folder, expected a manifest CSV, a folder of class folders, or a registered name")
    if root is not None:
        raise UsageError(f"{path}: got --root {os.fspath(root)}, but a folder holds its own files; --root goes with a manifest CSV")
    return read_folder(path, labels=labels, target_regex=target_regex, hdu=place[0], plane=place[1], progress=progress)


def _with_place(manifest: Manifest, hdu: int | None, plane: int | None) -> Manifest:
    """Fill in HDU and plane where a row names none."""
    for name, value in (("hdu", hdu), ("plane", plane)):
        if value is None:
            continue
        if all(getattr(row, name) is not None for row in manifest.rows):
            raise UsageError(f"{manifest.source}: got --{name} {value}, but every row names its {name} itself")
        manifest = manifest.with_rows(
            replace(row, **{name: value}) if getattr(row, name) is None else row  # type: ignore[arg-type]  # both are int | None
            for row in manifest.rows
        )
    return manifest


def _without_missing(manifest: Manifest, policy: Literal["drop", "keep", "refuse"]) -> Manifest:
    """Apply the rule for rows whose file is absent."""
    missing = manifest.missing()
    if not missing:
        return manifest
    files = sorted({str(manifest.path_of(row)) for row in {row.path or row.rootname: row for row in missing}.values()})
    say = f"{len(missing)} of {len(manifest)} frames are missing ({len(files)} files): {summarise(files)}"
    if policy == "keep":
        return manifest.with_rows(manifest.rows, say)
    if policy == "refuse" or len(missing) == len(manifest):
        raise DataError(f"{manifest.source}: {say}; say with --root where the files are")
    absent = set(missing)
    return manifest.with_rows((row for row in manifest.rows if row not in absent), f"left out: {say}")


def _with_splits(manifest: Manifest, labels: Sequence[str], seed: int) -> Manifest:
    """Check the splits of the rows, or make them."""
    unit = check_splits(manifest.rows)
    if any(row.split for row in manifest.rows):
        if unit not in ("visit", "exposure"):
            return manifest
        return manifest.with_rows(manifest.rows, f"split by {unit}: targets stand in several splits; no score is that of new ones")
    return manifest.with_rows(assign_splits(manifest.rows, labels=labels, seed=seed))


def _sample(data: DataSet) -> list[Frame]:
    """Some frames spread over the rows; those that cannot be read are left to whoever needs them."""
    rows = [row for row in data.manifest.rows if row.path]
    frames = []
    for row in rows[:: max(1, len(rows) // _SAMPLED)]:
        with suppress(FrameError):
            frames.append(data.open(row))
    return frames
