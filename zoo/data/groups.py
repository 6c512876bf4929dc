"""Which frames belong together, so that no split tears them apart: those of an exposure, a visit, a target, a region of the sky.

The units are nested: whoever keeps targets whole keeps visits, exposures and files whole too, even where one of them joins two targets.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence

from zoo.data.footprints import find_regions
from zoo.data.manifest import Row, summarise, twin_of
from zoo.errors import DataError, UsageError

UNITS = ("exposure", "visit", "target", "sky")
"""What a split can keep whole, each with all that stand before it."""

# IPPPSSOOT: instrument, programme, visit, observation, and how it was sent down (HST file names, Space Telescope Science Institute).
HST_NAME = re.compile(r"[ijlnou][a-z0-9]{7}[a-z]")
_SEPARATED = re.compile(r"(?<=[^\W\d])[\s_\-]*0*(?=\d)")  # between the letters of a catalogue and its number


def same_target(name: str) -> str:
    """What spellings of one target have in common: ``NGC 0346``, ``ngc-346`` and ``NGC346`` give ``ngc346``."""
    return _SEPARATED.sub("", " ".join(name.casefold().split()))


def visit_of(row: Row) -> str:
    """The visit: from the rootname where it is one of HST's, else from the columns; empty where neither says it.

    A visit's number means something within its programme only.
    """
    name = exposure_of(row)
    if HST_NAME.fullmatch(name):
        return name[:6]
    return f"{row.proposal}/{row.visit}" if row.visit and row.proposal else ""


def exposure_of(row: Row) -> str:
    """Name of the exposure: the rootname, else the one that the file is named after, else the file; suffix s is written q."""
    stem = row.rootname.casefold() or row.path.rpartition("/")[2].partition("_")[0].casefold()
    if HST_NAME.fullmatch(stem):
        return twin_of(stem) if stem.endswith("s") else stem
    return row.rootname.casefold() or row.path


def group_rows(rows: Sequence[Row], *, by: str = "target", radius: float | None = None) -> tuple[str, ...]:
    """Name the group of every frame: frames of one group belong into one part of a split.

    Args:
        rows: the frames.
        by: one of `UNITS`. ``target``: frames are linked by file, exposure, visit and target; ``visit`` and ``exposure`` leave out what
            stands behind them; ``sky`` links connected regions of the sky as well.
        radius: arcmin within which frames are one region of the sky, only with ``sky``; by default overlapping footprints are.

    Returns: one name per row. A group of one target, visit or exposure has its name, a group of several the first of them.

    Raises:
        UsageError: ``by`` is unknown, or ``radius`` does not go with it. DataError: a row has no visit, position or footprint.
    """
    if by not in UNITS:
        raise UsageError(f"data are split by {', '.join(UNITS)}, got {by!r}")
    if radius is not None and by != "sky":
        raise UsageError(f"a radius goes with a split by sky, got {radius} with {by}")
    level = UNITS.index(by)
    regions = find_regions(rows, radius=radius) if by == "sky" else None
    if by == "visit" and (lost := [row.name for row in rows if not visit_of(row)]):
        raise DataError(
            f"got {len(lost)} frames without a visit: {summarise(lost, 3)}; expected a Hubble rootname, or columns proposal and visit"
        )
    parent: dict[int, int] = {}

    def top(index: int) -> int:
        while parent.setdefault(index, index) != index:
            parent[index] = index = parent[parent[index]]
        return index

    def keys(index: int, row: Row) -> Iterator[Hashable]:
        yield "exposure", exposure_of(row)
        if row.path:
            yield "file", row.path
        if level >= UNITS.index("visit") and (visit := visit_of(row)):
            yield "visit", visit
        if level >= UNITS.index("target"):
            yield "target", same_target(row.target)
        if regions is not None:
            yield "sky", int(regions[index])

    first: dict[Hashable, int] = {}
    for index, row in enumerate(rows):
        for key in keys(index, row):
            parent[top(index)] = top(first.setdefault(key, index))
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        place = top(index)
        name = exposure_of(row) if by == "exposure" else visit_of(row) if by == "visit" else row.target
        names[place] = min(names.get(place, name), name)
    return tuple(names[top(index)] for index in range(len(rows)))
