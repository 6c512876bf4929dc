"""Build a labelled list from objects of known class and what the archive has of them: see `build`."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.archive.mast import Archive, Exposure
from zoo.data.archive.matching import CALIPER, KEYS, Candidate, Stratum, match
from zoo.data.archive.targets import Target, read_targets, separations
from zoo.data.manifest import Manifest, Row, twin_of
from zoo.errors import DataError, NetworkError

APART_ARCMIN = 30.0
"""How far an exposure must lie from every frame of the lists that it shall share nothing with."""

CHIPS = (1, 4)
"""HDUs of the two chips of a raw exposure."""


@dataclass(frozen=True)
class Built:
    """A list, and what it was chosen from.

    Attributes:
        manifest: two frames for each exposure that was kept; no file is there yet.
        targets: those that were asked for. found: exposures the archive has of each class.
        strata: what became of the exposures of each instrument and filter.
        dropped: exposures that were left out, by reason.
        failed: targets for which the archive gave no answer, and why.
    """

    manifest: Manifest
    targets: tuple[Target, ...]
    found: Mapping[str, int]
    strata: tuple[Stratum, ...]
    dropped: Mapping[str, int]
    failed: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """0, or 7 if some targets could not be asked for."""
        return NetworkError.exit_code if self.failed else 0


def build(
    targets: str | os.PathLike[str] | None = None,
    *,
    by: Sequence[str] = KEYS,
    caliper: float = CALIPER,
    per_target: int = 20,
    exclude: Sequence[str | os.PathLike[str]] = (),
    seed: int = 0,
    archive: Archive | None = None,
    progress: Callable[[int], None] | None = None,
) -> Built:
    """Make a list in which instrument, filter and exposure time say nothing of the class.

    Every exposure belongs to one object; those near two are left out. What is kept is matched between the classes, see
    `zoo.data.archive.matching.match`.

    Args:
        targets: see `zoo.data.archive.targets.read_targets`; ``None`` for the table that comes with zoo.
        by, caliper, per_target, seed: how exposures are matched.
        exclude: manifests; exposures of theirs, and any within half a degree of one of their frames, are left out.
        archive: is asked; by default MAST through astroquery.
        progress: called with 1 after every target.

    Raises:
        DataError: a table or list is faulty, or nothing is left. UsageError: an argument is out of range, or astroquery is not there.
        NetworkError: the archive answered for no target.
    """
    asked = read_targets(targets)
    match((), by=by, caliper=caliper, per_target=per_target)  # refused now rather than after the questions
    avoided = [row for path in exclude for row in Manifest.read_csv(Path(path), find=False)]
    asker = archive or Archive()
    found: dict[str, list[Candidate]] = {}
    dropped: Counter[str] = Counter()
    failed: dict[str, str] = {}
    for target in asked:
        try:
            answer = asker.find(target)
        except NetworkError as err:
            failed[target.name] = str(err)
        else:
            dropped.update(answer.dropped)
            for exposure in answer.exposures:
                found.setdefault(exposure.rootname, []).append((target, exposure))
        if progress is not None:
            progress(1)
    if len(failed) == len(asked):
        raise NetworkError(next(iter(failed.values())))
    counts = Counter(target.label for several in found.values() for target, _ in several[:1])
    candidates = _usable(found, avoided, asked, dropped)
    matched = match(candidates, by=by, caliper=caliper, per_target=per_target, seed=seed)
    dropped.update(matched.dropped)
    if not matched.kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common()) or "the archive has none"
        raise DataError(f"got no exposure that is matched in every class ({reasons}); match by fewer columns, or name other targets")
    rows = tuple(_row(target, exposure, hdu) for target, exposure in matched.kept for hdu in CHIPS)
    return Built(Manifest(rows, Path()), asked, dict(counts), matched.strata, dict(dropped), failed)


def _usable(
    found: Mapping[str, list[Candidate]], avoided: Sequence[Row], asked: tuple[Target, ...], dropped: Counter[str]
) -> list[Candidate]:
    """The exposures of one object each, that have nothing to do with the lists to be avoided."""
    names = {name for row in avoided for name in (row.rootname.casefold(), twin_of(row.rootname.casefold()))}
    places = [Target("", "", row.ra, row.dec, 0.0) for row in avoided if math.isfinite(row.ra + row.dec)]
    usable = []
    for name in sorted(found):
        target, exposure = found[name][0]
        away = separations(asked, exposure.ra, exposure.dec)
        near = sum(float(one) < other.reach for one, other in zip(away, asked, strict=True))
        if len(found[name]) > 1 or near > 1:
            dropped["near two targets"] += 1
        elif name in names or (places and float(separations(places, exposure.ra, exposure.dec).min()) < APART_ARCMIN):
            dropped["of a list to be avoided, or within half a degree of it"] += 1
        else:
            usable.append((target, exposure))
    return usable


def _row(target: Target, exposure: Exposure, hdu: int) -> Row:
    return Row(
        hdu=hdu,
        label=target.label,
        target=target.name,
        rootname=exposure.rootname,
        instrument=exposure.instrument,
        detector=exposure.instrument.partition("/")[2],
        filter=exposure.filter,
        product="raw",
        exptime=exposure.exptime,
        ra=exposure.ra,
        dec=exposure.dec,
        visit=exposure.rootname[:6],
        proposal=exposure.proposal,
    )
