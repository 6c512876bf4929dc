"""The streamed stem in pure torch, strip by strip: the reference of the compiled kernels, and what runs where they do not.

A strip is a number of pooled rows. The convolution is computed for the rows under its windows only, so the map in memory is one strip high.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MAP_BYTES = 2**25  # of the convolution's map in one strip, where nothing else is asked for

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """Sizes of a stem, each as (vertical, horizontal): of the convolution's stride and padding, and of the pool."""

    stride: Pair
    padding: Pair
    pool: Pair
    pool_stride: Pair
    pool_padding: Pair

    def map_size(self, image: Tensor, weight: Tensor) -> Pair:
        """Rows and columns of the convolution's map."""
        return conv_size(image, weight, self.stride, self.padding)

    def pooled_size(self, image: Tensor, weight: Tensor) -> Pair:
        """Rows and columns after the pool; not positive where the image is too small."""
        rows, columns = (
            (size + 2 * self.pool_padding[axis] - self.pool[axis]) // self.pool_stride[axis] + 1
            for axis, size in enumerate(self.map_size(image, weight))
        )
        return rows, columns

    def place_dtype(self) -> torch.dtype:
        """The smallest type that holds every place in a window and one value more, `dead_place`."""
        return torch.uint8 if self.pool[0] * self.pool[1] < 255 else torch.int16

    def dead_place(self) -> int:
        """The place that says: the maximum is not positive, so ReLU lets no gradient through."""
        return torch.iinfo(self.place_dtype()).max


