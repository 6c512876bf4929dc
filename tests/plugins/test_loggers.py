"""The loggers that ship with zoo: what they write, and that a resumed run has no line or point twice."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import UnknownNameError, UsageError
from zoo.registry import Registry, use_registry
from zoo.training import read_metrics
from zoo.training.metrics import MetricsLog, check_loggers, parse_logger

STEP = {"event": "step", "step": 1, "epoch": 1, "loss": 0.5, "accuracy": 0.25}
SKIPPED = {"event": "skipped", "step": 2, "epoch": 1, "reason": "the loss is nan", "frames": ["a.fits", "b.fits"], "skipped_steps": 1}
EPOCH = {"event": "epoch", "step": 2, "epoch": 1, "val_loss": float("nan"), "val_accuracy": 0.75}
LATER = {"event": "step", "step": 3, "epoch": 2, "loss": 0.25, "accuracy": 0.5}


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with use_registry(Registry.from_plugins([])):
        yield


def write(run: Path, spec: str, *records: dict[str, Any], keep_bytes: int = 0) -> int:
    """Log records as a run does; return the length of metrics.jsonl."""
    warnings: list[str] = []
    run.mkdir(exist_ok=True)
    with MetricsLog(run, loggers=[spec], keep_bytes=keep_bytes, warn=warnings.append) as log:
        for record in records:
            log.append(record)
        size = log.sync()
    assert warnings == []
    return size


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_csv_has_one_flat_line_per_record(tmp_path: Path) -> None:
    write(tmp_path / "run", "csv", STEP, SKIPPED)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert rows[0] == "event,step,epoch,loss,accuracy,reason,frames,skipped_steps"
    assert rows[2] == "skipped,2,1,,,the loss is nan,a.fits; b.fits,1"


def test_jsonl_collects_flat_records_of_many_runs(tmp_path: Path) -> None:
    spec = f"jsonl:path={tmp_path}/logs/all.jsonl"
    write(tmp_path / "one", spec, STEP, SKIPPED)
    write(tmp_path / "two", spec, EPOCH)
    first, second, third = lines(tmp_path / "logs" / "all.jsonl")
    assert first == {"run": str(tmp_path / "one"), **STEP}
    assert second["frames"] == "a.fits; b.fits"
    assert third == {"run": str(tmp_path / "two"), **EPOCH, "val_loss": None}


def test_jsonl_of_a_resumed_run_has_every_line_once(tmp_path: Path) -> None:
    spec = f"jsonl:path={tmp_path}/all.jsonl"
    kept = write(tmp_path / "one", spec, STEP)
    write(tmp_path / "two", spec, STEP)
    shutil.rmtree(tmp_path / "one")
    write(tmp_path / "one", spec, STEP)
    write(tmp_path / "one", spec, LATER, keep_bytes=kept)
    one = [line for line in lines(tmp_path / "all.jsonl") if line["run"].endswith("one")]
    assert [line["step"] for line in one] == [1, 3]
    assert sum(line["run"].endswith("two") for line in lines(tmp_path / "all.jsonl")) == 1


def test_jsonl_writes_to_stdout_what_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = write(tmp_path / "run", "jsonl", STEP)
    assert [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()] == [1]
    write(tmp_path / "run", "jsonl", LATER, keep_bytes=kept)
    assert [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()] == [3]
    assert [record["step"] for record in read_metrics(tmp_path / "run")] == [1, 3]


def test_jsonl_takes_a_path_relative_to_the_run_but_none_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "run", "jsonl:path=flat.jsonl", STEP)
    assert len(lines(tmp_path / "run" / "flat.jsonl")) == 1
    for name in ("metrics.jsonl", "../run/config.toml"):
        with pytest.raises(UsageError, match="must not be a file that the run itself writes"):
            MetricsLog(tmp_path / "run", loggers=[f"jsonl:path={name}"])


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every point of all event files, whatever TensorBoard would hide."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    points: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((run / "tensorboard").iterdir()):
        for event in loader.EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.tensor.float_val:
                    points.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
                else:
                    points.setdefault(value.tag, []).append((event.step, float("nan")))
    return points


def test_tensorboard_has_every_number_at_its_step_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("[train]\nepochs = 3\n")
    kept = write(run, "tensorboard", STEP, SKIPPED)
    write(run, "tensorboard", EPOCH, LATER, keep_bytes=kept)
    points = scalars(run)
    assert points["step/loss"] == [(1, 0.5), (3, 0.25)]
    assert points["step/accuracy"] == [(1, 0.25), (3, 0.5)]
    assert points["epoch/val_accuracy"] == [(2, 0.75)]
    assert points["skipped/skipped_steps"] == [(2, 1.0)]
    assert not {"epoch/val_loss", "step/step", "step/epoch", "step/event"} & set(points)
    assert len(points["config/text_summary"]) == len(points["skipped/reason/text_summary"]) == 1


def test_tensorboard_leaves_files_of_others_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "tensorboard"
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1.old").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    write(tmp_path / "run", "tensorboard", STEP)
    names = [path.name for path in folder.iterdir()]
    assert "events.out.tfevents.1.old" not in names
    assert "notes.txt" in names


def test_check_loggers_names_the_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard" or name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "zoo.plugins.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"the logger tensorboard needs .* run pip install 'celestial-zoo\[tensorboard\]'"):
        check_loggers(["tensorboard"])


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("tensorbord", UnknownNameError, "did you mean 'tensorboard'"),
        ("jsonl:file=x", UnknownNameError, "jsonl has: path"),
        ("path=x", UsageError, "write it as name:option=value"),
        ("jsonl:path=x,y", UsageError, "expected KEY=VALUE, got 'y'"),
    ],
)
def test_check_loggers_says_what_is_wrong(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_loggers([spec])


def test_parse_logger_keeps_owners_and_colons_in_values() -> None:
    assert parse_logger("mine:csv") == ("mine:csv", {})
    assert parse_logger("zoo:jsonl:path=C:/x=y.jsonl") == ("zoo:jsonl", {"path": "C:/x=y.jsonl"})


@pytest.mark.parametrize("where", ["__init__", "log", "close"])
def test_a_logger_that_raises_costs_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    from zoo.plugins import loggers

    def fail(*arguments: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(loggers.CsvLogger, where, fail)
    warnings: list[str] = []
    with MetricsLog(tmp_path, loggers=["csv", "jsonl:path=flat.jsonl"], warn=warnings.append) as log:
        log.append(STEP)
        log.append(LATER)
    assert len(warnings) == 1
    assert "logger 'csv' failed" in warnings[0]
    assert "OSError: disk full" in warnings[0]
    assert len(read_metrics(tmp_path)) == len(lines(tmp_path / "flat.jsonl")) == 2
