"""Raw pixels: the bytes of a FITS image as they lie in the file, what they mean, and how they become numbers.

torch has neither big-endian nor usable unsigned 16-bit tensors, so raw pixels travel as a ``uint8`` tensor ``(..., H, W * itemsize)`` next
to an :class:`Encoding`. Only ``decode``, ``frame_statistics`` and ``normalize`` understand the pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from zoo.errors import InputShapeError, UsageError
from zoo.ops.buffers import empty_for
from zoo.ops.encoding import Encoding, Region
from zoo.ops.library import overlapping, register_op
from zoo.ops.native import DTYPE_CODES, cuda_usable, native

__all__ = ["Encoding", "Region", "decode"]

Saturated = Literal["top", "keep", "invalid"]

# uint8 is BITPIX 8 and the only unsigned one; the others are read as signed and shifted by BZERO, as the FITS standard has it
_RAW_DTYPES = {8: torch.uint8, 16: torch.int16, 32: torch.int32, 64: torch.int64, -32: torch.float32, -64: torch.float64}
# numbers of csrc/pixel.hpp
_NATIVE_KINDS = {
    torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.int64: 4, torch.float16: 5, torch.bfloat16: 6,
    torch.float32: 7, torch.float64: 8,
}  # fmt: skip
_RAW_KINDS = {8: 0, 16: 9, 32: 10, 64: 11, -32: 12, -64: 13}
_MAX_CUDA_REGIONS = 32  # kMaxCudaRegions of csrc/frames.cuh

SOURCE_SCHEMA = (
    "Tensor image, int bitpix, float bscale, float bzero, int? blank, int[] geometry, float[] calibration, float? saturation, str saturated"
)


class Source(NamedTuple):
    """The scalars and lists that describe the pixels of an image to an op, in the order of :data:`SOURCE_SCHEMA`."""

    bitpix: int  # 0: a native tensor
    bscale: float
    bzero: float
    blank: int | None
    geometry: list[int]  # y, x, height, width, to_y, to_x of each region
    calibration: list[float]  # bias, gain of each region
    saturation: float | None
    saturated: str


def pixel_size(image: Tensor, bitpix: int) -> tuple[int, int]:
    """Height and width of ``image`` in pixels, before regions."""
    return image.shape[-2], image.shape[-1] // (abs(bitpix) // 8 or 1)


def result_shape(image: Tensor, bitpix: int, geometry: Sequence[int]) -> tuple[int, ...]:
    """Shape that ``image`` has once decoded and cut into its regions."""
    height, width = pixel_size(image, bitpix)
    if geometry:
        height = max(geometry[i + 4] + geometry[i + 2] for i in range(0, len(geometry), 6))
        width = max(geometry[i + 5] + geometry[i + 3] for i in range(0, len(geometry), 6))
    return (*image.shape[:-2], height, width)


def describe_source(
    image: Tensor,
    encoding: Encoding | None,
    regions: Sequence[Region] | None,
    saturation: float | None,
    saturated: str,
) -> Source:
    """Check what every op takes as its pixels and flatten it for a ``torch.library`` schema.

    Raises:
        UsageError: if an argument has a value or a type that it cannot have.
        InputShapeError: if the shape of ``image`` does not fit the encoding or the regions.
    """
    if image.dim() < 2:
        raise InputShapeError(f"image must have at least two dimensions (..., H, W), got shape {tuple(image.shape)}")
    if encoding is None:
        if image.dtype not in _NATIVE_KINDS:
            raise UsageError(f"image must hold integers or floats of 8 to 64 bits, got {image.dtype}; raw bytes need an Encoding")
        bitpix = 0
    else:
        if image.dtype != torch.uint8:
            raise UsageError(f"raw pixels must be uint8 bytes, got {image.dtype}; leave encoding out for a native tensor")
        if image.shape[-1] % encoding.itemsize:
            raise InputShapeError(
                f"a row of raw pixels must be a multiple of {encoding.itemsize} bytes for bitpix={encoding.bitpix}, got {image.shape[-1]}"
            )
        bitpix = encoding.bitpix
    if saturated not in ("top", "keep", "invalid"):
        raise UsageError(f"saturated must be 'top', 'keep' or 'invalid', got {saturated!r}")
    if saturation is not None and math.isnan(saturation):
        raise UsageError("saturation must be a number or None, got NaN")
    geometry: list[int] = []
    calibration: list[float] = []
    if regions:
        _check_regions(regions, *pixel_size(image, bitpix))
        for r in regions:
            geometry += [r.y, r.x, r.height, r.width, r.to_y, r.to_x]
            calibration += [float(r.bias), float(r.gain)]
    limit = None if saturation is None else float(saturation)
    if encoding is None:
        return Source(0, 1.0, 0.0, None, geometry, calibration, limit, saturated)
    return Source(bitpix, float(encoding.bscale), float(encoding.bzero), encoding.blank, geometry, calibration, limit, saturated)


def _check_regions(regions: Sequence[Region], height: int, width: int) -> None:
    """Refuse regions that leave the source, overlap in the result, or leave holes in it."""
    for r in regions:
        if r.y + r.height > height or r.x + r.width > width:
            raise InputShapeError(f"{r} leaves the image of {height} x {width} pixels")
    for i, a in enumerate(regions):
        for b in regions[:i]:
            if a.to_y < b.to_y + b.height and b.to_y < a.to_y + a.height and a.to_x < b.to_x + b.width and b.to_x < a.to_x + a.width:
                raise UsageError(f"regions overlap in the result: {b} and {a}")
    area = max(r.to_y + r.height for r in regions) * max(r.to_x + r.width for r in regions)
    covered = sum(r.height * r.width for r in regions)
    if covered != area:
        raise UsageError(f"regions must cover the result without holes, got {covered} of its {area} pixels")


def reference_values(image: Tensor, source: Source) -> tuple[Tensor, Tensor | None]:
    """Linear pixels as float64 ``(..., H, W)`` with NaN where invalid, and where they are saturated (``None``: no threshold given)."""
    raw = image
    if source.bitpix:
        itemsize = abs(source.bitpix) // 8
        height, width = pixel_size(image, source.bitpix)
        cells = image.reshape(*image.shape[:-2], height, width, itemsize).flip(-1).contiguous()
        raw = cells.view(_RAW_DTYPES[source.bitpix]).reshape(*image.shape[:-2], height, width)
    values = raw.to(torch.float64)
    if source.bscale != 1.0 or source.bzero != 0.0:
        values = values * source.bscale + source.bzero
    invalid = ~torch.isfinite(values)
    if source.blank is not None:
        invalid |= raw == source.blank
    saturated = None if source.saturation is None else values >= source.saturation
    if saturated is not None and source.saturated == "invalid":
        invalid |= saturated
    values = torch.where(invalid, math.nan, values)
    if saturated is not None:
        saturated = saturated & ~invalid
    if source.geometry:
        values, saturated = _reference_regions(values, saturated, source)
    return values, saturated


def _reference_regions(values: Tensor, saturated: Tensor | None, source: Source) -> tuple[Tensor, Tensor | None]:
    """Place, debias and scale each region."""
    shape = result_shape(values, 0, source.geometry)
    result = values.new_empty(shape)
    mask = None if saturated is None else saturated.new_empty(shape)
    for i in range(len(source.geometry) // 6):
        y, x, h, w, to_y, to_x = source.geometry[6 * i : 6 * i + 6]
        bias, gain = source.calibration[2 * i : 2 * i + 2]
        result[..., to_y : to_y + h, to_x : to_x + w] = (values[..., y : y + h, x : x + w] - bias) * gain
        if mask is not None and saturated is not None:
            mask[..., to_y : to_y + h, to_x : to_x + w] = saturated[..., y : y + h, x : x + w]
    return torch.where(torch.isfinite(result), result, math.nan), mask


def check_out(out: Tensor, shape: tuple[int, ...], dtypes: Sequence[torch.dtype], image: Tensor, *, name: str = "out") -> None:
    """Refuse an ``out`` tensor of another shape, dtype or device than the result."""
    if tuple(out.shape) != shape:
        raise InputShapeError(f"{name} must have shape {shape}, got {tuple(out.shape)}")
    if out.dtype not in dtypes:
        raise UsageError(f"{name} must be one of {', '.join(str(d) for d in dtypes)}, got {out.dtype}")
    if out.device != image.device:
        raise UsageError(f"{name} must be on the device of the image, {image.device}, got {out.device}")


def check_memory(image: Tensor, out: Tensor) -> None:
    """Refuse an ``out`` that is written over pixels not yet read, or over itself."""
    if overlapping(image, out):
        raise UsageError("out must not share memory with the image, which is never written")
    if any(size > 1 and stride == 0 for size, stride in zip(out.shape, out.stride(), strict=True)):
        raise UsageError("out must not have elements that share memory, got an expanded tensor; call out.contiguous()")


def kernels_for(image: Tensor, source: Source) -> ModuleType | None:
    """The compiled kernels, if they can work where ``image`` is with so many regions."""
    if image.is_cuda:
        return native() if cuda_usable() and len(source.geometry) <= 6 * _MAX_CUDA_REGIONS else None
    return native() if image.device.type == "cpu" else None


def frame_source(module: ModuleType, image: Tensor, source: Source, *, mark_saturated: bool = False) -> Any:
    """Describe a contiguous, not empty image to the compiled kernels, which keep its address only."""
    height, width = pixel_size(image, source.bitpix)
    out_height, out_width = result_shape(image, source.bitpix, source.geometry)[-2:]
    return module.FrameSource(
        data=image.data_ptr(),
        kind=_RAW_KINDS[source.bitpix] if source.bitpix else _NATIVE_KINDS[image.dtype],
        count=image.numel() // (image.shape[-2] * image.shape[-1]),
        height=height,
        width=width,
        out_height=out_height,
        out_width=out_width,
        bscale=source.bscale,
        bzero=source.bzero,
        blank=source.blank,
        geometry=source.geometry,
        calibration=source.calibration,
        saturation=math.nan if source.saturation is None else source.saturation,
        drop_saturated=source.saturated == "invalid",
        mark_saturated=mark_saturated,
    )


_DECODED_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _allocate_decoded(image: Tensor, *arguments: Any) -> Tensor:
    """Uninitialised result of ``zoo::decode``; ``arguments`` are a :class:`Source` and the dtype."""
    bitpix, geometry, dtype = arguments[0], arguments[4], arguments[-1]
    return empty_for(image, result_shape(image, bitpix, geometry), dtype)


def _write_decoded(image: Tensor, *arguments: Any, out: Tensor) -> None:
    """Kernel of ``zoo::decode.out``."""
    source = Source(*arguments)
    check_memory(image, out)
    if out.numel() == 0:
        return
    module = kernels_for(image, source)
    if module is None:
        out.copy_(reference_values(image, source)[0])
        return
    image = image.contiguous()
    target = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    described = frame_source(module, image, source)
    if image.is_cuda:
        with torch.cuda.device(image.device):
            module.decode_cuda(described, DTYPE_CODES[out.dtype], target.data_ptr(), torch.cuda.current_stream().cuda_stream)
    else:
        module.decode_cpu(described, DTYPE_CODES[out.dtype], target.data_ptr(), torch.get_num_threads())
    if target is not out:
        out.copy_(target)


register_op("decode", SOURCE_SCHEMA, "ScalarType dtype", allocate=_allocate_decoded, write=_write_decoded)


def decode(
    image: Tensor,
    encoding: Encoding | None = None,
    *,
    regions: Sequence[Region] | None = None,
    saturation: float | None = None,
    saturated: Saturated = "keep",
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> Tensor:
    """Turn raw bytes, or a native tensor, into linear pixels. BLANK, NaN and infinite pixels become NaN.

    ``value = stored * bscale + bzero``, then ``(value - bias) * gain`` inside regions, each step rounded once in float64 before the result
    is rounded to ``dtype``. The input is not written.

    Args:
        image: ``(..., H, W)`` native tensor (integers or floats of 8 to 64 bits), or ``(..., H, W * itemsize)`` uint8 raw big-endian bytes
            with ``encoding``; need not be contiguous.
        encoding: what the raw bytes mean; ``None`` for a native tensor.
        regions: rectangles to cut out and calibrate; ``None`` or empty for the whole image.
        saturation: threshold in decoded DN, before bias and gain.
        saturated: ``"invalid"`` makes pixels at or above ``saturation`` NaN; ``"keep"`` and ``"top"`` leave them as they are.
        dtype: float32, float64, bfloat16 or float16; not looked at when ``out`` is given.
        out: result to write into, ``(..., H', W')`` in one of those dtypes; must not overlap ``image``.

    Returns:
        ``(..., H', W')`` in the unit of the file, times the gains: ``out``, or a new tensor on the device of ``image``.

    Raises:
        UsageError: (a ``ValueError``) if an argument has a value or dtype that it cannot have.
        InputShapeError: (a ``UsageError``) if a shape does not fit the encoding, the regions or the result.

    References: FITS standard 4.0, sections 4.4.2.5 and 5.
    """
    source = describe_source(image, encoding, regions, saturation, saturated)
    if out is None:
        if dtype not in _DECODED_DTYPES:
            raise UsageError(f"dtype must be one of {', '.join(str(d) for d in _DECODED_DTYPES)}, got {dtype}")
        result: Tensor = torch.ops.zoo.decode(image, *source, dtype)
        return result
    check_out(out, result_shape(image, source.bitpix, source.geometry), _DECODED_DTYPES, image)
    torch.ops.zoo.decode.out(image, *source, out=out)
    return out
