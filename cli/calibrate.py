"""``zoo calibrate``: what the probabilities of a finished run are worth, stored with its model."""

from __future__ import annotations

import math
from pathlib import Path

import click

from zoo.cli.output import counted, emit_json, note, stages
from zoo.errors import DataError
from zoo.settings import GEOMETRIES


@click.command()
@click.argument("run")
@click.option("--data", help="Manifest, folder of class folders, or registered name.  [default: the data the run was trained on]")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), help="Where the files of a manifest are.")
@click.option("--split", type=click.Choice(["val", "test", "all"]), help="[default: val; with --data all]")
@click.option("--geometry", type=click.Choice(GEOMETRIES), help="Frames of other sizes than in training.  [default: as trained]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Arithmetic of the model.")
@click.option("--batch-size", type=click.IntRange(1), help="Frames per pass of the model.  [default: a million pixels, 1 to 16]")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Threads that read and preprocess.")
@click.option("--allow-product", is_flag=True, help="Also use products the run was not trained on.")
def calibrate(
    run: str,
    data: str | None,
    root: Path | None,
    split: str | None,
    geometry: str | None,
    as_json: bool,
    device: str,
    precision: str,
    batch_size: int | None,
    workers: int,
    allow_product: bool,
) -> None:
    """Fit the temperature of a run anew and store it with the model.

    Training does this by itself on its validation frames. RUN is a run directory, its model directory, or "latest". The targets must be
    ones that the model was not trained on; the more there are, the higher the level of the sets that --abstain gives. Weights stay as they
    are, and stored evaluations stay valid. Frames that cannot be read are left out, and the exit code is 3.

    \b
      zoo calibrate runs/latest
      zoo calibrate runs/latest --data survey.csv --split val
    """
    from zoo.evaluation.calibrate import calibrate as fit

    with stages() as report:
        found, refused = fit(
            run,
            data,
            split=split,
            root=root,
            geometry=geometry,
            device=device,
            precision=precision,
            batch_size=batch_size,
            workers=workers,
            allow_product=allow_product,
            notify=note,
            progress=report,
        )
    before, after = found.log_losses()
    facts = {
        "data": found.data,
        "split": found.split,
        "n_frames": len(found.truth),
        "n_targets": found.n_targets,
        "temperature": found.temperature,
        "log_loss_before": before,
        "log_loss_after": after,
        "attainable": found.attainable,
    }
    if as_json:
        emit_json({**facts, "labels": found.labels})
    else:
        for name, value in facts.items():
            click.echo(f"{name}\t{value:.6g}" if isinstance(value, float) else f"{name}\t{value}")
    level = math.floor(1000 * found.attainable) / 1000
    note(f"the model of {run} has this calibration from now on; --abstain takes levels up to {level:.3f}")
    if refused:
        raise DataError(f"{counted(refused, 'frame')} could not be read; the calibration is of the others")
