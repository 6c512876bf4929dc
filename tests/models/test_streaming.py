"""Which networks have a stem that can be streamed, and that streaming changes nothing but the memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo.models import freeze_until, stream_stem
from zoo.models.directory import load_tensors_into, save_tensors

SHAPE = (1, 64, 128)


def build(name: str) -> nn.Module:
    options = {"padding": "same"} if name == "hrcn" else {}
    return zoo.create_model(name, input_shape=SHAPE, **options)


class Small(nn.Module):
    """A stem whose ReLU is a function, behind an input that is scaled, and before more layers of the same kinds."""

    def __init__(self, *, momentum: float | None = 0.1, tracked: bool = True, pool: Any = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 5, padding="same")
        self.norm = nn.BatchNorm2d(4, momentum=momentum, track_running_stats=tracked)
        self.pool = pool or nn.MaxPool2d(3, 2)
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        values = self.pool(F.relu(self.norm(self.first(2 * image)), inplace=True))
        logits: Tensor = self.head(self.second(values).mean((2, 3)))
        return logits


STEMS = {
    "hrcn": [f"features.block1.{name}" for name in ("conv1", "norm1", "relu1", "pool")],
    "resnet18": ["conv1", "bn1", "relu", "maxpool"],
    "alexnet": ["features.0", "features.1", "features.2"],
    "vgg11_bn": ["features.0", "features.1", "features.2", "features.3"],
    "vgg13_bn": [],
}


@pytest.mark.parametrize("name", STEMS)
def test_stems_of_the_built_in_networks(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    keys = list(model.state_dict())
    modules = [name for name, _ in model.named_modules()]
    assert stream_stem(model) == STEMS[name]
    assert stream_stem(model) == STEMS[name]
    assert list(model.state_dict()) == keys
    assert [name for name, _ in model.named_modules()] == modules
    assert stream_stem(model, enabled=False) == STEMS[name]
    assert stream_stem(model, enabled=False) == []


def test_streamed_network_computes_the_same(tmp_path: Path) -> None:
    plain = Small().double().eval()
    save_tensors(tmp_path / "weights", plain.state_dict())
    streamed = Small().double().eval()
    stream_stem(streamed)
    load_tensors_into(streamed, tmp_path / "weights")
    image = torch.randn(2, 1, 20, 24, dtype=torch.float64)
    for _ in range(2):
        for model in (plain, streamed):
            model(image).square().sum().backward()
        torch.testing.assert_close(streamed(image), plain(image), rtol=1e-10, atol=1e-12)
        for (key, want), got in zip(plain.named_parameters(), streamed.parameters(), strict=True):
            torch.testing.assert_close(got.grad, want.grad, rtol=1e-10, atol=1e-10, msg=key)
        for want, got in zip(plain.buffers(), streamed.buffers(), strict=True):
            torch.testing.assert_close(got, want)
        plain.train(), streamed.train()


@pytest.mark.parametrize("options", [{"momentum": None}, {"momentum": 0.25}, {"tracked": False}], ids=str)
def test_running_statistics_move_as_torch_moves_them(options: dict[str, Any]) -> None:
    plain = Small(**options)
    streamed = copy.deepcopy(plain)
    assert stream_stem(streamed) == ["first", "norm", "pool"]
    for step in range(3):
        image = torch.randn(2, 1, 20, 24) + step
        torch.testing.assert_close(streamed(image), plain(image), rtol=1e-4, atol=1e-5)
    for (name, want), got in zip(plain.named_buffers(), streamed.buffers(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6, msg=name)
    plain.eval(), streamed.eval()
    torch.testing.assert_close(streamed(image), plain(image), rtol=1e-4, atol=1e-5)


def test_frozen_norm_in_a_training_network_keeps_its_statistics() -> None:
    plain = Small().double().train()
    streamed = copy.deepcopy(plain)
    stream_stem(streamed)
    image = torch.randn(2, 1, 20, 24, dtype=torch.float64)
    for model in (plain, streamed):
        model.norm.eval()
        model(image).square().sum().backward()
    assert int(streamed.norm.num_batches_tracked) == 0
    torch.testing.assert_close(streamed.first.bias.grad, plain.first.bias.grad)  # not 0 here: the mean is that of other frames
    torch.testing.assert_close(streamed.first.weight.grad, plain.first.weight.grad)


def test_pools_behind_the_stem_take_their_relu_too() -> None:
    plain = Small().double().train()
    compact = copy.deepcopy(plain)
    assert stream_stem(compact, pools=True) == ["first", "norm", "pool", "second.2", "second.3"]
    image = torch.randn(2, 1, 20, 24, dtype=torch.float64)
    for model in (plain, compact):
        model(image).square().sum().backward()
    for (key, want), got in zip(plain.named_parameters(), compact.named_parameters(), strict=True):
        torch.testing.assert_close(got[1].grad, want.grad, rtol=1e-10, atol=1e-10, msg=key)
    plain.eval(), compact.eval()
    torch.testing.assert_close(compact(image), plain(image))
    assert len(stream_stem(compact, enabled=False)) == 5
    assert not [module for module in compact.modules() if "Streamed" in type(module).__name__]


def test_frozen_stem_gets_no_gradient() -> None:
    model = Small()
    stream_stem(model)
    frozen = freeze_until(model, "pool")
    frozen.train(model)
    model(torch.randn(1, 1, 20, 24)).sum().backward()
    assert not model.norm.training
    assert model.first.weight.grad is None
    assert model.head.weight.grad is not None


def test_copy_has_a_stem_of_its_own() -> None:
    model = Small()
    stream_stem(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert twin(torch.randn(1, 1, 20, 24)).abs().sum() > 0
    stream_stem(model, enabled=False)
    assert stream_stem(twin) == ["first", "norm", "pool"]


def test_streamed_network_can_be_traced() -> None:
    model = build("resnet18").eval()
    stream_stem(model)
    image = torch.randn(1, *SHAPE)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(image), model(image))


class Unfit(nn.Module):
    def __init__(self, *layers: nn.Module, again: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.again = again

    def forward(self, image: Tensor) -> Tensor:
        values: Tensor = self.layers(image)
        return values + self.layers[0](image).mean() if self.again else values


class Branching(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image if image.sum() > 0 else -image


@pytest.mark.parametrize(
    "model",
    [
        Unfit(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2), nn.MaxPool2d(2)),
        Unfit(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(2)),
        Unfit(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2)),
        Unfit(nn.Conv2d(1, 2, 3, dilation=2), nn.ReLU(), nn.MaxPool2d(2)),
        Unfit(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.MaxPool2d(2)),
        Unfit(nn.Conv2d(1, 2, 4, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        Unfit(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        Unfit(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), again=True),
        Unfit(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.MaxPool2d(2)),
        Branching(),
    ],
    ids=["relu first", "no relu", "average", "dilated", "reflected", "even", "ceil", "used twice", "second", "untraceable"],
)
def test_other_networks_are_left_alone(model: nn.Module) -> None:
    before = [type(module) for module in model.modules()]
    assert stream_stem(model) == []
    assert [type(module) for module in model.modules()] == before
