"""AlexNet, VGG and ResNet as rivals of HR-CelestialNet: what they cost at full frames, their options, how they start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from zoo.errors import InputShapeError, UsageError
from zoo.models import count_macs, count_parameters
from zoo.plugins import alexnet, resnet, vgg
from zoo.registry import Registry

FULL = (1, 2048, 4096)


def meta(name: str, input_shape: tuple[int, int, int] = FULL, **options: object) -> nn.Module:
    with torch.device("meta"):
        return zoo.create_model(name, input_shape=input_shape, **options)


@pytest.mark.parametrize(
    ("name", "parameters", "gmac"),
    [
        ("alexnet", 56_996_546, 113.38),
        ("vgg11", 128_773_378, 1241.90),
        ("vgg16", 134_267_586, 2556.16),
        ("vgg16_bn", 134_276_034, 2556.16),
        ("vgg19", 139_577_282, 3251.95),
        ("resnet18", 11_171_266, 290.04),
        ("resnet34", 21_279_426, 599.28),
        ("resnet50", 23_505_858, 670.15),
        ("resnet101", 42_497_986, 1290.77),
        ("resnet152", 58_141_634, 1911.39),
    ],
)
def test_cost_at_full_frames(name: str, parameters: int, gmac: float) -> None:
    model = meta(name)
    assert count_parameters(model) == parameters
    assert round(count_macs(model, FULL) / 1e9, 2) == gmac


@pytest.mark.parametrize(("name", "number"), [("vgg11", 11), ("vgg13_bn", 13), ("vgg16", 16), ("vgg19_bn", 19), ("resnet18", 18)])
def test_names_count_the_layers_with_weights(name: str, number: int) -> None:
    layers = [key for key, module in meta(name).named_modules() if isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in key]
    assert len(layers) == number


@pytest.mark.parametrize(
    ("name", "size", "minimum"), [("alexnet", (62, 128), "63x63"), ("alexnet", (128, 62), "63x63"), ("vgg13", (64, 31), "32x32")]
)
def test_small_frames_are_refused(name: str, size: tuple[int, int], minimum: str) -> None:
    with pytest.raises(InputShapeError, match=f"got frames of {size[0]}x{size[1]}, expected at least {minimum}"):
        meta(name, (1, *size))


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg11_bn"])
def test_dropout_is_an_option(name: str) -> None:
    rates = [module.p for module in meta(name, dropout=0.25).modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.25, 0.25]
    for wrong in (1.0, -0.1):
        with pytest.raises(UsageError, match=rf"dropout must be from 0 to below 1, got {wrong}"):
            meta(name, dropout=wrong)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_blocks_can_start_as_their_shortcut(name: str) -> None:
    for zero in (False, True):
        model = zoo.create_model(name, input_shape=(1, 32, 32), zero_init_residual=zero)
        last = [block.bn3 if isinstance(block, resnet.Bottleneck) else block.bn2 for block in model.modules() if hasattr(block, "bn2")]
        assert {norm.weight.abs().max().item() for norm in last} == {0.0 if zero else 1.0}


def test_bottleneck_strides_in_its_3x3_convolution() -> None:
    block = meta("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_shortcut_has_weights_only_where_the_shape_changes() -> None:
    for name, where in [("resnet18", [2, 3, 4]), ("resnet50", [1, 2, 3, 4])]:
        found = [key for key, module in meta(name).named_modules() if key.endswith(".downsample")]
        assert found == [f"layer{number}.0.downsample" for number in where]


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    residual = resnet.resnet18(num_classes=2, in_channels=1, input_shape=(1, 32, 32))
    for convolution in (residual.conv1, residual.layer3[1].conv2):
        fan_out = convolution.out_channels * convolution.kernel_size[0] ** 2
        assert convolution.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    deep = vgg.vgg11(num_classes=2, in_channels=1, input_shape=(1, 32, 32))
    assert deep.features[3].weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.05)
    assert deep.classifier[3].weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not any(layer.bias.any() for layer in deep.modules() if isinstance(layer, (nn.Conv2d, nn.Linear)))
    old = alexnet.build(num_classes=2, in_channels=1, input_shape=(1, 64, 64))
    assert old.classifier[4].weight.abs().max().item() <= 1 / 4096**0.5


@pytest.mark.parametrize("name", ["alexnet", "resnet50"])
def test_sound_gradient_reaches_the_first_layer(name: str) -> None:
    torch.manual_seed(0)
    model = zoo.create_model(name, input_shape=(1, 64, 128))
    logits = model(torch.rand(2, 1, 64, 128))
    assert logits.abs().max() < 5
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    first = next(model.parameters())
    assert first.grad is not None
    assert bool(first.grad.isfinite().all())
    assert bool(first.grad.any())


def test_table_of_the_docs_is_what_the_models_are() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| (\w+) \|[^|]*\| ([\d,]+) \| ([\d.]+) \|", page, re.MULTILINE)
    table = {name: (parameters, gmac) for name, parameters, gmac in rows}
    counted = {}
    for entry in Registry.from_plugins([]).entries("models"):
        model = meta(entry.name)
        counted[entry.name] = (f"{count_parameters(model):,}", f"{count_macs(model, FULL) / 1e9:.2f}")
    assert table == counted
