"""What ``zoo evaluate`` prints: the tables on stdout, and on stderr what a reader of them must know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.output import counted, emit_table, note, note_domain, warn
from zoo.evaluation.titles import LOSSES, SCORES

if TYPE_CHECKING:
    from zoo.evaluation import Evaluation, Interval
    from zoo.evaluation.reliability import Reliability

LISTED = 10


def print_tables(result: Evaluation) -> None:
    """Print the scores, the confusion matrix, what needs no network, the reliability and the groups to stdout."""
    scores = result.metrics
    of = f"{result.model} on {result.data}, split {result.split}: {scores.n_frames} frames of {scores.n_targets} targets"
    notes = [f"95 % intervals: {method(result)}", *([] if result.coverage is None else [str(result.coverage)])]
    if result.seen:
        notes.insert(0, f"NOT A TEST: {len(result.seen)} of {scores.n_targets} targets were used in training")
    without = _shortcut_scores(result)
    rows: list[list[object]] = [
        [title, getattr(scores, name), *_ends(result.intervals[name]), without.get(name), result.intervals[name].reason]
        for name, title in SCORES.items()
    ]
    columns = ["score", "value", "lower", "upper", "best shortcut", "note"]
    rows += [[title, getattr(scores, name), None, None, None, ""] for name, title in LOSSES.items()]
    emit_table(columns, rows, title=of, notes=[*notes, _say_shortcut(result)])
    click.echo()
    classes = [
        [
            name,
            *(scores.per_class[name][key] for key in ("frames", "targets", "precision", "recall", "f1")),
            *_ends(result.intervals[f"recall:{name}"]),
        ]
        for name in result.labels
    ]
    emit_table(["class", "frames", "targets", "precision", "recall", "f1", "recall lower", "recall upper"], classes)
    click.echo()
    confusion = [[name, *counts] for name, counts in zip(result.labels, scores.confusion, strict=True)]
    emit_table(["true class", *(f"called {name}" for name in result.labels)], confusion)
    click.echo()
    _print_others(result)
    click.echo()
    if result.calibration is not None:
        _print_reliability(result.calibration)
        click.echo()
    grouped = [
        [
            by,
            group.name,
            group.labels,
            group.n_frames,
            group.n_targets,
            group.accuracy,
            *_ends(group.interval),
            group.shortcut,
            group.interval.reason,
        ]
        for by, groups in result.groups.items()
        for group in groups
    ]
    emit_table(["by", "name", "class", "frames", "targets", "accuracy", "lower", "upper", "best shortcut", "note"], grouped)


def _print_others(result: Evaluation) -> None:
    """Print what needs no network beside the model."""
    scores, gain = result.metrics, result.gain
    majority = gain.difference if gain is not None and gain.kind == "majority" else None
    rows: list[list[object]] = [
        [result.model, scores.accuracy, *_ends(result.intervals["accuracy"]), scores.balanced_accuracy, None, None, None],
        *([f"baseline {b.name}", b.accuracy, *_ends(b.interval), b.balanced_accuracy, *_three(b.gain)] for b in result.baselines),
        *([f"shortcut: {s.name}", s.accuracy.estimate, *_ends(s.accuracy), s.balanced_accuracy, *_three(s.gain)] for s in result.shortcuts),
        ["largest class always", scores.majority_share, None, None, None, *(_three(majority) if majority else (None, None, None))],
    ]
    columns = ["on the same frames", "accuracy", "lower", "upper", "balanced", "gain", "gain lower", "gain upper"]
    notes = ["gain: accuracy of the model minus theirs, with its interval by target", *([] if gain is None else [_say_gain(result)])]
    emit_table(columns, rows, notes=notes)


def _print_reliability(found: Reliability) -> None:
    """Print how often the probabilities come true."""
    rows: list[list[object]] = [
        [f"{one.lower:.3f} to {one.upper:.3f}", one.count, one.n_targets, one.confidence, one.accuracy, *_ends(one.interval)]
        for one in found.bins
    ]
    columns = ["probability of the called class", "frames", "targets", "mean probability", "accuracy", "lower", "upper"]
    if found.fitted_targets:
        of = f"temperature {found.temperature:.3f}, fitted on {counted(found.fitted_targets, 'target')}"
        change = ", ".join(
            f"{name} {before:.4f} before and {after:.4f} after"
            for name, before, after in (
                ("log loss", found.log_loss_before, found.log_loss_after),
                ("Brier score", found.brier_before, found.brier_after),
                ("calibration error", found.calibration_error_before, found.calibration_error_after),
            )
        )
        told = f"{of}: {change}"
    else:
        told = "probabilities as the model gives them: it has no temperature"
    emit_table(columns, rows, notes=[told])


def _say_gain(result: Evaluation) -> str:
    """The gain over the best of all that needs no network."""
    gain = result.gain
    if gain is None:
        return ""
    over = {"shortcut": "the shortcut ", "baseline": "the baseline ", "majority": "the "}[gain.kind] + gain.over
    between = (
        f"n/a: {gain.difference.reason}" if gain.difference.reason else f"{gain.difference.lower:+.4f} to {gain.difference.upper:+.4f}"
    )
    return f"gain over the best of them, {over}: {gain.difference.estimate:+.4f}, 95 % interval by target {between}"


def _three(interval: Interval) -> tuple[object, object, object]:
    """An estimate and the two ends of its interval."""
    return (interval.estimate, *_ends(interval))


def _shortcut_scores(result: Evaluation) -> dict[str, float]:
    """What the best column alone reaches, by the name of the score."""
    if not result.shortcuts:
        return {}
    best = result.shortcuts[0]
    return {
        "accuracy": best.accuracy.estimate,
        "balanced_accuracy": best.balanced_accuracy,
        "macro_target_accuracy": best.macro_target_accuracy.estimate,
    }


def _say_shortcut(result: Evaluation) -> str:
    """What the best column alone says."""
    if not result.shortcuts:
        return "best shortcut: none, for these frames are of one class or target, or their columns do not differ"
    best = result.shortcuts[0]
    return f"best shortcut: {best.name} alone, each target guessed from the others ({best.rule})"


def _ends(interval: Interval) -> tuple[object, object]:
    """The two ends of an interval, or ``n/a``, for which the score's note has the reason."""
    return ("n/a", "n/a") if interval.reason else (interval.lower, interval.upper)


