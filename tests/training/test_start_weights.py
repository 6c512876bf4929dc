"""Training that starts from other weights, and training that keeps the first layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from zoo.errors import DataError, UnknownNameError, UsageError, WeightsError
from zoo.models.directory import load_tensors, save_tensors
from zoo.models.pretrained import PretrainedReport
from zoo.training import Progress, TrainConfig, make_plan, train

Configure = Callable[..., TrainConfig]


class Listener(Progress):
    """Keeps the report and the lines of the plan."""

    def __init__(self) -> None:
        self.reports: list[PretrainedReport] = []

    def pretrained(self, report: PretrainedReport) -> None:
        self.reports.append(report)


@pytest.fixture
def start(configure: Configure) -> Path:
    """A finished run, whose weights others start from."""
    return train(configure(output={"path": "start"}, train={"seed": 9})).path.resolve()


def test_train_starts_from_pretrained_weights_and_records_them(configure: Configure, start: Path) -> None:
    listener = Listener()
    run = train(configure(model={"pretrained": "start"}, train={"epochs": 1, "lr": 1e-12, "weight_decay": 0.0}), progress=listener)
    before, after = (load_tensors(path / "model" / "model.safetensors") for path in (start, run.path))
    torch.testing.assert_close(after["head.weight"], before["head.weight"], rtol=0, atol=1e-9)
    (report,) = listener.reports
    assert set(report.loaded) == set(before)
    recorded = json.loads((run.path / "environment.json").read_text())["pretrained"]
    assert recorded["sha256"] == report.sha256
    assert set(recorded["loaded"]) == set(before)
    card = zoo.load(run.path).card["training"]["pretrained"]
    assert card == {"source": str(start), "sha256": report.sha256, "licence": "", "trained_on": "frames of the domain files"}
    assert TrainConfig.read(run.path / "config.toml").model.pretrained == str(start)


def test_train_without_pretrained_weights_records_none(start: Path) -> None:
    assert json.loads((start / "environment.json").read_text())["pretrained"] is None
    assert zoo.load(start).card["training"]["pretrained"] is None


def test_train_leaves_nothing_behind_when_weights_do_not_fit(configure: Configure, tmp_path: Path) -> None:
    save_tensors(tmp_path / "other.safetensors", {"layer.weight": torch.ones(3)})
    with pytest.raises(WeightsError, match="none of its names is in the model"):
        train(configure(model={"pretrained": str(tmp_path / "other.safetensors")}))
    with pytest.raises(UnknownNameError, match="No weights are registered for tinynet"):
        train(configure(model={"pretrained": "imagenet"}))
    assert not Path("run").exists()


def test_resume_before_the_first_checkpoint_wants_the_same_weights(configure: Configure, start: Path) -> None:
    class KilledError(BaseException):
        pass

    class Kill(Progress):
        def begin(self, steps_done: int, steps: int) -> None:
            raise KilledError

    with pytest.raises(KilledError):
        train(configure(model={"pretrained": "start"}), progress=Kill())
    whole = train(configure(model={"pretrained": "start"}, output={"path": "whole"}))
    weights = start / "model" / "model.safetensors"
    plain = configure(model={"pretrained": str(weights)})
    with pytest.raises(KilledError):
        train(plain.with_changes(output={"path": Path("file")}), progress=Kill())
    finished = train(resume="run")
    first, second = (load_tensors(run.model / "model.safetensors") for run in (whole, finished))
    assert all(torch.equal(first[name], second[name]) for name in first)
    save_tensors(weights, {name: tensor + 1 for name, tensor in load_tensors(weights).items()})
    with pytest.raises(DataError, match=r"file: the weights .*model\.safetensors changed since the run began"):
        train(resume="file")


def test_train_keeps_frozen_layers_as_they_are(configure: Configure, start: Path) -> None:
    config = configure(model={"pretrained": "start", "freeze_until": "norm"}, train={"ema": 0.9})
    plan = make_plan(config)
    assert "of them trained (frozen until norm)" in dict(plan.describe())["model"]
    assert plan.trained == 6 * 4 * 2 + 2
    run = train(config)
    before, after = (load_tensors(path / "model" / "model.safetensors") for path in (start, run.path))
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(("convolution.", "norm.")), name
    state = load_tensors(run.last / "state.safetensors")
    assert {name.split("/")[1] for name in state if name.startswith("optimizer/")} == {"head.weight", "head.bias"}
    assert torch.equal(state["ema/convolution.weight"], before["convolution.weight"])
    assert zoo.load(run.path).card["training"]["freeze_until"] == "norm"


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [("nrom", UnknownNameError, "did you mean 'norm'"), ("head", UsageError, "leaves nothing to train")],
)
def test_plan_refuses_layers_that_cannot_be_frozen(configure: Configure, layer: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(configure(model={"freeze_until": layer}))
    assert list(Path().iterdir()) == []
