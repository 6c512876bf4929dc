"""Following a network: its last layer, its last map, and where the cells of that lie in the frame."""

from __future__ import annotations

import pytest
import torch
from planted_nets import Bright, Functional
from torch import Tensor, nn

import zoo
from zoo.explaining.fields import Axis, Field, spread_evenly
from zoo.explaining.structure import follow, last_layer, last_map


def _seen(model: nn.Module, size: tuple[int, int], cell: tuple[int, int], name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row and column on which a cell of the map depends, by autograd: what the arithmetic must agree with."""
    held: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(lambda module, args, result: held.append(result))
    image = torch.rand(1, 1, *size, requires_grad=True)
    model(image)
    handle.remove()
    held[-1][0, :, *cell].sum().backward()
    assert image.grad is not None
    touched = image.grad[0, 0].abs() > 0
    rows, columns = torch.nonzero(touched.any(dim=1)), torch.nonzero(touched.any(dim=0))
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


def test_fields_of_hrcn_are_those_of_the_published_layout() -> None:
    with torch.device("meta"):
        model = zoo.create_model("hrcn").eval()
    passings = follow(model, (1, 2048, 4096))
    layer, held = last_layer(passings), last_map(passings)
    assert layer is not None
    assert held is not None
    assert (layer.module, layer.kind, layer.shape) == ("head.fc3", "linear", (1, 4096))
    assert (held.module, held.shape) == ("features.block7.pool", (1, 512, 7, 23))
    # 3, 6.5 after the first pool (step 4), 18.5, 24.5 (8), 56.5, 60.5 (16), 92.5, 100.5 (32), 164.5, 180.5 (64), 308.5, 340.5 (128), 596.5
    assert held.field == Field(Axis(596.5, 128, 1194), Axis(596.5, 128, 1194))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "alexnet", "hrcn"])
def test_every_family_has_features_and_a_map(name: str) -> None:
    options = {"padding": "same"} if name == "hrcn" else {}
    with torch.device("meta"):
        model = zoo.create_model(name, input_shape=(1, 128, 256), **options).eval()
    passings = follow(model, (1, 128, 256))
    layer, held = last_layer(passings), last_map(passings)
    assert layer is not None
    assert layer.kind == "linear"
    assert held is not None
    assert held.field is not None
    rows, columns = held.shape[2:]
    assert held.field.rows.first + (rows - 1) * held.field.rows.step < 128
    assert held.field.columns.first + (columns - 1) * held.field.columns.step < 256


def test_resnet_map_is_behind_its_last_sum() -> None:
    with torch.device("meta"):
        model = zoo.create_model("resnet18", input_shape=(1, 64, 192)).eval()
    held = last_map(follow(model, (1, 64, 192)))
    assert held is not None
    assert (held.module, held.given, held.shape) == ("avgpool", False, (1, 512, 2, 6))


def test_field_is_where_autograd_says_without_padding() -> None:
    model = Bright(2, (1, 64, 192)).eval()
    held = last_map(follow(model, (1, 64, 192)))
    assert held is not None
    assert held.field is not None
    assert held.shape == (1, 2, 4, 36)
    for cell in ((0, 0), (3, 35)):
        spans = _seen(model, (64, 192), cell, "features.3")
        for axis, place, (low, high) in zip(held.field, cell, spans, strict=True):
            assert axis.first + place * axis.step == pytest.approx((low + high) / 2, abs=1.5)  # the pool passes one gradient of 4 on
            assert high - low + 1 <= axis.size


def test_field_follows_functions_pads_cuts_and_shortcuts() -> None:
    model = Functional().eval()
    passings = follow(model, (1, 40, 48))
    held, layer = last_map(passings), last_layer(passings)
    assert held is not None
    assert (held.module, held.given) == ("shortcut", True)  # what follows are functions, and the last convolution has one cell
    assert layer is not None
    assert (layer.module, layer.kind) == ("last", "convolution")
    assert passings is not None
    second = next(passing for passing in passings if passing.module == "second" and passing.given)
    assert second.field is not None
    (top, bottom), (left, right) = _seen(model, (40, 48), (4, 5), "second")
    rows, columns = second.field
    assert (rows.first + 4 * rows.step, rows.size) == ((top + bottom) / 2, bottom - top + 1)
    assert (columns.first + 5 * columns.step, columns.size) == ((left + right) / 2, right - left + 1)


def test_networks_without_layers_or_without_a_shape_are_told() -> None:
    class Looks(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.flatten(1)[:, : int(image.sum().item())]

    assert follow(Looks(), (1, 8, 8)) is None
    assert last_layer(None) is last_map(None) is None
    plain = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(8, 2)).eval()
    passings = follow(plain, (1, 8, 16))
    assert last_map(passings) is None
    layer = last_layer(passings)
    assert layer is not None
    assert layer.shape == (1, 8)


def test_following_leaves_the_model_as_it_is() -> None:
    model = Bright(2, (1, 64, 192)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    follow(model, (1, 64, 192))
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_cells_that_nothing_is_known_of_share_the_frame_evenly() -> None:
    field = spread_evenly((2, 4), (64, 192))
    assert field.rows[:2] == (15.5, 32)
    assert field.columns[:2] == (23.5, 48)
