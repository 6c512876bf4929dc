"""AlexNet, VGG and ResNet against what torchvision's models of the same names have and give, recorded in ``state_dicts.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.models import count_parameters

NAMES = [name for name in zoo.list_models() if name.startswith(("alexnet", "vgg", "resnet"))]


@pytest.fixture(scope="module")
def recorded(real_data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((real_data / "torchvision" / "state_dicts.json").read_text())["models"]
    return found


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def set_stated_weights(model: nn.Module) -> None:
    """value[j] = 0.05 sin(0.37 i + 0.011 j) for tensor i; running_var = 1 + |value|; BatchNorm's weight = 1 + value.

    By the sum rule of the sine this is a product of matrices of rank 2, which is made in a tenth of the time of 138 million sines.
    """
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        owner, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            tensor.zero_()
            continue
        rows = tensor.view(len(tensor), -1)
        first = 0.37 * number + 0.011 * rows.shape[1] * torch.arange(len(rows))
        step = 0.011 * torch.arange(rows.shape[1])
        torch.mm(0.05 * torch.stack([first.sin(), first.cos()], 1), torch.stack([step.cos(), step.sin()]), out=rows)
        if kind == "running_var":
            tensor.abs_().add_(1)
        elif kind == "weight" and owner in norms:
            tensor.add_(1)


def stated_image() -> Tensor:
    """x[0, c, h, w] = cos(0.05 (c + 1) h) sin(0.03 w), where the record has the factor 0.05 (c + 1) in float32, all else in float64."""
    factor = (0.05 * torch.arange(1, 4, dtype=torch.float32)).double()
    rows = torch.cos(factor[:, None, None] * torch.arange(224, dtype=torch.float64)[:, None])
    return (rows * torch.sin(0.03 * torch.arange(256, dtype=torch.float64)))[None]


def test_record_covers_every_rival(recorded: dict[str, Any]) -> None:
    assert sorted(recorded) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_the_recorded_ones(name: str, recorded: dict[str, Any], double: None) -> None:
    expected = recorded[name]
    with torch.device("meta"):  # no time for random numbers that are overwritten
        model = zoo.create_model(name, num_classes=1000, in_channels=3, input_shape=(3, 224, 256))
    assert [[key, list(tensor.shape)] for key, tensor in model.state_dict().items()] == expected["state_dict"]
    assert count_parameters(model) == expected["parameters"]
    model = model.to_empty(device="cpu").eval()
    set_stated_weights(model)
    with torch.inference_mode():
        logits = model(stated_image())
    assert logits.shape == (1, 1000)
    assert logits[0, :10].tolist() == pytest.approx(expected["logits_0_to_9"], rel=1e-8)  # worst measured 5e-11
    # The sum of values that cancel is as exact as its largest term.
    assert logits.sum().item() == pytest.approx(expected["logits_sum"], rel=1e-8, abs=1e-8 * logits.abs().max().item())
