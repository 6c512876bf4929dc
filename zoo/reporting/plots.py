"""The drawings: each takes plain numbers and returns a ``matplotlib.figure.Figure``. Called inside `zoo.plotting.plot_style`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.intervals import Interval
from zoo.plotting import colour, new_figure, series

WIDTH = 4.6  # inches; on the screen of a phone the text of such a figure is still readable
_ROW = 0.235  # inches per line of a dot plot


@dataclass(frozen=True)
class Dot:
    """One line of a dot plot: a score with its interval, a reference beside it, and the index of its series."""

    label: str
    score: Interval
    note: str = ""
    beside: float = math.nan
    series: int = 0


@dataclass(frozen=True)
class Curve:
    """A line of x and y with a name; ``lower`` and ``upper`` are the ends of intervals, NaN where a point has none."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    lower: Sequence[float] = ()
    upper: Sequence[float] = ()
    series: int = 0
    steps: bool = False


def reach(dots: Sequence[Dot]) -> tuple[float, float]:
    """Return the smallest and largest value that dots and their bars cover; 0 and 1 where there is none, for scores may be undefined."""
    ends = [value for dot in dots for value in (dot.score.lower, dot.score.estimate, dot.score.upper) if not math.isnan(value)]
    return min(ends, default=0.0), max(ends, default=1.0)


def draw_confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Any:
    """A field per pair of classes, darker the larger its share of the true class."""
    from matplotlib.patches import Rectangle

    size = len(labels)
    figure = new_figure(WIDTH, 1.3 + 0.75 * size)
    axes = figure.subplots()
    axes.grid(visible=False)
    for row, line in enumerate(counts):
        total = sum(line)
        for column, count in enumerate(line):
            part = count / total if total else 0.0
            hue = colour("series-1") if row == column else colour("series-2")
            field = Rectangle((column + 0.02, row + 0.02), 0.96, 0.96, facecolor=hue, edgecolor="none", alpha=0.06 + 0.34 * part)
            axes.add_patch(field)
            axes.text(column + 0.5, row + 0.44, str(count), ha="center", va="center", fontsize=15)
            axes.text(column + 0.5, row + 0.74, f"{100 * part:.1f} %", ha="center", va="center", fontsize=8.5, color=colour("muted"))
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_xticks([place + 0.5 for place in range(size)], [f"called {label}" for label in labels])
    axes.set_yticks([place + 0.5 for place in range(size)], [f"is {label}" for label in labels])
    axes.tick_params(length=0, labelcolor=colour("ink"))
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    return figure


