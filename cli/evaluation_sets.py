"""What ``zoo evaluate --abstain`` says of sets of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.cli.evaluation_tables import say
from zoo.cli.output import counted, note

if TYPE_CHECKING:
    from zoo.evaluation.sets import SetScores


def note_sets(scores: SetScores) -> None:
    """Say how often the sets hold the true class, and how many frames they decide."""
    each = "for each class" if scores.by_class else "for the classes together"
    note(f"sets of level {scores.level:g}, {each}, from {scores.calibration_targets} calibration targets:")
    classes = ", ".join(f"{label} {share:.4f}" for label, share in scores.coverage_of.items())
    where = f"{counted(scores.n_frames, 'frame')} of {counted(scores.n_targets, 'new target')}"
    note(f"  of {where} they hold the true class: {say(scores.coverage)} ({classes})")
    right = f", of which {scores.accuracy:.4f} are called right" if scores.decided else ""
    note(f"  {scores.decided} of {scores.n_frames} are decided{right}; sets: {', '.join(f'{n} {c}' for n, c in scores.sets.items())}")
