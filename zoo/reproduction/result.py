"""What a reproduction found: tables whose every value can be traced to what it was made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.intervals import Interval


@dataclass(frozen=True)
class Value:
    """A figure of ours.

    Attributes:
        value: ``None`` where it could not be had. interval: by target; ``None`` for a figure that has none.
        provenance: hash of what it was made of; empty where there is no figure.
    """

    value: float | int | None
    interval: Interval | None = None
    provenance: str = ""


Item = Value | str | int | float | None


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        key: ``data``, ``test``, ``blurry``, ``csst`` or ``hardware``.
        title: in words; begins with ``SIMULATED SKY`` where no real frame is in it.
        columns, rows: a column holds either figures of ours (`Value`) or plain values in all of its rows.
        notes: what a reader should know, one line each.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Item, ...], ...]
    notes: tuple[str, ...] = ()

    def flat(self) -> tuple[list[str], list[list[Any]]]:
        """Return heads and rows of plain values: an interval becomes two columns, and one with the hash follows figures that share it."""
        groups = self._groups()
        heads: list[str] = []
        for name, figures in groups:
            for index in figures:
                heads += [self.columns[index], *(["lower", "upper"] if self._has_interval(index) else [])]
            heads += [name] if name else []
        rows = []
        for row in self.rows:
            cells: list[Any] = []
            for name, figures in groups:
                for index in figures:
                    item = row[index]
                    cells.append(item.value if isinstance(item, Value) else item)
                    if self._has_interval(index):
                        interval = item.interval if isinstance(item, Value) else None
                        cells += [None, None] if interval is None or interval.reason else [interval.lower, interval.upper]
                cells += [_provenance(row[figures[0]])] if name else []
            rows.append(cells)
        return heads, rows

    def _groups(self) -> list[tuple[str, list[int]]]:
        """Columns that go together, with the head of the column of their hash: neighbours whose figures have the same hash in every row."""
        found: list[list[int]] = []
        for index in range(len(self.columns)):
            if found and self._share_hash(found[-1][0], index):
                found[-1].append(index)
            else:
                found.append([index])
        several = sum(self._has_figures(part[0]) for part in found) > 1
        names = [f"provenance of {self.columns[part[0]]}" if several else "provenance" for part in found]
        return [(name if self._has_figures(part[0]) else "", part) for name, part in zip(names, found, strict=True)]

    def _share_hash(self, first: int, second: int) -> bool:
        """Whether both columns have figures, and no row shows another hash in one than in the other."""
        pairs = [(_provenance(row[first]), _provenance(row[second])) for row in self.rows]
        both = self._has_figures(first) and self._has_figures(second)
        return both and all(other in (None, own) for own, other in pairs)

    def _has_figures(self, index: int) -> bool:
        return any(isinstance(row[index], Value) for row in self.rows)

    def _has_interval(self, index: int) -> bool:
        return any(isinstance(item := row[index], Value) and item.interval is not None for row in self.rows)

    def to_csv(self) -> str:
        """Return the table as CSV, without its title and notes; what is absent is empty."""
        heads, rows = self.flat()
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
        return out.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, flat."""
        heads, rows = self.flat()
        return {"key": self.key, "title": self.title, "columns": heads, "rows": rows, "notes": list(self.notes)}


@dataclass(frozen=True)
class Stage:
    """A part of the work: its title, the time that it took when it was done, and whether it was ``found`` finished this time."""

    title: str
    seconds: float
    found: bool


@dataclass(frozen=True)
class Reproduction:
    """The outcome of `zoo.reproduction.reproduce`.

    Attributes:
        path: the output folder.
        domain: ``simulated`` where the frames are, else ``files``.
        command: that gives the same values.
        tables: in the order in which they are printed.
        provenance: hash -> what a figure with it was made of: weights, rows, pipeline, versions, command.
        recipe: what was done, as plain values.
        stages: the parts, in order.
        notes: what a reader should know, one line each.
        report: the HTML page; ``None`` where it was not written.
    """

    path: Path
    domain: str
    command: str
    tables: tuple[PaperTable, ...]
    provenance: Mapping[str, Mapping[str, Any]]
    recipe: Mapping[str, Any]
    stages: tuple[Stage, ...] = ()
    notes: tuple[str, ...] = ()
    report: Path | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; NaN stays NaN."""
        return {
            "path": str(self.path),
            "domain": self.domain,
            "command": self.command,
            "tables": [table.to_dict() for table in self.tables],
            "provenance": {key: dict(value) for key, value in self.provenance.items()},
            "recipe": dict(self.recipe),
            "stages": [vars(stage) for stage in self.stages],
            "notes": list(self.notes),
            "report": None if self.report is None else str(self.report),
        }


def _provenance(item: Item) -> str | None:
    return item.provenance or None if isinstance(item, Value) else None
