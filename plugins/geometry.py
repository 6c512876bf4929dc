"""resize, pad and crop: bring a frame of any size to the size a model takes, never stretched; rebin: coarser pixels on the same field.

A frame that is too large is averaged in blocks, one that is too small is put in the middle of a field of its own sky.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import InputShapeError, UsageError
from zoo.frames import Frame, Region

Shape = tuple[int, int, int]


def block_mean(image: Tensor, factor: int) -> Tensor:
    """Mean of ``factor`` x ``factor`` blocks, the last ones over the pixels that are there.

    Args:
        image: ``(1, H, W)`` float32; NaN and infinite pixels do not count, and a block of nothing else becomes NaN.
        factor: side of a block in pixels, >= 1.
    Returns: ``(1, ceil(H / factor), ceil(W / factor))`` float32, in the unit of ``image``.
    """
    valid = torch.isfinite(image)

    def mean(values: Tensor) -> Tensor:
        # Partial blocks at the right and bottom edge are divided by the pixels that they hold.
        return F.avg_pool2d(values[None], factor, ceil_mode=True, count_include_pad=False)[0]

    if bool(valid.all()):
        return mean(image)
    # 0 / 0 where a block has no valid pixel gives the NaN that it should have.
    return mean(torch.where(valid, image, 0.0)) / mean(valid.to(image.dtype))


class Resize:
    """Block mean in linear units.

    Args:
        height, width: the frame becomes no larger than this, by the smallest integer factor that does it; 0 sets no limit. A frame that
            fits already is left as it is.
        factor: the side of a block instead, for every frame alike; 0 leaves it to ``height`` and ``width``.
    Raises: UsageError: if a number is negative, or ``factor`` stands beside a limit.
    """

    scope = "frame"
    unit_in = "physical"
    unit_out = "same"
    random = False
    sizes_only = True

    def __init__(self, *, height: int = 0, width: int = 0, factor: int = 0) -> None:
        if min(height, width, factor) < 0:
            raise UsageError(f"resize: height, width and factor must be >= 0, got {height}, {width} and {factor}")
        if factor and (height or width):
            raise UsageError(f"resize: give either factor or height and width, got factor={factor} with {height} x {width}")
        self.height, self.width, self.factor = height, width, factor

    def factor_for(self, shape: Shape) -> int:
        """The side of a block for a frame of ``shape``."""
        if self.factor:
            return self.factor
        needed = [-(-size // limit) for size, limit in zip(shape[1:], (self.height, self.width), strict=True) if limit]
        return max([1, *needed])

    def output_shape(self, shape: Shape) -> Shape:
        """``(1, ceil(H / factor), ceil(W / factor))``."""
        factor = self.factor_for(shape)
        return 1, -(-shape[1] // factor), -(-shape[2] // factor)

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        """Average blocks; a frame that fits is returned as it is, raw bytes included."""
        factor = self.factor_for(x.shape)
        return x if factor == 1 else x.with_pixels(block_mean(x.decode(), factor))


class Rebin:
    """Make the pixels coarser and keep the size of the frame: every block gets its mean.

    A block holds the charge of its pixels with their own noise, as if they were added after the readout, so its relative noise is that of
    ``factor`` x ``factor`` readings; a detector with such pixels reads once and has less.

    Args:
        factor: side of a block in pixels, >= 1.
    Raises: UsageError: if it is smaller.
    """

    scope = "frame"
    unit_in = "physical"
    unit_out = "same"
    random = False

    def __init__(self, *, factor: int = 2) -> None:
        if factor < 1:
            raise UsageError(f"rebin: factor must be >= 1, got {factor}")
        self.factor = factor

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape."""
        return shape

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        """Average blocks, the last ones over what is there; a pixel without a value does not count and gets the mean of its block."""
        if self.factor == 1:
            return x
        _, height, width = x.shape
        coarse = block_mean(x.decode(), self.factor)
        fine = coarse.repeat_interleave(self.factor, 1)[:, :height].repeat_interleave(self.factor, 2)[..., :width]
        return x.with_pixels(fine.contiguous() if out is None or out.shape != fine.shape else out.copy_(fine))


