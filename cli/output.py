"""What every command prints with: the result on stdout, everything else on stderr.

A table is drawn by rich on a terminal and written as plain TSV elsewhere, because rich cuts a redirected table to 80 columns. JSON
follows one schema, ``{"schema": 1, "metadata": {...}, "results": ...}``. rich is imported only where a terminal will show it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
LOG_INTERVAL_S = 30.0


def stdout_is_terminal() -> bool:
    """Whether the result goes to a person's terminal rather than to a file or a pipe."""
    return sys.stdout.isatty()


def stderr_is_terminal() -> bool:
    """Whether progress and notes go to a person's terminal."""
    return sys.stderr.isatty()


def note(message: str) -> None:
    """Write one line of information to stderr."""
    click.echo(message, err=True)


def warn(message: str) -> None:
    """Write one line to stderr that starts with ``warning:`` (yellow on a terminal)."""
    click.echo(f"{click.style('warning:', fg='yellow')} {message}", err=True)


def console(*, stderr: bool = True) -> Console:
    """Return a rich console on stderr (or stdout); call it only where the stream is a terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def cell(value: object, missing: str = "") -> str:
    """Write one table cell; ``None`` and NaN become ``missing``, floats keep six significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", notes: Sequence[str] = ()) -> None:
    """Print one table to stdout: drawn on a terminal, TSV elsewhere.

    Args:
        columns: the heads.
        rows: one sequence of values per row, as long as ``columns``. ``None`` and NaN are empty in TSV and ``-`` on a terminal.
        title: one line above the table (``# title`` in TSV).
        notes: lines below it (``# note`` in TSV).
    """
    if not stdout_is_terminal():
        lines = [f"# {title}"] if title else []
        lines.append(_tsv(columns))
        for line in lines:
            click.echo(line)
        for row in rows:
            click.echo(_tsv(row))
        for line in notes:
            click.echo(f"# {line}")
        return
    from rich.table import Table
    from rich.text import Text

    held = [list(row) for row in rows]
    table = Table(title=Text(title) if title else None, title_justify="left")
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) and not isinstance(row[index], bool) for row in held)
        table.add_column(Text(name), justify="right" if numeric and held else "left", overflow="fold")
    for row in held:
        table.add_row(*(Text(cell(value, "-")) for value in row))  # Text, for names such as hrcn[padding=same] are not markup
    out = console(stderr=False)
    out.print(table)
    for line in notes:
        out.print(Text(line))


class RowStream:
    """A table that is printed row by row and never held: aligned to given widths on a terminal, TSV elsewhere.

    Args:
        columns: the heads, printed at once.
        widths: characters per column on a terminal; a longer cell is printed whole.
    """

    def __init__(self, columns: Sequence[str], widths: Sequence[int]) -> None:
        self._terminal, self._widths = stdout_is_terminal(), list(widths)
        self.write(columns)

    def write(self, row: Sequence[object]) -> None:
        """Print one row; ``None`` and NaN are empty in TSV and ``-`` on a terminal."""
        if not self._terminal:
            click.echo(_tsv(row))
            return
        cells = (cell(value, "-") for value in row)
        click.echo("  ".join(text.ljust(width) for text, width in zip(cells, self._widths, strict=True)).rstrip())


def emit_json(results: object, **metadata: object) -> None:
    """Print ``{"schema": 1, "metadata": {...}, "results": ...}`` to stdout.

    NaN and infinities become null; dataclasses, paths, numpy and torch values become plain JSON. The version of zoo is always there.
    """
    document = {"schema": SCHEMA, "metadata": {"zoo": _version(), **_plain_items(metadata)}, "results": plain(results)}
    click.echo(json.dumps(document, indent=2))


