"""The published layout to the last parameter, and its variant for other sizes."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from zoo.errors import InputShapeError, UsageError
from zoo.models import count_buffers, count_macs, count_parameters
from zoo.plugins import hrcn

FULL = (1, 2048, 4096)


def meta(input_shape: tuple[int, int, int] = FULL, **options: str) -> hrcn.HRCelestialNet:
    with torch.device("meta"):
        return hrcn.build(num_classes=2, in_channels=1, input_shape=input_shape, **options)


def test_hrcn_has_the_published_size() -> None:
    model = meta()
    assert count_parameters(model) == 97_048_130
    assert count_buffers(model) == 6_860
    assert count_macs(model, FULL) == 177_944_134_784
    assert count_parameters(model.features) == 11_048_512
    assert [count_parameters(layer) for layer in (model.head.fc1, model.head.fc2, model.head.fc3)] == [69_210_112, 16_781_312, 8_194]


def test_hrcn_has_the_published_map_after_every_stage() -> None:
    shapes = []
    model, image = meta(), torch.empty(1, *FULL, device="meta")
    for block in model.features:
        image = block(image)
        shapes.append(tuple(image.shape[1:]))
    assert shapes == [(32, 509, 1021), (64, 250, 506), (128, 121, 249), (256, 58, 122), (256, 27, 59), (512, 11, 27), (512, 3, 11)]
    assert [layer for layer in model.modules() if isinstance(layer, nn.Dropout)] == []


def test_hrcn_layers_are_convolution_norm_relu_with_bias() -> None:
    model = meta()
    kinds = [type(layer).__name__ for layer in model.features.block3]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    assert all(layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2d))


def test_hrcn_traces_with_its_check_in_the_graph() -> None:
    model = meta()
    graph = fx.symbolic_trace(model)
    assert graph(torch.empty(3, *FULL, device="meta")).shape == (3, 2)
    with pytest.raises(InputShapeError):
        graph(torch.empty(1, 1, 4096, 2048, device="meta"))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    with pytest.raises(InputShapeError):
        graph(torch.empty(1, 1, 4096, 2048, device="meta"))


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((1, 1, 4096, 2048), "height and width are swapped"),
        ((1, 1, 4136, 4144), "pipeline"),
        ((1, 1, 2048, 4095), "pipeline"),
        ((1, 3, 2048, 4096), "pipeline"),
        ((1, 2048, 4096), "unsqueeze"),
        ((2048, 4096), "pipeline"),
    ],
)
def test_hrcn_refuses_other_shapes(shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(InputShapeError, match=remedy):
        meta()(torch.empty(shape, device="meta"))


def test_hrcn_accepts_exactly_the_published_range() -> None:
    assert hrcn.published_range() == ((1834, 2089), (3882, 4137))
    for height, width in [(1834, 3882), (2089, 4137)]:
        assert count_parameters(meta((1, height, width))) == 97_048_130
        assert meta((1, height, width))(torch.empty(1, 1, height, width, device="meta")).shape == (1, 2)
    for height, width in [(1833, 4096), (2090, 4096), (2048, 3881), (2048, 4138), (4096, 2048), (256, 512)]:
        with pytest.raises(InputShapeError, match=r"padding=same.*not the paper's network"):
            meta((1, height, width))


def test_hrcn_refuses_unknown_padding_and_channels_that_disagree() -> None:
    with pytest.raises(UsageError, match="padding must be one of valid, same, got 'full'"):
        meta(padding="full")
    with pytest.raises(InputShapeError, match="in_channels is 1"):
        meta((3, 2048, 4096))


@pytest.mark.parametrize(
    ("height", "width", "pools", "size"),
    [
        (2048, 4096, 7, (7, 15)),
        (512, 1024, 5, (7, 15)),
        (256, 512, 4, (7, 15)),
        (768, 768, 5, (11, 11)),
        (64, 128, 2, (6, 14)),
        (24, 64, 1, (5, 15)),
        (15, 40, 0, (15, 40)),
        (3, 11, 0, (3, 11)),
    ],
)
def test_hrcn_same_leaves_out_the_last_pools(height: int, width: int, pools: int, size: tuple[int, int]) -> None:
    model, image = meta((1, height, width), padding="same"), torch.empty(2, 1, height, width, device="meta")
    assert [f"block{n}" for n, block in enumerate(model.features, start=1) if hasattr(block, "pool")] == [
        f"block{n + 1}" for n in range(pools)
    ]
    assert tuple(model.features(image).shape[2:]) == size
    assert model(image).shape == (2, 2)
    assert count_parameters(model) == 97_048_130


def test_hrcn_same_refuses_frames_below_its_map() -> None:
    with pytest.raises(InputShapeError, match="at least 3x11"):
        meta((1, 2, 512), padding="same")


def test_hrcn_state_dict_is_one_for_both_paddings() -> None:
    published, other = meta(), meta((1, 256, 512), padding="same")
    shapes = {name: tensor.shape for name, tensor in published.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in other.state_dict().items()}
    published.load_state_dict(other.state_dict(), strict=True)


def test_hrcn_trains_at_a_small_size() -> None:
    torch.manual_seed(0)
    model = hrcn.build(num_classes=2, in_channels=1, input_shape=(1, 24, 64), padding="same")
    logits = model(torch.rand(2, 1, 24, 64))
    assert logits.shape == (2, 2)
    assert logits.abs().max() < 5
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in model.parameters())
