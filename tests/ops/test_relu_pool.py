"""ReLU and max-pool as one op against torch's layers: values, gradients, and what is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from zoo.errors import UsageError
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
    torch.library.opcheck(torch.ops.zoo.relu_pool.out, (image.detach(), *sizes), {"out": torch.empty_like(out)})


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch._dynamo itself does it
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_relu_pool_writes_into_out(sizes: Any) -> None:
    image = torch.randn(2, 5, 31, 40)
    image[1, 2, 3, 4] = torch.nan
    want = relu_pool(image, *sizes)
    out = torch.empty((*want.shape[:3], 2 * want.shape[3]))[..., ::2]
    assert relu_pool(image, *sizes, out=out) is out
    assert torch.equal(out.nan_to_num(-1), want.nan_to_num(-1))
    compiled = torch.compile(lambda given, result: relu_pool(given, *sizes, out=result), fullgraph=True, backend="aot_eager")
    result = torch.empty_like(want)
    compiled(image, result)
    assert torch.equal(result.nan_to_num(-1), want.nan_to_num(-1))


def test_relu_pool_refuses_an_unfit_out() -> None:
    image, sizes = torch.randn(1, 2, 16, 16), ((2, 2), (2, 2), (0, 0))
    for out, message in (
        (torch.empty(1, 2, 8, 7), r"out must have shape \(1, 2, 8, 8\)"),
        (torch.empty(1, 2, 8, 8, dtype=torch.float64), "out must be one of torch.float32"),
        (image[:, :, :8, :8], "must not share memory"),
    ):
        with pytest.raises(UsageError, match=message):
            relu_pool(image, *sizes, out=out)
    with pytest.raises(UsageError, match="where a gradient is required"):
        relu_pool(image.requires_grad_(), *sizes, out=torch.empty(1, 2, 8, 8))
