"""What the system says of memory, and the refusal of steps that do not fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zoo.costs import memory
from zoo.profiling.work import too_large, too_long

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
GIB = 1 << 30


@linux
def test_peak_sees_what_was_there_and_is_gone_and_can_be_reset() -> None:
    before = memory.resident_bytes()
    block = bytearray(b"x") * (64 << 20)
    del block
    assert memory.peak_resident_bytes() >= before + (60 << 20)
    assert memory.reset_peak()
    assert memory.peak_resident_bytes() < before + (32 << 20)


def test_without_proc_the_highest_use_so_far_stands_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_PROC", tmp_path / "none")
    assert memory.peak_resident_bytes() == memory.resident_bytes() > 10 << 20
    assert not memory.reset_peak()
    memory.die_first()


@linux
@pytest.mark.parametrize(
    ("line", "files"),
    [
        (
            "0::/job",
            {"job/memory.max": str(GIB), "job/memory.current": "600000000", "job/memory.stat": "anon 1\ninactive_file 100000000\n"},
        ),
        (
            "4:cpu,memory:/somewhere/else",  # as a container sees the path of its host
            {
                "memory/memory.limit_in_bytes": str(GIB),
                "memory/memory.usage_in_bytes": "600000000",
                "memory/memory.stat": "total_inactive_file 100000000\n",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_control_group_limits_what_is_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, files: dict[str, str]) -> None:
    (tmp_path / "cgroup").write_text(f"8:pids:/\n{line}\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    assert memory.available_bytes() == GIB - 500_000_000


@linux
def test_unlimited_control_group_leaves_what_the_machine_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    for name, text in (("memory.max", "max\n"), ("memory.current", "5"), ("memory.stat", "anon 1\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    available = memory.available_bytes()
    assert available is not None
    assert available > 100 << 20


def test_a_step_that_does_not_fit_is_refused_with_both_numbers() -> None:
    assert too_large(int(12.3 * GIB), int(11.4 * GIB)) == "needs at least 12.3 GiB, 85 % of the free memory is 9.69 GiB"
    assert too_large(8 * GIB, 10 * GIB) == ""
    assert too_large(8 * GIB, None) == ""


def test_a_run_that_cannot_end_in_time_is_refused() -> None:
    job = {"mode": "infer", "macs": 3_252_000_000_000, "batch": 1, "limit_s": 5.0}
    assert too_long(job, 230e9) == "one run takes at least 7.07 s, the limit is 5.00 s; raise --budget"
    assert too_long({**job, "mode": "train"}, 230e9).startswith("one run takes at least 14.1 s")
    assert too_long({**job, "limit_s": 90.0}, 230e9) == ""
    assert too_long({**job, "macs": None}, 230e9) == ""