def print_notes(result: Evaluation, csv_path: Path | None) -> None:
    """Say on stderr what a reader of the tables must know."""
    for line in result.notes:
        note(line)
    if result.seen:
        warn(f"{len(result.seen)} of {result.metrics.n_targets} targets were used in training or validation: {_some(result.seen)}")
        new = result.accuracy_new
        note("no target is new, so this says nothing about new ones" if new is None else f"on the {new.n_targets} new targets: {say(new)}")
    for baseline in result.baselines:
        if baseline.accuracy >= result.metrics.accuracy:
            warn(f"the baseline {baseline.name} reaches {baseline.accuracy:.4f} without a network; the model does not beat it")
    for shortcut in result.shortcuts:
        if shortcut.gain.estimate <= 0:
            name = shortcut.name if shortcut.name.startswith("all ") else f"{shortcut.name} alone"
            warn(f"{name} reaches {shortcut.accuracy.estimate:.4f} without a pixel; the model does not beat it")
    if result.gain is not None:
        note(_say_gain(result))
    flags = Counter(flag for frame in result.frames for flag in frame.flags)
    if flags:
        flagged = counted(sum(bool(frame.flags) for frame in result.frames), "frame")
        note(f"{flagged} flagged (column 'flags'): {', '.join(f'{name} {count}' for name, count in flags.most_common())}")
    adapted = sum(frame.adapted for frame in result.frames)
    if adapted:
        are = "is" if adapted == 1 else "are"
        note(f"{counted(adapted, 'frame')} {are} not of the size of the training: averaged, cut or padded to fit (column 'adapted')")
    note_domain(result.domain, data=result.data_domain)
    note(f"accuracy {say(result.intervals['accuracy'])}")
    for path in (result.path, csv_path):
        if path is not None:
            note(f"written: {path}")


def say(interval: Interval) -> str:
    """One interval in words."""
    if not interval.reason:
        by = "frame" if interval.method == "frame" else "target"
        return f"{interval.estimate:.4f}, 95 % interval by {by} {interval.lower:.4f} to {interval.upper:.4f}"
    exact = (
        f"; at least {interval.floor:.4f} by the exact bound over {interval.n_targets} targets" if interval.floor == interval.floor else ""
    )
    return f"{interval.estimate:.4f}, 95 % interval n/a: {interval.reason}{exact}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def method(result: Evaluation) -> str:
    """The method of the intervals, in words."""
    from zoo.intervals import METHODS

    return METHODS[result.intervals["accuracy"].method]
