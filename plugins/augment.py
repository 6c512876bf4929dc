"""flip and rotate: the symmetries of the sky, for training. Both are exact, keep the shape, and leave evaluation alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.errors import UsageError


class Flip:
    """Mirror each frame left-right and up-down, each with probability 1/2 and drawn from the frame's own generator.

    Args:
        horizontal: mirror left-right. vertical: mirror up-down.
    Raises: UsageError: if both are off.
    """

    scope = "batch"
    unit_in = "any"
    unit_out = "same"
    random = True

    def __init__(self, *, horizontal: bool = True, vertical: bool = True) -> None:
        if not (horizontal or vertical):
            raise UsageError("flip: got horizontal=false and vertical=false, expected at least one; leave the step out instead")
        self.horizontal, self.vertical = horizontal, vertical

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same shape."""
        return shape

    def __call__(self, x: Tensor, *, generator: Sequence[torch.Generator] | None = None, out: Tensor | None = None) -> Tensor:
        """Flip ``(N, 1, H, W)``, any dtype and device; without generators ``x`` itself is returned."""
        if generator is None:
            return x
        result = torch.empty_like(x) if out is None else out
        for index, source in enumerate(generator):
            # Both are drawn whatever is switched on, so that switching one off does not change the other.
            up_down, left_right = (torch.rand(2, generator=source) < 0.5).tolist()
            dims = [dim for dim, on in ((-2, up_down and self.vertical), (-1, left_right and self.horizontal)) if on]
            result[index] = torch.flip(x[index], dims)
        return result


class Rotate:
    """Turn each frame by 180 degrees with probability 1/2, drawn from the frame's own generator."""

    scope = "batch"
    unit_in = "any"
    unit_out = "same"
    random = True

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same shape."""
        return shape

    def __call__(self, x: Tensor, *, generator: Sequence[torch.Generator] | None = None, out: Tensor | None = None) -> Tensor:
        """Turn ``(N, 1, H, W)``, any dtype and device; without generators ``x`` itself is returned."""
        if generator is None:
            return x
        result = torch.empty_like(x) if out is None else out
        for index, source in enumerate(generator):
            turn = float(torch.rand(1, generator=source)) < 0.5
            result[index] = torch.flip(x[index], (-2, -1)) if turn else x[index]
        return result
