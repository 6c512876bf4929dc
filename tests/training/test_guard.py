"""Steps whose loss or gradient is not finite: nothing of them stays, the frames are named, three in a row end the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

import zoo
from zoo.data import Row
from zoo.errors import CheckFailedError
from zoo.models.directory import load_tensors
from zoo.training import Progress, TrainConfig, make_plan, read_metrics, train
from zoo.training.batches import TrainingBatches
from zoo.training.guard import Fault, describe_frames, gradient_fault, is_finite, loss_fault
from zoo.training.opening import _build_state
from zoo.training.optimizer import optimizer_tensors
from zoo.training.step import take_step

Configure = Callable[..., TrainConfig]
RAW = [{"step": "overscan"}]  # normalize would put zero in the place of NaN


class Listener(Progress):
    """Keeps the notes and what is said of skipped steps."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.skips: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def skipped(self, record: Mapping[str, Any], description: str) -> None:
        self.skips.append(f"{record['step']}: {description}")


def put_nan(path: Path) -> None:
    with fits.open(path, mode="update") as file:
        file[0].data[3, 5] = np.nan


@pytest.fixture
def holed(sky: Path, tmp_path: Path, configure: Configure) -> Callable[..., TrainConfig]:
    """Return a function that makes a configuration for a copy of the sky in which one frame of a split has a NaN pixel."""

    def make(split: str = "train", **tables: Any) -> TrainConfig:
        folder = tmp_path / "holed"
        shutil.copytree(sky, folder)
        config = configure(data={"source": str(folder)}, pipeline=RAW, **tables)
        row = next(row for row in make_plan(config).dataset.manifest.rows if row.split == split)
        put_nan(folder / row.path)
        return config

    return make


