"""``zoo.estimate``: records made by processes of their own, verdicts on budgets, and what would make a step fit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from odd_nets import Dense
from tiny_run import LevelPlugin
from torch import nn

import zoo
from zoo.costs import Settings
from zoo.costs.fitting import Fitting, fit_model
from zoo.costs.hardware import needed_bytes
from zoo.costs.kernels import onednn_copies
from zoo.costs.trace import record_step
from zoo.errors import UnknownNameError, UsageError
from zoo.profiling import Estimate
from zoo.registry import Registry, use_registry

SHAPE = (1, 64, 128)
PIXELS = 64 * 128


@pytest.fixture(scope="module")
def estimated(odd_nets: Registry) -> Estimate:
    """A training step of one network, of another that is nearly all weights, and of one that ends its process."""
    return zoo.estimate(["quiet", "dense", "quiet[crash=true]"], train=True, batch=8, memory="3GB,h200", device="cpu", threads=2)


def test_records_stand_in_the_order_asked_for_with_their_facts(estimated: Estimate) -> None:
    quiet, dense, _ = estimated.models
    assert (quiet.model, quiet.status, quiet.input_shape, quiet.note, quiet.exit_code) == ("quiet", "estimated", SHAPE, "", 0)
    assert quiet.parameters == (9 + 1) * 16 + (9 * 16 + 1) * 16 + 17 * 2
    assert quiet.macs == PIXELS * (9 * 16 + 9 * 16 * 16) + 16 * 2
    assert quiet.peak_bytes == sum(quiet.parts.values())
    assert (quiet.phase, quiet.layer, quiet.holders[0][0]) == ("backward", "", "")  # the model's own code calls relu, whose maps are kept
    weights = 4 * (1025 * 8192 + 8193 * 2)
    assert (dense.parts["weights"], dense.parts["optimizer"], dense.parts["input"]) == (weights, 2 * weights + 4 * 4, 8 * (4 * PIXELS + 8))
    assert estimated.metadata["torch"] == torch.__version__
    assert estimated.metadata["asked"]["memory"] == ["3GB", "h200"]


def test_what_is_needed_is_a_range_above_the_peak(estimated: Estimate) -> None:
    for model in estimated.models[:2]:
        assert model.peak_bytes is not None
        assert model.needed_bytes == needed_bytes(model.peak_bytes, device="cpu", train=True)
        assert model.resident_bytes is not None
        assert model.peak_bytes < model.resident_bytes[0] < model.resident_bytes[1]


def test_a_model_that_ends_its_process_is_a_record(estimated: Estimate) -> None:
    crashed = estimated.models[2]
    assert (crashed.status, crashed.exit_code, crashed.peak_bytes, crashed.fits) == ("crashed", 6, None, ())
    assert "SIGABRT" in crashed.note
    assert estimated.problems == (crashed,)


def test_budgets_have_verdicts_and_largest_batches(estimated: Estimate) -> None:
    for model in estimated.models[:2]:
        small, large = model.fits
        assert (small.verdict, large.verdict) == ("fits", "fits")
        assert 8 <= small.largest_batch < large.largest_batch
        assert small.remedy is None
    assert estimated.fits


def test_records_become_plain_values(estimated: Estimate) -> None:
    quiet = estimated.to_dict()["models"][0]
    assert quiet["fits"][0].keys() == {"budget", "capacity_bytes", "usable_bytes", "verdict", "largest_batch", "remedy"}
    assert quiet["holders"][0].keys() == {"layer", "bytes"}
    assert quiet["parts"] == dict(estimated.models[0].parts)


def convolutions() -> nn.Sequential:
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))


def test_remedies_go_from_the_mildest_to_the_strongest() -> None:
    fitting = Fitting(convolutions(), SHAPE, training=True)
    asked = Settings(6, "fp32", "adamw")
    bf16 = asked._replace(precision="bf16")
    both = bf16._replace(batch=1, accumulate=6)

    def total(settings: Settings) -> int:
        return fitting.peak(settings).total

    assert total(asked) > total(bf16) > total(both)
    assert fitting.remedy(asked, total(asked) - 1) == bf16
    assert fitting.remedy(asked, total(bf16) - 1) == asked._replace(batch=3, accumulate=2)
    assert fitting.remedy(asked, total(both)) == both
    assert fitting.remedy(asked, total(both) - 1) == both._replace(optimizer="sgd")
    assert fitting.remedy(asked, total(both._replace(optimizer="sgd")) - 1) is None


def test_less_state_is_the_remedy_for_a_network_of_weights() -> None:
    fitting = Fitting(Dense(2), SHAPE, training=True)
    asked = Settings(1, "fp32", "adamw")
    assert fitting.remedy(asked, fitting.peak(asked).total - 1) == asked._replace(optimizer="sgd")


def test_inference_takes_smaller_batches_of_any_size() -> None:
    fitting = Fitting(convolutions(), SHAPE, training=False)
    asked = Settings(64, "bf16", "adamw")
    limit = fitting.peak(asked._replace(batch=37)).total
    assert fitting.remedy(asked, limit) == asked._replace(batch=37)


def test_verdict_is_open_between_the_bounds_of_what_is_usable() -> None:
    model, asked = convolutions(), Settings(4, "fp32", "sgd")
    peak = Fitting(model, SHAPE, training=True).peak(asked).total
    budgets = [(peak, peak), (peak - 1, peak), (peak - 2, peak - 1)]
    found = fit_model(model, SHAPE, asked, training=True, device="cuda", threads=1, budgets=budgets)
    assert [fit["verdict"] for fit in found["fits"]] == ["fits", "perhaps", "too-large"]
    assert [fit["largest_batch"] for fit in found["fits"]] == [4, 3, 3]
    assert [fit["remedy"] and fit["remedy"]["precision"] for fit in found["fits"]] == [None, "bf16", "bf16"]


def test_copies_of_the_cpu_kernels_by_hand() -> None:
    copies = onednn_copies(2)
    operation = torch.ops.aten.convolution.default
    source, result = torch.empty(1, 8, 160, 160), torch.empty(1, 4, 160, 160)
    wide = torch.empty(4, 8, 3, 3)
    assert copies(operation, (source, wide, None, (1, 1)), result) == (4 * (source.numel() + wide.numel()), 4 * result.numel())
    assert copies(operation, (source[:, :1], wide[:, :1], None, (1, 1)), result) == (4 * 4 * 9, 4 * result.numel())  # read as it lies
    plain = [tensor.bfloat16() for tensor in (source, torch.empty(4, 8, 1, 1), result)]
    assert copies(operation, (plain[0], plain[1], None, (1, 1)), plain[2]) == (
        2 * 4 * result.numel() + 2 * (32 + source.numel()),
        2 * result.numel(),
    )
    layout = torch.channels_last
    assert copies(operation, (source, wide, None, (1, 1)), result.contiguous(memory_format=layout)) == (4 * wide.numel(),)
    backward = torch.ops.aten.convolution_backward.default
    assert copies(backward, (), (source, wide.contiguous(memory_format=layout), None)) == (2 * 4 * wide.numel(),)
    assert copies(backward, (), (source, wide, None)) == (4 * wide.numel(),)
    assert copies(torch.ops.aten.relu.default, (source,), source) == ()
    frame = torch.empty(1, 8, 16, 16)  # small enough for torch's own convolution
    assert copies(operation, (frame, wide, None, (1, 1)), result) == ()


def test_copies_count_at_the_instant_of_their_operation_only() -> None:
    with_copies, _ = record_step(convolutions(), SHAPE, batch=1, training=False, copies=onednn_copies(1))
    without, _ = record_step(convolutions(), SHAPE, batch=1, training=False)
    assert sum(change.size for change in with_copies) == sum(change.size for change in without)
    assert len(with_copies) > len(without)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"models": []}, UsageError, "got no model"),
        ({"models": "nothing"}, UnknownNameError, "unknown model"),
        ({"models": "hrcn", "precision": "fp16"}, UsageError, "precision must be one of"),
        ({"models": "hrcn", "optimizer": "adam"}, UsageError, "optimizer must be one of"),
        ({"models": "hrcn", "device": "tpu"}, UsageError, "device must be one of"),
        ({"models": "hrcn", "batch": 0}, UsageError, "batch must be >= 1"),
        ({"models": "hrcn", "threads": 0}, UsageError, "threads must be >= 1"),
        ({"models": "hrcn", "input_shape": (64, 64)}, UsageError, "three positive integers"),
        ({"models": "hrcn", "memory": "lots"}, UnknownNameError, "unknown GPU"),
        ({"models": ["hrcn", "hrcn"], "options": {"padding": "same"}}, UsageError, "write them beside the name"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(
    arguments: dict[str, Any], error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(error, match=words):
        zoo.estimate(**arguments)


def test_plugin_that_exists_in_memory_only_cannot_be_passed_on() -> None:
    with use_registry(Registry.from_plugins([LevelPlugin()])), pytest.raises(UsageError, match="LevelPlugin"):
        zoo.estimate("level")


def test_asking_imports_no_torch() -> None:
    code = "import sys, zoo; zoo.estimate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