def draw_curves(
    curves: Sequence[Curve],
    *,
    xlabel: str,
    ylabel: str,
    diagonal: bool = False,
    level: tuple[float, str] | None = None,
    legend: str = "lower right",
) -> Any:
    """Lines between 0 and 1 in both directions, such as ROC and precision against recall.

    Args:
        curves: the lines. xlabel, ylabel: of the axes. diagonal: whether the line of a guess is drawn. level: a horizontal reference.
        legend: the corner in which the lines are named, in their colours.
    """
    figure = new_figure(WIDTH, 3.7)
    axes = figure.subplots()
    if diagonal:
        axes.plot([0, 1], [0, 1], color=colour("axis"), linestyle=(0, (4, 3)), linewidth=1)
    if level is not None:
        axes.axhline(level[0], color=colour("axis"), linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(level[1], (0.01, level[0]), xytext=(0, 3), textcoords="offset points", color=colour("muted"), fontsize=8)
    for curve in curves:
        hue, _ = series(curve.series)
        axes.plot(curve.x, curve.y, color=hue, label=curve.name, drawstyle="steps-pre" if curve.steps else "default", clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=xlabel, ylabel=ylabel, aspect="equal")
    _name_lines(axes, loc=legend)
    return figure


def draw_reliability(bins: Sequence[Mapping[str, Any]], gaps: Sequence[Interval | None]) -> Any:
    """How often frames were right against how sure the model was, and below how many frames there are of each."""
    figure = new_figure(WIDTH, 4.3)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    hue = colour("series-1")
    upper.plot([0, 1], [0, 1], color=colour("axis"), linestyle=(0, (4, 3)), linewidth=1)
    held = [(one, gap) for one, gap in zip(bins, gaps, strict=True) if one["count"]]
    for one, gap in held:
        if gap is not None and not gap.reason:
            upper.plot([one["confidence"]] * 2, [gap.lower, gap.upper], color=hue, linewidth=1.2)
    upper.plot([one["confidence"] for one, _ in held], [one["accuracy"] for one, _ in held], "o-", color=hue, linewidth=1.0)
    first = min((one["lower"] for one, _ in held), default=0.0)
    lower.bar(
        [(one["lower"] + one["upper"]) / 2 for one in bins],
        [one["count"] for one in bins],
        width=[0.92 * (one["upper"] - one["lower"]) for one in bins],
        color=colour("axis"),
    )
    upper.set(xlim=(min(first, 0.5), 1), ylim=(0, 1.02), ylabel="share that is right")
    lower.set(xlabel="probability of the called class", ylabel="frames")
    lower.grid(visible=False, axis="x")
    return figure


def draw_dots(
    dots: Sequence[Dot],
    *,
    xlabel: str,
    limits: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
    beside: str = "",
    percent: bool = True,
    floors: bool = True,
) -> Any:
    """One line per score: a dot at the estimate, a bar over its interval, and a hollow diamond at what stands beside it.

    Args:
        dots: from top to bottom. xlabel: of the axis. limits: of the axis; by default what holds everything.
        reference: a vertical line with its name. beside: what the diamonds are. percent: whether the axis is in percent.
        floors: whether exact lower bounds stand in for intervals that there are none of.
    """
    extra = 1.05 + (0.22 if beside or reference else 0.0)
    figure = new_figure(WIDTH, extra + _ROW * len(dots))
    axes = figure.subplots()
    axes.grid(visible=False, axis="y")
    for place, dot in enumerate(dots):
        hue, marker = series(dot.series)
        score = dot.score
        low = score.lower if not score.reason else score.floor if floors else math.nan
        if not math.isnan(low):
            high = score.estimate if score.reason else score.upper
            axes.plot([low, high], [place, place], color=hue, linewidth=1.6, linestyle=":" if score.reason else "-", solid_capstyle="butt")
        axes.plot([score.estimate], [place], marker=marker, color=hue, linestyle="none", clip_on=False, zorder=3)
        if not math.isnan(dot.beside):
            axes.plot(
                [dot.beside], [place], marker="D", markerfacecolor="none", markeredgecolor=colour("muted"), linestyle="none", clip_on=False
            )
    if reference is not None:
        axes.axvline(reference[0], color=colour("axis"), linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    axes.set_yticks(range(len(dots)), [dot.label for dot in dots])
    axes.tick_params(axis="y", length=0, labelcolor=colour("ink"))
    axes.set(ylim=(len(dots) - 0.4, -0.6), xlabel=xlabel)
    axes.spines["left"].set_visible(False)
    if limits is not None:
        axes.set_xlim(*limits)
    if percent:
        _percent(axes.xaxis)
    for place, dot in enumerate(dots):
        axes.annotate(
            dot.note, (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
            va="center", fontsize=8, color=colour("muted"), annotation_clip=False,
        )  # fmt: skip
    said = [text for text in (f"\N{WHITE DIAMOND} {beside}" if beside else "", f"dashed: {reference[1]}" if reference else "") if text]
    if said:
        axes.set_title(" \N{MIDDLE DOT} ".join(said), fontsize=8, color=colour("muted"), loc="left")
    return figure


def draw_levels(
    curves: Sequence[Curve],
    *,
    xlabel: str,
    marks: Mapping[str, float] | None = None,
    spread: bool = False,
    falling: bool = False,
    named: bool = False,
) -> Any:
    """Accuracy with its interval against the strength of a degradation, a line per model.

    Args:
        curves: the lines. xlabel: of the axis of levels. marks: names of levels.
        spread: whether the levels are spread over a logarithmic axis, with a straight part around 0.
        falling: whether the mildest level is the largest; the axis then runs from it. named: whether the lines are named in the figure.
    """
    figure = new_figure(WIDTH, 3.0)
    axes = figure.subplots()
    for curve in curves:
        hue, marker = series(curve.series)
        if curve.lower:
            axes.fill_between(curve.x, curve.lower, curve.upper, color=hue, alpha=0.14 if len(curves) < 3 else 0.08, linewidth=0)
        if any(map(math.isnan, curve.lower)):  # an interval beside levels without one has no area
            axes.vlines(curve.x, curve.lower, curve.upper, color=hue, linewidth=1)
        axes.plot(curve.x, curve.y, marker=marker, color=hue, label=curve.name)
    if spread:
        levels = sorted({level for curve in curves for level in curve.x})
        axes.set_xscale("symlog" if levels[0] <= 0 else "log", **({"linthresh": levels[1]} if levels[0] <= 0 else {}))
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.xaxis.minorticks_off()
    if falling:
        axes.xaxis.set_inverted(True)
    axes.set(ylim=(0, 1.02), xlabel=xlabel, ylabel="accuracy")
    for place, (name, level) in enumerate(sorted((marks or {}).items(), key=lambda item: item[1])):
        axes.axvline(level, color=colour("muted"), linestyle=":", linewidth=1)
        axes.annotate(
            name, (level, 0), xycoords=("data", "axes fraction"), xytext=(3, 4 + 11 * (place % 3)), textcoords="offset points",
            fontsize=8, color=colour("muted"),
        )  # fmt: skip
    _percent(axes.yaxis)
    if named:
        _name_lines(axes, loc="best")
    return figure


def draw_costs(points: Sequence[tuple[str, float, Interval]], *, xlabel: str) -> Any:
    """Accuracy against what a model costs, each named beside its mark; the cost on a logarithmic axis."""
    figure = new_figure(WIDTH, 3.2)
    axes = figure.subplots()
    for index, (name, cost, score) in enumerate(points):
        hue, marker = series(index)
        if not score.reason:
            axes.plot([cost, cost], [score.lower, score.upper], color=hue, linewidth=1.2)
        axes.plot([cost], [score.estimate], marker=marker, color=hue, linestyle="none")
        axes.annotate(name, (cost, score.estimate), xytext=(6, 4), textcoords="offset points", color=hue, fontsize=8.5)
    _plain_log(axes.xaxis, axes)
    axes.margins(x=0.25)
    axes.set(xlabel=xlabel, ylabel="accuracy")
    _percent(axes.yaxis)
    return figure


def _name_lines(axes: Any, **place: Any) -> None:
    """Name the lines in their own colours."""
    axes.legend(labelcolor="linecolor", handlelength=1.4, **place)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=" %"))


def _plain_log(axis: Any, axes: Any) -> None:
    """A logarithmic horizontal axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