@pytest.mark.parametrize("loss", ["nan", "cliff"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_without_finite_numbers_changes_nothing(configure: Configure, loss: str, accumulate: int) -> None:
    good = make_plan(configure(train={"ema": 0.9, "accumulate": accumulate}))
    bad = make_plan(configure(train={"ema": 0.9, "accumulate": accumulate, "loss": loss}))
    state, _ = _build_state(good, Progress())
    state.train()

    def tensors() -> dict[str, torch.Tensor]:
        assert state.average is not None
        average = state.average.model.state_dict()
        parts = chain(state.model.state_dict().items(), average.items(), optimizer_tensors(state.optimizer).items())
        return {f"{number} {name}": tensor.clone() for number, (name, tensor) in enumerate(parts)}

    batches = TrainingBatches(good, epoch=0)
    first = take_step(good, state, good.build_criterion(), batches, accumulate)
    assert first.fault is None
    before = tensors()
    result = take_step(bad, state, bad.build_criterion(), batches, accumulate)
    assert result.fault is not None
    assert len(result.fault.rows) == (4 if loss == "nan" else 4 * accumulate)
    after = tensors()
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_a_step_whose_variance_overflows_changes_nothing(configure: Configure) -> None:
    """Activations of 1e25 are finite in float32 and their squares are not: BatchNorm gives zeros, and the loss says nothing."""
    plan = make_plan(configure())
    state, _ = _build_state(plan, Progress())
    state.train()
    with torch.no_grad():
        state.model.get_parameter("convolution.weight").mul_(1e25)
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    result = take_step(plan, state, plan.build_criterion(), TrainingBatches(plan, epoch=0), 1)
    assert result.sums.loss < 10
    assert result.fault == Fault("the variance of a layer's output is not finite", result.fault.rows if result.fault else ())
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.model.state_dict().items())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_train_goes_on_without_the_batch_of_a_bad_frame(holed: Configure, accumulate: int) -> None:
    listener = Listener()
    config = holed(train={"ema": 0.9, "accumulate": accumulate, "epochs": 3})
    run = train(config, progress=listener)
    folders = ("model", "checkpoints/last", "checkpoints/best")
    tensors = {
        f"{file}:{name}": tensor
        for file in (*(f"{folder}/model.safetensors" for folder in folders), "checkpoints/last/state.safetensors")
        for name, tensor in load_tensors(run.path / file).items()
    }
    assert [name for name, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()] == []
    skipped = [record for record in read_metrics(run.path) if record["event"] == "skipped"]
    assert [record["skipped_steps"] for record in skipped] == [1, 2, 3]
    name = make_plan(config).train[0].path
    assert all(record["frames"] == [name] and record["targets"] == [Path(name).stem.split("_")[0]] for record in skipped)
    assert listener.skips[0] == (
        f"{skipped[0]['step']}: the loss is nan, and so are pixels of 1 of 4 frames after the pipeline; look at {name} "
        f"(target {Path(name).stem.split('_')[0]})"
    )
    card = zoo.load(run.path).card["training"]
    assert card["skipped_steps"] == run.summary["skipped_steps"] == 3
    assert card["steps"] == 3 * (4 // accumulate)
    assert any(note.startswith("1 of 4 batches gave no finite BatchNorm statistics") for note in listener.notes)
    epochs = [record for record in read_metrics(run.path) if record["event"] == "epoch"]
    assert [record["skipped_steps"] for record in epochs] == [1, 2, 3]
    assert all(record["train_loss"] is not None for record in epochs)


@pytest.mark.parametrize("loss", ["nan", "cliff"])
def test_train_stops_after_three_bad_steps_in_a_row(configure: Configure, loss: str) -> None:
    words = {"nan": "the loss is nan", "cliff": "the norm of the gradient is nan"}[loss]
    with pytest.raises(CheckFailedError, match=rf"3 optimizer steps in a row .* step 3: {words}; look at .*there is no checkpoint yet"):
        train(configure(train={"loss": loss, "epochs": 1}))
    assert [record["event"] for record in read_metrics(Path("run"))] == ["skipped"] * 3
    with pytest.raises(CheckFailedError, match="step 3: "):  # nothing was saved, so the same happens again
        train(resume="run")
    assert not Path("run/model").exists()


def test_train_counts_bad_steps_over_epochs_and_keeps_the_last_checkpoint(configure: Configure) -> None:
    with pytest.raises(CheckFailedError, match=r"step 3: .*the last checkpoint is run/checkpoints/last"):
        train(configure(train={"loss": "nan", "epochs": 4, "batch_size": 16}))
    state = json.loads(Path("run/checkpoints/last/state.json").read_text())
    assert state["position"]["skipped_in_a_row"] == 2
    epochs = [record for record in read_metrics(Path("run")) if record["event"] == "epoch"]
    assert [record["train_loss"] for record in epochs] == [None, None]


def test_train_names_validation_frames_without_finite_logits(holed: Configure) -> None:
    listener = Listener()
    run = train(holed("val", train={"epochs": 1}), progress=listener)
    notes = [note for note in listener.notes if "validation loss is nan" in note]
    assert len(notes) == 2  # after the epoch, and of the final model
    assert "the model gives no finite logits for " in notes[0]
    assert ".fits (target " in notes[0]
    assert not run.best.exists()


def test_faults_name_the_frames_that_matter() -> None:
    rows = tuple(Row(path=f"{name}.fits", label="galaxy", target=f"T{name}", hdu=4 if name == "b" else None) for name in "abcdefgh")
    images = torch.zeros(8, 1, 2, 2)
    assert loss_fault(float("inf"), is_finite(images), rows) == Fault("the loss is inf", rows)
    images[1, 0, 0, 0] = float("inf")
    assert loss_fault(float("nan"), is_finite(images), rows).rows == rows[1:2]
    assert describe_frames(rows[:2]) == "a.fits, b.fits:4 (targets Ta, Tb)"
    assert (
        describe_frames(rows) == "a.fits, b.fits:4, c.fits, d.fits, e.fits, f.fits and 2 more (targets Ta, Tb, Tc, Td, Te, Tf and 2 more)"
    )
    assert gradient_fault(1.0, rows, scale=4.0) is None
    assert gradient_fault(float("inf"), rows, scale=4.0) == Fault(
        "the gradient leaves the range of fp16 at loss scale 4", rows, overflow=True
    )
    assert gradient_fault(float("inf"), rows, scale=1.0) == Fault("the norm of the gradient is inf", rows)
