"""The sections on where the accuracy holds: degraded frames, groups of frames, and what the errors have in common."""

from __future__ import annotations

import base64
import math
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.explaining import Explanation
from zoo.explaining.result import ErrorTable
from zoo.intervals import Interval
from zoo.reporting import plots
from zoo.reporting.blocks import (
    NOTHING,
    Block,
    Cell,
    Exhibit,
    Figure,
    Figures,
    Gallery,
    Picture,
    Points,
    Section,
    Table,
    Text,
    Value,
    counted,
    read_interval,
    say_share,
    share,
)
from zoo.reporting.plots import Curve, Dot
from zoo.reporting.source import Source
from zoo.reporting.words import evaluate_command
from zoo.robustness.result import Crossing
from zoo.robustness.result import Curve as Measured

MOST_DOTS = 40  # groups in one figure; the table has all of them
PICTURE_BYTES = 3_300_000  # of all images of a page, so that it stays below 5 MB as base64 with all else
SPREAD_RATIO = 15.0  # between the largest and the smallest level: from here their axis is logarithmic

_WORDS = {"exptime": "exposure time", "offset": "offset from the target", "offset_arcmin": "offset from the target"}


def robustness_section(sources: Sequence[Source]) -> Section:
    """Accuracy against each degradation: what an instrument could do first, bare operations apart; one line per model."""
    held = [(index, source) for index, source in enumerate(sources) if source.robustness is not None]
    lacking = [source for source in sources if source.robustness is None]
    blocks: list[Block] = [
        Text(
            f"{source.title}: not measured." if len(sources) > 1 else "Not measured. This command does it:",
            evaluate_command(source, "--robustness"),
        )
        for source in lacking
    ]
    if held:
        blocks = [*_levels(held, several=len(sources) > 1), *blocks]
    lead = "Accuracy on the same frames, made worse step by step, with 95 % intervals by target."
    return Section("robustness", "Robustness", blocks, lead=lead if held else "")


def _levels(held: Sequence[tuple[int, Source]], *, several: bool) -> list[Block]:
    """The figures of all axes, and a table of where 5 points are lost."""
    by_axis: dict[str, list[tuple[int, Source, Measured]]] = {}
    for index, source in held:
        assert source.robustness is not None
        for curve in source.robustness.curves:
            by_axis.setdefault(curve.axis, []).append((index, source, curve))
    figures: dict[bool, list[Figure]] = {True: [], False: []}
    rows: list[list[Value]] = []
    skipped = []
    for members in by_axis.values():
        measured = [member for member in members if member[2].points]
        first = members[0][2]
        if not measured:
            skipped.append(f"{first.label}: applies to none of these frames")
            continue
        figures[first.physical].append(_axis_figure(measured, several=several))
        for _, source, curve in measured:
            rows.append(
                [*([source.title] if several else []), curve.label, *_crossing(curve), curve.points[0].n_frames, len(curve.left_out)]
            )
    columns = [*(["run"] if several else []), "degradation", "5 points lost at", "between", "unit", "frames", "left out"]
    table = Table("Where 5 points of accuracy are lost", columns, rows, name="lost-5-points", notes=[
        "between: the mildest level at which the interval of the loss does not exclude 5 points, and that at which it lies above them"
    ])  # fmt: skip
    blocks: list[Block] = [Figures(figures[True])] if figures[True] else []
    if figures[False]:
        words = "Not what an instrument does: a bare operation on the pixels, noise and all, which may also remove noise."
        blocks += [Text(words), Figures(figures[False])]
    notes = dict.fromkeys(note for _, source in held if source.robustness for note in source.robustness.notes)
    said = [*skipped, *notes]
    return [*blocks, table, *([Points(said)] if said else [])]


