"""FITS files, HDU lists and arrays in, frames out, without copying or converting a pixel.

A plain file is mapped copy-on-write and its frames are views of the mapping, which lives as long as one of them does. Files in gzip or
bzip2 are unpacked into memory first, up to :data:`MAX_UNPACKED` bytes; other compressions are refused with the command that undoes them.

A mapping holds one file descriptor for as long as its frames live, so thousands of files are read one after the other, not kept. As with
every mapping, a file must not be shortened while it is in use: the system ends the process then (SIGBUS).
"""

from __future__ import annotations

import bz2
import gzip
import math
import mmap
import os
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from zoo.errors import FrameError
from zoo.frames.frame import Frame, FrameInfo, info_from_headers
from zoo.frames.gate import Hdu, check_scaling, read_header, scan
from zoo.frames.hst import layout_of
from zoo.ops.raw import Encoding, Region

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

MAX_UNPACKED = 1 << 30
"""Most bytes that a compressed file may unpack to."""

Source: TypeAlias = "str | os.PathLike[str] | HDUList | np.ndarray[Any, Any]"

_CAMERAS = {"ACS/WFC", "WFC3/UVIS", "ACS/HRC"}
_REFUSED = {b"\x1f\x9d": "uncompress", b"\xfd7": "unxz", b"PK": "unzip", b"(\xb5": "unzstd"}
_UNSIGNED = {2: 1 << 15, 4: 1 << 31, 8: 1 << 63}


@dataclass(frozen=True)
class _Opened:
    """The HDUs of a source, and the bytes (of a file) or the HDU list (from astropy) that hold their pixels."""

    path: Path | None
    hdus: list[Hdu]
    data: mmap.mmap | bytearray | HDUList


def read_frames(source: Source, *, hdu: int | None = None, plane: int | None = None) -> list[Frame]:
    """Every frame of a file, an HDU list or an array.

    Raw and ``flt``/``flc`` exposures of ACS/WFC, WFC3/UVIS and ACS/HRC give one frame per SCI extension; anything else gives its first 2-D
    image. Raw frames carry their layout and all their pixels, bias included, until the step ``overscan`` is applied; of calibrated UVIS
    chips the 3 rows nearest the gap are left out, as of raw ones.

    Args:
        source: path of a FITS file, also ``.gz`` or ``.bz2``; an ``astropy.io.fits.HDUList``; or a 2-D array (``(1, H, W)`` also), which is
            copied. Masked pixels of a masked array become NaN.
        hdu: read this HDU instead, whatever it is called.
        plane: which plane of a cube, counted from 0 along its first axis in numpy's order (along all axes before the last two, flattened).
            Without ``hdu`` it is a plane of the first image with two axes or more. A 2-D image has plane 0 only.
    Returns: frames whose pixels are views of one copy-on-write mapping of the file.
    Raises: FrameError: if the source is refused; its ``code`` is one of those listed in :mod:`zoo.frames.gate`.
    """
    if isinstance(source, np.ndarray):
        if hdu is not None:
            raise FrameError("bad-hdu", path=None, hdu=hdu, got="an array", expected="no HDU number with an array")
        array, info = (source, FrameInfo()) if plane is None else _plane_of_array(source, plane)
        pixels, encoding = encode_array(array)
        return [Frame(pixels, encoding, info)]
    opened = _open(source)
    return [_frame(opened, index, plane) for index in _choose(opened, hdu, plane)]


def read_frame(source: Source, hdu: int | None = None, plane: int | None = None) -> Frame:
    """The only frame of a source, or the one of ``hdu`` and ``plane``; see :func:`read_frames`.

    Raises: FrameError: ``several-frames`` if there are several and ``hdu`` is not given; or any refusal of :func:`read_frames`.
    """
    if isinstance(source, np.ndarray):
        return read_frames(source, hdu=hdu, plane=plane)[0]
    opened = _open(source)
    return _frame(opened, _one(opened, hdu, plane), plane)


def read_info(source: Source, hdu: int | None = None, plane: int | None = None) -> FrameInfo:
    """What the headers say of one frame; its pixels are not touched.

    Raises: FrameError: as :func:`read_frame`, short of what only the layout of a raw frame can show.
    """
    if isinstance(source, np.ndarray):
        return read_frames(source, hdu=hdu, plane=plane)[0].info
    opened = _open(source)
    index = _one(opened, hdu, plane)
    return replace(_info(opened, index), plane=_plane_of(opened, index, plane)[0])


def list_hdus(source: Source) -> tuple[int, ...]:
    """The HDUs of the frames that :func:`read_frames` would return, from headers alone.

    Raises: FrameError: if the file is refused, or holds no frame.
    """
    if isinstance(source, np.ndarray):
        return (0,)
    return tuple(_choose(_open(source), None, None))


