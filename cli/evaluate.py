"""``zoo evaluate``: how good a run is on labelled frames, with intervals by target."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.evaluation_sets import note_sets
from zoo.cli.evaluation_tables import method, print_notes, print_tables, say
from zoo.cli.explanation_tables import note_explanation, print_explanation
from zoo.cli.output import Refusals, emit_json, note, stages
from zoo.cli.report_output import check_outputs, report_options, write_outputs
from zoo.cli.robustness_options import axes_options, chosen_axes
from zoo.cli.robustness_tables import note_robustness, print_robustness
from zoo.errors import CheckFailedError, DataError, UsageError
from zoo.settings import GEOMETRIES, INTERVALS

if TYPE_CHECKING:
    from zoo.calibration import Calibration
    from zoo.evaluation import Evaluation


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
@click.option("--force", is_flag=True, help="Replace the files of --csv, --report and --figures if they are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the model.")
@click.option("--batch-size", type=click.IntRange(1), help="Frames per pass of the model.  [default: a million pixels, 1 to 16]")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Threads that read and preprocess.")
@click.option("--frame-cache", metavar="SIZE", default="off", envvar="ZOO_FRAME_CACHE", help="Disk space for prepared frames, as 20GB.")
@click.option("--allow-product", is_flag=True, help="Also score products the run was not trained on.")
@click.option("--interval", type=click.Choice(INTERVALS), default=INTERVALS[0], show_default=True, help="Method of the intervals.")
@click.option(
    "--min-lower",
    type=click.FloatRange(0, 1),
    help="Exit 5 unless the 95 % interval of the accuracy on targets not trained on lies above this.",
)
@click.option("--abstain", type=float, metavar="LEVEL", help="Also score sets of classes of this level, as 0.95.")
@click.option("--robustness", is_flag=True, help="Also measure how the accuracy falls when the frames get worse.")
@click.option("--robustness-frames", type=click.IntRange(1), help="Degrade so many frames, a share of every target.  [default: all]")
@axes_options("robustness-")
@click.option("--explain", is_flag=True, help="Also say what the wrong frames have in common, and show the worst with Grad-CAM.")
@click.option("--worst", type=click.IntRange(0), help="Wrong frames that --explain shows at most.  [default: 12]")
@report_options
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
    interval: str,
    min_lower: float | None,
    abstain: float | None,
    robustness: bool,
    robustness_frames: int | None,
    robustness_axes: str | None,
    robustness_levels: tuple[str, ...],
    explain: bool,
    worst: int | None,
    report_path: Path | None,
    figures: Path | None,
) -> None:
    """Measure a run on labelled frames.

    RUN is a run directory, its model directory, or "latest". Intervals take a target, not a frame, as what was sampled. The result is also
    stored under evaluations/ of the run. Frames that cannot be read are listed, the others are scored, and the exit code is 3.

    \b
      zoo evaluate runs/latest
      zoo evaluate runs/latest --data simulated:shifted --min-lower 0.5
      zoo evaluate runs/latest --data LCID_test.csv --root /data/hst --csv frames.csv
      zoo evaluate runs/latest --robustness --report out.html
    """
    from zoo import storage
    from zoo.evaluation import evaluate as measure
    from zoo.evaluation.sets import score_sets

    if min_lower is not None and interval == "frame":
        raise UsageError("--min-lower needs an interval by target; got --interval frame")
    if csv_path is not None and csv_path.exists() and not force:
        raise UsageError(f"{csv_path}: this file is there already; choose another name, or replace it with --force")
    check_outputs(report_path, figures, force=force)
    calibration = _calibration(run, abstain)
    degrade = _degradations(robustness, robustness_frames, robustness_axes, robustness_levels)
    shown = _explained(explain or report_path is not None or figures is not None, worst)
    given: dict[str, Any] = {
        "split": split,
        "root": root,
        "labels": [word.strip() for word in labels.split(",") if word.strip()] if labels else None,
        "target_regex": target_regex,
        "hdu": hdu,
        "plane": plane,
        "geometry": geometry,
        "batch_size": batch_size,
        "workers": workers,
        "device": device,
        "precision": precision,
        "allow_product": allow_product,
        "notify": note,
    }
    with stages() as report:
        result = measure(run, data, **given, frame_cache=frame_cache, interval=interval, progress=report)
    if csv_path is not None:
        storage.write_text(csv_path, result.frames_csv())
    sets = None if calibration is None or abstain is None else score_sets(result, calibration, abstain)
    if not as_json:
        print_tables(result)
    curves = None
    if degrade is not None:
        from zoo.robustness import measure_robustness

        with stages() as report:
            curves = measure_robustness(run, **given, **degrade, evaluation=result, progress=report)
    explanation = None
    if shown is not None:
        from zoo.explaining import explain_errors

        same = {name: given[name] for name in ("geometry", "batch_size", "workers", "device", "precision", "notify")}
        with stages() as report:
            explanation = explain_errors(run, result, worst=shown, **same, progress=report)
    if as_json:
        more = {} if curves is None else {"robustness": curves.to_dict()}
        more |= {} if sets is None else {"sets": asdict(sets)}
        more |= {} if explanation is None else {"explanation": explanation.to_dict()}
        emit_json({**result.to_dict(), **more}, method=method(result), precision=precision)
    if curves is not None and not as_json:
        print_robustness(curves)
    if explanation is not None and not as_json:
        print_explanation(explanation)
    print_notes(result, csv_path)
    if sets is not None:
        note_sets(sets)
    if curves is not None:
        note_robustness(curves)
    if explanation is not None:
        note_explanation(explanation)
    write_outputs(report_path, figures, [result.path])
    _check(result, min_lower)


def _calibration(run: str, level: float | None) -> Calibration | None:
    """The calibration that ``--abstain`` needs, looked at before anything is evaluated; ``None`` without that option."""
    if level is None:
        return None
    from zoo.evaluation.sets import find_calibration

    return find_calibration(run, level)


def _degradations(asked: bool, frames: int | None, axes: str | None, levels: tuple[str, ...]) -> dict[str, Any] | None:
    """What ``--robustness`` and its options ask for, checked before the evaluation begins; ``None`` where none of them is given."""
    if not (asked or frames or axes or levels):
        return None
    from zoo.robustness import choose_axes

    names, own = chosen_axes(axes, levels)
    choose_axes(names, own)
    return {"frames": frames, "axes": names, "levels": own}


def _explained(asked: bool, worst: int | None) -> int | None:
    """How many wrong frames ``--explain`` or ``--worst`` show, once it is certain that pictures can be made; ``None`` for neither."""
    if not asked and worst is None:
        return None
    from zoo.explaining import check_pictures

    check_pictures()
    return 12 if worst is None else worst


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
            raise CheckFailedError(f"accuracy {say(interval)}; expected a lower end above {min_lower:g}")
    if result.refused:
        raise DataError(
            f"{len(result.refused)} of {len(result.frames)} frames could not be scored ({refusals}); the figures are of the others"
        )