class _Sized:
    """A step that gives frames of one fixed size."""

    scope = "frame"
    unit_in = "any"
    unit_out = "same"
    random = False
    sizes_only = True

    def __init__(self, *, height: int = 2048, width: int = 4096) -> None:
        if min(height, width) < 1:
            raise UsageError(f"{type(self).__name__.lower()}: height and width must be >= 1 pixel, got {height} and {width}")
        self.height, self.width = height, width


class Pad(_Sized):
    """Put the frame in the middle of ``height`` x ``width``, with its median, the sky, around it.

    Where the margins cannot be equal, the lower and right ones are one pixel larger. The median is that of the pixels with a value: the
    empty border of a drizzled image and pixels that its mask rejects do not count, even where ``normalize`` has made them 0. A frame
    without any valid pixel is padded with NaN, or with 0 after ``normalize``.

    Args:
        height, width: size of the result in pixels, >= 1.
    Raises: UsageError: if a size is not positive.
    """

    def output_shape(self, shape: Shape) -> Shape:
        """``(1, height, width)``. Raises InputShapeError if the frame is larger."""
        if shape[1] > self.height or shape[2] > self.width:
            raise InputShapeError(
                f"pad: got a frame of {shape[1]} x {shape[2]}, expected at most {self.height} x {self.width}; put resize or crop before pad"
            )
        return 1, self.height, self.width

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        """Pad; a frame of the right size is returned as it is. Writes into ``out`` if it has the right shape."""
        _, height, width = x.shape
        shape = self.output_shape(x.shape)
        if (height, width) == shape[1:]:
            return x
        pixels = x.decode()
        result = out if out is not None and tuple(out.shape) == shape else torch.empty(shape)
        top, left = (self.height - height) // 2, (self.width - width) // 2
        result.fill_(_sky(x, pixels))
        result[:, top : top + height, left : left + width] = pixels
        return x.with_pixels(result)


def _sky(frame: Frame, pixels: Tensor) -> float:
    """Median of the pixels of a frame that had a value when it was read."""
    if frame.origin is not None:
        valid = torch.isfinite(frame.origin.decode())
        if bool(valid.any()):
            pixels = pixels[valid]
    return float(torch.nanmedian(pixels))


class Crop(_Sized):
    """Keep the central ``height`` x ``width`` of a frame.

    Raw bytes stay raw: only the windows that are decoded later become smaller.

    Args:
        height, width: size of the result in pixels, >= 1.
    Raises: UsageError: if a size is not positive.
    """

    def output_shape(self, shape: Shape) -> Shape:
        """``(1, height, width)``. Raises InputShapeError if the frame is smaller."""
        if shape[1] < self.height or shape[2] < self.width:
            raise InputShapeError(
                f"crop: got a frame of {shape[1]} x {shape[2]}, expected at least {self.height} x {self.width}; use pad for smaller frames"
            )
        return 1, self.height, self.width

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        """Cut; a frame of the right size is returned as it is, a native one as a view."""
        _, height, width = x.shape
        if self.output_shape(x.shape) == x.shape:
            return x
        top, left = (height - self.height) // 2, (width - self.width) // 2
        if x.encoding is None and not x.regions:
            cut = x.with_pixels(x.pixels[:, top : top + self.height, left : left + self.width])
            return cut if x.origin is None else replace(cut, origin=self(x.origin))
        whole = Region(0, 0, height, width)
        parts = [part for region in x.regions or (whole,) if (part := self._inside(region, top, left)) is not None]
        return replace(x, regions=tuple(parts), layout=None)

    def _inside(self, region: Region, top: int, left: int) -> Region | None:
        """What of a region falls into the kept window, placed in it; ``None`` for nothing."""
        y0, x0 = max(region.to_y, top), max(region.to_x, left)
        y1 = min(region.to_y + region.height, top + self.height)
        x1 = min(region.to_x + region.width, left + self.width)
        if y1 <= y0 or x1 <= x0:
            return None
        return replace(
            region,
            y=region.y + y0 - region.to_y,
            x=region.x + x0 - region.to_x,
            height=y1 - y0,
            width=x1 - x0,
            to_y=y0 - top,
            to_x=x0 - left,
        )
