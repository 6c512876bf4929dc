"""``zoo data``: what ``--data`` accepts, what is in it, and how it is split."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.data_audit import audit
from zoo.cli.data_build import build
from zoo.cli.data_cache import cache
from zoo.cli.data_fetch import fetch
from zoo.cli.data_source import facts, open_source, report_ready
from zoo.cli.data_split import split
from zoo.cli.option_groups import source_options
from zoo.registry import get_registry

if TYPE_CHECKING:
    from zoo.data import DataSet, Row

GROUPS = ("label", "target", "instrument", "filter", "product", "split")


@click.group()
def data() -> None:
    """List, show, simulate, split, audit and fetch data sets."""


data.add_command(audit)
data.add_command(build)
data.add_command(cache)
data.add_command(fetch)
data.add_command(split)


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_data(as_json: bool) -> None:
    """List the registered data sets; --data also takes a manifest CSV or a folder of class folders."""
    from zoo.cli.output import emit_json, emit_table

    registry = get_registry()
    columns = ["name", "owner", "summary", "options", "licence"]
    rows = [
        [
            registry.public_name(entry),
            entry.owner,
            entry.summary,
            " ".join(f"{key}={option.default}" for key, option in entry.options.items()),
            entry.licence,
        ]
        for entry in registry.entries("datasets")
    ]
    if as_json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        emit_table(columns, rows)


@data.command("show")
@click.argument("source", metavar="NAME|PATH")
@source_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_data(
    source: str, root: Path | None, labels: str | None, target_regex: str | None, options: tuple[str, ...], as_json: bool
) -> None:
    """Count the frames of a data set by label, target, instrument, filter, product and split, and list the missing files.

    A registered data set that is not there yet is made.
    """
    from zoo.cli.output import emit_json, emit_table, note
    from zoo.data import summarise

    opened = open_source(source, root, labels, target_regex, options)
    rows = opened.select("all")
    # Frames of a data set with an opener of its own may be made when they are first opened, so only files can be missing.
    absent = opened.manifest.missing() if opened.reads_files else ()
    files = sorted({str(opened.manifest.path_of(row)) for row in absent})
    groups = {group: _count(rows, group) for group in GROUPS}
    if as_json:
        results = {
            "total": facts(rows),
            "groups": groups,
            "missing": {"frames": len(absent), "files": files},
            "domain": opened.domain,
            "labels": opened.labels,
            "pipeline": opened.pipeline,
            "notes": opened.notes,
        }
        emit_json(results, data=opened.name, source=source)
        return
    columns = ["group", "value", "frames", "exposures", "targets"]
    lines = [["all", opened.name, *facts(rows).values()]]
    lines += [[group, counted.pop("value") or "none", *counted.values()] for group in GROUPS for counted in groups[group]]
    if absent:
        lines.append(["missing", summarise(files), *facts(absent).values()])
    emit_table(columns, lines)
    for line in opened.notes:
        note(line)


@data.command("simulate")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--set", "name", default="simulated", show_default=True, help="Registered data set to write.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the data set; may be repeated.")
@click.option("--force", is_flag=True, help="Replace another manifest in OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate(out: Path, name: str, options: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Write the FITS files of a simulated data set below OUT, and OUT/manifest.csv, which --data OUT then means."""
    from zoo.cli.output import note_domain, progress
    from zoo.data import open_data
    from zoo.errors import UsageError
    from zoo.settings import parse_assignments

    get_registry().get("datasets", name)
    manifest = out / "manifest.csv"
    if manifest.exists() and not force:
        raise UsageError(f"{manifest} exists, expected a folder without one; choose another or pass --force")
    with report_ready(f"making {name}") as report:
        made = open_data(name, root=out, options=parse_assignments(options), progress=report)
    if made.domain != "simulated":
        raise UsageError(f"{name} is of domain {made.domain}, expected a simulated set; its files exist: use it as --data {name}")
    pending = {row.path: row for row in made.manifest.missing()}
    with progress(f"making {name}", len(pending), unit="files") if pending else contextlib.nullcontext(lambda count: None) as advance:
        for row in pending.values():
            made.open(row)
            if not (row.path and made.manifest.path_of(row).is_file()):
                raise UsageError(f"{name} has no files: its frames are made when they are read; use it as --data {name} instead")
            advance(1)
    made.manifest.write_csv(manifest)
    _print_splits(made, manifest, as_json)
    note_domain(made.domain)


def _print_splits(opened: DataSet, path: Path, as_json: bool) -> None:
    """Frames and targets of every split and class, and where they are written."""
    from zoo.cli.output import emit_json, emit_table, note

    counted = [
        {"split": name, "label": label, **facts([row for row in opened.select(name) if row.label == label])}
        for name in ("train", "val", "test")
        for label in opened.labels
    ]
    if as_json:
        emit_json(counted, data=opened.name, manifest=path)
        return
    emit_table(list(counted[0]), [list(line.values()) for line in counted])
    note(f"wrote {path}")


def _count(rows: tuple[Row, ...], group: str) -> list[dict[str, Any]]:
    """Facts of every value of a column, the most frequent first."""
    values: dict[str, list[Row]] = {}
    for row in rows:
        values.setdefault(getattr(row, group), []).append(row)
    order = sorted(values, key=lambda value: (-len(values[value]), value))
    return [{"value": value, **facts(values[value])} for value in order]