def conv_size(image: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Pair:
    """Rows and columns of a convolution's map."""
    rows, columns = ((image.shape[2 + axis] + 2 * padding[axis] - weight.shape[2 + axis]) // stride[axis] + 1 for axis in (0, 1))
    return rows, columns


class _Strip(NamedTuple):
    """Pooled rows ``first`` to ``last`` of one frame; rows ``top`` to ``bottom`` of the map, ``above`` and ``below`` of them outside it."""

    frame: int
    first: int
    last: int
    top: int
    bottom: int
    above: int
    below: int


def _strips(image: Tensor, weight: Tensor, geometry: Geometry, strip: int, itemsize: int) -> Iterator[_Strip]:
    rows, columns = geometry.map_size(image, weight)
    height = geometry.pooled_size(image, weight)[0]
    pool, stride, padding = geometry.pool[0], geometry.pool_stride[0], geometry.pool_padding[0]
    together = strip or max(1, _rows_that_fit(weight, columns, itemsize) // stride)
    for frame in range(image.shape[0]):
        for first in range(0, height, together):
            last = min(first + together, height)
            top, bottom = first * stride - padding, (last - 1) * stride - padding + pool
            yield _Strip(frame, first, last, max(top, 0), min(bottom, rows), max(-top, 0), max(bottom - rows, 0))


def _rows_that_fit(weight: Tensor, columns: int, itemsize: int) -> int:
    return max(1, MAP_BYTES // (weight.shape[0] * columns * itemsize))


def _image_rows(image: Tensor, weight: Tensor, stride: Pair, padding: Pair, frame: int, top: int, bottom: int) -> tuple[Tensor, int, int]:
    """The part of a frame under rows ``top`` to ``bottom`` of the map, padded with zeros, its first row and the padding above it."""
    first, last = top * stride[0] - padding[0], (bottom - 1) * stride[0] - padding[0] + weight.shape[2]
    above, below = max(-first, 0), max(last - image.shape[2], 0)
    part = image[frame : frame + 1, :, max(first, 0) : last]
    return (F.pad(part, (0, 0, above, below)) if above or below else part), max(first, 0), above


def pool_strips(image: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, strip: int, out: Tensor, places: Tensor) -> None:
    """Write ``max_pool2d(relu(conv2d(image, weight, bias)))`` into ``out``, and where in each window the maximum was into ``places``.

    Args:
        image: ``(N, C, H, W)``. weight: ``(K, C, h, w)``. bias: ``(K,)``. strip: pooled rows at a time; 0 for about 32 MiB.
        geometry: sizes.
        out: ``(N, K, rows, columns)``, in whose dtype everything is computed.
        places: of the same shape: row times the window's width plus column, or `Geometry.dead_place`; empty if nobody needs them.
    """
    dtype = out.dtype
    kernel, offset = weight.to(dtype), bias.to(dtype)
    for part in _strips(image, weight, geometry, strip, dtype.itemsize):
        rows, _, _ = _image_rows(image, weight, geometry.stride, geometry.padding, part.frame, part.top, part.bottom)
        values = F.conv2d(rows.to(dtype), kernel, offset, geometry.stride, (0, geometry.padding[1]))
        if part.above or part.below:
            values = F.pad(values, (0, 0, part.above, part.below), value=-torch.inf)
        target = out[part.frame : part.frame + 1, :, part.first : part.last]
        padding = (0, geometry.pool_padding[1])
        if places.numel() == 0:
            target.copy_(F.max_pool2d(values, geometry.pool, geometry.pool_stride, padding).relu_())
            continue
        pooled, index = F.max_pool2d(values, geometry.pool, geometry.pool_stride, padding, return_indices=True)
        down, across = _corners(geometry, part.last - part.first, out.shape[3], index)
        width = values.shape[3]
        place = (index // width - down) * geometry.pool[1] + index % width - across
        place = torch.where(pooled <= 0, geometry.dead_place(), place)
        places[part.frame : part.frame + 1, :, part.first : part.last] = place.to(places.dtype)
        target.copy_(pooled.relu_())


def _corners(geometry: Geometry, rows: int, columns: int, like: Tensor) -> Pair | tuple[Tensor, Tensor]:
    """Row ``(rows, 1)`` and column ``(columns,)`` of the first pixel of each window; rows count from the first window of the strip."""
    down = torch.arange(rows, device=like.device)[:, None] * geometry.pool_stride[0]
    across = torch.arange(columns, device=like.device) * geometry.pool_stride[1] - geometry.pool_padding[1]
    return down, across


def pool_strips_backward(
    grad: Tensor, places: Tensor, image: Tensor, weight: Tensor, geometry: Geometry, strip: int, *, for_image: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `pool_strips` for image, weight and bias; the first is empty unless ``for_image``.

    Only the maxima get a gradient, and ``places`` says where they were, so nothing of the forward pass is repeated.
    """
    dtype = grad.dtype
    kernel = weight.to(dtype)
    grad_image = image.new_zeros(image.shape if for_image else 0)
    grad_weight, grad_bias = (torch.zeros_like(tensor, dtype=torch.float64) for tensor in (weight, weight[:, 0, 0, 0]))
    dead = geometry.dead_place()
    columns = geometry.map_size(image, weight)[1]
    for part in _strips(image, weight, geometry, strip, dtype.itemsize):
        rows, first, above = _image_rows(image, weight, geometry.stride, geometry.padding, part.frame, part.top, part.bottom)
        here = (slice(part.frame, part.frame + 1), slice(None), slice(part.first, part.last))
        place = places[here].long()
        alive = place != dead
        place = torch.where(alive, place, 0)
        down, across = _corners(geometry, part.last - part.first, grad.shape[3], place)
        row = place.div(geometry.pool[1], rounding_mode="floor") + down - part.above
        column = place % geometry.pool[1] + across
        # A dead window may lie at a place outside the map; its gradient of 0 goes to any pixel.
        index = torch.where(alive, row * columns + column, 0).flatten(2)
        passed = torch.where(alive, grad[here], 0)
        values = passed.new_zeros((*passed.shape[:2], (part.bottom - part.top) * columns))
        values.scatter_add_(2, index, passed.flatten(2))
        values = values.view(*passed.shape[:2], part.bottom - part.top, columns)
        _add_gradients(values, rows.to(dtype), kernel, geometry.stride, geometry.padding, grad_weight, grad_image, part.frame, first, above)
        grad_bias += passed.sum((0, 2, 3), dtype=torch.float64)
    return grad_image, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)


def _add_gradients(
    grad: Tensor,
    rows: Tensor,
    kernel: Tensor,
    stride: Pair,
    padding: Pair,
    grad_weight: Tensor,
    grad_image: Tensor,
    frame: int,
    first: int,
    above: int,
) -> None:
    """Add a strip's gradients of the convolution; ``rows`` are its rows of the image, from row ``first`` of the frame on."""
    wanted = [grad_image.numel() > 0, True, False]
    for_rows, for_weight, _ = torch.ops.aten.convolution_backward(
        grad, rows, kernel, None, stride, (0, padding[1]), (1, 1), False, (0, 0), 1, wanted
    )
    grad_weight += for_weight
    if wanted[0]:
        target = grad_image[frame : frame + 1, :, first : first + rows.shape[2] - above]
        target += for_rows[:, :, above : above + target.shape[2]]


def _map_strips(image: Tensor, weight: Tensor, stride: Pair, padding: Pair, itemsize: int) -> Iterator[tuple[int, int, int]]:
    """Frame, first and last row of strips that cover every row of the map once."""
    rows, columns = conv_size(image, weight, stride, padding)
    together = _rows_that_fit(weight, columns, itemsize)
    for frame in range(image.shape[0]):
        for first in range(0, rows, together):
            yield frame, first, min(first + together, rows)


def moments(image: Tensor, weight: Tensor, stride: Pair, padding: Pair, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the count) of each channel of ``conv2d(image, weight)``, computed in ``dtype``; both ``(K,)`` float64.

    Strips are merged by count, mean and sum of squared deviations (Chan, Golub and LeVeque 1979).
    """
    kernel = weight.to(dtype)
    mean, squares = (torch.zeros(weight.shape[0], dtype=torch.float64, device=image.device) for _ in range(2))
    count = 0
    for frame, first, last in _map_strips(image, weight, stride, padding, dtype.itemsize):
        rows, _, _ = _image_rows(image, weight, stride, padding, frame, first, last)
        values = F.conv2d(rows.to(dtype), kernel, None, stride, (0, padding[1]))
        values = values.float() if dtype.itemsize == 2 else values
        variance, centre = torch.var_mean(values, (0, 2, 3), correction=0)
        number = values.numel() // weight.shape[0]
        step = centre.double() - mean
        squares += variance.double() * number + step.square() * (count * number / (count + number))
        count += number
        mean += step * (number / count)
    return mean, squares / count


def moments_backward(
    grad_mean: Tensor,
    grad_variance: Tensor,
    mean: Tensor,
    image: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dtype: torch.dtype,
    *,
    for_image: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of `moments` for image and weight; the first is empty unless ``for_image``."""
    kernel = weight.to(dtype)
    grad_image = image.new_zeros(image.shape if for_image else 0)
    grad_weight = torch.zeros_like(weight, dtype=torch.float64)
    rows, columns = conv_size(image, weight, stride, padding)
    count = image.shape[0] * rows * columns
    shape = (1, -1, 1, 1)
    slope = (2 * grad_variance / count).view(shape)
    offset = (grad_mean / count).view(shape) - slope * mean.view(shape)
    for frame, first, last in _map_strips(image, weight, stride, padding, dtype.itemsize):
        part, start, above = _image_rows(image, weight, stride, padding, frame, first, last)
        part = part.to(dtype)
        values = F.conv2d(part, kernel, None, stride, (0, padding[1]))
        values = values.mul_(slope.to(dtype)).add_(offset.to(dtype))
        _add_gradients(values, part, kernel, stride, padding, grad_weight, grad_image, frame, start, above)
    return grad_image, grad_weight.to(weight.dtype)