def encode_array(array: np.ndarray[Any, Any]) -> tuple[Tensor, Encoding]:
    """An array as FITS would store it, so that it is read by the same code and hashes like its file.

    Args:
        array: ``(H, W)`` or ``(1, H, W)``; bool, integer or real, any byte order.
    Returns: ``(H, W * itemsize)`` uint8, newly allocated, and its encoding. Unsigned integers are stored with the BZERO that FITS uses.
    Raises: FrameError: ``not-2d``, ``no-image`` for no pixels at all, ``bad-dtype``.
    """
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise FrameError("not-2d", path=None, got=f"an array of shape {array.shape}", expected="(H, W) or (1, H, W)")
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
    return torch.from_numpy(stored.view(np.uint8).reshape(array.shape[0], -1)), Encoding(
        -8 * size if kind == "f" else 8 * size, bzero=bzero
    )


def _open(source: str | os.PathLike[str] | HDUList) -> _Opened:
    """Map or unpack a file, or look into an HDU list, and check every header."""
    if not isinstance(source, str | os.PathLike):
        return _Opened(None, _hdus_of_list(source), source)
    path = Path(source)
    try:
        facts = path.stat()  # before opening: a pipe would block
        if not stat.S_ISREG(facts.st_mode):
            raise FrameError("not-a-file", path=path, got="a folder or device", expected="a FITS file")
        with path.open("rb") as file:
            data = _bytes_of(file, path)
    except FileNotFoundError as error:
        raise FrameError("missing", path=path, got="no such file", expected="a FITS file") from error
    except OSError as error:
        raise FrameError("unreadable", path=path, got=error.strerror or str(error), expected="a readable file") from error
    return _Opened(path, scan(data, path), data)


def _bytes_of(file: IO[bytes], path: Path) -> mmap.mmap | bytearray:
    magic = file.read(4)
    file.seek(0)
    if not magic:
        return bytearray()
    for start, command in _REFUSED.items():
        if magic.startswith(start):
            raise FrameError(
                "compressed", path=path, got="a compression that is not read here", expected="FITS", remedy=f"run {command} on it"
            )
    if magic.startswith(b"\x1f\x8b"):
        return _unpack(gzip.GzipFile(fileobj=file), path)
    if magic.startswith(b"BZh"):
        return _unpack(bz2.BZ2File(file), path)
    # ACCESS_COPY: torch warns on read-only memory.
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _unpack(stream: Any, path: Path) -> bytearray:
    result = bytearray()
    try:
        while chunk := stream.read(1 << 20):
            result += chunk
            if len(result) > MAX_UNPACKED:
                got = f"more than {MAX_UNPACKED} bytes unpacked"
                raise FrameError("too-large", path=path, got=got, expected=f"at most {MAX_UNPACKED}", remedy="unpack it first")
            # What is not FITS need not be unpacked to its end.
            if len(result) >= 9 and not result.startswith(b"SIMPLE  ="):
                break
    except EOFError as error:
        raise FrameError("truncated", path=path, got="a compressed file that ends early", expected="a whole file") from error
    except (OSError, zlib.error) as error:
        raise FrameError("corrupt", path=path, got=f"{error}", expected="a valid compressed file") from error
    return result


def _hdus_of_list(hdulist: HDUList) -> list[Hdu]:
    """The HDUs of an astropy list; tile-compressed images count as images, since astropy has decoded them."""
    from astropy.io.fits import CompImageHDU, GroupsHDU, ImageHDU, PrimaryHDU  # only who passes a list has loaded astropy

    result = []
    for index, hdu in enumerate(hdulist):
        header, _ = read_header(hdu.header.tostring().encode("latin-1", "replace"), 0, index, None)
        image = isinstance(hdu, PrimaryHDU | ImageHDU | CompImageHDU) and not isinstance(hdu, GroupsHDU)
        result.append(
            Hdu(index, "image" if image else "table", header, int(header.get("BITPIX") or 8), tuple(hdu.shape) if image else (), 0, 0)
        )
    if not result:
        raise FrameError("empty", path=None, got="an HDU list of length 0", expected="at least one HDU")
    return result


def _choose(opened: _Opened, hdu: int | None, plane: int | None) -> list[int]:
    """The HDUs that become frames."""
    hdus, path = opened.hdus, opened.path
    if hdu is not None:
        if not 0 <= hdu < len(hdus):
            raise FrameError("bad-hdu", path=path, hdu=hdu, got=f"a file of {len(hdus)} HDUs", expected=f"0 to {len(hdus) - 1}")
        if hdus[hdu].planes != 1 and (plane is None or not hdus[hdu].planes):
            raise _no_image([hdus[hdu]], path, hdu)
        return [hdu]
    images = [found for found in hdus if found.planes == 1 or (found.planes and plane is not None)]
    if not images:
        raise _no_image(hdus, path, None)
    chips = [found.index for found in images if found.header.get("EXTNAME") == "SCI"]
    info = _info(opened, chips[0]) if chips else FrameInfo()
    if info.instrument in _CAMERAS and info.product in ("raw", "flt"):
        promised = hdus[0].header.get("NEXTEND")
        if isinstance(promised, int) and len(hdus) <= promised:
            raise FrameError("truncated", path=path, got=f"{len(hdus) - 1} extensions", expected=f"NEXTEND = {promised}")
        return chips
    return [images[0].index]


