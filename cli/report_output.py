"""What ``zoo evaluate`` and ``zoo compare`` share: ``--report`` and ``--figures``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.output import counted, note
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.evaluation import Comparison


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the two options to a command."""
    report = click.option(
        "--report", "report_path", type=click.Path(path_type=Path), help="Write everything to one HTML file that needs no network."
    )
    figures = click.option("--figures", type=click.Path(path_type=Path), help="Write the report's figures and tables into this folder.")
    return report(figures(command))


def check_outputs(report: Path | None, figures: Path | None, *, force: bool) -> None:
    """Raise before any work is done where one of them cannot be written. Raises: UsageError."""
    if report is None and figures is None:
        return
    from zoo.reporting import check_figures, check_report

    if report is not None:
        check_report(report, force=force)
    if figures is not None:
        check_figures(figures, force=force)


def write_outputs(
    report: Path | None, figures: Path | None, evaluations: Sequence[Path | None], *, comparison: Comparison | None = None
) -> None:
    """Write what was asked for, from stored evaluations, and say so on stderr.

    Raises:
        UsageError: an evaluation was not stored.
    """
    if report is None and figures is None:
        return
    stored = [path for path in evaluations if path is not None]
    if len(stored) < len(evaluations):
        raise UsageError("a report is made of stored evaluations, and a model directory outside a run stores none; name the run instead")
    from zoo.reporting import write_figures, write_report

    if report is not None:
        write_report(report, stored, command=shlex.join(["zoo", *sys.argv[1:]]), comparison=comparison)
        note(f"written: {report}")
    if figures is not None:
        files = write_figures(figures, stored, comparison=comparison)
        note(f"written: {counted(len(files), 'file')} in {figures}")
