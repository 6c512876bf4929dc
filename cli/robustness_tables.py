"""What ``zoo evaluate --robustness`` prints: the curves on stdout, and on stderr what a reader of them must know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo.cli.output import counted, emit_table, note

if TYPE_CHECKING:
    from zoo.robustness import Crossing, Curve, Robustness

CURVE = [
    "axis", "level", "unit", "accuracy", "lower", "upper", "points lost", "from", "to", "changed", "class flipped", "p true class", "note",
]  # fmt: skip
LOSSES = ["axis", "what gets worse", "unit", "5 points lost at", "not before", "surely by", "frames", "targets", "left out", "note"]


def print_robustness(result: Robustness) -> None:
    """Print the level at which 5 points are lost on every axis, and the curves."""
    of = f"{result.model} on degraded {result.data}, split {result.split}: {counted(result.n_frames, 'frame')}"
    losses = [
        [
            curve.axis,
            curve.label,
            curve.unit,
            curve.lost5.level,
            *_ends(curve.lost5, curve),
            curve.points[0].n_frames if curve.points else 0,
            curve.points[0].n_targets if curve.points else 0,
            len(curve.left_out),
            curve.lost5.reason,
        ]
        for curve in result.curves
    ]
    told = "the levels between which the 95 % interval by target of the points lost holds 5; empty: beyond the levels tried"
    click.echo()
    emit_table(LOSSES, losses, title=of, notes=[f"not before, surely by: {told}"])
    click.echo()
    rows = []
    for curve in result.curves:
        for place, point in enumerate(curve.points):
            drop = point.drop
            ends = (None, None) if drop.reason else (100 * drop.lower, 100 * drop.upper)
            accuracy = (None, None) if point.accuracy.reason else (point.accuracy.lower, point.accuracy.upper)
            lost = (None, None, None) if place == 0 else (100 * drop.estimate, *ends)
            changed = (None, None) if place == 0 else (point.n_changed, point.n_flipped)
            words = "as it is" if place == 0 else _mark(curve, point.level)
            rows.append(
                [curve.axis, point.level, curve.unit, point.accuracy.estimate, *accuracy, *lost, *changed, point.probability, words]
            )
    emit_table(CURVE, rows, notes=["accuracy, points lost: with 95 % intervals by target, paired with the same frames as they are"])


def note_robustness(result: Robustness) -> None:
    """Say on stderr what was left out, what 5 points cost, and where it is stored."""
    for line in result.notes:
        note(f"robustness: {line}")
    for curve in result.curves:
        if curve.axis in ("psf", "blur"):
            note(f"robustness: {curve.label}: {_say(curve)}")
    if result.path is not None:
        note(f"written: {result.path}")


def _say(curve: Curve) -> str:
    """Where 5 points are lost, in words."""
    lost = curve.lost5
    if lost.level is None:
        return f"a loss of 5 points is {lost.reason}" if curve.points else "no frame can be degraded so"
    first = "below the levels tried" if lost.first is None else f"{lost.first:.3g}"
    last = "beyond the levels tried" if lost.last is None else f"{lost.last:.3g}"
    return f"5 points are lost at {lost.level:.3g} {curve.unit} (95 %: {first} to {last})"


def _ends(lost: Crossing, curve: Curve) -> tuple[object, object]:
    return (lost.first, lost.last) if curve.points else (None, None)


def _mark(curve: Curve, level: float) -> str:
    """What is known of a level."""
    return ", ".join(name for name, mark in curve.marks.items() if mark == level)