class JsonStream:
    """What `emit_json` prints, with the results written one by one and never held; a context manager that closes the document.

    A document that was cut off by an error is not valid JSON, so that nobody takes it for a whole one.

    Args:
        metadata: as for `emit_json`.
    """

    def __init__(self, **metadata: object) -> None:
        self._metadata: dict[str, object] = {"zoo": _version(), **_plain_items(metadata)}
        self._summary: dict[str, object] = {}
        self._separator = "\n"

    def __enter__(self) -> JsonStream:
        click.echo(f'{{"schema": {SCHEMA}, "metadata": {json.dumps(self._metadata)}, "results": [', nl=False)
        return self

    def write(self, result: object) -> None:
        """Print one result."""
        click.echo(f"{self._separator}{json.dumps(plain(result))}", nl=False)
        self._separator = ",\n"

    def summarise(self, **summary: object) -> None:
        """Set what stands under ``summary``, after the results."""
        self._summary = _plain_items(summary)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            click.echo(f'\n], "summary": {json.dumps(self._summary)}}}')


def note_domain(domain: str, *, data: str | None = None) -> None:
    """Say on stderr what figures are worth where a simulator is involved; nothing where none is.

    Args:
        domain: what the model was trained on, or what the data are. data: what the model is used on, where that is known.
    """
    if domain == "simulated" and data not in (None, "simulated"):
        note("domain simulated: the model was trained on the simulator only; how it does on other frames is not known")
    elif "simulated" in (domain, data):
        note("domain simulated: these numbers hold for the simulator only, and no published figure stands beside them")


class Refusals:
    """Counts what was refused by its code, and keeps the first of each as an example; memory does not grow with their number.

    Attributes:
        counts: code -> how often.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, path: str, code: str, message: str) -> None:
        """Count one; its file and code stand in the example once."""
        self.counts[code] += 1
        self._examples.setdefault(code, message if message.startswith(path) else f"{path}: {code}: {message}")

    def explain(self) -> None:
        """Say on stderr one example of every code, the most frequent first, and how many more there are."""
        for code, count in self.counts.most_common():
            note(f"refused: {self._examples[code]}{f' ({count - 1} more with this code)' if count > 1 else ''}")

    def __str__(self) -> str:
        return ", ".join(f"{code} {count}" for code, count in self.counts.most_common())


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: "1 row", "2 rows"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def plain(value: object) -> object:
    """Turn a value into what JSON can hold; NaN and infinities become ``None``."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return _plain_items(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, torch tensors; this file imports neither
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


@contextlib.contextmanager
def progress(description: str, total: int | None = None, *, unit: str = "frames") -> Iterator[Callable[[int], None]]:
    """Show progress on stderr: a bar on a terminal, elsewhere one line every 30 seconds.

    Args:
        description: what is being done.
        total: how many units there are, or ``None`` where nobody knows.
        unit: the word for what is counted.
    Yields: a function that takes how many units were just done.
    """
    if not stderr_is_terminal():
        yield _line_logger(description, total, unit)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn(unit, markup=False))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console(), transient=True) as bar:
        task = bar.add_task(description, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance


@contextlib.contextmanager
def stages(unit: str = "frames") -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of work that goes through several stages on stderr, one after the other.

    Yields: a function that takes the name of the stage, how many units of it are done, and how many there are.
    """
    with contextlib.ExitStack() as stack:
        current, before = "", 0
        advance: Callable[[int], object] = int

        def report(stage: str, done: int, total: int) -> None:
            nonlocal current, before, advance
            if stage != current:
                stack.close()
                current, before, advance = stage, 0, stack.enter_context(progress(stage, total, unit=unit))
            advance(done - before)
            before = done

        yield report


def _line_logger(description: str, total: int | None, unit: str) -> Callable[[int], None]:
    """Return an advance function that writes a plain line when the interval has passed."""
    started = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LOG_INTERVAL_S:
            last = now
            note(f"{description}: {done}{f'/{total}' if total is not None else ''} {unit}, {done / (now - started):.1f} {unit}/s")

    return advance


def _tsv(row: Sequence[object]) -> str:
    """Join cells by tabs; tabs and line ends inside a cell become spaces."""
    return "\t".join(" ".join(cell(value).splitlines()).replace("\t", " ") for value in row)


def _plain_items(mapping: Mapping[object, object] | Mapping[str, object]) -> dict[str, object]:
    return {str(key): plain(value) for key, value in mapping.items()}


def _version() -> str:
    try:
        return importlib.metadata.version("celestial-zoo")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
