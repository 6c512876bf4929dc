"""``zoo data split``: train, val and test, or the folds of a cross-validation, with nothing that belongs together in two parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.data_source import open_source
from zoo.cli.option_groups import source_options

if TYPE_CHECKING:
    from zoo.data import Row

BY = ("target", "visit", "exposure", "sky")


@click.command()
@click.argument("source", metavar="PATH")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Manifest to write.")
@source_options
@click.option("--by", type=click.Choice(BY), default="target", show_default=True, help="What is never divided, with all that is inside it.")
@click.option("--radius", type=float, metavar="ARCMIN", help="--by sky: frames this close are one region.  [default: footprints overlap]")
@click.option("--folds", type=int, metavar="K", help="Write K manifests instead; each group is tested on in one of them.")
@click.option("--seed", default=0, show_default=True, help="Another seed gives another split.")
@click.option("--val", default=0.15, show_default=True, help="Fraction of the groups of each class for validation.")
@click.option("--test", type=float, help="Fraction of the groups of each class for the test.  [default: 0.25]")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def split(
    source: str,
    output: Path,
    root: Path | None,
    labels: str | None,
    target_regex: str | None,
    options: tuple[str, ...],
    by: str,
    radius: float | None,
    folds: int | None,
    seed: int,
    val: float,
    test: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Split data by target (or visit, exposure, sky), stratified by class, and write the manifest. A split that the data have is replaced.

    With --folds K and -o NAME.csv the files are NAME-fold1.csv to NAME-foldK.csv.
    """
    from dataclasses import asdict

    from zoo.cli.output import emit_json, emit_table, note
    from zoo.data import assign_folds, assign_splits, measure_balance
    from zoo.errors import UsageError

    if folds is not None and test is not None:
        raise UsageError(f"got --test {test} with --folds {folds}, expected one of them: every fold tests on 1/{folds} of the groups")
    paths = [output] if folds is None else [output.with_stem(f"{output.stem}-fold{fold}") for fold in range(1, folds + 1)]
    if (there := [path for path in paths if path.exists()]) and not force:
        raise UsageError(f"{there[0]} exists, expected a new file; choose another or pass --force")
    opened = open_source(source, root, labels, target_regex, options)
    rows, classes = opened.select("all"), opened.labels
    if folds is None:
        share = 0.25 if test is None else test
        parts: tuple[tuple[Row, ...], ...] = (assign_splits(rows, labels=classes, seed=seed, val=val, test=share, by=by, radius=radius),)
    else:
        share = 1 / max(folds, 1)
        parts = assign_folds(rows, labels=classes, folds=folds, seed=seed, val=val, by=by, radius=radius)
    asked = {"train": 1 - val - share, "val": val, "test": share}
    lines = []
    for number, (path, part) in enumerate(zip(paths, parts, strict=True), start=1):
        opened.manifest.with_rows(part).write_csv(path)
        fold = {} if folds is None else {"fold": number}
        lines += [fold | asdict(line) for line in measure_balance(part, labels=classes, asked=asked, by=by, radius=radius)]
    if as_json:
        emit_json(lines, data=opened.name, by=by, seed=seed, **({"manifest": output} if folds is None else {"manifests": paths}))
    else:
        emit_table(list(lines[0]), [[f"{value:.3g}" if isinstance(value, float) else value for value in line.values()] for line in lines])
        for path in paths:
            note(f"wrote {path}")
    for line in opened.notes:
        note(line)
