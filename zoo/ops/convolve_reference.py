"""Convolution of frames with a small image in pure torch: term by term, and by FFT in tiles. Both run on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.ops.blur_reference import compute_dtype
from zoo.ops.borders import beyond

_PART_TERMS = 16  # summed apart: rounding errors grow with the longest chain of additions
_TILE_BYTES = 2**20  # of the tiles that are transformed together on a CPU: they and their transforms stay in its caches
_LEAST_TILE, _MOST_TILE = 256, 1024
_SMALLEST_WEIGHT = 1e-12  # of a kernel: what an FFT in float64 leaves of a weight that is 0


def extend(frame: Tensor, first_row: int, first_column: int, plane: Tensor, mode: str, outside: float) -> Tensor:
    """Fill ``(h, w)`` with what stands from a position on in the plane that an ``(H, W)`` frame lies in; return it."""
    (rows, columns), (height, width) = frame.shape, plane.shape
    top, bottom = _inside(first_row, rows, height)
    left, right = _inside(first_column, columns, width)
    source, body = frame[first_row + top : first_row + bottom], plane[top:bottom]
    body[:, left:right] = source[:, first_column + left : first_column + right]
    for begin, end in ((0, left), (right, width)):
        if begin < end and top < bottom:
            body[:, begin:end] = _take(source, first_column + begin, first_column + end, 1, mode, outside)
    for begin, end in ((0, top), (bottom, height)):
        if begin < end:
            extend(_take(frame, first_row + begin, first_row + end, 0, mode, outside), 0, first_column, plane[begin:end], mode, outside)
    return plane


def _inside(first: int, size: int, count: int) -> tuple[int, int]:
    """Which of ``count`` positions from ``first`` on are on an axis of ``size`` pixels."""
    begin = min(max(-first, 0), count)
    return begin, min(max(size - first, begin), count)


def _take(frame: Tensor, begin: int, end: int, axis: int, mode: str, outside: float) -> Tensor:
    """The pixels that stand at positions of an axis, newly allocated."""
    index = beyond(torch.arange(begin, end), frame.shape[axis], mode).to(frame.device)
    pixels = frame.index_select(axis, index.clamp(min=0))
    return pixels.index_fill_(axis, (index < 0).nonzero()[:, 0], outside) if mode == "constant" else pixels


def correlate_direct(frames: Tensor, kernel: Tensor, mode: str, outside: float, results: Tensor) -> Tensor:
    """Sum ``kernel[i, j] * frames[:, y + i - top, x + j - left]`` term by term.

    Args:
        frames: ``(n, H, W)`` float32 or float64, not empty.
        kernel: ``(h, w)`` float64 in CPU memory, odd sizes.
        mode: border.
        outside: value beyond the border where it is constant.
        results: ``(n, H, W)``, filled and returned; must not share memory with the frames.
    """
    (rows, columns), (size_y, size_x) = frames.shape[-2:], kernel.shape
    taps = kernel.to(frames.dtype).tolist()
    for frame, result in zip(frames, results, strict=True):
        plane = frame.new_empty(rows + size_y - 1, columns + size_x - 1)
        extend(frame, -(size_y // 2), -(size_x // 2), plane, mode, outside)
        part, terms = torch.zeros_like(result), 0
        result.zero_()
        for i in range(size_y):
            for j in range(size_x):
                part.add_(plane[i : i + rows, j : j + columns], alpha=taps[i][j])
                terms += 1
                if terms == _PART_TERMS:
                    result += part
                    part.zero_()
                    terms = 0
        result += part
    return results


def correlate_fft(frames: Tensor, kernel: Tensor, mode: str, outside: float, results: Tensor) -> Tensor:
    """The sums of :func:`correlate_direct` by FFT; every pixel must be finite.

    A CPU works in overlapping tiles that stay in its caches (overlap-save): 27 ms instead of 100 for the transforms of a 2048x4096 frame on
    one core of an AMD EPYC. A GPU transforms whole frames. The transform of the kernel is computed once for all tiles and frames.
    Rounding errors are relative to the brightest pixel of a tile.

    References:
        Oppenheim & Schafer, Discrete-Time Signal Processing, section 8.7 (overlap-save).
    """
    (rows, columns), (size_y, size_x) = frames.shape[-2:], kernel.shape
    whole = frames.device.type != "cpu"
    tile_y, down = _tiles(rows, size_y, whole)
    tile_x, across = _tiles(columns, size_x, whole)
    step_y, step_x = tile_y - size_y + 1, tile_x - size_x + 1
    # A correlation is the convolution with the kernel turned round; the first size - 1 pixels of a tile are those that wrapped round.
    spectrum = torch.fft.rfft2(kernel.flip(0, 1), s=(tile_y, tile_x)).to(frames.device)
    spectrum = spectrum.to(torch.complex128 if frames.dtype == torch.float64 else torch.complex64)
    together = max(1, _TILE_BYTES // (tile_y * tile_x * frames.element_size()))
    strip = frames.new_empty(tile_y, (across - 1) * step_x + tile_x)
    tiles_of_strip = strip.unfold(1, tile_x, step_x).transpose(0, 1)  # (across, tile_y, tile_x), overlapping
    for frame, result in zip(frames, results, strict=True):
        for i in range(down):
            extend(frame, i * step_y - size_y // 2, -(size_x // 2), strip, mode, outside)
            target = result[i * step_y : (i + 1) * step_y]
            for begin in range(0, across, together):
                transformed = torch.fft.rfft2(tiles_of_strip[begin : begin + together]).mul_(spectrum)
                tiles = torch.fft.irfft2(transformed, s=(tile_y, tile_x))[:, size_y - 1 :, size_x - 1 :]
                for k, tile in enumerate(tiles, begin):
                    piece = target[:, k * step_x : (k + 1) * step_x]
                    piece.copy_(tile[: piece.shape[0], : piece.shape[1]])
    return results


def tile_pixels(height: int, width: int, kernel: Tensor) -> int:
    """The pixels that :func:`correlate_fft` transforms for a frame on a CPU."""
    tile_y, down = _tiles(height, kernel.shape[0], whole=False)
    tile_x, across = _tiles(width, kernel.shape[1], whole=False)
    return tile_y * down * tile_x * across


def _tiles(size: int, kernel: int, whole: bool) -> tuple[int, int]:
    """The length and number of tiles along an axis: a power of two that wastes little on the overlap, or one good size for all."""
    needed = size + kernel - 1
    tile = min(max(_LEAST_TILE, 1 << (5 * kernel - 1).bit_length()), _MOST_TILE)
    while tile < 2 * kernel:
        tile *= 2
    if whole or tile >= needed:
        return _good_size(needed), 1
    return tile, -(-size // (tile - kernel + 1))


def _good_size(least: int) -> int:
    """The smallest even product of 2, 3 and 5 that is not below ``least``."""
    best = 1 << max(1, (least - 1).bit_length())
    five = 1
    while five < best:
        three = five
        while three < best:
            size = 2 * three
            while size < least:
                size *= 2
            best = min(best, size)
            three *= 3
        five *= 5
    return best


def convolve_reference(
    image: Tensor,
    kernel: Tensor,
    mode: str,
    cval: float,
    nan_treatment: str,
    fill_value: float,
    preserve_nan: bool,
    scale: float,
    fft: bool,
    out: Tensor,
) -> None:
    """Fill ``out`` with the correlation with a kernel, times ``scale``; other arguments as in :func:`zoo.ops.convolve`.

    Args:
        image: ``(..., H, W)``, not empty.
        kernel: ``(h, w)`` float64 in CPU memory; with ``interpolate`` its sum is 1.
        fft: by FFT instead of term by term. Then pixels that are not finite give NaN within the kernel.
        out: ``(..., H, W)``, dtype and device of the image, contiguous.
    """
    compute = compute_dtype(image.dtype)
    frames = image.reshape(-1, *image.shape[-2:]).to(compute)
    # Direct sums on a GPU do not wait for the answer.
    finite = (fft or frames.device.type == "cpu") and bool(frames.sum().isfinite())
    invalid = None if finite else frames.isnan()
    correlate = correlate_fft if fft else correlate_direct
    outside, outside_weight = cval, 1.0
    if cval != cval and nan_treatment != "propagate":
        outside, outside_weight = (0.0, 0.0) if nan_treatment == "interpolate" else (fill_value, 1.0)
    if invalid is not None and nan_treatment != "propagate":
        frames = torch.where(invalid, fill_value if nan_treatment == "fill" else 0.0, frames)
    spoilt, outside_spoilt = None, 0.0
    if fft and not (finite and math.isfinite(outside)):
        spoilt = frames.isfinite().logical_not_()
        frames = torch.where(spoilt, 0.0, frames)
        if not math.isfinite(outside):
            outside, outside_spoilt = 0.0, 1.0
    if nan_treatment == "interpolate" and (invalid is not None or outside_weight == 0.0):
        # An FFT in float32 leaves noise that a division by a small weight would make visible.
        precision = torch.float64 if fft else compute
        valid = torch.ones_like(frames, dtype=precision) if invalid is None else invalid.logical_not().to(precision)
        weight = correlate(valid, kernel, mode, outside_weight, torch.empty_like(valid))
        result = correlate(frames.to(precision), kernel, mode, outside, torch.empty_like(valid))
        result = torch.where(weight.abs() > (_SMALLEST_WEIGHT if fft else 0.0), result / weight, torch.nan)
    else:
        result = correlate(frames, kernel, mode, outside, out.view(frames.shape) if out.dtype == compute else torch.empty_like(frames))
    if scale != 1.0:
        result *= scale
    if spoilt is not None:
        counts = spoilt.double()
        reach = correlate_fft(counts, torch.ones_like(kernel) / kernel.numel(), mode, outside_spoilt, torch.empty_like(counts))
        result.masked_fill_(reach > 0.5 / kernel.numel(), torch.nan)
    if preserve_nan and invalid is not None:
        result.masked_fill_(invalid, torch.nan)
    if result.data_ptr() != out.data_ptr():
        out.copy_(result.view(out.shape))
