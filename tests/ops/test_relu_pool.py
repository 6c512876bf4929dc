"""ReLU and max-pool as one op against torch's layers: values, gradients, and what is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from zoo.ops.relu_pool import relu_pool

SIZES = [((4, 4), (2, 2), (0, 0)), ((3, 2), (2, 3), (1, 0)), ((2, 2), (2, 2), (0, 0))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_relu_pool_is_relu_and_pool(sizes: Any, layout: Any, dtype: torch.dtype) -> None:
    image = torch.randint(-9, 10, (2, 5, 31, 40)).to(dtype).contiguous(memory_format=layout).requires_grad_()
    want = F.max_pool2d(F.relu(image), *sizes)
    got = relu_pool(image, *sizes)
    assert torch.equal(got, want)
    grad = torch.randint(-9, 10, want.shape).to(dtype)
    own, layers = (torch.autograd.grad(out, image, grad)[0] for out in (got, want))
    assert torch.equal(own, layers)
    assert own.stride() == image.stride()
    assert torch.equal(relu_pool(image.detach(), *sizes), want)


def test_relu_pool_keeps_places_only() -> None:
    image = torch.randn(1, 2, 16, 16, requires_grad=True)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        relu_pool(image, (2, 2), (2, 2), (0, 0))
    assert [(tensor.dtype, tensor.numel()) for tensor in kept] == [(torch.int32, 128)]


def test_relu_pool_opcheck() -> None:
    image = torch.randn(1, 2, 9, 10, requires_grad=True)
    sizes = ([3, 2], [2, 2], [1, 0])
    torch.library.opcheck(torch.ops.zoo.relu_pool.default, (image, *sizes))
    out, places = torch.ops.zoo.relu_pool(image.detach(), *sizes)
    torch.library.opcheck(torch.ops.zoo.relu_pool_backward.default, (torch.ones_like(out), places, 9, 10, *sizes))