def _axis_figure(members: Sequence[tuple[int, Source, Measured]], *, several: bool) -> Figure:
    first = members[0][2]
    curves = []
    rows: list[list[Value]] = []
    for index, source, curve in members:
        bounds = [
            (math.nan, math.nan) if given.reason else (given.lower, given.upper) for given in (point.accuracy for point in curve.points)
        ]
        curves.append(
            Curve(
                source.title,
                [point.level for point in curve.points],
                [point.accuracy.estimate for point in curve.points],
                [lower for lower, _ in bounds],
                [upper for _, upper in bounds],
                series=index if several else 0,
            )
        )
        for point in curve.points:
            drop = Cell(point.drop.estimate, point.drop, percent=True)
            name = [source.title] if several else []
            rows.append([*name, f"{point.level:g}", share(point.accuracy), drop, point.n_flipped, point.n_changed, point.n_frames])
    without = "A level without a bar has no interval." if any(math.isnan(end) for curve in curves for end in curve.lower) else ""
    levels = [point.level for point in first.points]
    positive = [level for level in levels if level > 0]
    unit = f" ({first.unit})" if first.unit else ""
    columns = [*(["run"] if several else []), f"level{unit}", "accuracy", "points lost", "flipped", "changed", "frames"]
    ends = "; ".join(
        f"{curve.name} {say_share(curve.y[0])} at {curve.x[0]:g}, {say_share(curve.y[-1])} at {curve.x[-1]:g}{unit}" for curve in curves
    )
    return Figure(
        f"robustness-{first.axis}",
        _capital(first.label),
        f"Accuracy against {first.label}: {ends}.",
        lambda: plots.draw_levels(
            curves,
            xlabel=f"{first.label}{unit}",
            marks=first.marks,
            spread=len(positive) > 1 and max(positive) / min(positive) >= SPREAD_RATIO,
            falling=levels[-1] < levels[0],
            named=several,
        ),
        caption=" ".join(filter(None, [_crossing_words(first.lost5, first.unit) if not several else "", without])),
        table=Table(f"Accuracy against {first.label}", columns, rows, name=f"robustness-{first.axis}"),
    )


def _crossing(curve: Measured) -> list[Value]:
    lost = curve.lost5
    first, last = ("" if level is None else _three(level) for level in (lost.first, lost.last))
    between = f"{first or 'outside'} and {last or 'beyond'}" if first or last else NOTHING
    return [lost.reason or _three(lost.level), between, curve.unit]


def _crossing_words(lost: Crossing, unit: str) -> str:
    if lost.level is None:
        return f"5 points: {lost.reason}."
    return f"5 points are lost at {_three(lost.level)} {unit}".rstrip() + "."


def breakdown_section(source: Source) -> Section:
    """The accuracy of every group of frames; the groupings with few groups first."""
    held = sorted(((name, groups) for name, groups in source.facts["groups"].items() if groups), key=lambda item: len(item[1]))
    figures = [_group_figure(_WORDS.get(name, name.replace("_", " ")), groups, source) for name, groups in held]
    lead = (
        "Accuracy with 95 % intervals by target; a point without a bar has none. "
        "A diamond is what the best metadata shortcut reaches on the same frames."
    )
    return Section("breakdown", "Breakdowns", [Figures(figures)], lead=lead)


def _group_figure(by: str, groups: Sequence[Mapping[str, Any]], source: Source) -> Figure:
    scores = [read_interval(group["interval"]) or Interval(float("nan"), float("nan"), float("nan"), 0, "not stored") for group in groups]
    dots = []
    rows: list[list[Value]] = []
    for group, score in zip(groups, scores, strict=True):
        label = str(group["name"])
        single = by == "target" and group.get("labels")
        beside = float("nan") if group.get("shortcut") is None else float(group["shortcut"])
        index = source.labels.index(group["labels"]) if single and group["labels"] in source.labels else 0
        dots.append(Dot(label, score, counted(int(group["n_frames"]), "frame"), beside, index))
        numbers: list[Value] = [int(group["n_frames"]), int(group["n_targets"]), share(score)]
        rows.append([label, str(group.get("labels", "")), *numbers, Cell(beside, percent=True)])
    shown = sorted(range(len(dots)), key=lambda i: dots[i].score.estimate)[:MOST_DOTS] if len(dots) > MOST_DOTS else range(len(dots))
    if by == "target":
        shown = sorted(shown, key=lambda i: (dots[i].series, dots[i].score.estimate))
    chosen = [dots[i] for i in shown]
    worst = min(dots, key=lambda dot: dot.score.estimate)
    classes = " Blue circles: galaxy; orange squares: NSC." if by == "target" and source.labels[:2] == ["galaxy", "NSC"] else ""
    less = f" The {MOST_DOTS} lowest of {len(dots)}; the table has all." if len(dots) > MOST_DOTS else ""
    overall = float(source.facts["metrics"]["accuracy"])
    return Figure(
        f"by-{by.replace(' ', '-')}",
        f"By {by}",
        f"Accuracy by {by}: {counted(len(dots), 'group')}, lowest {worst.label} with {say_share(worst.score.estimate)}.",
        lambda: plots.draw_dots(
            chosen,
            xlabel="accuracy",
            limits=(-0.01, 1.01),
            reference=(overall, "all frames"),
            beside="" if all(math.isnan(dot.beside) for dot in chosen) else "best shortcut",
            floors=False,
        ),
        caption=f"{classes}{less}".strip(),
        table=Table(
            f"Accuracy by {by}", [by, "class", "frames", "targets", "accuracy", "best shortcut"], rows, name=f"by-{by.replace(' ', '-')}"
        ),
    )