def _one(opened: _Opened, hdu: int | None, plane: int | None) -> int:
    indices = _choose(opened, hdu, plane)
    if len(indices) > 1:
        remedy = f"pass hdu={' or '.join(map(str, indices))}"
        raise FrameError("several-frames", path=opened.path, got=f"{len(indices)} frames", expected="one", remedy=remedy)
    return indices[0]


def _no_image(hdus: Sequence[Hdu], path: Path | None, hdu: int | None) -> FrameError:
    kinds = {found.kind for found in hdus}
    shapes = [found.axes[::-1] for found in hdus if found.kind == "image" and found.axes and 0 not in found.axes]
    if shapes:
        cubes = [found.planes for found in hdus if found.planes]
        remedy = f"choose one with --plane 0 to {cubes[0] - 1} (plane= in Python)" if cubes else ""
        got = f"an image of {' x '.join(map(str, shapes[0]))}"
        return FrameError("not-2d", path=path, hdu=hdu, got=got, expected="two axes", remedy=remedy)
    if "compressed" in kinds:
        return FrameError(
            "compressed", path=path, hdu=hdu, got="a tile-compressed image", expected="plain pixels", remedy="run funpack on it"
        )
    if hdu is not None and "table" in kinds:
        return FrameError("table-hdu", path=path, hdu=hdu, got="a table", expected="an image")
    held = "tables only" if "table" in kinds else "random groups" if "groups" in kinds else "headers without pixels"
    return FrameError("no-image", path=path, hdu=hdu, got=held, expected="a 2-D image")


def _info(opened: _Opened, index: int) -> FrameInfo:
    primary, header = opened.hdus[0].header, opened.hdus[index].header
    info = info_from_headers(primary, header, path=opened.path, hdu=index)
    # A raw frame under another name is still raw: calibration turns its integers into floats.
    counts = header.get("BUNIT") == "COUNTS" and header.get("BITPIX") == 16 and header.get("EXTNAME") == "SCI"
    return replace(info, product="raw") if info.product == "other" and info.instrument in _CAMERAS and counts else info


def _plane_of(opened: _Opened, index: int, plane: int | None) -> tuple[int | None, int]:
    """The plane as :class:`FrameInfo` names it (``None`` in a 2-D image), and as a number.

    Raises: FrameError: ``bad-plane``.
    """
    planes = opened.hdus[index].planes
    if plane is not None and not 0 <= plane < planes:
        raise FrameError("bad-plane", path=opened.path, hdu=index, got=f"plane {plane}", expected=f"0 to {planes - 1}")
    return (None if planes == 1 else plane), plane or 0


def _plane_of_array(array: np.ndarray[Any, Any], plane: int) -> tuple[np.ndarray[Any, Any], FrameInfo]:
    planes = math.prod(array.shape[:-2])
    if array.ndim < 2 or array.size == 0:
        return array, FrameInfo()
    if not 0 <= plane < planes:
        raise FrameError("bad-plane", path=None, got=f"plane {plane} of an array of {array.shape}", expected=f"0 to {planes - 1}")
    return array.reshape(-1, *array.shape[-2:])[plane], FrameInfo(plane=None if planes == 1 else plane)


def _frame(opened: _Opened, index: int, plane: int | None) -> Frame:
    """Build the frame of one HDU that has passed the gate."""
    found, path = opened.hdus[index], opened.path
    named, number = _plane_of(opened, index, plane)
    info = replace(_info(opened, index), plane=named)
    raw = info.product == "raw" and found.header.get("EXTNAME") == "SCI"
    layout = layout_of(opened.hdus[0].header, found.header, path=path, hdu=index) if raw else None
    height, width = found.axes[-2:]
    if isinstance(opened.data, mmap.mmap | bytearray):
        bscale, bzero, blank = check_scaling(found, path)
        encoding = Encoding(found.bitpix, bscale, bzero, blank)
        size = height * width * encoding.itemsize
        pixels = torch.frombuffer(opened.data, dtype=torch.uint8, count=size, offset=found.offset + number * size).view(height, -1)
    else:
        pixels, encoding = encode_array(np.reshape(opened.data[index].data, (-1, height, width))[number])
    regions: tuple[Region, ...] = ()
    if info.product == "flt" and info.instrument == "WFC3/UVIS" and info.chip in (1, 2) and (height, width) == (2051, 4096):
        regions = (Region(y=3 if info.chip == 1 else 0, x=0, height=2048, width=4096),)
    unit: Any = "electron" if str(found.header.get("BUNIT", "")).strip().upper() in ("ELECTRON", "ELECTRONS") else "DN"
    return Frame(pixels, encoding, info, regions, unit, layout.saturation() if layout else None, layout)
