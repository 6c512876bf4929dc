"""``zoo evaluate``: how good a run is on labelled frames, with intervals by target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.output import Refusals, counted, emit_json, emit_table, note, note_domain, stages, warn
from zoo.errors import CheckFailedError, DataError, UsageError
from zoo.settings import GEOMETRIES

if TYPE_CHECKING:
    from zoo.evaluation import Evaluation, Interval

SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_target_accuracy": "macro accuracy per target",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
}
LOSSES = {"log_loss": "log loss", "brier": "Brier score", "calibration_error": "expected calibration error"}
LISTED = 10


@click.command()
@click.argument("run")
@click.option("--data", help="Manifest, folder of class folders, or registered name.  [default: the data the run was trained on]")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), help="Where the files of a manifest are.")
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), help="[default: test where the data have splits, else all]")
@click.option("--labels", help="Classes to use, among those of the run, separated by commas.")
@click.option("--target-regex", help="Class folders: the part of a file name that names its target.")
@click.option("--hdu", type=click.IntRange(0), help="HDU of every file, where --data does not name it.  [default: the science frames]")
@click.option("--plane", type=click.IntRange(0), help="Plane of every cube, where --data does not name it; from 0.")
@click.option("--geometry", type=click.Choice(GEOMETRIES), help="Frames of other sizes than in training.  [default: as trained]")
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), help="Write one line per frame to this file.")
@click.option("--force", is_flag=True, help="Replace the file of --csv if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the model.")
@click.option("--batch-size", type=click.IntRange(1), help="Frames per pass of the model.  [default: a million pixels, 1 to 16]")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Threads that read and preprocess.")
@click.option("--frame-cache", metavar="SIZE", default="off", envvar="ZOO_FRAME_CACHE", help="Disk space for prepared frames, as 20GB.")
@click.option("--allow-product", is_flag=True, help="Also score products the run was not trained on.")
@click.option(
    "--min-lower",
    type=click.FloatRange(0, 1),
    help="Exit 5 unless the 95 % interval of the accuracy on targets not trained on lies above this.",
)
def evaluate(
    run: str,
    data: str | None,
    root: Path | None,
    split: str | None,
    labels: str | None,
    target_regex: str | None,
    hdu: int | None,
    plane: int | None,
    geometry: str | None,
    csv_path: Path | None,
    force: bool,
    as_json: bool,
    device: str,
    precision: str,
    batch_size: int | None,
    workers: int,
    frame_cache: str,
    allow_product: bool,
    min_lower: float | None,
) -> None:
    """Measure a run on labelled frames.

    RUN is a run directory, its model directory, or "latest". Intervals take a target, not a frame, as what was sampled. The result is also
    stored under evaluations/ of the run. Frames that cannot be read are listed, the others are scored, and the exit code is 3.

    \b
      zoo evaluate runs/latest
      zoo evaluate runs/latest --data simulated:shifted --min-lower 0.5
      zoo evaluate runs/latest --data LCID_test.csv --root /data/hst --csv frames.csv
    """
    from zoo import storage
    from zoo.evaluation import evaluate as measure

    if csv_path is not None and csv_path.exists() and not force:
        raise UsageError(f"{csv_path}: this file is there already; choose another name, or replace it with --force")
    with stages() as report:
        result = measure(
            run,
            data,
            split=split,
            root=root,
            labels=[word.strip() for word in labels.split(",") if word.strip()] if labels else None,
            target_regex=target_regex,
            hdu=hdu,
            plane=plane,
            geometry=geometry,
            batch_size=batch_size,
            workers=workers,
            device=device,
            precision=precision,
            allow_product=allow_product,
            frame_cache=frame_cache,
            notify=note,
            progress=report,
        )
    if csv_path is not None:
        storage.write_text(csv_path, result.frames_csv())
    if as_json:
        emit_json(result.to_dict(), method=_method(), precision=precision)
    else:
        _print_tables(result)
    _print_notes(result, csv_path)
    _check(result, min_lower)


def _print_tables(result: Evaluation) -> None:
    """Print the scores, the confusion matrix, the baselines and the groups to stdout."""
    scores = result.metrics
    of = f"{result.model} on {result.data}, split {result.split}: {scores.n_frames} frames of {scores.n_targets} targets"
    notes = [f"95 % intervals: {_method()}"]
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
    accuracy = result.intervals["accuracy"]
    others: list[list[object]] = [[result.model, scores.accuracy, *_ends(accuracy), scores.balanced_accuracy]]
    others += [[f"baseline {b.name}", b.accuracy, *_ends(b.interval), b.balanced_accuracy] for b in result.baselines]
    others += [[f"shortcut: {s.name}", s.accuracy.estimate, *_ends(s.accuracy), s.balanced_accuracy] for s in result.shortcuts]
    others.append(["largest class always", scores.majority_share, None, None, None])
    emit_table(["on the same frames", "accuracy", "lower", "upper", "balanced"], others)
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


def _print_notes(result: Evaluation, csv_path: Path | None) -> None:
    """Say on stderr what a reader of the tables must know."""
    for line in result.notes:
        note(line)
    if result.seen:
        warn(f"{len(result.seen)} of {result.metrics.n_targets} targets were used in training or validation: {_some(result.seen)}")
        new = result.accuracy_new
        note("no target is new, so this says nothing about new ones" if new is None else f"on the {new.n_targets} new targets: {_say(new)}")
    for baseline in result.baselines:
        if baseline.accuracy >= result.metrics.accuracy:
            warn(f"the baseline {baseline.name} reaches {baseline.accuracy:.4f} without a network; the model does not beat it")
    for shortcut in result.shortcuts:
        name, gain = (shortcut.name if shortcut.name.startswith("all ") else f"{shortcut.name} alone"), shortcut.gain
        if gain.estimate <= 0:
            warn(f"{name} reaches {shortcut.accuracy.estimate:.4f} without a pixel; the model does not beat it")
        else:
            between = "" if gain.reason else f", 95 % interval by target {gain.lower:+.4f} to {gain.upper:+.4f}"
            note(f"gain over {name}, which sees no pixel: {gain.estimate:.4f}{between}")
    adapted = sum(frame.adapted for frame in result.frames)
    if adapted:
        are = "is" if adapted == 1 else "are"
        note(f"{counted(adapted, 'frame')} {are} not of the size of the training: averaged, cut or padded to fit (column 'adapted')")
    note_domain(result.domain, data=result.data_domain)
    note(f"accuracy {_say(result.intervals['accuracy'])}")
    for path in (result.path, csv_path):
        if path is not None:
            note(f"written: {path}")


def _check(result: Evaluation, min_lower: float | None) -> None:
    """List refused frames and raise for a check that failed, or else for frames that could not be read."""
    refusals = Refusals()
    for frame in result.refused:
        refusals.add(frame.path, frame.code, frame.message)
    refusals.explain()
    if min_lower is not None:
        interval = result.accuracy_new if result.seen else result.intervals["accuracy"]
        if interval is None:
            raise CheckFailedError(f"every target was used in training or validation; expected new ones for --min-lower {min_lower:g}")
        if not interval.bound > min_lower:
            raise CheckFailedError(f"accuracy {_say(interval)}; expected a lower end above {min_lower:g}")
    if result.refused:
        raise DataError(
            f"{len(result.refused)} of {len(result.frames)} frames could not be scored ({refusals}); the figures are of the others"
        )


def _say(interval: Interval) -> str:
    """One interval in words."""
    if not interval.reason:
        return f"{interval.estimate:.4f}, 95 % interval by target {interval.lower:.4f} to {interval.upper:.4f}"
    exact = (
        f"; at least {interval.floor:.4f} by the exact bound over {interval.n_targets} targets" if interval.floor == interval.floor else ""
    )
    return f"{interval.estimate:.4f}, 95 % interval n/a: {interval.reason}{exact}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _method() -> str:
    from zoo.intervals import METHOD

    return METHOD
