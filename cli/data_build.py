"""``zoo data build``: a labelled list from objects of known class and the archive."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.data_audit import print_tables
from zoo.cli.output import emit_json, emit_table, note, progress, warn

if TYPE_CHECKING:
    from zoo.data.archive.building import Built

MATCH = "instrument,filter,exptime"


@click.command("build")
@click.option("--targets", type=click.Path(path_type=Path, dir_okay=False), help="CSV of objects.  [default: the one that comes with zoo]")
@click.option(
    "--match", "by", default=MATCH, show_default=True, metavar="A,B", help="What the classes shall have alike; empty for nothing."
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Manifest to write.")
@click.option("--caliper", default=1.5, show_default=True, help="Largest factor between matched exposure times.")
@click.option("--per-target", default=20, show_default=True, help="Most exposures of one target.")
@click.option(
    "--exclude", multiple=True, type=click.Path(path_type=Path, dir_okay=False), help="Manifest to keep clear of; may be repeated."
)
@click.option("--seed", default=0, show_default=True, help="Another seed keeps other exposures of a target.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds that one answer of the archive is waited for.")
@click.option("--dry-run", is_flag=True, help="Ask and match, and write nothing.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def build(
    context: click.Context,
    targets: Path | None,
    by: str,
    output: Path | None,
    caliper: float,
    per_target: int,
    exclude: tuple[Path, ...],
    seed: int,
    timeout: float,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a list of raw exposures in which camera, filter and exposure time say nothing of the class.

    Asks MAST through astroquery (pip install 'celestial-zoo[mast]') for the exposures of objects of known class, keeps as many of each
    class for every instrument and filter, and prints the audit of what is left. "zoo data fetch" gets the files. Not yet run against the
    live archive.

    \b
      zoo data build -o train.csv --exclude LCID_test.csv
      zoo data build --targets mine.csv --match instrument --dry-run
    """
    import zoo
    from zoo.data import DataSet
    from zoo.data.archive.building import build as build_list
    from zoo.data.archive.mast import Archive
    from zoo.data.archive.targets import SHIPPED, read_targets
    from zoo.errors import UsageError

    if output is None and not dry_run:
        raise UsageError("got no --output, expected the name of the manifest to write, or --dry-run")
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists, expected a new file; choose another or pass --force")
    words = [word.strip() for word in by.split(",") if word.strip()]
    with progress("asking the archive", len(read_targets(targets)), unit="targets") as advance:
        built = build_list(
            targets,
            by=words,
            caliper=caliper,
            per_target=per_target,
            exclude=exclude,
            seed=seed,
            archive=Archive(timeout=timeout),
            progress=advance,
        )
    data = DataSet("built" if output is None else output.name, built.manifest, [], labels=tuple(built.found))
    audit = zoo.audit(data, targets=SHIPPED if targets is None else targets, pixels=False)
    if as_json:
        facts = {field.name: getattr(built, field.name) for field in dataclasses.fields(built) if field.name not in ("manifest", "targets")}
        emit_json({**facts, "frames": built.manifest.rows, "audit": audit}, match=words, seed=seed, dry_run=dry_run)
    else:
        _print_strata(built, words)
        click.echo()
        print_tables(audit)
    for reason, count in sorted(built.dropped.items(), key=lambda item: -item[1]):
        note(f"left out: {count} exposures, {reason}")
    for failure in built.failed.values():
        warn(failure)
    if not dry_run and output is not None:
        built.manifest.write_csv(output)
        note(f"wrote {output}; next: zoo data fetch {output} --to DIR")
    context.exit(built.exit_code)


def _print_strata(built: Built, words: list[str]) -> None:
    """What the archive has and what is kept, by what the classes shall have alike."""
    labels = list(built.found)
    names = [word for word in words if word != "exptime"]
    columns = [*names, *(f"{label} {what}" for what in ("found", "kept") for label in labels)]
    rows: list[list[object]] = [
        [*one.values, *(one.found.get(label, 0) for label in labels), *(one.kept.get(label, 0) for label in labels)]
        for one in built.strata
        if all(one.found.values())
    ]
    frames, targets = len(built.manifest), len(built.manifest.targets)
    alone = len(built.strata) - len(rows)
    title = f"{frames} frames of {targets} targets; exposures that the classes share, by {' and '.join(names) or 'nothing'}"
    emit_table(columns, rows, title=title, notes=[f"{alone} more that only one class has are left out"] if alone else [])
