"""Arrays as FITS would store them, so that they are read by the same code and hash like their files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import FrameError
from zoo.ops.raw import Encoding

_UNSIGNED = {2: 1 << 15, 4: 1 << 31, 8: 1 << 63}


def encode_array(array: np.ndarray[Any, Any]) -> tuple[Tensor, Encoding]:
    """An array as FITS would store it.

    Args:
        array: ``(H, W)`` or ``(1, H, W)``; bool, integer or real, any byte order.
    Returns: ``(H, W * itemsize)`` uint8, newly allocated, and its encoding. Unsigned integers are stored with the BZERO that FITS uses,
        except those of 64 bits, which become float64: see :func:`exact`.
    Raises: FrameError: ``not-2d``, ``no-image`` for no pixels at all, ``bad-dtype``.
    """
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        remedy = "choose one plane with plane=" if array.ndim > 2 else ""
        raise FrameError("not-2d", path=None, got=f"an array of shape {array.shape}", expected="(H, W) or (1, H, W)", remedy=remedy)
    if array.size == 0:
        raise FrameError("no-image", path=None, got=f"an array of shape {array.shape}", expected="at least one pixel")
    if isinstance(array, np.ma.MaskedArray):
        wide = np.float64 if array.dtype.itemsize > 4 or (array.dtype.kind in "iu" and array.dtype.itemsize > 2) else np.float32
        array = np.ma.filled(array.astype(wide), np.nan)
    kind, size, bzero = array.dtype.kind, array.dtype.itemsize, 0.0
    if kind == "b":
        array, kind = array.astype(np.uint8), "u"
    elif kind == "f" and size == 2:
        array, size = array.astype(np.float32), 4
    if kind == "u" and size > 1:
        bzero = float(_UNSIGNED[size])
        array = array ^ np.array(_UNSIGNED[size], dtype=array.dtype)  # flips the sign bit: the bytes of array - bzero
    elif kind == "i" and size == 1:
        bzero, array = -128.0, array.view(np.uint8) ^ np.uint8(128)
    elif kind not in "iuf" or size not in (1, 2, 4, 8):
        raise FrameError("bad-dtype", path=None, got=f"an array of {array.dtype}", expected="bool, integer, float16, float32 or float64")
    stored = np.array(array, dtype=array.dtype.newbyteorder(">"), order="C", copy=True)
    pixels = torch.from_numpy(stored.view(np.uint8).reshape(array.shape[0], -1))
    return exact(pixels, Encoding(-8 * size if kind == "f" else 8 * size, bzero=bzero))


def exact(pixels: Tensor, encoding: Encoding) -> tuple[Tensor, Encoding]:
    """The same pixels in an encoding whose arithmetic keeps them; any but unsigned 64-bit integers are returned as they are.

    FITS stores such an integer as its distance from 2^63, which float64 knows to the nearest 1024 only: 3 would become 0. They are turned
    into float64 themselves, in place.
    """
    if encoding.bitpix != 64 or (encoding.bscale, encoding.bzero) != (1.0, float(1 << 63)):
        return pixels, encoding
    stored = stored_array(pixels, encoding)
    blank = None if encoding.blank is None else stored == encoding.blank
    values = (stored.astype(np.uint64) ^ np.uint64(1 << 63)).astype(np.float64)
    if blank is not None:
        values[blank] = np.nan
    stored.view(">f8")[...] = values
    return pixels, Encoding(-64)


def plane_of_array(array: np.ndarray[Any, Any], plane: int | None) -> tuple[np.ndarray[Any, Any], int | None]:
    """One plane of an array, and its number as :class:`zoo.frames.FrameInfo` has it; the array itself without ``plane``.

    Raises: FrameError: ``bad-plane``.
    """
    if plane is None or array.ndim < 2 or array.size == 0:
        return array, None
    planes = math.prod(array.shape[:-2])
    if not 0 <= plane < planes:
        raise FrameError("bad-plane", path=None, got=f"plane {plane} of an array of {array.shape}", expected=f"0 to {planes - 1}")
    return array.reshape(-1, *array.shape[-2:])[plane], None if planes == 1 else plane


def stored_array(pixels: Tensor, encoding: Encoding) -> np.ndarray[Any, Any]:
    """The stored numbers as a big-endian array ``(H, W)`` on the same memory, before BSCALE and BZERO."""
    kind = "f" if encoding.bitpix < 0 else "u" if encoding.bitpix == 8 else "i"
    return pixels.numpy().view(np.dtype(f">{kind}{encoding.itemsize}"))
