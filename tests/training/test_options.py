"""What can be chosen besides: loss options, step schedule, patience, fp16, the remarks at the end, a pipeline without normalize."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.errors import UnknownNameError, UsageError
from zoo.models.directory import load_tensors
from zoo.training import Progress, TrainConfig, make_plan, read_metrics, train
from zoo.training.config import TrainSettings
from zoo.training.optimizer import rate_at
from zoo.training.state import Position

Configure = Callable[..., TrainConfig]


class Listener(Progress):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.skips: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def skipped(self, record: Any, description: str) -> None:
        self.skips.append(description)


def test_rate_falls_as_that_of_torch_at_milestones() -> None:
    settings = TrainSettings(lr=1.0, epochs=8, warmup=0.0, schedule="step", milestones=(2, 5), gamma=0.5)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 5], gamma=0.5)
    for epoch in range(8):
        for step in range(3):
            assert rate_at(3 * epoch + step, 24, settings) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("epochs", "expected"), [(1, ()), (2, (1,)), (4, (2, 3)), (10, (5, 7))])
def test_plan_chooses_milestones_and_writes_them_down(configure: Configure, epochs: int, expected: tuple[int, ...]) -> None:
    plan = make_plan(configure(train={"schedule": "step", "epochs": epochs}))
    assert plan.config.train.milestones == expected
    if expected:
        assert f"adamw lr 0.01 times 0.1 after epochs {', '.join(map(str, expected))}" in dict(plan.describe())["training"]
    given = make_plan(configure(train={"schedule": "step", "epochs": epochs, "milestones": [7]}))
    assert given.config.train.milestones == (7,)
    assert make_plan(configure()).config.train.milestones == ()


def test_train_uses_the_options_of_the_loss(configure: Configure) -> None:
    runs = {
        name: train(configure(output={"path": name}, train={"epochs": 1, "loss": loss, "loss_options": options}))
        for name, loss, options in (
            ("plain", "cross_entropy", {}),
            ("smooth", "cross_entropy", {"label_smoothing": 0.2}),
            ("zero", "focal", {"gamma": 0}),
            ("focal", "focal", {"gamma": "3"}),
        )
    }
    losses = {name: [r["loss"] for r in read_metrics(run.path) if r["event"] == "step"] for name, run in runs.items()}
    assert losses["plain"] == pytest.approx(losses["zero"], rel=1e-5)
    assert losses["plain"] != losses["smooth"]
    assert losses["focal"][0] < 0.5 * losses["plain"][0]
    labels = {name: zoo.load(run.path).card["training"]["loss"] for name, run in runs.items()}
    assert labels == {
        "plain": "cross_entropy",
        "smooth": "cross_entropy[label_smoothing=0.2]",
        "zero": "focal[gamma=0.0]",
        "focal": "focal[gamma=3.0]",
    }
    assert TrainConfig.read(Path("plain/config.toml")).train.loss_options == {"label_smoothing": 0.0}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"gamma": 2}, UnknownNameError, "unknown option 'gamma'.*cross_entropy has: label_smoothing"),
        ({"label_smoothing": "much"}, UsageError, "label_smoothing must be float, got 'much'"),
        ({"label_smoothing": 1.5}, UsageError, "label_smoothing must be >= 0 and < 1"),
    ],
)
def test_plan_refuses_options_of_the_loss(configure: Configure, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(configure(train={"loss_options": options}))
    assert list(Path().iterdir()) == []


def test_position_counts_epochs_without_a_better_one() -> None:
    assert not Position(epoch=9).is_stale(0)
    assert Position(epoch=3).is_stale(3)  # never a finite validation loss
    assert not Position(epoch=4, best={"epoch": 2, "val_loss": 0.3}).is_stale(3)
    assert Position(epoch=5, best={"epoch": 2, "val_loss": 0.3}).is_stale(3)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_train_stops_when_patience_ends(configure: Configure, keep: str) -> None:
    """With a rate that destroys what was learned, some epoch is the best for a while."""
    listener = Listener()
    run = train(
        configure(train={"epochs": 40, "patience": 2, "lr": 0.5, "warmup": 0.0, "schedule": "constant", "keep": keep}), progress=listener
    )
    losses = [record["val_loss"] for record in read_metrics(run.path) if record["event"] == "epoch"]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 40
    assert (
        f"stopped after epoch {best + 2}: none of the last 2 lowered the validation loss of {min(losses):.4g} in epoch {best}"
        in listener.notes
    )
    assert run.summary["epochs"] == best + 2
    same = torch.equal(*(load_tensors(folder / "model.safetensors")["head.weight"] for folder in (run.model, run.best)))
    assert same == (keep == "best")


def test_patience_has_no_effect_without_validation_frames(configure: Configure, tmp_path: Path, sky: Path) -> None:
    from zoo.data import open_data

    manifest = open_data(str(sky)).manifest
    manifest.with_rows(row for row in manifest.rows if row.split != "val").write_csv(tmp_path / "list.csv")
    config = configure(data={"source": str(tmp_path / "list.csv")}, train={"patience": 1, "epochs": 2})
    assert "there are no validation frames, so patience has no effect" in make_plan(config).notes
    assert train(config).summary["epochs"] == 2


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_train_in_fp16_learns_with_a_scaled_loss(configure: Configure, optimizer: str) -> None:
    run = train(configure(train={"precision": "fp16", "epochs": 6, "optimizer": optimizer}))
    records = read_metrics(run.path)
    assert {record["loss_scale"] for record in records if record["event"] == "step"} == {2.0**16}
    losses = [record["train_loss"] for record in records if record["event"] == "epoch"]
    assert losses[-1] < 0.8 * losses[0]
    assert {tensor.dtype for tensor in load_tensors(run.model / "model.safetensors").values()} == {torch.float32, torch.int64}
    state = json.loads((run.last / "state.json").read_text())
    assert state["scaler"]["scale"] == 2.0**16
    assert state["scaler"]["_growth_tracker"] == 24


def test_train_in_fp16_halves_the_scale_until_the_gradient_fits(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first scale of 2**30 overflows; such steps are counted and do not end the training."""
    from torch.amp.grad_scaler import GradScaler

    make = GradScaler.__init__
    monkeypatch.setattr(GradScaler, "__init__", lambda self, *a, **k: make(self, *a, init_scale=2.0**30, **k))
    listener = Listener()
    run = train(configure(train={"precision": "fp16", "epochs": 8}), progress=listener)
    records = read_metrics(run.path)
    skipped = [record for record in records if record["event"] == "skipped"]
    assert len(skipped) > 3
    assert listener.skips[0] == "the gradient leaves the range of fp16 at loss scale 1.07374e+09"
    assert [record["loss_scale"] for record in records if record["event"] == "step"][-1] == 2.0 ** (30 - len(skipped))
    assert run.summary["skipped_steps"] == len(skipped)


