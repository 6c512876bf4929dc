"""ReLU and max-pool as one op that keeps four bytes for each pooled value, where torch's layers keep the whole map and eight."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.ops.checks import check_gradient
from zoo.ops.library import define_op, define_out
from zoo.ops.raw import check_memory, check_out
from zoo.ops.stem_strips import Pair


def relu_pool(image: Tensor, pool: Pair, pool_stride: Pair, pool_padding: Pair, *, out: Tensor | None = None) -> Tensor:
    """Return ``max_pool2d(relu(image), pool, pool_stride, pool_padding)``; differentiable once. NaN spreads to the windows above it.

    For its backward pass nothing is kept but where in the map each maximum was, or -1 where ReLU lets no gradient through.

    Args:
        image: ``(N, C, H, W)`` floating-point, fewer than 2^31 pixels in a plane, in any memory order.
        pool, pool_stride, pool_padding: of the max-pool, as (vertical, horizontal).
        out: where to write the result, in the dtype of the image; not overlapping it, and not where a gradient is required.

    Returns: ``(N, C, rows, columns)``: ``out``, or a new tensor.

    Raises:
        UsageError: (a ``ValueError``) ``out`` cannot take the result.
    """
    if out is not None:
        check_gradient(image, out)
        sizes = zip(image.shape[2:], pool, pool_stride, pool_padding, strict=True)
        pooled = ((size + 2 * pad - window) // stride + 1 for size, window, stride, pad in sizes)
        check_out(out, (*image.shape[:2], *pooled), (image.dtype,), image)
        torch.ops.zoo.relu_pool.out(image, pool, pool_stride, pool_padding, out=out)
        return out
    if not (torch.is_grad_enabled() and image.requires_grad):
        return F.max_pool2d(image, pool, pool_stride, pool_padding).relu_()
    result: Tensor = torch.ops.zoo.relu_pool(image, pool, pool_stride, pool_padding)[0]
    return result


def _forward(image: Tensor, pool: Any, pool_stride: Any, pool_padding: Any) -> tuple[Tensor, Tensor]:
    out, places = F.max_pool2d(image, pool, pool_stride, pool_padding, return_indices=True)
    return out.relu_(), places.int().masked_fill_(out <= 0, -1)


def _write(image: Tensor, pool: Any, pool_stride: Any, pool_padding: Any, *, out: Tensor) -> None:
    check_memory(image, out)
    torch.clamp(F.max_pool2d(image, pool, pool_stride, pool_padding), min=0, out=out)


def _backward(grad: Tensor, places: Tensor, height: int, width: int, *sizes: Any) -> Tensor:
    passed = torch.where(places >= 0, grad, 0)
    # torch asks for the map, whose shape and memory order alone it uses.
    shape = _empty_backward(grad, places, height, width)
    indices = places.long().clamp_(min=0)
    result: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(passed, shape, *sizes, (1, 1), False, indices)
    return result


def _empty_backward(grad: Tensor, places: Tensor, height: int, width: int, *_: Any) -> Tensor:
    layout = torch.channels_last if places.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return torch.empty((*places.shape[:2], height, width), dtype=grad.dtype, device=grad.device, memory_format=layout)


_SIZES = "int[] pool, int[] pool_stride, int[] pool_padding"
define_op(f"relu_pool(Tensor image, {_SIZES}) -> (Tensor, Tensor)", _forward, _forward)
define_out(f"relu_pool.out(Tensor image, {_SIZES}, *, Tensor(a!) out) -> ()", _write)
define_op(
    f"relu_pool_backward(Tensor grad, Tensor places, SymInt height, SymInt width, {_SIZES}) -> Tensor",
    _backward,
    _empty_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    image, *ctx.sizes = inputs
    ctx.side = image.shape[2:]
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _gradient(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return torch.ops.zoo.relu_pool_backward(grad, ctx.saved_tensors[0], *ctx.side, *ctx.sizes), None, None, None


torch.library.register_autograd("zoo::relu_pool", _gradient, setup_context=_save)
