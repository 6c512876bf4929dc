"""Budgets of memory, and what of them tensors can use."""

from __future__ import annotations

import pytest

from zoo.costs.hardware import GPUS_GB, PROCESS_BYTES, needed_bytes, parse_budgets, usable_bytes
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
    left = 24 * 10**9 - 850 * 2**20
    assert usable_bytes(24 * 10**9) == (int(left / 1.1), left)
    assert usable_bytes(10**8) == usable_bytes(10**8, device="cpu") == (0, 0)
    least, most = usable_bytes(2 * 10**9, device="cpu", train=True)
    assert most - least > PROCESS_BYTES[1] - PROCESS_BYTES[0] > 0  # a step varies too
    assert usable_bytes(2 * 10**9, device="cpu")[0] > least


def test_a_budget_after_the_imports_is_the_same_without_them() -> None:
    whole, growth = (usable_bytes(2 * 10**9, device="cpu", train=True, imported=imported) for imported in (False, True))
    assert [after - before for after, before in zip(growth, whole, strict=True)] == [PROCESS_BYTES[1], PROCESS_BYTES[0]]


def test_what_is_needed_and_what_is_usable_agree() -> None:
    for device in ("cuda", "cpu"):
        least, most = usable_bytes(24 * 10**9, device=device, train=True)
        assert needed_bytes(least, device=device, train=True)[1] == pytest.approx(24 * 10**9, abs=2)
        assert needed_bytes(most, device=device, train=True)[0] == 24 * 10**9


def test_known_gpus_can_all_be_named() -> None:
    assert [budget.capacity_bytes for budget in parse_budgets(",".join(GPUS_GB))] == [size * 10**9 for size in GPUS_GB.values()]
