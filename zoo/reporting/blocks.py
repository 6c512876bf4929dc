"""What a page is made of: sections of text, tables, figures, galleries and facts. The template shows each block by its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from zoo.intervals import DEFAULT, Interval

NOTHING = "n/a"
THIN = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Cell:
    """One value of a table with what stands beside it.

    Attributes:
        value: a text, a count, a number, or ``None``. interval: of the number.
        provenance: a short hash that says where the value comes from. note: a few words.
        percent: whether the number is a share, to be written in percent.
        right: whether a text stands at the right, as numbers do, such as a size with its unit.
    """

    value: str | int | float | None
    interval: Interval | None = None
    provenance: str = ""
    note: str = ""
    percent: bool = False
    right: bool = False

    @property
    def text(self) -> str:
        """The value as a reader sees it."""
        if isinstance(self.value, float):
            return say_share(self.value) if self.percent else say_number(self.value)
        return NOTHING if self.value is None else f"{self.value:,}".replace(",", THIN) if isinstance(self.value, int) else self.value

    @property
    def ends(self) -> str:
        """The ends of the interval, or why there are none; empty without one."""
        if self.interval is None:
            return ""
        return say_ends(self.interval, percent=self.percent)

    @property
    def is_number(self) -> bool:
        """Whether the cell belongs at the right of its column."""
        return self.right or not isinstance(self.value, str)

    @property
    def order(self) -> float | str:
        """What rows are sorted by; empty for what is absent."""
        return "" if self.value is None or self.value != self.value else self.value


Value = str | int | float | Interval | Cell | None


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Attributes:
        title: its caption. columns: headings. rows: one value per column, see `cell`.
        notes: footnotes. provenance: one line on where the values come from. name: of its file among the figures; by default of its title.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = ()
    provenance: str = ""
    name: str = ""
    kind: ClassVar[str] = "table"

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows as cells."""
        return [[cell(value) for value in row] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """For each column whether it holds numbers, which stand at the right."""
        rows = self.cells
        return [bool(rows) and all(row[i].is_number for row in rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Figure:
    """A plot, with what it shows in words and in numbers.

    Attributes:
        name: of its files, and unique on a page. title: what it is. alt: what can be seen, in a sentence. caption: how to read it.
        draw: draws it and returns a ``matplotlib.figure.Figure``; called inside `zoo.plotting.plot_style`.
        table: the numbers.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[], Any] = field(repr=False)
    caption: str = ""
    table: Table | None = None
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Figures:
    """Figures side by side where there is room, and small tables in one more place beside them."""

    figures: Sequence[Figure]
    tables: Sequence[Table] = ()
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Text:
    """A paragraph; ``command``: a command line that belongs to it."""

    text: str
    command: str = ""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    points: Sequence[str]
    kind: ClassVar[str] = "points"


@dataclass(frozen=True)
class Facts:
    """Names and values, such as versions."""

    title: str
    facts: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file, shown on demand."""

    title: str
    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Picture:
    """One image of a gallery. ``source`` is a data URI; ``width`` and ``height`` are its own, in pixels."""

    source: str
    alt: str
    label: str
    width: int
    height: int


@dataclass(frozen=True)
class Exhibit:
    """One frame of a gallery: its pictures, a heading and facts."""

    title: str
    pictures: Sequence[Picture]
    facts: Sequence[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Frames to look at, each picture of which opens at its full resolution."""

    title: str
    exhibits: Sequence[Exhibit]
    note: str = ""
    kind: ClassVar[str] = "gallery"


Block = Table | Figures | Text | Points | Facts | Code | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; ``lead`` says in a sentence what is to be learned from it."""

    name: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class KeyFigure:
    """A number that stands at the top; ``detail`` is its interval or its meaning."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: of the page. subject: what was evaluated on what, a line. summary: the outcome in words, the most important first.
        keys: the numbers at the top. cautions: what a reader must keep in mind. sections: the rest.
    """

    title: str
    subject: str
    summary: Sequence[str]
    keys: Sequence[KeyFigure]
    cautions: Sequence[str]
    sections: Sequence[Section]

    def figures(self) -> list[Figure]:
        """Every figure, in order."""
        return [figure for block in self._blocks() if isinstance(block, Figures) for figure in block.figures]

    def tables(self) -> list[Table]:
        """Every table, in order; those of figures too."""
        found: list[Table] = []
        for block in self._blocks():
            if isinstance(block, Table):
                found.append(block)
            elif isinstance(block, Figures):
                found += [figure.table for figure in block.figures if figure.table is not None]
                found += block.tables
        return found

    def _blocks(self) -> list[Block]:
        return [block for section in self.sections for block in section.blocks]


def cell(value: Value) -> Cell:
    """Return a cell for any value that a table may hold; an interval becomes its estimate with its ends."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, Interval):
        return Cell(value.estimate, value)
    return Cell(value)


def read_interval(facts: Mapping[str, Any] | None) -> Interval | None:
    """Return an interval as it stands in a JSON file, where NaN is null; ``None`` where there is none."""
    if not facts:
        return None

    def number(name: str) -> float:
        value = facts.get(name)
        return math.nan if value is None else float(value)

    reason = str(facts.get("reason") or "")
    n_targets, method = int(facts.get("n_targets") or 0), str(facts.get("method") or DEFAULT)
    return Interval(number("estimate"), number("lower"), number("upper"), n_targets, reason, number("floor"), method)


def share(interval: Interval | None) -> Cell:
    """Return the cell of an accuracy: percent, with its interval."""
    return Cell(None) if interval is None else Cell(interval.estimate, interval, percent=True)


def say_share(value: float, *, signed: bool = False) -> str:
    """Write a share in percent with one decimal."""
    if math.isnan(value):
        return NOTHING
    return f"{100 * value:{'+' if signed else ''}.1f}{THIN}%".replace("-", "\N{MINUS SIGN}")


def say_number(value: float) -> str:
    """Write a number with three decimals, from 100 on with one, from 1000 on with none."""
    if math.isnan(value):
        return NOTHING
    decimals = 3 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{decimals}f}".replace(",", THIN).replace("-", "\N{MINUS SIGN}")


def say_ends(interval: Interval, *, percent: bool = True, signed: bool = False) -> str:
    """Write the ends of an interval, or why there are none."""
    if interval.reason:
        return f"no interval: {interval.reason}"
    if math.isnan(interval.lower) or math.isnan(interval.upper):
        return "no interval"
    plus = "+" if signed else ""
    if percent:
        text = f"{100 * interval.lower:{plus}.1f} to {100 * interval.upper:{plus}.1f}{THIN}%"
    else:
        text = f"{interval.lower:{plus}.3f} to {interval.upper:{plus}.3f}"
    return text.replace("-", "\N{MINUS SIGN}")


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: "1 frame", "2 frames"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", THIN)
