"""Tables, rows and JSON: what reaches stdout, and what never does."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from zoo.cli import output


@dataclass(frozen=True)
class _Pair:
    name: str
    value: float


def test_table_off_a_terminal_is_tsv(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_table(["name", "value", "ok"], [["a\tb\nc", 1 / 3, True], [None, math.nan, False]], title="T", notes=["n"])
    assert capsys.readouterr().out == "# T\nname\tvalue\tok\na b c\t0.333333\tyes\n\t\tno\n# n\n"


def test_table_on_a_terminal_keeps_brackets_and_dashes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "stdout_is_terminal", lambda: True)
    output.emit_table(["model", "loss"], [["hrcn[padding=same]", 0.5], ["x", None]], title="Models", notes=["one note"])
    text = capsys.readouterr().out
    assert "hrcn[padding=same]" in text
    assert "Models" in text
    assert "one note" in text
    assert "-" in text.splitlines()[-3]


def test_row_stream_is_tsv_off_a_terminal_and_aligned_on_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = output.RowStream(["a", "b"], [4, 2])
    stream.write(["x", None])
    assert capsys.readouterr().out == "a\tb\nx\t\n"
    monkeypatch.setattr(output, "stdout_is_terminal", lambda: True)
    stream = output.RowStream(["a", "b"], [4, 2])
    stream.write(["x", None])
    assert capsys.readouterr().out == "a     b\nx     -\n"


def test_json_has_schema_and_metadata_and_nan_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    results = [_Pair("p", math.nan), {"array": np.array([1.0, np.inf]), "count": np.int64(3), "path": Path("a") / "b"}]
    output.emit_json(results, run="r", seed=1)
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert {"zoo", "run", "seed"} <= set(document["metadata"])
    assert document["results"] == [{"name": "p", "value": None}, {"array": [1.0, None], "count": 3, "path": "a/b"}]


def test_json_stream_is_the_same_document_with_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    for results in ([], [{"a": math.nan}], [{"a": 1}, {"a": 2}]):
        with output.JsonStream(run="r") as stream:
            for result in results:
                stream.write(result)
            stream.summarise(count=len(results))
        document = json.loads(capsys.readouterr().out)
        assert document["schema"] == 1
        assert document["metadata"]["run"] == "r"
        assert document["results"] == ([{"a": None}] if results[:1] != [{"a": 1}] and results else results)
        assert document["summary"] == {"count": len(results)}


def test_json_stream_that_fails_is_not_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with output.JsonStream() as stream:
            stream.write(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(json.JSONDecodeError):
        json.loads(capsys.readouterr().out)


def test_domain_line_is_for_simulated_only(capsys: pytest.CaptureFixture[str]) -> None:
    output.note_domain("files")
    assert capsys.readouterr().err == ""
    output.note_domain("simulated")
    assert "these numbers hold for the simulator only" in capsys.readouterr().err


def test_notes_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.note("hello")
    output.warn("careful")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello\nwarning: careful\n"


def test_progress_off_a_terminal_logs_by_interval(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 31.0, 40.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with output.progress("reading", 10) as advance:
        for _ in range(3):
            advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "reading: 4/10 frames, 0.1 frames/s\n"


def test_progress_on_a_terminal_leaves_stdout_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "stderr_is_terminal", lambda: True)
    with output.progress("reading [x]", 2) as advance:
        advance(2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_stages_follow_each_other(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(output, "stderr_is_terminal", lambda: terminal)
    monkeypatch.setattr(output, "LOG_INTERVAL_S", 0.0)
    with output.stages() as report:
        for stage in ("reading", "scoring"):
            for done in (1, 3):
                report(stage, done, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    if not terminal:
        words = [line.split(",")[0] for line in captured.err.splitlines()]
        assert words == ["reading: 1/3 frames", "reading: 3/3 frames", "scoring: 1/3 frames", "scoring: 3/3 frames"]


def test_module_imports_without_rich_numpy_or_torch() -> None:
    code = "import sys, zoo.cli.output; print(sorted({'rich', 'numpy', 'torch', 'astropy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