def errors_section(source: Source) -> Section:
    """What wrong frames have in common, and the worst of them."""
    title = "Where it errs"
    found = source.explanation
    if found is None:
        return Section("errors", title, [Text("Not examined. This command does it:", evaluate_command(source, "--explain"))])
    # A large loss is what being wrong means: its table says how wrong, a figure would say nothing.
    figures = [_fact_figure(table) for table in found.tables if table.rows and table.fact != "loss"]
    rows: list[list[Value]] = [
        [table.label, table.separation, table.speaks_to, sum(row.n_frames for row in table.rows), table.missing] for table in found.tables
    ]
    columns = ["fact", "separates wrong from right", "speaks to", "frames", "not known"]
    separation = Table("What goes together with errors", columns, rows, name="separation", notes=[
        "separates: chance that a wrong frame has a larger value than a right one; 0.5 where the fact has nothing to do with the errors"
    ])  # fmt: skip
    blocks: list[Block] = [separation, Figures(figures), *([Points(found.notes)] if found.notes else [])]
    wrong = [entry for entry in found.gallery if entry.kind == "wrong"]
    right = [entry for entry in found.gallery if entry.kind != "wrong"]
    budget = PICTURE_BYTES
    for heading, entries in (("The worst errors", wrong), ("Right frames beside them", right)):
        exhibits: list[Exhibit] = []
        for entry in entries:
            size = sum(len(found.pictures[image.file]) for image in entry.images)
            if size > budget:
                break
            budget -= size
            exhibits.append(_exhibit(found, entry))
        if exhibits:
            left = len(entries) - len(exhibits)
            more = f" {left} more are in {source.run.name}/explanations/, so that this page stays small." if left else ""
            first = not any(isinstance(block, Gallery) for block in blocks)
            cam = f" Grad-CAM is drawn from {found.map}." if found.map else ""
            words = f"Press a picture to see it in full resolution.{cam}" if first else ""
            blocks.append(Gallery(heading, exhibits, f"{words}{more}".strip()))
    lead = "Errors tabulated against what may have to do with them; no cause is claimed."
    return Section("errors", title, blocks, lead=lead)


def _fact_figure(table: ErrorTable) -> Figure:
    unit = f" ({table.unit})" if table.unit else ""
    dots = [Dot(row.name, row.interval, counted(row.n_frames, "frame"), series=1) for row in table.rows]
    rows: list[list[Value]] = [[row.name, row.n_frames, row.n_targets, row.n_wrong, share(row.interval)] for row in table.rows]
    rates = "; ".join(f"{row.name}: {say_share(row.error_rate)}" for row in table.rows)
    high = plots.reach(dots)[1]
    return Figure(
        f"errors-by-{table.fact.replace('_', '-')}",
        f"Errors by {table.label}",
        f"Error rate by {table.label}{unit}: {rates}.",
        lambda: plots.draw_dots(dots, xlabel="error rate", limits=(-0.01, min(1.0, 1.1 * high) + 0.01)),
        caption=f"Rows: {table.label}{unit}, in groups of about as many frames.",
        table=Table(
            f"Error rate by {table.label}", [f"{table.label}{unit}", "frames", "targets", "wrong", "error rate"], rows,
            name=f"errors-by-{table.fact.replace('_', '-')}",
        ),
    )  # fmt: skip


def _exhibit(found: Explanation, entry: Any) -> Exhibit:
    names = {"frame": "frame", "gradcam": "Grad-CAM", "cutout": "cut-out", "nearest": f"nearest {entry.nearest_target or 'frame'}"}
    pictures = [
        Picture(_data_uri(image.file, found.pictures[image.file]), image.alt, names.get(image.kind, image.kind), image.width, image.height)
        for image in entry.images
    ]
    facts = [
        ("target", entry.target),
        ("loss", _three(entry.loss)),
        ("signal to noise", _three(entry.signal_to_noise)),
        ("filled", say_share(entry.filled)),
        ("offset", f"{_three(entry.offset_arcmin)} arcmin"),
        ("distance ratio", _three(entry.ratio)),
    ]
    said = f"{entry.label} called {entry.predicted}" if entry.label != entry.predicted else f"{entry.label}, called so"
    return Exhibit(f"{said} ({say_share(entry.probability)})", pictures, [fact for fact in facts if NOTHING not in fact[1]], entry.note)


def _data_uri(name: str, data: bytes) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _three(value: float | None) -> str:
    """Three significant digits, without an exponent where the number is large."""
    return NOTHING if value is None or value != value else f"{float(f'{value:.3g}'):g}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
