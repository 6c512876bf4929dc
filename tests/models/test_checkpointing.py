"""Activation checkpointing: the same gradients and statistics, with less kept; switched on and off on any model."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import zoo
from zoo.models import checkpoint_blocks

SHAPE = (1, 64, 128)
NETWORKS = {"resnet18": {}, "hrcn": {"padding": "same"}, "vgg11_bn": {}, "alexnet": {}}


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    return zoo.create_model(name, input_shape=SHAPE, **NETWORKS[name]).train()


def step(model: nn.Module) -> tuple[dict[str, Tensor], int]:
    """Gradients and buffers after one step, and how many bytes autograd kept beside the parameters."""
    torch.manual_seed(1)
    images, labels, kept = torch.rand(2, *SHAPE), torch.tensor([0, 1]), dict[int, int]()
    known = {tensor.data_ptr() for tensor in (images, *model.parameters(), *model.buffers())}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in known:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = F.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return found | {name: buffer.clone() for name, buffer in model.named_buffers()}, sum(kept.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_are_those_of_the_plain_network(name: str) -> None:
    plain, checkpointed = make(name), make(name)
    assert checkpoint_blocks(checkpointed)
    (expected, kept), (found, kept_less) = step(plain), step(checkpointed)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)  # dropout and running statistics included
    assert kept_less < 0.6 * kept  # the stem stays as it was


def test_it_can_be_switched_off_again_and_leaves_the_state_dict_alone() -> None:
    model = make("resnet18")
    classes, names = [type(module) for module in model.modules()], list(model.state_dict())
    blocks = checkpoint_blocks(model)
    assert blocks == [f"layer{layer}.{block}" for layer in range(1, 5) for block in range(2)]
    assert checkpoint_blocks(model) == blocks
    assert list(model.state_dict()) == names
    assert checkpoint_blocks(model, False) == blocks
    assert [type(module) for module in model.modules()] == classes
    assert checkpoint_blocks(model, False) == []


def test_rows_of_layers_are_cut_behind_their_pools() -> None:
    assert checkpoint_blocks(make("alexnet")) == ["features"]
    assert checkpoint_blocks(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Linear(3, 3))) == []


def test_copies_and_traces_behave_alike() -> None:
    model = make("resnet18")
    checkpoint_blocks(model)
    twin = copy.deepcopy(model)
    (found, kept), (again, kept_again) = step(model), step(twin)
    assert kept == kept_again
    assert all(torch.equal(found[key], again[key]) for key in found)
    images = torch.rand(1, *SHAPE)
    assert torch.equal(fx.symbolic_trace(model.eval())(images), model(images))
