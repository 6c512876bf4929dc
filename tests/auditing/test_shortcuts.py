"""Rules against their definition, planted shortcuts, and the figures of the published lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_lists import data_set, draw_rows, table

import zoo
from zoo import intervals
from zoo.auditing import rules
from zoo.auditing.rules import Problem
from zoo.auditing.shortcuts import TOGETHER, Measured, Shortcut, find_best, find_shortcuts, galactic_latitude
from zoo.auditing.table import encode, read_table
from zoo.data import Manifest


def problem(seed: int, classes: int = 2) -> Problem:
    """60 frames of 9 targets; the first class is the most frequent."""
    rng = np.random.default_rng(seed)
    targets = np.r_[np.arange(9), rng.integers(0, 9, 51)]
    of_target = rng.choice(classes, 9, p=np.r_[0.6, np.full(classes - 1, 0.4 / (classes - 1))])
    return Problem(of_target[targets], targets, tuple("abc"[:classes]), tuple(f"T{i}" for i in range(9)))


def relearned(made: Problem, guess: Callable[[Problem, np.ndarray], np.ndarray]) -> np.ndarray:
    """Learn without each target in turn, the slow way; ``guess`` takes a problem and the frames to learn from."""
    out = np.empty_like(made.labels)
    for target in range(9):
        held = made.targets == target
        out[held] = guess(made, ~held)[held]
    return out


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_values_are_learned_again_without_each_target(seed: int, classes: int) -> None:
    made = problem(seed, classes)
    values = np.random.default_rng(seed + 100).integers(-1, 5, 60)

    def slow(made: Problem, learn: np.ndarray) -> np.ndarray:
        frequent = np.bincount(made.labels[learn], minlength=classes).argmax()
        best = {v: np.bincount(made.labels[learn & (values == v)], minlength=classes).argmax() for v in np.unique(values[learn])}
        return np.array([best.get(value, frequent) for value in values])

    got = rules.by_value(made, values, [str(i) for i in range(5)])
    assert np.array_equal(got.inside, slow(made, np.ones(60, dtype=bool)))
    assert np.array_equal(got.outside, relearned(made, slow))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_thresholds_are_learned_again_without_each_target(seed: int, classes: int) -> None:
    made = problem(seed, classes)
    values = np.random.default_rng(seed + 200).integers(0, 12, 60).astype(np.float64)
    values[:4] = np.nan
    distinct = np.unique(values[np.isfinite(values)])
    cuts = (distinct[1:] + distinct[:-1]) / 2

    def slow(made: Problem, learn: np.ndarray) -> np.ndarray:
        best: tuple[int, np.ndarray] = (-1, np.empty(0))
        for cut in cuts:
            sides = np.where(np.isnan(values), 2, values > cut)
            says = np.array([np.bincount(made.labels[learn & (sides == side)], minlength=classes).argmax() for side in range(3)])
            known = learn & (sides < 2)
            right = int((says[sides] == made.labels)[known].sum())
            if right > best[0]:
                best = (right, says[sides])
        return best[1]

    got = rules.by_threshold(made, values, "x", "s")
    assert np.array_equal(got.inside, slow(made, np.ones(60, dtype=bool)))
    assert np.array_equal(got.outside, relearned(made, slow))


def test_all_columns_and_ridge_are_learned_again_without_each_target() -> None:
    made = problem(5)
    rng = np.random.default_rng(5)
    columns = [rng.integers(0, 3, 60), rng.integers(0, 4, 60)]
    features = rng.normal(size=(60, 6))

    def bayes(made: Problem, learn: np.ndarray) -> np.ndarray:
        chance = np.zeros((60, 2))
        for label in range(2):
            mine = learn & (made.labels == label)
            chance[:, label] = np.log(mine.sum() + 1.0)
            for column in columns:
                width = column.max() + 1
                chance[:, label] += np.log((np.bincount(column[mine], minlength=width) + 1.0) / (mine.sum() + width))[column]
        return chance.argmax(axis=1)

    got = rules.by_all(made, columns)
    assert np.array_equal(got.inside, bayes(made, np.ones(60, dtype=bool)))
    assert np.array_equal(got.outside, relearned(made, bayes))

    standard = np.column_stack([(features - features.mean(0)) / features.std(0), np.ones(60)])

    def ridge(made: Problem, learn: np.ndarray) -> np.ndarray:
        x, y = standard[learn], np.eye(2)[made.labels[learn]]
        weights = np.linalg.solve(x.T @ x + np.diag([60.0] * 6 + [1e-9]), x.T @ y)
        return (standard @ weights).argmax(axis=1)

    assert np.array_equal(rules.by_ridge(made, features).outside, relearned(made, ridge))


def test_the_p_value_is_where_the_lower_end_meets_the_value() -> None:
    hits, counts, names = [9, 7, 10, 4, 8], [10, 9, 12, 8, 8], list("abcde")
    p = intervals.exceeding_p(hits, counts, names, 0.6)
    assert intervals.count_interval(hits, counts, names, level=1 - 2 * p).lower == pytest.approx(0.6, abs=1e-9)
    perfect = intervals.exceeding_p(counts, counts, names, 0.6)
    assert perfect == pytest.approx(0.6**5)
    assert intervals.count_interval(counts, counts, names, level=1 - 2 * perfect).floor == pytest.approx(0.6)
    assert intervals.exceeding_p([0, 0], [3, 3], ["a", "b"], 0.5) == 1.0


def test_galactic_latitude_of_known_places() -> None:
    places = {"pole": (192.85948, 27.12825, 90.0), "centre": (266.40499, -28.93617, 0.0), "LMC": (80.894, -69.756, 32.9)}
    ra, dec, expected = (np.array(column) for column in zip(*places.values(), strict=True))
    assert galactic_latitude(ra, dec) == pytest.approx(expected, abs=0.1)


def named(found: tuple[Shortcut, ...]) -> dict[str, Shortcut]:
    return {one.name: one for one in found}


def test_a_planted_camera_is_an_alarm_and_a_mixed_one_is_none() -> None:
    planted = named(find_shortcuts(table(draw_rows(shortcut=True))))
    assert planted["instrument"].alarm
    assert planted["instrument"].outside.estimate == 1.0
    assert planted["instrument"].p_value == pytest.approx(2 * 0.5**24)
    assert not planted["HDU"].alarm
    assert planted["instrument"].rule == "WFC3/UVIS: galaxy, ACS/WFC: NSC"
    mixed = find_shortcuts(table(draw_rows(shortcut=False)))
    assert not any(one.alarm for one in mixed)


@pytest.mark.parametrize("column", ["exposure time", "Dec", "filter", "programme"])
def test_a_planted_column_is_an_alarm(column: str) -> None:
    changed = []
    for place, row in enumerate(draw_rows()):
        nsc = row.label == "NSC"
        changed.append(
            {
                "exposure time": replace(row, exptime=400.0 + place % 7 if nsc else 200.0 + place % 5),
                "Dec": replace(row, dec=-70.0 + place % 9 if nsc else 10.0 + place % 9),
                "filter": replace(row, filter="F658N" if nsc and place % 12 else "F814W"),
                "programme": replace(row, proposal="9454" if nsc else "9455"),
            }[column]
        )
    found = named(find_shortcuts(table(changed)))
    assert found[column].alarm
    assert [name for name, one in found.items() if one.alarm] in ([column], [column, TOGETHER], ["filter", TOGETHER])


def test_clean_lists_raise_no_alarm() -> None:
    # benchmarks/bench_audit.py measures the rate on hundreds of sets; nominal is 2.5 %
    alarms = sum(any(one.alarm for one in find_shortcuts(table(draw_rows(seed=seed)))) for seed in range(40))
    assert alarms <= 3


def test_columns_that_say_nothing_new_are_not_tried() -> None:
    rows = [replace(row, detector=row.instrument[4:]) for row in draw_rows()]
    found = named(find_shortcuts(table(rows)))
    assert {"instrument", "filter", "HDU"} <= found.keys()
    assert not {"detector", "product"} & found.keys()
    assert find_shortcuts(table([row for row in rows if row.label == "NSC"])) == ()


def test_pixels_are_baselines_without_alarm() -> None:
    rows = draw_rows()
    nsc = np.array([row.label == "NSC" for row in rows], dtype=np.float64)
    rng = np.random.default_rng(0)
    thumbnails = rng.normal(size=(len(rows), 256)) + 3 * nsc[:, None]
    thumbnails[0] = np.nan
    size = encode([("64x128", "64x256")[int(one)] for one in nsc])
    measured = Measured(size, 100 + nsc, np.full(len(rows), np.nan), nsc, thumbnails)
    found = named(find_shortcuts(table(rows), measured))
    for name in ("sky level", "thumbnail 16x16"):
        assert found[name].baseline
        assert not found[name].alarm
        assert found[name].outside.estimate > 0.98
    assert found["bias level"].alarm
    assert found["frame size"].alarm
    assert "gain" not in found


def test_the_figures_of_the_published_lists(real_data: Path) -> None:
    lcid = real_data / "lcid"
    both = zoo.audit([lcid / "LCID_test.csv", lcid / "blurry_validation.csv"])
    test = {one.name: one for one in both.shortcuts if one.list == "LCID_test.csv"}
    instrument = test["instrument"]
    assert instrument.rule == "WFC3/UVIS: galaxy, ACS/WFC: NSC"
    assert instrument.inside.estimate == pytest.approx(1266 / 1595)  # 79.37 %
    assert round(instrument.inside_macro.estimate, 3) == 0.685
    assert instrument.outside.estimate == pytest.approx(1266 / 1595)
    assert instrument.majority == pytest.approx(852 / 1595)  # 53.42 %
    assert instrument.inside.n_targets == 21
    assert round(test["Dec"].inside.estimate, 3) == 0.743
    assert next(one for one in both.leakage.leaks if one.relation == "exposure").shared == 0
    assert not any(leak.shared for leak in both.leakage.leaks)
    assert both.leakage.conflicts == ()
    counts = {(one.list, one.label): (one.frames, one.targets) for one in both.balance}
    assert counts["LCID_test.csv", "galaxy"] == (852, 14)
    assert counts["blurry_validation.csv", "NSC"] == (43, 6)
    assert both.best_shortcut("blurry_validation.csv") is not None
    manifest = Manifest.read_csv(lcid / "LCID_test.csv", find=False)
    (best, said), (together, _) = find_best(read_table([("LCID_test.csv", manifest)]))
    assert (best.name, together.name) == ("instrument", TOGETHER)
    assert sum(name == row.label for name, row in zip(said, manifest, strict=True)) == 1266


def test_no_shortcut_of_an_empty_choice() -> None:
    found = zoo.audit(data_set([row for row in draw_rows() if row.label == "NSC"]))
    assert found.best_shortcut() is None
