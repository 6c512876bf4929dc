"""How well a class can be guessed without looking at the sky.

Every column of a list is tried alone, and all together. A rule learned and scored on the same frames flatters itself, so each is also
scored on the frames of each target with what the others teach. An alarm is a held-out accuracy whose lower bound lies above the share of
the most frequent class: such a list teaches a network the camera instead of the sky, and rewards it in the test. Bounds are those of
`zoo.intervals`, with a target as what was sampled, corrected for the number of rules tried (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from zoo.auditing import rules
from zoo.auditing.rules import Guess, Problem
from zoo.auditing.table import Coded, Floats, Integers, Table, encode
from zoo.intervals import LEVEL, Interval, count_interval, exceeding_p, holm, share_interval

ALPHA = (1 - LEVEL) / 2
"""Chance of an alarm on a list whose columns have nothing to do with the class."""

TOGETHER = "all columns together"
"""Name of the rule that sees every column of a list."""

# The north galactic pole and the node of the galactic plane in ICRS (Hipparcos catalogue, ESA SP-1200, section 1.5.3).
_POLE_RA, _POLE_DEC = 192.85948, 27.12825


@dataclass(frozen=True)
class Shortcut:
    """How well one rule guesses the class on one list.

    Attributes:
        list: name of the list. name: what the rule sees. rule: what it says, learned from all frames.
        inside, outside: accuracy by frame, in sample and with each target guessed from the others.
        inside_macro, outside_macro: the means over targets of each target's accuracy.
        majority: share of the most frequent class. majority_macro: the mean over targets when that class is always said.
        p_value: of ``outside`` against the majority, twice the one-sided one, because which class a value stands for is learned from the
            same targets; p_adjusted: for all rules tried, by Holm.
        baseline: pixels are seen, so that no alarm follows: being guessed from a thumbnail is no fault of a list.
        alarm: whether ``p_adjusted`` is at most 0.025.
    """

    list: str
    name: str
    rule: str
    inside: Interval
    outside: Interval
    inside_macro: Interval
    outside_macro: Interval
    majority: float
    majority_macro: float
    p_value: float
    p_adjusted: float = 1.0
    baseline: bool = False
    alarm: bool = False


@dataclass(frozen=True)
class Measured:
    """What was measured on the frames of a table, NaN or -1 where a frame was not read.

    Attributes:
        size: ``height x width``. bias, gain, level: ``(N,)``, DN, e-/DN, and asinh of the sky's DN. thumbnails: ``(N, 256)``.
    """

    size: Coded
    bias: Floats
    gain: Floats
    level: Floats
    thumbnails: Floats


def find_shortcuts(table: Table, measured: Measured | None = None) -> tuple[Shortcut, ...]:
    """Try every column of every list, and correct for how many were tried.

    A column with one value is not tried, nor one that groups the frames as an earlier one does (the detector, where each camera has one),
    nor is a list with one class or one target.

    Args:
        table: the rows. measured: what was measured on their frames, where any were read.
    """
    tried = [shortcut for place in range(len(table.lists.names)) for shortcut, _ in _of_list(table, measured, place)]
    return tuple(_judged(tried))


def find_best(table: Table) -> tuple[tuple[Shortcut, tuple[str, ...]], ...]:
    """Find the column of the first list that is right most often for targets it was not learned from; pixels are not looked at.

    Returns: that rule and, for each row of the list, the class that it says when the row's target is left out; then the same of all columns
        together, where there are several. Empty where no rule was tried.
    """
    tried = list(_of_list(table, None, 0))
    judged = list(zip(_judged([shortcut for shortcut, _ in tried]), (said for _, said in tried), strict=True))
    alone = [pair for pair in judged if pair[0].name != TOGETHER]
    best = [max(alone, key=lambda pair: pair[0].outside.estimate)] if alone else []
    return (*best, *(pair for pair in judged if pair[0].name == TOGETHER))


def galactic_latitude(ra: Floats, dec: Floats) -> Floats:
    """Degrees from the plane of the Galaxy, without sign, of positions in degrees."""
    a, d, pole = np.radians(ra - _POLE_RA), np.radians(dec), np.radians(_POLE_DEC)
    sine = np.sin(d) * np.sin(pole) + np.cos(d) * np.cos(pole) * np.cos(a)
    return np.asarray(np.degrees(np.abs(np.arcsin(np.clip(sine, -1.0, 1.0)))), dtype=np.float64)


def _judged(tried: Sequence[Shortcut]) -> list[Shortcut]:
    """The shortcuts with their p-values corrected for how many were tried, and the alarms that follow."""
    adjusted = iter(holm([shortcut.p_value for shortcut in tried if not shortcut.baseline]))
    judged = []
    for shortcut in tried:
        if not shortcut.baseline:
            p_adjusted = next(adjusted)
            shortcut = replace(shortcut, p_adjusted=p_adjusted, alarm=p_adjusted <= ALPHA)
        judged.append(shortcut)
    return judged


def _of_list(table: Table, measured: Measured | None, place: int) -> Iterator[tuple[Shortcut, tuple[str, ...]]]:
    """The shortcuts of one list, and the class that each says of its rows when their target is left out."""
    rows = np.flatnonzero(table.lists.codes == place)
    problem = _problem(table, rows)
    if problem is None:
        return
    for column, guess, baseline in _guesses(table, measured, rows, problem):
        said = tuple(problem.names[index] for index in guess.outside.tolist())
        yield replace(_scored(table.lists.names[place], column, problem, guess), baseline=baseline), said


def _problem(table: Table, rows: Integers) -> Problem | None:
    """What is to be guessed of some rows; ``None`` where they have one class or one target."""
    labels, targets = table.label.codes[rows], np.unique(table.target.codes[rows], return_inverse=True)[1].ravel()
    present, frames = np.unique(labels, return_counts=True)
    if present.size < 2 or targets.max(initial=0) < 1:
        return None
    frequent = present[np.argsort(-frames, kind="stable")]
    index = np.empty(len(table.label.names), dtype=np.int64)
    index[frequent] = np.arange(frequent.size)
    named = tuple(table.target.names[code] for code in np.unique(table.target.codes[rows]).tolist())
    return Problem(index[labels], targets, tuple(table.label.names[code] for code in frequent), named)


def _guesses(table: Table, measured: Measured | None, rows: Integers, problem: Problem) -> Iterator[tuple[str, Guess, bool]]:
    """What each rule is called, what it says, and whether it sees pixels, which makes it a baseline."""
    together: list[Integers] = []
    for column, coded in _categories(table, measured).items():
        values, seen = np.unique(coded.codes[rows], return_inverse=True)
        if values.size > 1 and not any(_same_groups(seen.ravel(), earlier) for earlier in together):
            together.append(seen.ravel())
            yield column, rules.by_value(problem, coded.codes[rows], coded.names), False
    for column, (numbers, unit) in _numbers(table, measured).items():
        mine: Floats = numbers[rows]
        if np.unique(mine[np.isfinite(mine)]).size > 1:
            together.append(rules.binned(mine))
            yield column, rules.by_threshold(problem, mine, column, unit), False
    if len(together) > 1:
        yield TOGETHER, rules.by_all(problem, together), False
    if measured is not None:
        for column, guess in _baselines(problem, measured, rows):
            yield column, guess, True


def _same_groups(one: Integers, other: Integers) -> bool:
    """Whether two columns, values from 0, put the same frames together."""
    width = int(other.max()) + 1
    return int(np.unique(one * width + other).size) == int(one.max()) + 1 == width


def _baselines(problem: Problem, measured: Measured, rows: Integers) -> Iterator[tuple[str, Guess]]:
    """What the level and a thumbnail of the pixels tell; frames without are left at the mean."""
    level, thumbnails = measured.level[rows], measured.thumbnails[rows]
    if np.unique(level[np.isfinite(level)]).size > 1:
        yield "sky level", rules.by_threshold(problem, level, "asinh level")
    read = np.flatnonzero(np.isfinite(thumbnails).all(axis=1))
    if read.size:
        filled = np.where(np.isfinite(thumbnails), thumbnails, thumbnails[read].mean(axis=0))
        yield "thumbnail 16x16", rules.by_ridge(problem, filled)


def _categories(table: Table, measured: Measured | None) -> Mapping[str, Coded]:
    """Columns of names."""
    columns: dict[str, Coded] = {
        "instrument": encode([row.instrument for row in table.rows], keys=[row.instrument.casefold() for row in table.rows]),
        "detector": encode([row.detector for row in table.rows]),
        "filter": encode([row.filter for row in table.rows]),
        "HDU": encode(["" if row.hdu is None else str(row.hdu) for row in table.rows]),
        "product": encode([row.product for row in table.rows]),
        "programme": table.programme,
    }
    return columns if measured is None else {**columns, "frame size": measured.size}


def _numbers(table: Table, measured: Measured | None) -> Mapping[str, tuple[Floats, str]]:
    """Columns of numbers and their units."""
    columns = {
        "exposure time": (table.exptime, "s"),
        "RA": (table.ra, "deg"),
        "Dec": (table.dec, "deg"),
        "galactic latitude": (galactic_latitude(table.ra, table.dec), "deg"),
    }
    return columns if measured is None else {**columns, "bias level": (measured.bias, "DN"), "gain": (measured.gain, "e-/DN")}


def _scored(name: str, column: str, problem: Problem, guess: Guess) -> Shortcut:
    """Accuracies and intervals of a guess."""
    counts, names = np.bincount(problem.targets).astype(np.float64), problem.target_names
    inside, outside, frequent = (
        np.bincount(problem.targets, weights=problem.labels == guessed)
        for guessed in (guess.inside, guess.outside, np.zeros_like(guess.inside))
    )
    majority = float(frequent.sum() / counts.sum())
    return Shortcut(
        list=name,
        name=column,
        rule=guess.text,
        inside=count_interval(inside, counts, names),
        outside=count_interval(outside, counts, names),
        inside_macro=share_interval(inside / counts, names),
        outside_macro=share_interval(outside / counts, names),
        majority=majority,
        majority_macro=float((frequent / counts).mean()),
        p_value=min(2 * exceeding_p(outside, counts, names, majority), 1.0),
    )
