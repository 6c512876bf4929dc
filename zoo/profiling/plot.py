"""A profile as a drawing: the way of a frame, throughput against batch size, and memory beside its estimate. Needs matplotlib."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.errors import UsageError
from zoo.plotting import check_matplotlib, colour, new_figure, plot_style, to_svg
from zoo.profiling.figures import PARTS, Throughput
from zoo.profiling.result import Profile, StepProfile

WORDS = {"infer": "inference", "train": "training"}

Panel = Callable[[Any, Profile], None]


def check_plot(path: str | os.PathLike[str]) -> None:
    """Raise before any work is done where nothing can be drawn into this file.

    Raises:
        UsageError: it does not end in ``.svg``, or matplotlib is not there.
    """
    if Path(path).suffix.lower() != ".svg":
        raise UsageError(f"{path}: got the suffix {Path(path).suffix!r}, expected .svg")
    check_matplotlib("a plot")


def draw_profile(result: Profile, path: str | os.PathLike[str]) -> Path:
    """Draw what a profile holds as SVG; a file of that name is replaced.

    Args:
        result: at least one model in it was measured.
        path: ends in ``.svg``.

    Returns: the path.

    Raises:
        UsageError: as `check_plot`, or nothing was measured that could be drawn. StorageError: the file cannot be written.
    """
    check_plot(path)
    panels = [panel for has, panel in _PANELS if has(result)]
    if not panels:
        raise UsageError(f"{path}: there is nothing to draw: no model was measured")
    with plot_style():
        figure = new_figure(9, 3.2 * len(panels))
        for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
            panel(axes, result)
        text = to_svg(figure)
    storage.write_text(path, text)
    return Path(path)


def _draw_paths(axes: Any, result: Profile) -> None:
    """One bar per model, from the file on the left to the row on the right."""
    shown = [(model.model, model.path) for model in result.models if model.path and model.path.whole_s]
    left = [0.0] * len(shown)
    for name in PARTS:
        widths = [1e3 * path.parts_s[name] for _, path in shown]
        axes.barh(range(len(shown)), widths, left=left, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    rest = [max(0.0, 1e3 * (path.uncovered_s or 0.0)) for _, path in shown]
    axes.barh(range(len(shown)), rest, left=left, label="not covered", color=colour("grid"))
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.invert_yaxis()
    axes.set_xlabel("ms per frame")
    axes.set_title("from FITS file to class")
    axes.legend(ncols=4, fontsize="small")


def _draw_throughput(axes: Any, result: Profile) -> None:
    """Frames per second against the batch, with the knee of each curve."""
    for model in result.models:
        for mode, word in WORDS.items():
            points = [point for point in model.throughput if point.mode == mode and point.frames_per_s]
            if not points:
                continue
            (line,) = axes.plot([p.batch for p in points], [p.frames_per_s for p in points], marker="o", label=f"{model.model}, {word}")
            knee = model.knee(mode)
            if knee is not None:
                axes.axvline(knee, color=line.get_color(), linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frames per step")
    axes.set_ylabel("frames per second")
    axes.set_title("throughput; dotted: the knee")
    axes.legend(fontsize="small")


def _draw_memory(axes: Any, result: Profile) -> None:
    """Measured peaks and what was estimated for the same steps, side by side."""
    records = _with_memory(result)
    places = range(len(records))
    axes.bar([place - 0.2 for place in places], [_mib(record.peak_bytes) for _, record in records], width=0.4, label="measured")
    ranges = [record.expected_resident_bytes or (record.expected_bytes, record.expected_bytes) for _, record in records]
    middle = [(_mib(least) + _mib(most)) / 2 for least, most in ranges]
    half = [(_mib(most) - _mib(least)) / 2 for least, most in ranges]
    axes.bar([place + 0.2 for place in places], middle, width=0.4, yerr=half, capsize=4, label="estimated")
    names = [f"{model}\n{WORDS[record.mode]}, batch {record.batch}" for model, record in records]
    axes.set_xticks(list(places), names, fontsize="small")
    axes.set_ylabel("MiB")
    axes.set_title("peak memory")
    axes.legend(fontsize="small")


def _with_memory(result: Profile) -> list[tuple[str, StepProfile | Throughput]]:
    found: list[tuple[str, StepProfile | Throughput]] = []
    for model in result.models:
        records = model.throughput or model.steps
        found += [(model.model, record) for record in records if record.peak_bytes is not None and record.expected_bytes is not None]
    return found


def _mib(size: int | None) -> float:
    return (size or 0) / 2**20


_PANELS: tuple[tuple[Callable[[Profile], bool], Panel], ...] = (
    (lambda result: any(model.path and model.path.whole_s for model in result.models), _draw_paths),
    (lambda result: any(point.frames_per_s for model in result.models for point in model.throughput), _draw_throughput),
    (lambda result: bool(_with_memory(result)), _draw_memory),
)
