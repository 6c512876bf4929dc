"""Budgets of memory, and what of them tensors can use."""

from __future__ import annotations

import pytest

from zoo.costs.hardware import GPUS_GB, needed_bytes, parse_budgets
from zoo.errors import UnknownNameError, UsageError


def test_sizes_and_gpus() -> None:
    found = parse_budgets("8GB, 24GiB,512mib,rtx4090,RTX 4090,1.5TB")
    assert [budget.capacity_bytes for budget in found] == [8 * 10**9, 24 * 2**30, 512 * 2**20, 24 * 10**9, 24 * 10**9, 1500 * 10**9]
    assert [budget.name for budget in found] == ["8GB", "24GiB", "512mib", "rtx4090", "rtx4090", "1.5TB"]
    assert parse_budgets(["8GB", "h200,l4"]) == parse_budgets("8GB,h200,l4")
    assert parse_budgets(()) == ()


@pytest.mark.parametrize("text", ["", "8", "0GB", "8GB,", "8 gigabytes", "8G", "8KB"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="8GB or 24GiB"):
        parse_budgets(text)


def test_unknown_gpu_suggests_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rtx4090'"):
        parse_budgets("rtx4900")


def test_usable_is_what_context_and_waste_leave() -> None:
    (budget,) = parse_budgets("24GB")
    left = 24 * 10**9 - 850 * 2**20
    assert budget.usable_bytes == (int(left / 1.1), left)
    assert parse_budgets("100MB")[0].usable_bytes == (0, 0)


def test_what_is_needed_and_what_is_usable_agree() -> None:
    (budget,) = parse_budgets("24GB")
    least, most = budget.usable_bytes
    assert needed_bytes(least)[1] == pytest.approx(budget.capacity_bytes, abs=2)
    assert needed_bytes(most)[0] == budget.capacity_bytes


def test_known_gpus_can_all_be_named() -> None:
    assert [budget.capacity_bytes for budget in parse_budgets(",".join(GPUS_GB))] == [size * 10**9 for size in GPUS_GB.values()]
