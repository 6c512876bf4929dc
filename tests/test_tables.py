"""The figures in the documents are those that are recorded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo_benchmark_tables", ROOT / "benchmarks" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


METADATA = {"simd": "avx512", "torch": "2.13.0+cpu", "processor": "Abacus", "load_average_before": 0.25, "threads": [1, 2]}


def record(library: str, threads: int, ms: float, target: float | None = None) -> dict[str, Any]:
    return {
        "work": "decode int16", "library": library, "threads": threads, "time_s": ms / 1e3, "copies": ms / 2, "target_copies": target,
    }  # fmt: skip


def test_documents_hold_what_is_recorded(tables: ModuleType) -> None:
    for name in tables.DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert tables.renew(text) == text, f"{name} is older than benchmarks/results; run python benchmarks/tables.py"


def test_a_table_is_replaced_and_the_rest_stays(tables: ModuleType) -> None:
    results = [
        record("zoo", 1, 3.0, target=0.6),
        record("zoo", 2, 1.234, target=0.7),
        record("numpy", 1, 1300.0),
        record("cv2 (1 workers)", 1, 4.0),
        record("cv2 (2 workers)", 1, 1.0),
    ]
    text = "before\n<!-- table: normalize -->\nold | figures\n<!-- end of table -->\nafter 1.5 ms\n"
    new = tables.renew(text, lambda name: {"metadata": METADATA, "results": results})
    assert new.splitlines() == [
        "before",
        "<!-- table: normalize -->",
        "| work | zoo, 1 thread: ms (mc) | zoo, 2 threads: ms (mc) | target, mc | others: ms (mc); **bold** where faster |",
        "|---|---|---|---|---|",
        "| decode int16 | 3.00 (1.5) | 1.23 (0.6) | 0.6 with 1: missed, 0.7 with 2: met | **cv2 1.00 (0.5)**, numpy 1,300 (650.0) |",
        "",
        "`python benchmarks/bench_normalize.py`: Abacus with AVX-512, torch 2.13.0, load average before 0.2.",
        "<!-- end of table -->",
        "after 1.5 ms",
    ]
    assert tables.renew(new, lambda name: {"metadata": METADATA, "results": results}) == new


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: sizes -->\n<!-- end of table -->", "got a marker for table 'sizes', expected one of normalize"),
        ("<!-- table: blur -->\n| a |", "has no '<!-- end of table -->'"),
    ],
)
def test_a_wrong_marker_is_refused(tables: ModuleType, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables.renew(text)


def test_every_table_can_be_made_of_what_is_recorded(tables: ModuleType) -> None:
    for name, make in tables.TABLES.items():
        lines = make(tables.read_result)
        widths = {line.count("|") for line in lines if line.startswith("|")}
        assert len(widths) == 1, name
        assert len(lines) > 4, name
