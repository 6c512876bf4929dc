"""What holds for every registered architecture, on the meta device: nothing is allocated, so the largest takes a moment."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx, nn

import zoo
from zoo.errors import InputShapeError
from zoo.models import count_parameters
from zoo.registry import Registry, use_registry

BUILTIN = Registry.from_plugins([])
NAMES = BUILTIN.names("models")

# Options with which an architecture takes frames of any size.
ANY_SIZE: dict[str, dict[str, Any]] = {"hrcn": {"padding": "same"}}


def meta(name: str, input_shape: tuple[int, int, int], num_classes: int = 2) -> nn.Module:
    with use_registry(BUILTIN), torch.device("meta"):
        options = ANY_SIZE.get(name, {})
        return zoo.create_model(name, num_classes=num_classes, in_channels=input_shape[0], input_shape=input_shape, **options)


def frames(number: int, *shape: int) -> torch.Tensor:
    return torch.empty(number, *shape, device="meta")


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_as_registered(name: str) -> None:
    entry = BUILTIN.get("models", name)
    with torch.device("meta"):
        model = zoo.create_model(name)
    assert count_parameters(model) == entry.metadata["parameters"]
    assert entry.metadata["input_shape"] == (1, 2048, 4096)
    assert entry.reference.startswith("https://")
    assert entry.licence
    assert entry.summary


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 5), (4, 1)])
def test_channels_and_classes_are_free(name: str, channels: int, classes: int) -> None:
    model = meta(name, (channels, 64, 128), classes)
    assert model(frames(3, channels, 64, 128)).shape == (3, classes)


@pytest.mark.parametrize("name", NAMES)
def test_traced_graph_keeps_the_check_of_the_shape(name: str) -> None:
    graph = fx.symbolic_trace(meta(name, (1, 64, 128)))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    assert graph(frames(2, 1, 64, 128)).shape == (2, 2)
    for shape in [(1, 128, 64), (1, 64, 129), (3, 64, 128)]:
        with pytest.raises(InputShapeError):
            graph(frames(1, *shape))


@pytest.mark.parametrize("name", NAMES)
def test_frame_that_is_too_small_is_refused_when_the_model_is_built(name: str) -> None:
    for shape in [(1, 1, 1), (1, 31, 128), (1, 64, 32), (1, 62, 128), (1, 64, 63)]:
        try:
            model = meta(name, shape)
        except InputShapeError as err:
            assert f"frames of {shape[1]}x{shape[2]}" in str(err)  # noqa: PT017
            assert "at least" in str(err)  # noqa: PT017
        else:
            assert model(frames(2, *shape)).shape == (2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_defined_in_the_order_in_which_they_run(name: str) -> None:
    """Freezing up to a layer relies on it."""
    model = meta(name, (1, 64, 128)).eval()
    ran: list[str] = []
    for key, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)) and "downsample" not in key:  # a shortcut runs beside its block
            module.register_forward_hook(lambda *_, key=key: ran.append(key))
    model(frames(1, 1, 64, 128))
    assert ran == [key for key, module in model.named_modules() if key in ran]
    assert len(ran) == len(set(ran))
