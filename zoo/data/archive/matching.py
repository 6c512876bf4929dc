"""Matching: as many exposures of each class for every instrument and filter, in sets of one per class with like exposure times.

What all classes have alike tells none of them from another, so a network cannot learn the camera instead of the sky. Exact matching on
names and a caliper on the exposure time, one to one (Stuart, Statistical Science 25, 1, 2010).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.data.archive.mast import Exposure
from zoo.data.archive.targets import Target
from zoo.data.split import draw
from zoo.errors import UsageError

KEYS = ("instrument", "filter", "exptime")
CALIPER = 1.5

Candidate = tuple[Target, Exposure]


@dataclass(frozen=True)
class Stratum:
    """What became of the exposures that share instrument and filter, or as many of these as are matched.

    Attributes:
        values: the shared names. found, kept: exposures of each class.
    """

    values: tuple[str, ...]
    found: Mapping[str, int]
    kept: Mapping[str, int]


@dataclass(frozen=True)
class Matched:
    """The outcome of `match`: what is kept, the strata, and why others are left out, counted."""

    kept: tuple[Candidate, ...]
    strata: tuple[Stratum, ...]
    dropped: Mapping[str, int]


def match(
    candidates: Sequence[Candidate], *, by: Sequence[str] = KEYS, caliper: float = CALIPER, per_target: int = 20, seed: int = 0
) -> Matched:
    """Balance the classes.

    In every stratum, exposures are taken in sets of one per class. With ``exptime`` the longest of a set is at most ``caliper`` times the
    shortest; sets are formed along the sorted times, which gives as many as there can be. Which exposures of a target are left out by
    ``per_target`` is drawn, those of strata that only one class has first.

    Args:
        candidates: exposures and their targets, of at least two classes.
        by: some of `KEYS`; with none of them, classes only get as many exposures each.
        caliper: factor >= 1 between exposure times. per_target: most exposures of one target. seed: of the draw.

    Raises:
        UsageError: an unknown key, or a number out of range.
    """
    if unknown := [key for key in by if key not in KEYS]:
        raise UsageError(f"exposures are matched by {', '.join(KEYS)}, got {', '.join(unknown)}")
    if caliper < 1 or per_target < 1:
        raise UsageError(f"the caliper and the number per target must be at least 1, got {caliper:g} and {per_target}")
    names = [key for key in by if key != "exptime"]
    labels = sorted({target.label for target, _ in candidates})
    strata: dict[tuple[str, ...], list[Candidate]] = {}
    for candidate in candidates:
        strata.setdefault(tuple(str(getattr(candidate[1], name)) for name in names), []).append(candidate)
    dropped: Counter[str] = Counter()
    shared = {}
    for values, members in strata.items():
        if {target.label for target, _ in members} == set(labels):
            shared[values] = members
        else:
            dropped[f"no exposure of another class has its {' and '.join(names) or 'like'}"] += len(members)
    chosen = _thinned([candidate for members in shared.values() for candidate in members], per_target, seed)
    dropped[f"more than {per_target} of its target"] += sum(map(len, shared.values())) - len(chosen)
    kept: list[Candidate] = []
    report = []
    for values in sorted(strata):
        members = [candidate for candidate in shared.get(values, ()) if candidate in chosen]
        sets = _sets(members, labels, caliper if "exptime" in by else float("inf"), seed)
        mine = [candidate for one in sets for candidate in one]
        dropped["no partner of another class" + (f" within a factor of {caliper:g} in exposure time" if "exptime" in by else "")] += len(
            members
        ) - len(mine)
        kept += mine
        report.append(Stratum(values, _counts(strata[values], labels), _counts(mine, labels)))
    kept.sort(key=lambda candidate: (candidate[0].label, candidate[0].name, candidate[1].rootname))
    return Matched(tuple(kept), tuple(report), {reason: count for reason, count in dropped.items() if count})


def _thinned(candidates: Sequence[Candidate], most: int, seed: int) -> set[Candidate]:
    """At most so many exposures of each target, drawn."""
    of_target: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        of_target.setdefault(candidate[0].name, []).append(candidate)
    return {
        candidate
        for members in of_target.values()
        for candidate in sorted(members, key=lambda one: draw(seed, "exposure", one[0].name, one[1].rootname))[:most]
    }


def _sets(members: Sequence[Candidate], labels: Sequence[str], caliper: float, seed: int) -> list[list[Candidate]]:
    """Sets of one exposure per class whose times differ by the factor at most."""
    queues = {
        label: sorted(
            (one for one in members if one[0].label == label),
            key=lambda one: (one[1].exptime if caliper < float("inf") else 0.0, draw(seed, "order", one[1].rootname)),
        )
        for label in labels
    }
    sets = []
    while all(queues.values()):
        first = {label: queue[0] for label, queue in queues.items()}
        shortest = min(labels, key=lambda label: first[label][1].exptime)
        if max(one[1].exptime for one in first.values()) <= caliper * first[shortest][1].exptime:
            sets.append([queues[label].pop(0) for label in labels])
        else:
            queues[shortest].pop(0)
    return sets


def _counts(members: Sequence[Candidate], labels: Sequence[str]) -> dict[str, int]:
    counts = Counter(target.label for target, _ in members)
    return {label: counts[label] for label in labels}
