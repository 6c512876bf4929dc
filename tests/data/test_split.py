"""Splits: by target, stratified, the same everywhere, refused where a class cannot be tested."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.manifest import Row
from zoo.data.split import assign_splits, check_classes, check_splits, draw
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


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.5), (0.1, 0.0), (0.5, 0.5)])
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
