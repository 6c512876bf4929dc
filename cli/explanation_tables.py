"""Printing why a model errs: the error rate against what is known of the frames, and the worst errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo.cli.output import counted, emit_table, note

if TYPE_CHECKING:
    from zoo.explaining import Explanation
    from zoo.intervals import Interval

CAUTION = "the paper names similarity, too few features and noise as reasons; a rate that goes with a fact does not make it the cause"


def print_explanation(result: Explanation) -> None:
    """Print the tables and the worst errors to stdout."""
    rates: list[list[object]] = []
    for table in result.tables:
        for row in table.rows:
            ends = _ends(row.interval)
            counts = [row.lower, row.upper, row.n_frames, row.n_targets, row.error_rate]
            rates.append([table.fact, table.unit, *counts, *ends, row.interval.reason])
    columns = ["error rate by", "unit", "from", "to", "frames", "targets", "error rate", "lower", "upper", "note"]
    click.echo()
    emit_table(columns, rates, title="why it errs", notes=[CAUTION])
    click.echo()
    facts: list[list[object]] = [
        [
            table.fact,
            table.label,
            table.speaks_to.partition(":")[0],
            table.missing,
            table.separation.estimate,
            *_ends(table.separation),
            table.separation.reason,
        ]
        for table in result.tables
    ]
    told = "larger when wrong: the chance that a wrong frame has a larger value than a right one; 0.5 where the fact says nothing"
    emit_table(["fact", "what it is", "speaks to", "unknown", "larger when wrong", "lower", "upper", "note"], facts, notes=[told])
    click.echo()
    worst: list[list[object]] = [
        [
            entry.path,
            entry.hdu,
            entry.target,
            entry.label,
            entry.predicted,
            entry.probability,
            entry.loss,
            entry.signal_to_noise,
            entry.filled,
            entry.offset_arcmin,
            entry.nearest_target,
            entry.ratio,
        ]
        for entry in result.gallery
        if entry.kind == "wrong"
    ]
    heads = ["worst errors", "hdu", "target", "class", "called", "probability", "loss", "signal_to_noise", "filled", "offset_arcmin"]
    emit_table([*heads, "nearest target of another class", "ratio"], worst)


def note_explanation(result: Explanation) -> None:
    """Say on stderr what a reader of the tables must know, and where the pictures are."""
    for line in result.notes:
        note(line)
    wrong = sum(frame.wrong for frame in result.frames)
    note(f"{counted(wrong, 'wrong frame')} among {len(result.frames)}")
    if result.path is not None:
        note(f"written: {result.path} ({counted(len(result.pictures), 'picture')})")


def _ends(interval: Interval) -> tuple[object, object]:
    """The two ends of an interval, or ``n/a``, for which the note has the reason."""
    return ("n/a", "n/a") if interval.reason else (interval.lower, interval.upper)
