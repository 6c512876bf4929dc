"""The HTML page of a reproduction: its tables first, then the comparison of its networks on the test frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.errors import UsageError
from zoo.reporting import Cell, Table, check_report, write_report
from zoo.reproduction.published import PAPER
from zoo.reproduction.result import Item, PaperTable, Value

NAME = "report.html"


def why_no_report(folder: Path) -> str:
    """Return why no report can be written into a folder, or an empty text."""
    try:
        check_report(folder / NAME, force=True)
    except UsageError as err:
        return str(err)
    return ""


def write_page(folder: Path, tables: Sequence[PaperTable], evaluations: Sequence[Path], command: str) -> Path:
    """Write ``report.html`` and return its path.

    Args:
        tables: shown first. evaluations: stored, one of each network on the same frames. command: that gives the same values.

    Raises:
        StorageError: an evaluation was changed, or the page cannot be written.
    """
    path = folder / NAME
    title = f"The experiments of arXiv:{PAPER}, done again"
    write_report(path, evaluations, title=title, tables=[_table(table) for table in tables], command=command)
    return path


def _table(table: PaperTable) -> Table:
    """The table as the page takes it."""
    rows = [[_cell(item) for item in row] for row in table.rows]
    provenance = "the short codes beside the figures are listed in tables.json with what each figure was made of"
    return Table(table.title, table.columns, rows, notes=table.notes, provenance=provenance, name=table.key)


def _cell(item: Item) -> str | int | float | Cell | None:
    return Cell(item.value, item.interval, item.provenance) if isinstance(item, Value) else item
