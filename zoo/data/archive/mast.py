"""Which exposures of an object the archive has, asked through astroquery (extra ``mast``).

Written after the documentation of astroquery.mast and of the fields of CAOM observations; not yet run against the live archive.
"""

from __future__ import annotations

import functools
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from zoo.data.archive.targets import Target
from zoo.data.groups import HST_NAME
from zoo.errors import NetworkError, UsageError
from zoo.transfer import Clock

INSTRUMENTS = ("ACS/WFC", "WFC3/UVIS")
TIMEOUT_S = 120.0
WAITS_S = (2.0, 4.0, 8.0)
"""Seconds before a question is asked again."""

_NEEDED = ("obsid", "obs_id", "instrument_name", "filters", "t_exptime", "s_ra", "s_dec", "proposal_id")
_FINAL = ("InvalidQueryError", "ImportError", "ModuleNotFoundError")  # asking again does not help

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Exposure:
    """One exposure, as the archive describes it.

    Attributes:
        rootname: in lower case. instrument, filter: spelt as in manifests. exptime: seconds. ra, dec: degrees. proposal: its number.
    """

    rootname: str
    instrument: str
    filter: str
    exptime: float
    ra: float
    dec: float
    proposal: str


@dataclass(frozen=True)
class Answer:
    """What the archive has of one object: exposures that can be used, and why others cannot, counted."""

    exposures: tuple[Exposure, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)


class Archive:
    """Asks MAST for exposures.

    Args:
        observations: an object with the methods ``query_criteria`` and ``get_product_list`` of ``astroquery.mast.Observations``; by default
            that one.
        instruments: those that are asked for, as in ``instrument_name`` of the archive.
        timeout: seconds that one answer is waited for. clock: measures the waits between tries, and can stop them.

    Raises:
        UsageError: the timeout is not > 0.
    """

    def __init__(
        self,
        observations: Any = None,
        *,
        instruments: Sequence[str] = INSTRUMENTS,
        timeout: float = TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        self.instruments, self.timeout, self.clock = tuple(instruments), timeout, clock or Clock()
        if not timeout > 0:
            raise UsageError(f"timeout must be > 0 s, got {timeout}")
        self._given = observations

    @functools.cached_property
    def _observations(self) -> Any:
        # imported when first asked: wrong arguments of a list are refused before, and where astroquery is not installed too
        return _astroquery() if self._given is None else self._given

    def find(self, target: Target) -> Answer:
        """Return the public science images centred on a target.

        Associations are resolved into their exposures, among which their exposure time is divided evenly.

        Raises:
            NetworkError: the archive does not answer, or its answer lacks what is needed. UsageError: astroquery is not installed.
        """
        observations = self._observations  # here, where a missing astroquery is no failure of the archive
        from astropy.coordinates import (
            SkyCoord,
        )  # slow to import, and only what asks needs it; of a text astroquery warns what it takes it for

        place = SkyCoord(target.ra, target.dec, unit="deg", frame="icrs")
        table = self._ask(
            f"{target.name}: exposures",
            lambda: observations.query_criteria(
                coordinates=place,
                radius=f"{target.reach / 60:.6f} deg",
                obs_collection="HST",
                instrument_name=list(self.instruments),
                dataproduct_type="image",
                intentType="science",
            ),
        )
        dropped: Counter[str] = Counter()
        found: dict[str, Exposure] = {}
        groups: dict[str, Exposure] = {}
        for row in _rows(table, target.name):
            exposure = _exposure(row, self.instruments)
            if isinstance(exposure, str):
                dropped[exposure] += 1
            elif HST_NAME.fullmatch(exposure.rootname):
                found[exposure.rootname] = exposure
            elif len(exposure.rootname) == 9 and row["obsid"]:
                groups[row["obsid"]] = exposure
            else:
                dropped["no exposure of its own"] += 1  # mosaics and other products of a whole project
        for member, exposure in self._members(groups, target.name):
            found.setdefault(member, replace(exposure, rootname=member))
        return Answer(tuple(found[name] for name in sorted(found)), dict(dropped))

    def _members(self, groups: Mapping[str, Exposure], name: str) -> Iterator[tuple[str, Exposure]]:
        """The exposures of associations."""
        if not groups:
            return
        table = self._ask(f"{name}: members of associations", lambda: self._observations.get_product_list(list(groups)))
        members: dict[str, set[str]] = {}
        for row in _rows(table, name, needed=("parent_obsid", "productFilename")):
            member, _, rest = row["productFilename"].lower().partition("_")
            if rest == "raw.fits" and HST_NAME.fullmatch(member):
                members.setdefault(row["parent_obsid"], set()).add(member)
        for group, exposure in groups.items():
            mine = sorted(members.get(group, ()))
            for member in mine:
                yield member, replace(exposure, exptime=exposure.exptime / len(mine))

    def _ask(self, what: str, question: Callable[[], _Answer]) -> _Answer:
        """Ask until there is an answer. Raises: NetworkError: there is none."""
        for wait in (*WAITS_S, None):
            try:
                return _within(self.timeout, question)
            except Exception as err:  # whatever astroquery, requests and the parsers below them raise
                if wait is None or type(err).__name__ in _FINAL:
                    raise NetworkError(f"MAST: {what}: {type(err).__name__}: {err}; try again later, or with a longer --timeout") from err
                self.clock.wait(wait)
        raise AssertionError("the last try returns or raises")


def _within(seconds: float, question: Callable[[], _Answer]) -> _Answer:
    """Ask in a thread that is left behind when the time is over, for the limits of astroquery do not cover a silent server."""
    answers: list[_Answer | Exception] = []

    def ask() -> None:
        try:
            answers.append(question())
        except Exception as err:
            answers.append(err)

    thread = threading.Thread(target=ask, daemon=True, name="zoo-mast")
    thread.start()
    thread.join(seconds)
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _astroquery() -> Any:
    try:
        from astroquery.mast import Observations
    except ImportError as err:
        raise UsageError("asking the archive needs astroquery; install it with: pip install 'celestial-zoo[mast]'") from err
    return Observations


def _rows(table: Any, name: str, needed: Sequence[str] = _NEEDED) -> Iterator[dict[str, str]]:
    """Rows of an astropy table as text, empty where a value is masked."""
    columns = list(table.colnames)
    if len(table) and (absent := [column for column in needed if column not in columns]):
        raise NetworkError(f"MAST: {name}: got an answer with columns {', '.join(columns)}; expected also {', '.join(absent)}")
    for row in table:
        yield {column: _text(row[column]) for column in (*needed, "dataRights") if column in columns}


def _text(value: Any) -> str:
    return "" if value is None or getattr(value, "mask", False) is True or str(value) in ("--", "nan") else str(value).strip()


def _exposure(row: Mapping[str, str], instruments: Sequence[str]) -> Exposure | str:
    """The exposure of a row, or why it is none."""
    if row.get("dataRights", "PUBLIC").upper() not in ("PUBLIC", ""):
        return "not public"
    if row["instrument_name"].upper() not in instruments:
        return "another instrument"
    exptime, ra, dec = numbers = [_number(row[column]) for column in ("t_exptime", "s_ra", "s_dec")]
    filters = [word for word in row["filters"].replace(",", ";").split(";") if word and not word.upper().startswith("CLEAR")]
    if not row["obs_id"] or not filters or not all(map(math.isfinite, numbers)) or exptime <= 0:
        return "incomplete"
    return Exposure(row["obs_id"].lower(), row["instrument_name"].upper(), "+".join(filters), exptime, ra, dec, row["proposal_id"])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
