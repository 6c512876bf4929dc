"""``zoo compare``: which of several evaluated runs is the best, and whether that can be told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.output import emit_json, emit_table, note, note_domain, warn
from zoo.cli.report_output import check_outputs, report_options, write_outputs
from zoo.settings import INTERVALS

if TYPE_CHECKING:
    from zoo.evaluation import Comparison, Interval

LISTED = 10
DECIMALS = 4  # of an accuracy in a table; --json has them all


@click.command()
@click.argument("runs", metavar="RUN_A RUN_B...", nargs=-1, required=True)
@click.option("--data", help="Compare evaluations on data of this name.  [default: the data that all runs were evaluated on]")
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), help="Compare evaluations on this split.")
@click.option("--common", is_flag=True, help="Where the runs were scored on different frames, compare on the common ones.")
@click.option(
    "--interval", type=click.Choice(INTERVALS), default=INTERVALS[0], show_default=True, help="Method of the accuracies' intervals."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@report_options
@click.option("--force", is_flag=True, help="Replace the files of --report and --figures if they are there.")
def compare(
    runs: tuple[str, ...],
    data: str | None,
    split: str | None,
    common: bool,
    interval: str,
    as_json: bool,
    report_path: Path | None,
    figures: Path | None,
    force: bool,
) -> None:
    """Compare runs on the frames that each was evaluated on.

    A run is a run directory, its model directory, "latest", or a folder below evaluations/ of a run. Nothing is evaluated: where a stored
    evaluation is missing, the error names the command that makes it. The difference in accuracy is tested by target, not by frame.

    \b
      zoo compare runs/hrcn-simulated-001 runs/resnet18-simulated-001
      zoo compare runs/* --data simulated:shifted
      zoo compare runs/* --report comparison.html
    """
    from zoo.evaluation import compare as rank

    check_outputs(report_path, figures, force=force)
    result = rank(runs, data=data, split=split, common=common, interval=interval)
    if as_json:
        from zoo.evaluation.paired import INTERVAL, TEST

        emit_json(result, test=TEST, interval=INTERVAL, method=_method(result))
    else:
        _print_tables(result)
    _print_notes(result)
    write_outputs(report_path, figures, [run.path for run in result.standings], comparison=result)


def _print_tables(result: Comparison) -> None:
    """Print the ranking, every pair and the verdict to stdout."""
    from zoo.evaluation.comparison import ALPHA
    from zoo.evaluation.paired import INTERVAL, TEST

    many = len(result.pairs) > 1
    title = f"{len(result.standings)} runs on {result.data}, split {result.split}: {result.n_frames} frames of {result.n_targets} targets"
    columns = ["rank", "run", "model", "accuracy", "lower", "upper", "behind", "parameters", "seconds"]
    rows: list[list[object]] = [
        [
            run.rank,
            run.name,
            run.model,
            *_three(run.accuracy),
            None if run.behind is None else round(run.behind.estimate, DECIMALS),
            run.parameters,
            None if run.time_s is None else _short(run.time_s),
        ]
        for run in result.standings
    ]
    notes = [
        "behind: accuracy of the first run minus its own; seconds: what its evaluation took",
        f"rank: 1 + the number of better runs that can be told apart from it at {ALPHA:.2g}",
    ]
    emit_table(columns, rows, title=title, notes=[f"95 % intervals: {_method(result)}", *(notes if many else notes[:1])])
    click.echo()
    columns = [
        "first",
        "second",
        "difference",
        "lower",
        "upper",
        "p",
        *(["p Holm"] if many else []),
        "only first",
        "only second",
        "McNemar p",
    ]
    rows = [
        [
            pair.first,
            pair.second,
            *_three(pair.difference),
            _short(pair.p_value),
            *([_short(pair.p_adjusted)] if many else []),
            pair.only_first,
            pair.only_second,
            _short(pair.mcnemar_p),
        ]
        for pair in result.pairs
    ]
    notes = [
        f"95 % intervals: {INTERVAL}",
        f"p: {TEST}{f'; p Holm: for {len(result.pairs)} pairs together' if many else ''}",
        "McNemar's test takes every frame for itself, so its p is too small where the frames of a target go together",
        result.verdict,
    ]
    emit_table(columns, rows, notes=notes)


def _method(result: Comparison) -> str:
    """The method of the intervals of the accuracies, and how often it holds the truth."""
    from zoo.intervals import METHODS

    held = "" if result.coverage is None else f"; {result.coverage}"
    return METHODS[result.standings[0].accuracy.method] + held


def _three(interval: Interval) -> tuple[object, object, object]:
    """An estimate and the two ends of its interval, or ``n/a``."""
    ends = ("n/a", "n/a") if interval.reason else (round(interval.lower, DECIMALS), round(interval.upper, DECIMALS))
    return round(interval.estimate, DECIMALS), *ends


def _short(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def _print_notes(result: Comparison) -> None:
    """Say on stderr what a reader of the tables must know."""
    if result.n_left_out:
        note(f"{result.n_left_out} frames were left out, because not every run was scored on them")
    for line in result.notes:
        note(line)
    for run in result.standings:
        if run.seen:
            names = ", ".join(run.seen[:LISTED]) + (f" and {len(run.seen) - LISTED} more" if len(run.seen) > LISTED else "")
            warn(f"NOT A TEST: {run.name} was trained or validated on {len(run.seen)} of {result.n_targets} targets: {names}")
    for domain in dict.fromkeys(run.domain for run in result.standings):
        note_domain(domain, data=result.data_domain)
