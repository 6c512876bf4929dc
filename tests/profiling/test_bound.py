"""The lower bound of the memory, against sums by hand; against measured peaks in test_processes.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.errors import InputShapeError
from zoo.profiling import memory_bound

SHAPE = (1, 64, 128)
PIXELS = 64 * 128
MAP = 4 * 8 * PIXELS  # bytes of a float32 map of 8 channels


def two_convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


WEIGHTS = 4 * (8 * 9 + 8 * 8 * 9)


@pytest.mark.parametrize("batch", [1, 3])
def test_inference_holds_the_input_and_the_largest_pair_of_maps(batch: int) -> None:
    bound = memory_bound(two_convolutions(), SHAPE, batch=batch)
    assert bound.weights == WEIGHTS
    assert bound.peak == WEIGHTS + batch * (4 * PIXELS + 2 * MAP)
    assert (bound.optimizer, bound.kept, bound.complete) == (0, 0, True)


def test_training_keeps_what_the_backward_pass_needs() -> None:
    bound = memory_bound(two_convolutions(), SHAPE, training=True)
    assert bound.optimizer == WEIGHTS
    # the output of tanh, which its own and the next layer's gradient need; pooled means, logits and loss are small
    assert MAP <= bound.kept < MAP + 1000
    # worst instant: that map, its gradient, and the gradient before tanh
    worst = 2 * WEIGHTS + 4 * PIXELS + 3 * MAP
    assert worst <= bound.peak < worst + WEIGHTS + 1000


def test_training_holds_gradients_and_momentum_of_a_network_of_weights() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64, 4096), nn.Linear(4096, 2))
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    bound = memory_bound(model, SHAPE, training=True)
    assert bound.optimizer == weights
    assert 3 * weights + 4 * PIXELS <= bound.peak < 3.2 * weights + 4 * PIXELS


def test_frozen_parameters_have_neither_gradient_nor_momentum() -> None:
    model = two_convolutions()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    assert memory_bound(model, SHAPE, training=True).optimizer == WEIGHTS - 4 * 8 * 9


def test_shared_weights_count_once() -> None:
    layer = nn.Linear(128, 128, bias=False)
    model = nn.Sequential(layer, layer, nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten())
    assert memory_bound(model, SHAPE).weights == 4 * 128 * 128


def test_published_network_at_full_size_needs_no_memory_to_be_bounded() -> None:
    # The sums that torch's MemTracker gives for the same steps: 370 + 2071 MiB and 1111 + 4110 MiB; with bf16 autocast 1111 + 2087 MiB.
    with torch.device("meta"):
        model = zoo.create_model("hrcn")
    sizes = [memory_bound(model, (1, 2048, 4096), training=training).peak / 2**20 for training in (False, True)]
    sizes.append(memory_bound(model, (1, 2048, 4096), training=True, precision="bf16").peak / 2**20)
    assert sizes == pytest.approx([2441, 5221, 3198], abs=2)


def test_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model[1].train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    memory_bound(model, SHAPE, training=True)
    assert [module.training for module in model] == [False, True, False, False]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Peeks(nn.Module):
    """Looks at a value between its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 8, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.layer(image)
        return maps.mean((2, 3))[:, :2] * (2.0 if maps.max().item() > 0 else 1.0)


def test_model_that_looks_at_values_is_followed_to_that_place() -> None:
    bound = memory_bound(Peeks(), SHAPE)
    assert not bound.complete
    assert bound.peak >= 4 * PIXELS + MAP


def test_wrong_shape_is_refused() -> None:
    with torch.device("meta"):
        model = zoo.create_model("resnet18", input_shape=SHAPE)
    with pytest.raises(InputShapeError):
        memory_bound(model, (1, 64, 64))
