"""Freezing up to a layer: what gets no gradient, what stays in eval mode, what is refused."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import zoo
from zoo.errors import UnknownNameError, UsageError
from zoo.models import Frozen, freeze_until


def small() -> nn.Sequential:
    body = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), nn.ReLU(), nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    )
    return nn.Sequential(OrderedDict(body=body, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(2, 2)))


def test_everything_up_to_the_layer_is_frozen() -> None:
    model = small()
    frozen = freeze_until(model, "body.1")
    assert frozen.modules == ("body.0", "body.1")
    assert frozen.parameters == ("body.0.0.weight", "body.0.0.bias", "body.0.1.weight", "body.0.1.bias")
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == set(frozen.parameters)
    assert not model.body[0][1].training
    assert model.body[2][1].training


def test_frozen_part_does_not_change_in_training() -> None:
    model = small()
    frozen = freeze_until(model, "body.0")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        model.eval()
        frozen.train(model)
        assert model.training
        model(5 + torch.randn(4, 1, 8, 8)).square().mean().backward()
        optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not [name for name in changed if name.startswith("body.0")]
    assert {"body.2.0.weight", "body.2.1.running_mean", "head.weight"} <= changed


def test_names_serve_a_copy_of_the_model() -> None:
    model = small()
    frozen = freeze_until(model, "body")
    twin = copy.deepcopy(model)
    frozen.train(twin)
    assert not twin.body.training
    assert not twin.body[2][2].training
    assert twin.head.training


def test_wrapped_model_is_trained_through_its_wrapper(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        model = small()
        frozen = freeze_until(model, "body.0")
        wrapped = DistributedDataParallel(model).eval()
        frozen.train(wrapped)
        assert wrapped.training
        assert not model.body[0].training
        assert model.body[2].training
    finally:
        torch.distributed.destroy_process_group()


def test_parameters_beside_the_children_come_first() -> None:
    model = small()
    model.register_parameter("scale", nn.Parameter(torch.ones(1)))
    assert freeze_until(model, "body.0").parameters[0] == "scale"


@pytest.mark.parametrize(
    ("name", "layer", "modules", "left"),
    [
        ("resnet18", "layer2", ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"), "layer3.0.conv1.weight"),
        ("alexnet", "features.10", tuple(f"features.{n}" for n in range(11)), "classifier.1.weight"),
        ("vgg11_bn", "features", ("features",), "classifier.0.weight"),
        ("vgg11", "classifier.3", ("features", "avgpool", *(f"classifier.{n}" for n in range(4))), "classifier.6.weight"),
    ],
)
def test_layers_of_the_built_in_networks(name: str, layer: str, modules: tuple[str, ...], left: str) -> None:
    with torch.device("meta"):
        model = zoo.create_model(name, input_shape=(1, 64, 128))
    frozen = freeze_until(model, layer)
    assert frozen.modules == modules
    assert next(name for name, parameter in model.named_parameters() if parameter.requires_grad) == left


def test_unknown_layer_suggests_the_nearest_and_lists_the_top() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'body'.*top level are: body, pool, flat, head; .*'body.0'"):
        freeze_until(small(), "boddy")


def test_freezing_the_head_is_refused() -> None:
    model = small()
    with pytest.raises(UsageError, match="leaves nothing to train; name a layer before the head 'head'"):
        freeze_until(model, "head")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.body.training


def test_freezing_nothing_is_refused() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    with pytest.raises(UsageError, match=r"freezes no parameter: the first one is 1\.weight"):
        freeze_until(model, "0")


def test_empty_result_trains_all() -> None:
    model = small().eval()
    Frozen((), ()).train(model)
    assert all(module.training for module in model.modules())
