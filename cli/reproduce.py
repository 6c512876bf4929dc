"""``zoo reproduce``: a paper's networks trained and measured, and its tables with our values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.output import emit_json, emit_table, note, note_domain
from zoo.cli.reproduce_progress import ReproductionProgress
from zoo.cli.training_progress import clock

if TYPE_CHECKING:
    from zoo.reproduction import Reproduction

PAPER = "2312.04948"


@click.command()
@click.argument("paper", metavar="ARXIV")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Folder with the authors' lists and their files.  [default: the simulated sky]",
)
@click.option(
    "--train-list",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="CSV",
    help="Train on this manifest and test on the whole published list.  [default: split the list by target]",
)
@click.option("--quick", is_flag=True, help="256x512 pixels, four small networks, few steps: a quarter of an hour on 2 cores.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help=f"[default: runs/reproduce-{PAPER}]")
@click.option("--only", metavar="A,B", help="Networks to do, as hrcn,resnet18.  [default: all]")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Trainings of each network.")
@click.option("--from-scratch", is_flag=True, help="Start every network from new weights; without, the rivals start from ImageNet's.")
@click.option("--fit", metavar="SIZE", help="Memory that a training may take, as 8GB, or auto.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Threads that read and preprocess.")
@click.option("--force", is_flag=True, help="Replace what another recipe left in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reproduce(
    paper: str,
    data: Path | None,
    train_list: Path | None,
    quick: bool,
    output: Path | None,
    only: str | None,
    seeds: int,
    from_scratch: bool,
    fit: str | None,
    device: str,
    workers: int,
    force: bool,
    as_json: bool,
) -> None:
    """Train and evaluate the networks of a paper and print its tables with our values.

    ARXIV is 2312.04948. Every figure has an interval by target and a hash that says what it was made of; published figures stand beside
    real frames only. Stopped with Ctrl-C, the same command goes on; finished parts are not done again.

    \b
      zoo reproduce 2312.04948 --quick
      zoo reproduce 2312.04948 --data /archive/hst --fit auto
    """
    from zoo.reproduction import reproduce as run
    from zoo.reproduction.run import DEFAULT_OUTPUT

    with ReproductionProgress() as progress:
        result = run(
            paper,
            data=data,
            train_list=train_list,
            quick=quick,
            output=output or DEFAULT_OUTPUT,
            only=[word.strip() for word in (only or "").split(",") if word.strip()],
            seeds=seeds,
            from_scratch=from_scratch,
            fit=fit,
            device=device,
            workers=workers,
            force=force,
            progress=progress,
        )
    if as_json:
        emit_json(result.to_dict())
    else:
        _print_tables(result)
    note_domain(result.domain)
    took = sum(stage.seconds for stage in result.stages if not stage.found)
    note(f"{len(result.stages)} parts, {clock(took)}" + (f"; report: {result.report}" if result.report else ""))
    note(f"written: {result.path / 'tables.json'}, which says what every hash stands for")


def _print_tables(result: Reproduction) -> None:
    """Print every table to stdout."""
    for number, table in enumerate(result.tables):
        if number:
            click.echo()
        heads, rows = table.flat()
        emit_table(heads, rows, title=table.title, notes=table.notes)
