"""Figures and tables as files, the colours, and the curves against scikit-learn."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from sklearn import metrics

from zoo.errors import UsageError
from zoo.evaluation import Evaluation
from zoo.intervals import Interval
from zoo.plotting import COLOURS, MARKERS, SERIES, new_figure, plot_style, series, to_inline, to_png, to_svg
from zoo.reporting import Cell, Table, check_figures, write_figures
from zoo.reporting.plots import Curve, draw_levels
from zoo.reporting.results import precision_curve, roc_curve
from zoo.reporting.write import to_csv


def test_figures_and_tables_become_files(full: Path, tmp_path: Path) -> None:
    files = write_figures(tmp_path / "figures", [full])
    names = {path.name for path in files}
    assert names == {path.name for path in (tmp_path / "figures").iterdir()}
    for stem in ("scores", "confusion", "roc", "precision-recall", "robustness-psf", "by-target", "errors-by-signal-to-noise"):
        assert {f"{stem}.svg", f"{stem}.png"} <= names
        assert (tmp_path / "figures" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert "var(--" not in (tmp_path / "figures" / f"{stem}.svg").read_text()
    with (tmp_path / "figures" / "by-target.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 14
    assert {float(row["accuracy"]) for row in rows} == {0.0, 1.0}


def test_figures_of_a_comparison(evaluated: list[Evaluation], tmp_path: Path) -> None:
    names = {path.name for path in write_figures(tmp_path, [result.path for result in evaluated if result.path])}
    assert {"ranking.svg", "pairs.svg", "roc.svg", "pairs.csv", "ranking-of-runs.csv"} <= names


def test_folder_with_files_is_refused_without_force(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="holds files already"):
        check_figures(tmp_path)
    check_figures(tmp_path, force=True)
    check_figures(tmp_path / "new")
    with pytest.raises(UsageError, match="expected a folder"):
        check_figures(tmp_path / "mine.txt")


def test_table_as_csv_has_numbers_in_full() -> None:
    given = Interval(1 / 3, 0.25, float("nan"), 3)
    table = Table("a table", ["name", "share", "count"], [["a, b", Cell(1 / 3, given, percent=True), 1234], ["c", None, 5]])
    assert to_csv(table) == f'name,share,share lower,share upper,count\n"a, b",{1 / 3},0.25,,1234\nc,,,,5\n'


def test_levels_with_an_interval_keep_it_beside_levels_without() -> None:
    nan = float("nan")
    with plot_style():
        axes = draw_levels([Curve("a", [0.0, 1.0, 2.0], [0.8, 0.9, 1.0], [0.6, nan, nan], [0.9, nan, nan])], xlabel="level").axes[0]
        bars = [
            segment for lines in axes.collections if isinstance(lines, LineCollection) for segment in lines.get_segments() if len(segment)
        ]
        assert [bar.tolist() for bar in bars if np.isfinite(bar).all()] == [[[0.0, 0.6], [0.0, 0.9]]]
        whole = draw_levels([Curve("a", [0.0, 1.0], [0.8, 0.9], [0.6, 0.7], [0.9, 1.0])], xlabel="level").axes[0]
        assert not any(isinstance(lines, LineCollection) for lines in whole.collections)
        draw_levels([Curve("a", [0.0, 1.0], [1.0, 1.0], [nan, nan], [nan, nan])], xlabel="level")


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_of_text_and_lines_reach_their_contrast(theme: int) -> None:
    paper = COLOURS["paper"][theme]
    for name, values in COLOURS.items():
        if name in ("ink", "muted", *SERIES):
            assert _contrast(values[theme], paper) >= 4.5, name


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2.2, section 1.4.3."""

    def luminance(value: str) -> float:
        parts = [int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_series_beyond_the_colours_differ_by_their_markers() -> None:
    given = {series(index) for index in range(len(SERIES) * len(MARKERS))}
    assert len(given) == len(SERIES) * len(MARKERS)


def test_drawings_are_deterministic_text_and_their_names_unique() -> None:
    def draw() -> str:
        figure = new_figure(3, 2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], marker="o", color=COLOURS["series-2"][0], label="a & $b$")
        axes.legend()
        return to_svg(figure)

    with plot_style():
        first, second = draw(), draw()
        png = to_png(new_figure(1, 1))
    assert first == second
    assert "a &amp; $b$</text>" in first
    assert png.startswith(b"\x89PNG")
    inline = to_inline(first, "one")
    assert inline.startswith("<svg ")
    assert "var(--series-2)" in inline
    assert 'id="one-' in inline
    assert 'href="#one-' in inline
    assert set(_ids(to_inline(first, "two"))).isdisjoint(_ids(inline))


def _ids(svg: str) -> list[str]:
    return [part.split('"')[0] for part in svg.split(' id="')[1:]]


@pytest.mark.parametrize("ties", [False, True])
def test_curves_equal_scikit_learn(ties: bool) -> None:
    random = np.random.default_rng(1)
    positive = random.random(80) < 0.4
    scores = random.random(80) + 0.3 * positive
    scores = scores.round(1) if ties else scores
    x, y = roc_curve(positive, scores)
    expected_x, expected_y, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose([x, y], [expected_x, expected_y], atol=1e-12)
    recall, precision = precision_curve(positive, scores)
    expected_precision, expected_recall, _ = metrics.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(recall, expected_recall[::-1], atol=1e-12)
    np.testing.assert_allclose(precision[1:], expected_precision[::-1][1:], atol=1e-12)
    area = sum((after - before) * value for before, after, value in zip(recall, recall[1:], precision[1:], strict=False))
    assert math.isclose(area, metrics.average_precision_score(positive, scores), abs_tol=1e-12)
