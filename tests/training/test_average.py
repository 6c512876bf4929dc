"""The moving average of the weights: by hand, against torch, and as the model of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import zoo
from zoo.models.directory import load_tensors
from zoo.training import TrainConfig, train
from zoo.training.average import WeightAverage

Configure = Callable[..., TrainConfig]


class Masked(nn.Module):
    """A layer with BatchNorm and with a constant buffer that a mean would turn into NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.register_buffer("mask", torch.tensor([float("-inf"), 0.0]))
        self.register_buffer("shift", torch.zeros(1))


def change(model: Masked, number: int) -> None:
    """New weights, statistics and counters, as a step makes them."""
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    model.norm(torch.randn(8, 4, generator=generator))
    model.shift += 1


def test_average_is_that_of_torch_where_the_decay_is_reached() -> None:
    """From step 1 on (1 + t) / (10 + t) exceeds 0.15, so torch's average of constant decay, begun after step 0, is the same."""
    model = Masked()
    average = WeightAverage(model, 0.15)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.15))
    torchs.update_parameters(model)  # its first update copies
    for step in range(1, 6):
        change(model, step)
        average.update(model, step)
        torchs.update_parameters(model)
    for own, expected in zip(average.model.parameters(), torchs.module.parameters(), strict=True):
        torch.testing.assert_close(own, expected)


def test_average_ramps_up_and_treats_buffers_by_what_they_are() -> None:
    model = Masked()
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    average = WeightAverage(model, 0.9)
    change(model, 0)
    average.update(model, 0)  # decay 1 / 10
    state = average.model.state_dict()
    for name in ("linear.weight", "norm.weight", "norm.running_mean", "norm.running_var"):
        torch.testing.assert_close(state[name], 0.1 * first[name] + 0.9 * model.state_dict()[name])
    assert state["norm.num_batches_tracked"] == 1
    assert state["shift"] == 1
    assert state["mask"].tolist() == [float("-inf"), 0.0]
    change(model, 1)
    before = state["linear.weight"].clone()
    average.update(model, 10_000)
    torch.testing.assert_close(average.model.state_dict()["linear.weight"], 0.9 * before + 0.1 * model.state_dict()["linear.weight"])


def test_average_leaves_training_alone() -> None:
    model = Masked().train()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    average = WeightAverage(model, 0.9)
    assert torch.equal(torch.rand(1), expected)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_train_validates_and_saves_the_average(configure: Configure) -> None:
    plain = train(configure(output={"path": "plain"}))
    averaged = train(configure(output={"path": "averaged"}, train={"ema": 0.9}))
    raw = load_tensors(averaged.last / "model.safetensors")
    assert all(torch.equal(tensor, raw[name]) for name, tensor in load_tensors(plain.last / "model.safetensors").items())
    state = load_tensors(averaged.last / "state.safetensors")
    model = load_tensors(averaged.model / "model.safetensors")
    assert {name.removeprefix("ema/") for name in state if name.startswith("ema/")} == set(model)
    assert torch.equal(model["head.weight"], state["ema/head.weight"])
    assert not torch.equal(model["head.weight"], raw["head.weight"])
    assert not torch.equal(model["norm.running_mean"], state["ema/norm.running_mean"])  # measured once more with these weights
    assert averaged.summary["val_loss"] != plain.summary["val_loss"]
    assert (plain.summary["ema"], averaged.summary["ema"]) == (0.0, 0.9)


def test_train_keeps_the_best_average(configure: Configure) -> None:
    run = train(configure(train={"ema": 0.9, "keep": "best", "epochs": 3}))
    best, model = (load_tensors(folder / "model.safetensors") for folder in (run.best, run.model))
    assert torch.equal(best["head.weight"], model["head.weight"])
    assert zoo.load(run.path).card["training"]["kept"] == "best"


@pytest.mark.parametrize("keys", [{"ema": 0.9}, {"ema": 0.0}])
def test_checkpoint_holds_the_average_only_if_there_is_one(configure: Configure, keys: dict[str, float]) -> None:
    run = train(configure(train={**keys, "epochs": 1}))
    assert any(name.startswith("ema/") for name in load_tensors(run.last / "state.safetensors")) == bool(keys["ema"])