def test_train_says_when_a_baseline_is_better(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.training import finish

    listener = Listener()
    train(configure(data={"baselines": True}, train={"epochs": 1, "lr": 1e-9}, output={"path": "a"}), progress=listener)
    remarks = [note for note in listener.notes if note.startswith("the baseline ")]
    assert len(remarks) == 1
    scores = json.loads(Path("a/baselines.json").read_text())["val"]
    best = max(scores, key=lambda name: scores[name]["accuracy"])
    assert remarks[0].startswith(
        f"the baseline {best} is right on {scores[best]['accuracy']:.1%} of the validation frames and the model on "
    )
    other = Listener()
    monkeypatch.setattr(finish, "validate", lambda *a: {"val_loss": 0.1, "val_accuracy": 1.0, "val_balanced_accuracy": 1.0})
    train(configure(data={"baselines": True}, train={"epochs": 1}, output={"path": "b"}), progress=other)
    assert other.notes == []


def test_plan_warns_of_a_pipeline_without_a_common_scale(configure: Configure) -> None:
    warning = "warning: no step brings the brightness to a common scale (normalize does); networks rarely learn from such frames"
    assert make_plan(configure(pipeline=[{"step": "overscan"}, {"step": "flip"}])).notes == (warning,)
    assert make_plan(configure()).notes == ()
