"""``zoo.profile``: records of models that behave and of models that do not, each made by a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import LevelPlugin, make_run, write_frame

import zoo
from zoo import profiling
from zoo.costs import child, process
from zoo.costs.subject import make_subject
from zoo.errors import UnknownNameError, UsageError
from zoo.profiling import Profile, StepProfile, session
from zoo.registry import Registry, use_registry

SHAPE = (1, 512, 1024)  # maps of 32 MiB, beside which the heap's own waste is small
SLACK_BYTES = 1 << 20  # pages that were resident before the model count as before it; the peaks are 35 to 141 MiB
BUDGET_S = 1.0


@pytest.fixture(scope="module")
def measured(odd_nets: Registry) -> Profile:
    """Networks of convolutions and of weights, in both modes."""
    return zoo.profile(["quiet", "dense"], input_shape=SHAPE, budget=BUDGET_S, threads=1, frames="none")


def step_of(profile: Profile, model: int = 0) -> StepProfile:
    return profile.models[model].steps[0]


def test_models_stand_in_the_order_asked_for_with_their_facts(measured: Profile) -> None:
    quiet, dense = measured.models
    assert (quiet.model, quiet.input_shape, quiet.batch) == ("quiet", SHAPE, 1)
    assert quiet.parameters == (9 + 1) * 16 + (9 * 16 + 1) * 16 + 17 * 2
    assert quiet.macs == 512 * 1024 * (9 * 16 + 9 * 16 * 16) + 16 * 2
    assert dense.weights_bytes == 4 * (1025 * 8192 + 8193 * 2)
    assert [step.mode for step in dense.steps] == ["infer", "train"]
    assert measured.problems == ()
    assert measured.measured == 4


@pytest.mark.parametrize("model", [0, 1], ids=["convolutions", "weights"])
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_bound_is_below_the_measured_peak_and_not_far_below(measured: Profile, model: int, mode: str) -> None:
    step = measured.models[model].step(mode)
    assert step.bound_bytes is not None
    assert step.peak_bytes is not None
    assert step.bound_bytes <= step.peak_bytes + SLACK_BYTES
    assert step.bound_bytes >= 0.5 * step.peak_bytes  # least measured: 0.62, where oneDNN copies both maps into its own layout


def test_every_step_has_samples_and_says_what_was_cut(measured: Profile) -> None:
    for model in measured.models:
        for step in model.steps:
            assert step.status == "measured"
            assert len(step.samples_s) >= 1
            assert step.first_s is not None
            assert (step.cut == "") == step.steady
            assert step.host_peak_bytes is not None
            assert step.peak_bytes is not None
            assert step.host_peak_bytes > step.peak_bytes


def test_metadata_name_the_machine_and_what_was_asked(measured: Profile) -> None:
    facts = measured.metadata
    assert facts["threads"] == 1
    assert facts["device"] == "cpu"
    assert {"zoo", "torch", "python", "processor", "cores", "environment", "seed", "commit", "load_average_before"} <= set(facts)
    assert facts["asked"]["budget_s"] == BUDGET_S


def test_result_is_plain_json(measured: Profile) -> None:
    document = json.loads(json.dumps(measured.to_dict()))
    step = document["models"][0]["steps"][0]
    assert len(step["samples_s"]) == step["p50"]["samples"]
    assert step["p99"]["value_s"] is None
    assert document["ops"] == []


def test_what_goes_wrong_with_one_model_is_a_record_and_the_others_go_on(odd_nets: Registry) -> None:
    names = ["killed", "fails", "quiet[crash=true]", "quiet"]
    result = zoo.profile(names, mode="infer", input_shape=(1, 16, 16), budget=BUDGET_S, frames="none")
    records = {model.model: model.steps[0] for model in result.models}
    assert {name: (step.status, step.exit_code) for name, step in records.items()} == {
        "killed": ("out-of-memory", 4),
        "fails": ("failed", 6),
        "quiet[crash=True]": ("crashed", 6),
        "quiet": ("measured", 0),
    }
    assert records["quiet[crash=True]"].note.startswith("killed by SIGABRT")
    assert "as the kernel does when memory runs out" in records["killed"].note
    assert records["fails"].note == "ValueError: planted failure"
    assert result.models[0].parameters == result.models[-1].parameters
    assert result.models[2].parameters is None
    assert len(result.problems) == 3


def test_run_that_does_not_end_in_time_is_stopped_and_named(odd_nets: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LEAST_LIMIT_S", 0.9)
    step = step_of(zoo.profile("sleeps", mode="infer", input_shape=(1, 16, 16), budget=0.3, frames="none"))
    assert (step.status, step.exit_code) == ("too-slow", 0)
    assert step.note == "more than 900 ms: it was ended then; raise --budget"


def test_step_that_cannot_fit_is_skipped_with_both_numbers(odd_nets: Registry) -> None:
    step = step_of(zoo.profile("quiet", mode="train", input_shape=SHAPE, batch=1_000_000, budget=BUDGET_S))
    assert step.status == "skipped"
    assert step.note.startswith("needs at least ")
    assert "85 % of the free memory is" in step.note
    assert step.bound_bytes is not None
    assert step.free_bytes is not None
    assert step.bound_bytes > step.free_bytes
    assert step.samples_s == ()


def test_run_is_measured_with_its_own_shape_and_pipeline(tmp_path: Path) -> None:
    plugin = Path(__file__).parent.parent / "tiny_run.py"
    source = tmp_path / "level_plugin.py"
    source.write_text(
        f"import sys, zoo\nsys.path.insert(0, {str(plugin.parent)!r})\nfrom tiny_run import build, SHAPE\n"
        "@zoo.hookimpl\ndef register_models(register):\n    register('level', build, input_shape=SHAPE)\n"
    )
    frame = write_frame(tmp_path / "frame.fits", 0.75)
    with use_registry(Registry.load(entry_points=False, files=[source])):
        run = make_run(tmp_path / "run")
        result = zoo.profile(run, mode="infer", budget=BUDGET_S, frames=frame)
        assert step_of(result).status == "measured"
        assert (result.models[0].model, result.models[0].label) == (str(run), "level")
        assert result.models[0].input_shape == (1, 32, 64)
        path = result.models[0].path
        assert path is not None
        assert (path.status, path.source, path.refused) == ("measured", str(frame), 0)
        assert len(path.samples_s) >= 1
        with pytest.raises(zoo.errors.InputShapeError, match="leave --input-shape out"):
            make_subject({"run": str(run), "input_shape": [1, 16, 16]}, weights=True)


def test_a_profile_is_a_base_for_itself(odd_nets: Registry, tmp_path: Path) -> None:
    result = zoo.profile("quiet", mode="infer", input_shape=(1, 16, 16), budget=5.0, threads=1, frames="none")
    base = tmp_path / "base.json"
    base.write_text(json.dumps({"schema": 1, "metadata": result.metadata, "results": result.to_dict()}))
    (found,) = profiling.compare_profiles(profiling.read_base(base), result)
    assert (found.ratio, found.clock) == (1.0, "processor")
    assert found.blocks == found.base_blocks >= 20
    other = {**result.metadata, "threads": 2}
    base.write_text(json.dumps({"schema": 1, "metadata": other, "results": result.to_dict()}))
    with pytest.raises(UsageError, match="threads 2 then and 1 now"):
        profiling.compare_profiles(profiling.read_base(base), result)


def test_ops_are_measured_in_a_process_too(odd_nets: Registry) -> None:
    result = zoo.profile(ops=["blur"], op_shape=(64, 128), budget=0.1)
    (op,) = result.ops
    assert (op.op, op.pixels, op.shape, op.status) == ("blur", "float32", (64, 128), "measured")
    assert op.difference is not None
    assert op.difference <= 3e-7
    assert result.models == ()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, UsageError, "neither a model nor an op"),
        ({"models": "nothing"}, UnknownNameError, "unknown model"),
        ({"ops": ["blurr"]}, UnknownNameError, "did you mean 'blur'"),
        ({"models": "hrcn", "mode": "test"}, UsageError, "mode must be one of"),
        ({"models": "hrcn", "precision": "fp64"}, UsageError, "precision must be one of"),
        ({"models": "hrcn", "batch": 0}, UsageError, "batch must be >= 1"),
        ({"models": "hrcn", "threads": 0}, UsageError, "threads must be >= 1"),
        ({"models": "hrcn", "input_shape": (64, 64)}, UsageError, "three positive integers"),
        ({"models": "hrcn", "budget": "soon"}, UsageError, "30s, 2m or 90"),
        ({"models": ["hrcn", "hrcn"], "options": {"padding": "same"}}, UsageError, "write them beside the name"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(
    arguments: dict[str, Any], error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(error, match=words):
        zoo.profile(**arguments)


def test_plugin_that_exists_in_memory_only_cannot_be_passed_on() -> None:
    with use_registry(Registry.from_plugins([LevelPlugin()])), pytest.raises(UsageError, match="LevelPlugin"):
        zoo.profile("level")


def test_child_ends_with_the_process_that_asked(odd_nets: Registry) -> None:
    sleeps = next(plugin for plugin in odd_nets.plugins if plugin.name == "odd_nets")
    job = {
        "plugins": [[sleeps.name, sleeps.source]], "work": "zoo.profiling.work:measure_step",
        "mode": "infer", "name": "sleeps", "options": {}, "run": "",
        "input_shape": [1, 16, 16], "batch": 1, "plain": False, "precision": "fp32", "threads": 1, "device": "cpu", "budget_s": 60,
        "limit_s": 600, "bound_bytes": 0, "macs": 0,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "zoo.costs.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(job).encode() + b"\n")
        child.stdin.flush()
        while b"running" not in child.stdout.readline():
            assert child.poll() is None
        child.stdin.close()
        assert child.wait(timeout=50) == 1  # its one run takes 60 s


@pytest.mark.parametrize(
    ("error", "status", "note"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmuch"), ("out-of-memory", 4), "out of memory: CUDA out of memory. Tried"),
        (RuntimeError("[enforce fail at alloc.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), ("out-of-memory", 4), "tried"),
        (MemoryError(), ("out-of-memory", 4), "the interpreter got no memory"),
        (RuntimeError("shapes differ"), ("failed", 6), "RuntimeError: shapes differ"),
        (zoo.errors.InputShapeError("too small"), ("failed", 2), "too small"),
    ],
)
def test_errors_become_results(error: Exception, status: tuple[str, int], note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(job: dict[str, Any], tell: object) -> dict[str, Any]:
        raise error

    monkeypatch.setattr("zoo.profiling.work.measure_facts", work)
    result = child._do({"work": "zoo.profiling.work:measure_facts", "plugins": []}, lambda event: None)
    assert (result["status"], result["exit_code"]) == status
    assert note in result["note"]


def test_child_that_leaves_without_a_result_is_named_with_its_last_words() -> None:
    result = process._how_it_ended(3, io.BytesIO(b"first\nlast words\n\n"))
    assert (result["status"], result["note"]) == ("crashed", "left with exit code 3 before its result: last words")


@pytest.mark.parametrize(
    ("change", "note"),
    [({"device": "cuda:4711"}, "is not there"), ({"input_shape": [1, 64, 128]}, "padding=same"), ({"name": "gone"}, "unknown model")],
)
def test_what_a_child_cannot_do_is_a_result_with_its_exit_code(change: dict[str, Any], note: str) -> None:
    job = {
        "plugins": [],
        "work": "zoo.profiling.work:measure_facts",
        "threads": None,
        "device": "cpu",
        "run": "",
        "name": "hrcn",
        "options": {},
        "input_shape": None,
    }
    result = child._do({**job, **change}, lambda event, **facts: None)
    assert (result["status"], result["exit_code"]) == ("failed", 2)
    assert note in result["note"]
