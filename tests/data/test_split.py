"""Splits: by target, stratified, the same everywhere, refused where a class cannot be tested."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.manifest import Row
from zoo.data.split import assign_folds, assign_splits, check_classes, check_splits, draw, measure_balance
from zoo.errors import DataError, UsageError

LABELS = ("galaxy", "NSC")


def rows_of(galaxies: int, clusters: int, frames: int = 3) -> list[Row]:
    targets = [("galaxy", f"G{i}") for i in range(galaxies)] + [("NSC", f"C{i}") for i in range(clusters)]
    return [Row(path=f"{target}_{i}.fits", label=label, target=target) for label, target in targets for i in range(frames)]


def counts(rows: tuple[Row, ...], label: str) -> dict[str, int]:
    targets = defaultdict(set)
    for row in rows:
        if row.label == label:
            targets[row.split].add(row.target)
    return {split: len(targets[split]) for split in ("train", "val", "test")}


@given(st.integers(2, 40), st.integers(2, 40), st.integers(-5, 10**9))
def test_split_never_divides_a_target(galaxies: int, clusters: int, seed: int) -> None:
    rows = assign_splits(rows_of(galaxies, clusters), labels=LABELS, seed=seed)
    check_splits(rows)
    for label, total in (("galaxy", galaxies), ("NSC", clusters)):
        got = counts(rows, label)
        assert sum(got.values()) == total
        assert got["train"] >= 1
        assert got["test"] >= 1
        assert abs(got["test"] - 0.25 * total) <= 1


@pytest.mark.parametrize(("targets", "expected"), [(2, (1, 0, 1)), (3, (2, 0, 1)), (4, (2, 1, 1)), (20, (12, 3, 5))])
def test_split_of_few_targets_has_train_and_test(targets: int, expected: tuple[int, int, int]) -> None:
    rows = assign_splits(rows_of(targets, 2), labels=LABELS)
    assert tuple(counts(rows, "galaxy").values()) == expected


def test_split_depends_on_seed_and_names_only() -> None:
    rows = rows_of(12, 12)
    there = {row.path: row.split for row in assign_splits(rows, labels=LABELS, seed=1)}
    assert {row.path: row.split for row in assign_splits(rows[::-1], labels=LABELS, seed=1)} == there
    assert {row.path: row.split for row in assign_splits(rows, labels=LABELS, seed=2)} != there


def test_draw_is_fixed_for_all_time() -> None:
    assert draw(0, "split", "NSC", "M5") == 15196333034104626975
    assert draw(0, "a", "b") != draw(0, "ab") != draw(1, "ab")


@pytest.mark.parametrize(
    ("galaxies", "clusters", "message"), [(1, 3, r"class galaxy: got 1 target \(G0\)"), (3, 0, "class NSC: got no target")]
)
def test_split_refuses_a_class_of_one_target(galaxies: int, clusters: int, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        assign_splits(rows_of(galaxies, clusters), labels=LABELS)
    assert "every class needs at least 2 targets: one to train on and another to test on" in str(refusal.value)


def test_split_refuses_a_target_of_two_classes() -> None:
    rows = [*rows_of(2, 2), Row(path="x.fits", label="NSC", target="G0")]
    with pytest.raises(DataError, match=r"x\.fits: got target G0 with labels galaxy and NSC"):
        check_classes(rows, LABELS)


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.5), (0.1, 0.0), (0.5, 0.5), (math.nan, 0.2), (0.1, math.nan)])
def test_split_refuses_fractions_that_leave_nothing(val: float, test: float) -> None:
    with pytest.raises(UsageError, match="fractions of val and test"):
        assign_splits(rows_of(3, 3), labels=LABELS, val=val, test=test)


def test_check_splits_names_leaking_targets() -> None:
    leak = [Row(target="M5", split="train"), Row(target="M5", split="test"), Row(target="M3", split="test")]
    with pytest.raises(DataError, match=r"targets in two splits: M5 \(train, test\);"):
        check_splits(leak)


def test_check_splits_refuses_partial_splits() -> None:
    with pytest.raises(DataError, match="a split for 1 rows and none for 2"):
        check_splits([Row(target="M5", split="train"), Row(target="M3"), Row(target="M4")])
    check_splits([Row(target="M5"), Row(target="M3")])


def visits(targets: int, label: str, *, each: int = 4) -> list[Row]:
    """Targets with ``each`` visits of two exposures with two chips."""
    return [
        Row(path=f"{name}_raw.fits", rootname=name, hdu=hdu, label=label, target=f"{label}{target}")
        for target in range(targets)
        for visit in range(each)
        for name in (f"j{label[0].lower()}{target:02d}{visit:02d}{exposure}aq" for exposure in range(2))
        for hdu in (1, 4)
    ]


@pytest.mark.parametrize("by", ["exposure", "visit", "target"])
def test_no_group_is_in_two_parts(by: str) -> None:
    rows = [*visits(8, "galaxy"), *visits(6, "NSC")]
    split = assign_splits(rows, labels=LABELS, by=by, seed=2)
    name = {"exposure": lambda row: row.rootname, "visit": lambda row: row.rootname[:6], "target": lambda row: row.target}[by]
    assert len({(name(row), row.split) for row in split}) == len({name(row) for row in split})
    assert check_splits(split) == by
    assert {row.extra.get("split_by", "target") for row in split} == {by}
    finer = {"exposure": lambda row: row.path + str(row.hdu), "visit": lambda row: row.rootname, "target": lambda row: row.rootname[:6]}[by]
    assert len({finer(row) for row in split}) > len({name(row) for row in split})


def test_a_split_by_visit_tears_targets_and_says_so() -> None:
    split = assign_splits([*visits(3, "galaxy"), *visits(3, "NSC")], labels=LABELS, by="visit")
    assert len({(row.target, row.split) for row in split}) > 6
    with pytest.raises(DataError, match="got targets in two splits"):
        check_splits([replace(row, extra={}) for row in split])
    again = assign_splits(split, labels=LABELS)
    assert check_splits(again) == "target"
    torn = [replace(row, split="train" if row.hdu == 1 else "test") for row in split]
    with pytest.raises(DataError, match=r"got visits in two splits: .* expected every visit in one"):
        check_splits(torn)
    with pytest.raises(DataError, match="got split_by target, visit, expected one of"):
        check_splits([split[0], replace(split[1], extra={})])


def test_a_visit_across_targets_keeps_them_together() -> None:
    rows = [*visits(6, "galaxy"), *visits(6, "NSC")]
    joined = [
        replace(row, rootname="jzz0101aq", path="") if row.target in ("galaxy1", "NSC4") and "00" in row.path else row for row in rows
    ]
    for seed in range(6):
        split = assign_splits(joined, labels=LABELS, seed=seed)
        assert len({row.split for row in split if row.target in ("galaxy1", "NSC4")}) == 1
        assert {(part, label) for part in ("train", "test") for label in LABELS} <= {(row.split, row.label) for row in split}


def test_classes_that_cannot_be_parted_are_refused() -> None:
    one = [Row(path=f"{i}.fits", rootname=f"j8bt05n{i}q", label=LABELS[i % 2], target=f"T{i}") for i in range(8)]
    with pytest.raises(
        DataError, match=r"class galaxy: got 1 target of 4 targets \(T0, T2, T4, T6\), which exposures, visits or the sky join"
    ):
        assign_splits(one, labels=LABELS)
    with pytest.raises(DataError, match="class NSC: got 4 targets; expected at least 5, one for each part"):
        assign_folds([*visits(5, "galaxy"), *visits(4, "NSC")], labels=LABELS, folds=5)


@given(st.integers(2, 6), st.integers(0, 10**6))
def test_folds_test_on_every_group_once(folds: int, seed: int) -> None:
    rows = [*visits(9, "galaxy", each=1), *visits(6, "NSC", each=2)]
    parts = assign_folds(rows, labels=LABELS, folds=folds, seed=seed, val=0.2)
    tested = Counter()
    for number, part in enumerate(parts, start=1):
        check_splits(part)
        assert {(split, label) for split in ("train", "test") for label in LABELS} <= {(row.split, row.label) for row in part}
        tested.update(row.name for row in part if row.split == "test")
        assert all((row.split == "test") == (row.extra["fold"] == str(number)) for row in part)
    assert tested == Counter(row.name for row in rows)
    for label in LABELS:
        sizes = [len({row.target for row in part if row.label == label and row.split == "test"}) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_folds_are_even_in_frames_where_targets_are_not() -> None:
    sizes = (100, 90, 80, 10, 9, 8, 7, 6, 5)
    rows = [
        Row(path=f"{t}-{i}", label=label, target=f"{label}{t}") for label in LABELS for t, size in enumerate(sizes) for i in range(size)
    ]
    for seed in range(4):
        parts = assign_folds(rows, labels=LABELS, folds=3, seed=seed, val=0)
        tested = [sum(row.split == "test" for row in part) for part in parts]
        assert max(tested) <= 2 * 210  # dealt without a look at their size, the three large targets of a class may come together: 540


@pytest.mark.parametrize(("folds", "val"), [(1, 0.1), (3, 0.7), (3, -0.1)])
def test_folds_refuse_numbers_out_of_range(folds: int, val: float) -> None:
    with pytest.raises(UsageError, match=r"folds"):
        assign_folds([*visits(5, "galaxy"), *visits(5, "NSC")], labels=LABELS, folds=folds, val=val)


def test_balance_says_how_far_from_asked() -> None:
    rows = [*visits(4, "galaxy"), *visits(4, "NSC", each=2)]
    split = assign_splits(rows, labels=LABELS, val=0.25, test=0.25)
    balance = {
        (line.split, line.label): line for line in measure_balance(split, labels=LABELS, asked={"train": 0.5, "val": 0.25, "test": 0.25})
    }
    line = balance["test", "galaxy"]
    assert (line.frames, line.exposures, line.targets, line.groups) == (16, 8, 1, 1)
    assert (line.asked, line.share_groups, line.share_frames) == (0.25, 0.25, 0.25)
    assert balance["train", "NSC"].frames == 16
    by_visit = measure_balance(split, labels=LABELS, asked={"train": 0.5, "val": 0.25, "test": 0.25}, by="visit")
    assert by_visit[0].groups == 8
