"""``zoo data fetch``: exposures from the Hubble archives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zoo.data import FetchedFile, FetchPlan

COLUMNS = ("rootname", "file", "status", "bytes", "place", "reason")


@click.command("fetch")
@click.argument("sources", nargs=-1, required=True, metavar="MANIFEST|LIST|NAME...")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the files; made if absent.")
@click.option("--product", type=click.Choice(("raw", "flt", "flc", "drz", "drc")), default="raw", show_default=True, help="Which files.")
@click.option("--yes", is_flag=True, help="Fetch without asking.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@click.option("--connections", default=4, show_default=True, help="At most so many at a time, 1 to 16; two of them to MAST.")
@click.option("--s3-url", metavar="URL", help="Root of the S3 addresses; empty to leave S3 out.  [ZOO_S3_URL, else stpubdata at AWS]")
@click.option("--mast-url", metavar="URL", help="Root of the MAST addresses; empty to leave MAST out.  [ZOO_MAST_URL, else STScI]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every file, not only those that could not be had.")
@click.pass_context
def fetch(
    context: click.Context,
    sources: tuple[str, ...],
    to: Path,
    product: str,
    yes: bool,
    dry_run: bool,
    connections: int,
    s3_url: str | None,
    mast_url: str | None,
    as_json: bool,
) -> None:
    """Fetch the exposures of manifests or lists from the Hubble archives, each file once for both chips.

    A list is a CSV with a column rootname or OBSID, or a text file with one name per line; names may be given themselves. Prints what could
    not be had. Run the same command again to go on where one was stopped: whole files are kept, others continue at the next byte.

    \b
    Exit codes: 0 all files are there; 3 some are in no archive or were refused; 7 the network failed.
    """
    from zoo import data
    from zoo.cli.output import emit_json, emit_table, note
    from zoo.errors import UsageError

    if not (yes or dry_run or _can_ask()):
        raise UsageError("there is no terminal to ask on; pass --yes to fetch without asking, or --dry-run to see what would be fetched")
    note("looking at what is there, and asking the archives for sizes")
    with ExitStack() as stack:
        show: list[Callable[[int, int], None]] = []

        def confirm(plan: FetchPlan) -> bool:
            for file in plan.pending:
                if file.reason:
                    note(f"{file.rootname}: {file.reason}")
            note(plan.summary())
            if dry_run:
                return False
            plan.check_space()
            if not (yes or click.confirm("Fetch?", err=True)):
                note("nothing was fetched")
                return False
            show.append(stack.enter_context(_progress(len(plan.files), plan.bytes)))
            return True

        report = data.fetch(
            sources,
            to,
            product=product,
            s3_url=s3_url,
            mast_url=mast_url,
            connections=connections,
            confirm=confirm,
            progress=lambda files, arrived: show[0](files, arrived) if show else None,
        )
    shown = [file for file in report.files if file.status not in ("fetched", "kept")]
    if as_json:
        emit_json(report.files, product=product, counts=report.counts(), manifest=report.manifest, notes=report.notes, dry_run=dry_run)
    else:
        emit_table(COLUMNS, [_cells(file) for file in shown])
    for line in report.notes:
        note(line)
    note(report.summary())
    if report.manifest is not None:
        note(f"wrote {report.manifest}")
    context.exit(0 if dry_run else report.exit_code)


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _cells(file: FetchedFile) -> tuple[object, ...]:
    return (
        file.rootname,
        file.path,
        file.status,
        f"{'' if file.exact else '~'}{file.bytes}" if file.bytes else None,
        file.place,
        file.reason,
    )


@contextmanager
def _progress(files: int, expected: int) -> Iterator[Callable[[int, int], None]]:
    """A bar in MB, with the count of files that are done in its description."""
    from zoo.cli.output import progress

    with progress(f"fetching {files} files", expected // 10**6 or None, unit="MB") as advance:
        before = 0

        def report(done: int, arrived: int) -> None:
            nonlocal before
            if (megabytes := arrived // 10**6) > before:
                advance(megabytes - before)
                before = megabytes

        yield report
