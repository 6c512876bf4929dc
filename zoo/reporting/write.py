"""Reports and figures onto the disk. Needs matplotlib and jinja2, which are imported when something is written."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
from collections.abc import Sequence
from pathlib import Path

from zoo import storage
from zoo.errors import UsageError
from zoo.evaluation import Comparison, compare
from zoo.plotting import check_matplotlib, plot_style, to_png, to_svg
from zoo.reporting.blocks import Figure, Page, Table
from zoo.reporting.comparison_page import make_comparison_page
from zoo.reporting.evaluation_page import make_evaluation_page
from zoo.reporting.page import render, slug
from zoo.reporting.source import read_source

SUFFIXES = (".html", ".htm")


def check_report(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise before any work is done where no report can be written to this file.

    Args:
        path: ends in ``.html``. force: whether a file that is there may be replaced.

    Raises:
        UsageError: it has another suffix or is there already, or jinja2 or matplotlib is absent.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{target}: got the suffix {target.suffix!r}, expected .html")
    check_matplotlib("a report")
    if importlib.util.find_spec("jinja2") is None:
        raise UsageError("a report needs jinja2; run pip install 'celestial-zoo[report]', or pip install '.[report]' in its sources")
    if target.is_dir():
        raise UsageError(f"{target}: got a folder, expected the name of a file to write")
    if target.exists() and not force:
        raise UsageError(f"{target}: this file is there already; choose another name, or replace it with --force")


def check_figures(folder: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise before any work is done where no figures can be written into this folder.

    Args:
        folder: made where it is missing. force: whether files in it may be replaced.

    Raises:
        UsageError: it is a file or holds files already, or matplotlib is absent.
    """
    target = Path(folder)
    check_matplotlib("a figure")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: got a file, expected a folder for the figures")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise UsageError(f"{target}: this folder holds files already; choose another one, or write into it with --force")


def write_report(
    path: str | os.PathLike[str],
    evaluations: Sequence[str | os.PathLike[str]],
    *,
    title: str | None = None,
    tables: Sequence[Table] = (),
    command: str | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Write what runs are worth as one HTML file that needs nothing else; an existing one is replaced.

    Everything is read from the runs; nothing is evaluated again. The same runs give the same bytes.

    Args:
        path: the file, ``.html``.
        evaluations: folders below ``evaluations/`` of runs; one for the report of an evaluation, several for a comparison.
        title: of the page. tables: shown before everything else. command: the command line that wrote it, for the provenance.
        comparison: of several evaluations, what `zoo.compare` said of them; by default they are compared here.

    Raises:
        UsageError: as `check_report`, or there is no evaluation. StorageError: an evaluation is absent or was changed, or the file cannot
            be written. DataError: several evaluations are of different frames.

    Example: >>> zoo.reporting.write_report("out.html", [zoo.evaluate("runs/latest").path])
    """
    check_report(path, force=True)
    page = _make_page(evaluations, title=title, tables=tables, command=command, comparison=comparison)
    storage.write_text(path, render(page))


def write_figures(
    folder: str | os.PathLike[str],
    evaluations: Sequence[str | os.PathLike[str]],
    *,
    tables: Sequence[Table] = (),
    comparison: Comparison | None = None,
) -> list[Path]:
    """Write the figures of a report as SVG and PNG, and its tables as CSV, into a folder; files of the same names are replaced.

    Args:
        folder: made where it is missing. evaluations, tables, comparison: as for `write_report`.

    Returns: the files, in the order of the report.

    Raises: as `write_report`.
    """
    check_figures(folder, force=True)
    page = _make_page(evaluations, title=None, tables=tables, command=None, comparison=comparison)
    written = [path for figure in page.figures() for path in _write_figure(Path(folder), figure)]
    for table in page.tables():
        path = Path(folder) / f"{slug(table.name or table.title)}.csv"
        storage.write_text(path, to_csv(table))
        written.append(path)
    return written


def to_csv(table: Table) -> str:
    """Return a table as CSV: numbers in full, what is absent empty, and the ends of intervals in columns of their own."""
    cells = table.cells
    with_ends = [any(row[index].interval is not None for row in cells) for index in range(len(table.columns))]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    heads: list[str] = []
    for name, ends in zip(table.columns, with_ends, strict=True):
        heads += [name, f"{name} lower", f"{name} upper"] if ends else [name]
    writer.writerow(heads)
    for row in cells:
        values: list[object] = []
        for one, ends in zip(row, with_ends, strict=True):
            values.append(_plain(one.value))
            if ends:
                values += ["", ""] if one.interval is None else [_plain(one.interval.lower), _plain(one.interval.upper)]
        writer.writerow(values)
    return out.getvalue()


def _make_page(
    evaluations: Sequence[str | os.PathLike[str]],
    *,
    title: str | None,
    tables: Sequence[Table],
    command: str | None,
    comparison: Comparison | None,
) -> Page:
    sources = [read_source(folder) for folder in evaluations]
    if not sources:
        raise UsageError("got no evaluation, expected at least one folder below evaluations/ of a run")
    if len(sources) == 1:
        return make_evaluation_page(sources[0], title=title, tables=tables, command=command)
    result = comparison or compare([source.folder for source in sources])
    return make_comparison_page(sources, result, title=title, tables=tables, command=command)


def _write_figure(folder: Path, figure: Figure) -> list[Path]:
    paths = [folder / f"{slug(figure.name)}{suffix}" for suffix in (".svg", ".png")]
    with plot_style():
        drawing = figure.draw()
        storage.write_text(paths[0], to_svg(drawing))
        storage.write_bytes(paths[1], to_png(drawing))
    return paths


def _plain(value: object) -> object:
    return "" if value is None or value != value else value
