"""``zoo data audit``: leaks, shortcuts, offsets, imbalance and missing files of lists."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.option_groups import source_options
from zoo.cli.output import emit_json, emit_table, note, note_domain, stages

if TYPE_CHECKING:
    from zoo.auditing import Audit
    from zoo.intervals import Interval

MOST_PAIRS = 3  # of parts, for which a table shows what is not shared, too


@click.command("audit")
@click.argument("sources", nargs=-1, required=True, metavar="NAME|PATH...")
@source_options
@click.option(
    "--targets", type=click.Path(path_type=Path, dir_okay=False), help="CSV with target, ra, dec (degrees) and maybe radius_arcmin."
)
@click.option("--medians", is_flag=True, help="Offsets from the median position of a target's frames where no centre is known.")
@click.option("--pixels/--no-pixels", default=True, show_default=True, help="Read the frames whose files are there.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read frames.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(
    sources: tuple[str, ...],
    root: Path | None,
    labels: str | None,
    target_regex: str | None,
    options: tuple[str, ...],
    targets: Path | None,
    medians: bool,
    pixels: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Look for what makes an accuracy on data worth less than it seems.

    Compares lists, and the splits of a list, for frames, exposures, visits, targets and sky that both have; tries how well the columns
    alone give the class away; counts targets, and measures how far frames lie from them. Exit code 5 if something is wrong.

    \b
      zoo data audit LCID_test.csv blurry_validation.csv
      zoo data audit frames.csv --root /data/hst --targets centres.csv
    """
    import zoo
    from zoo.errors import CheckFailedError
    from zoo.settings import parse_assignments

    with stages() as report:
        result = zoo.audit(
            sources,
            root=root,
            labels=[label.strip() for label in labels.split(",")] if labels else None,
            target_regex=target_regex,
            options=parse_assignments(options),
            targets=targets,
            medians=medians,
            pixels=pixels,
            workers=workers,
            progress=report,
        )
    if as_json:
        emit_json(result, sources=sources, method=_method())
    else:
        print_tables(result)
    for line in result.notes:
        note(line)
    note_domain(result.domain)
    if result.alarms:
        raise CheckFailedError(f"{len(result.alarms)} alarm{'s' if len(result.alarms) > 1 else ''} in {', '.join(result.lists)}")


def print_tables(result: Audit) -> None:
    """Findings first, then what they rest on."""
    title = f"{result.n_frames} frames of {result.n_targets} targets, {result.pixels_read} of them read"
    emit_table(
        ["level", "kind", "finding"], [[one.level, one.kind, one.text] for one in result.findings] or [["none", "", ""]], title=title
    )
    if result.leakage.leaks:
        _print_leaks(result)
    if result.shortcuts:
        _print_shortcuts(result)
    click.echo()
    columns = ["list", "class", "frames", "exposures", "targets", "effective targets", "largest target", "its share %", "missing files"]
    rows: list[list[object]] = [
        [
            one.list,
            one.label,
            one.frames,
            one.exposures,
            one.targets,
            round(one.effective_targets, 2),
            one.largest,
            _percent(one.largest_share),
            one.missing,
        ]
        for one in result.balance
    ]
    emit_table(columns, rows, title="balance", notes=["effective targets: targets of equal size that would weigh the same"])
    if result.offsets:
        _print_offsets(result)


def _print_leaks(result: Audit) -> None:
    """What parts share; where parts are many, only that."""
    leaks = result.leakage.leaks
    many = len({(leak.first, leak.second) for leak in leaks}) > MOST_PAIRS
    rows = [
        [
            leak.first,
            leak.second,
            leak.relation,
            leak.shared if leak.checked else "not known",
            leak.frames_first,
            leak.frames_second,
            ", ".join(leak.examples),
        ]
        for leak in leaks
        if leak.shared or not many
    ]
    click.echo()
    columns = ["first", "second", "relation", "shared", "frames of first", "frames of second", "examples"]
    emit_table(columns, rows, title="leakage", notes=["pairs that share nothing are left out"] if many else [])


def _print_shortcuts(result: Audit) -> None:
    """Every rule, after the most frequent class of its list."""
    rows: list[list[object]] = []
    for name in result.lists:
        tried = [one for one in result.shortcuts if one.list == name]
        if tried:
            first = tried[0]
            rows.append(
                [name, "majority", _percent(first.majority), _percent(first.majority_macro), *[None] * 8, "the most frequent class"]
            )
        rows += [
            [
                name,
                one.name,
                _percent(one.inside.estimate),
                _percent(one.inside_macro.estimate),
                *_three(one.outside),
                *_three(one.outside_macro),
                None if one.baseline else float(f"{one.p_adjusted:.3g}"),
                "baseline" if one.baseline else "ALARM" if one.alarm else "no",
                one.rule,
            ]
            for one in tried
        ]
    ends = ["lower", "upper"]
    columns = ["list", "sees", "in sample %", "macro %", "held out %", *ends, "macro held out %", *ends, "p Holm", "alarm", "rule"]
    notes = [
        "held out: each target guessed from the others; macro: the mean over targets; percent",
        f"95 % intervals: {_method()}; p Holm: held out against the majority, for all rules together; alarm at 0.025",
        "baseline: sees pixels, so that no alarm follows",
    ]
    click.echo()
    emit_table(columns, rows, title="shortcuts", notes=notes)


def _print_offsets(result: Audit) -> None:
    """How far the frames of each target lie from its centre."""
    rows = [
        [one.list, one.target, one.source, one.frames, round(one.median, 2), round(one.largest, 2), one.far, one.missing]
        for one in result.offsets
    ]
    total = sum(one.frames for one in result.offsets)
    far, missing = sum(one.far for one in result.offsets), sum(one.missing for one in result.offsets)
    notes = [f"{far} of {total} frames ({far / total:.1%}) lie more than 4 arcmin away, {missing} ({missing / total:.1%}) miss the target"]
    click.echo()
    columns = ["list", "target", "centre", "frames", "median arcmin", "largest arcmin", "beyond 4 arcmin", "miss it"]
    emit_table(columns, rows, title="offsets from the targets", notes=notes)


def _three(interval: Interval) -> tuple[object, object, object]:
    """An estimate, its lower bound and its upper end in percent, or ``n/a``."""
    lower, upper = ("n/a" if math.isnan(end) else _percent(end) for end in (interval.bound, interval.upper))
    return _percent(interval.estimate), lower, upper


def _percent(share: float) -> str:
    return f"{share:.2%}".removesuffix("%")


def _method() -> str:
    from zoo.intervals import METHOD

    return METHOD
