"""The audit itself: lists in, findings out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.auditing.balance import find_balance
from zoo.auditing.centres import find_offsets, read_centres
from zoo.auditing.footprints import with_footprints
from zoo.auditing.leaks import find_leakage
from zoo.auditing.pixels import read_pixels
from zoo.auditing.report import Audit, find_findings
from zoo.auditing.shortcuts import find_shortcuts
from zoo.auditing.table import read_table
from zoo.data import DataSet, open_data
from zoo.errors import UsageError

Source = str | os.PathLike[str] | DataSet


def audit(
    sources: Source | Sequence[Source],
    *,
    root: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | None = None,
    target_regex: str | None = None,
    options: Mapping[str, object] | None = None,
    targets: str | os.PathLike[str] | None = None,
    medians: bool = False,
    pixels: bool = True,
    workers: int = 2,
    progress: Callable[[str, int, int], None] | None = None,
) -> Audit:
    """Look for what makes an accuracy on data worth less than it seems: leaks, shortcuts, offsets, imbalance, missing files.

    Lists are compared with each other, and the splits of a list too. Without files the columns alone are looked at; where files are there,
    every frame is read once, for equal and nearly equal pixels, geometry, bias level, and a thumbnail.

    Args:
        sources: one or more of what ``zoo.data.open_data`` opens, or data sets that are open.
        root, labels, target_regex, options: as for ``zoo.data.open_data``, for every source that is not open yet.
        targets: CSV with the centres of targets, see `zoo.auditing.read_centres`.
        medians: measure offsets from the median position of a target's frames where its centre is not known.
        pixels: whether frames are read.
        workers: threads that read. progress: called with what is read, and how many of how many are.

    Raises:
        DataError: a list cannot be read, no row has any of the labels, or the table of targets is faulty. UsageError: no source.

    Example: >>> zoo.audit(["train.csv", "test.csv"]).alarms
    """
    given = [sources] if isinstance(sources, str | os.PathLike | DataSet) else list(sources)
    if not given:
        raise UsageError("got no data to audit, expected at least one manifest, folder or registered name")
    opened = []
    for source in given:
        report = None if progress is None else (lambda done, total, say=f"reading {source}": progress(say, done, total))
        opened.append(
            source
            if isinstance(source, DataSet)
            else open_data(
                source, root=root, labels=labels, target_regex=target_regex, options=options, split=False, missing="keep", progress=report
            )
        )
    table = read_table([(name, data.manifest) for name, data in zip(_names(opened, given), opened, strict=True)])
    absent = [_absent(data) for data in opened]
    present = np.concatenate(
        [np.zeros(len(data.manifest), dtype=np.bool_) if gone is None else ~gone for data, gone in zip(opened, absent, strict=True)]
    )
    read = None
    if pixels:
        table = with_footprints(table, opened, present, workers=workers)
    if pixels and present.any():
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress("reading frames", done, int(present.sum()))

        read = read_pixels(table, opened, present, workers=workers, progress=advance)
    leakage = find_leakage(table) if read is None else find_leakage(table, read.equal, read.near)
    shortcuts = find_shortcuts(table, None if read is None else read.measured)
    offsets = find_offsets(table, {} if targets is None else read_centres(targets), medians=medians)
    balance = find_balance(table, absent)
    refused = () if read is None else read.refused
    return Audit(
        lists=table.lists.names,
        n_frames=len(table),
        n_targets=len(table.target.names),
        findings=find_findings(leakage, shortcuts, offsets, balance, refused),
        leakage=leakage,
        shortcuts=shortcuts,
        offsets=offsets,
        balance=balance,
        pixels_read=0 if read is None else read.count,
        refused=refused,
        domain="simulated" if any(data.domain == "simulated" for data in opened) else "files",
        notes=tuple(f"{name}: {note}" for name, data in zip(table.lists.names, opened, strict=True) for note in data.notes),
    )


def _names(opened: Sequence[DataSet], given: Sequence[Source]) -> list[str]:
    """Names of the lists: those of their files, or all of what was given where two would be equal.

    Raises:
        UsageError: one is given twice.
    """
    names = [data.name for data in opened]
    if len(set(names)) < len(names):
        names = [data.name if isinstance(source, DataSet) else os.fspath(source) for data, source in zip(opened, given, strict=True)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"got {twice[0]} twice, expected every list once")
    return names


def _absent(data: DataSet) -> NDArray[np.bool_] | None:
    """For every row whether its file is missing; ``None`` where frames are made when they are opened."""
    if not data.reads_files:
        return None
    missing = {id(row) for row in data.manifest.missing()}
    return np.array([id(row) in missing for row in data.manifest], dtype=np.bool_)
