"""What stands beyond the borders of a frame, as positions: for the ops in pure torch and for transposing convolutions."""

from __future__ import annotations

import torch
from torch import Tensor

# Values agree with csrc/blur.hpp; names are those of scipy.ndimage.
BORDERS = {"reflect": 0, "mirror": 1, "nearest": 2, "constant": 3, "wrap": 4}


def border_indices(radius: int, size: int, mode: str) -> Tensor:
    """``(size + 2 * radius,)`` int64: the pixel that stands at each position from ``-radius`` on; -1 where the constant does."""
    return beyond(torch.arange(-radius, size + radius), size, mode)


def beyond(position: Tensor, size: int, mode: str) -> Tensor:
    """The pixel that stands at each position of an axis, int64 as they are; -1 where the constant does."""
    if mode == "nearest":
        return position.clamp(0, size - 1)
    if mode == "wrap":
        return position % size
    if mode == "reflect":
        rest = position % (2 * size)
        return torch.where(rest < size, rest, 2 * size - 1 - rest)
    if mode == "mirror":
        rest = position % max(2 * size - 2, 1)
        return torch.where(rest < size, rest, 2 * size - 2 - rest)
    return torch.where((position >= 0) & (position < size), position, -1)


def border_runs(radius: int, size: int, mode: str) -> list[tuple[int, int, int, int]]:
    """The positions of an extended axis as runs of neighbours, those inside first: ``(first position, length, its pixel, step)``."""
    if mode == "constant" or radius == 0:
        return [(0, size, 0, 1)]
    if mode == "nearest" or (mode == "mirror" and size == 1):
        return [(0, size, 0, 1), (-radius, radius, 0, 0), (size, radius, size - 1, 0)]
    runs = [(0, size, 0, 1)]
    length = size - 1 if mode == "mirror" else size
    for begin, end in ((-radius, 0), (size, size + radius)):
        for block in range(begin // length, -(-end // length)):
            first, stop = max(begin, block * length), min(end, (block + 1) * length)
            offset = first - block * length
            forwards = mode == "wrap" or block % 2 == 0
            runs.append((first, stop - first, offset if forwards else size - 1 - offset, 1 if forwards else -1))
    return runs


def fold(extended: Tensor, radius: int, axis: int, mode: str) -> Tensor:
    """Add what lies beyond the borders to the pixels that stand there: the transpose of extending an axis by ``radius`` on both sides.

    Slices are added in a fixed order, so that the result is the same in every run, on every device.
    """
    size = extended.shape[axis] - 2 * radius
    result = extended.narrow(axis, radius, size).clone()
    for first, length, pixel, step in border_runs(radius, size, mode)[1:]:
        piece = extended.narrow(axis, first + radius, length)
        if step == 0:
            piece, length = piece.sum(axis, keepdim=True), 1
        elif step < 0:
            piece, pixel = piece.flip(axis), pixel - length + 1
        result.narrow(axis, pixel, length).add_(piece)
    return result
