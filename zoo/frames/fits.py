"""FITS files, HDU lists and arrays in, frames out, without copying or converting a pixel that need not be.

Which image of a file is the frame, which of its pixels have no value, and what they count, is decided here; :mod:`zoo.frames.source` gets
at the bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

from zoo.errors import FrameError, UsageError
from zoo.frames.arrays import encode_array, plane_of_array
from zoo.frames.frame import Frame, FrameInfo, info_from_headers
from zoo.frames.gate import Hdu
from zoo.frames.hst import Layout, layout_of
from zoo.frames.products import AUXILIARY, CAMERAS, unit_of
from zoo.frames.quality import BAD_BITS, check_valid, empty, empty_border, flagged, invalidate, least_valid
from zoo.frames.source import Opened, open_source
from zoo.frames.wcs import find_corners
from zoo.ops.raw import Encoding, Region
from zoo.stopwatch import part

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

Source: TypeAlias = "str | os.PathLike[str] | HDUList | np.ndarray[Any, Any]"


def read_frames(source: Source, *, hdu: int | None = None, plane: int | None = None, dq: int | None = None) -> list[Frame]:
    """Every frame of a file, an HDU list or an array.

    Exposures of ACS/WFC, WFC3/UVIS and ACS/HRC give one frame per SCI extension, unless they are drizzled; anything else gives its first
    2-D image that is not known to describe another one (ERR, DQ, WHT ...). Raw frames carry their layout and all their pixels, bias
    included, until the step ``overscan`` is applied; of calibrated UVIS chips the 3 rows nearest the gap are left out, as of raw ones.

    Pixels of a SCI image that its DQ extension calls bad, or to which no exposure contributed (WHT or CTX zero; without these, in a
    drizzled image, zeros in one piece with the border), have no value: NaN, or BLANK among integers. Rates in electrons per second become
    electrons where EXPTIME is told.

    Args:
        source: path of a FITS file, also ``.gz``, ``.bz2`` or tile-compressed (``.fz``); an ``astropy.io.fits.HDUList``; or a 2-D array
            (``(1, H, W)`` also), which is copied. Masked pixels of a masked array become NaN.
        hdu: read this HDU instead, whatever it is called, even if one after it is damaged.
        plane: which plane of a cube, counted from 0 along its first axis in numpy's order (along all axes before the last two, flattened).
            Without ``hdu`` it is a plane of the first image with two axes or more. A 2-D image has plane 0 only.
        dq: sum of the DQ flags that make a pixel invalid; by default those of :data:`zoo.frames.BAD_BITS` for the camera; 0 for none.
    Returns: frames whose pixels are views of one copy-on-write mapping of the file where that is not compressed; only memory pages with
        pixels that lose their value are copied.
    Raises: FrameError: if the source is refused; its ``code`` is one of those listed in :mod:`zoo.frames.gate`. UsageError: if ``dq`` is
        no sum of flags.
    """
    _check_flags(dq)
    if isinstance(source, np.ndarray):
        if hdu is not None:
            raise FrameError("bad-hdu", path=None, hdu=hdu, got="an array", expected="no HDU number with an array")
        array, named = plane_of_array(source, plane)
        pixels, encoding = encode_array(array)
        return [Frame(pixels, encoding, FrameInfo(plane=named))]
    opened = open_source(source)
    return [_frame(opened, index, plane, dq) for index in _choose(opened, hdu, plane)]


def read_frame(source: Source, hdu: int | None = None, plane: int | None = None, *, dq: int | None = None) -> Frame:
    """The only frame of a source, or the one of ``hdu`` and ``plane``; see :func:`read_frames`.

    Raises: FrameError: ``several-frames`` if there are several and ``hdu`` is not given; or any refusal of :func:`read_frames`.
    """
    _check_flags(dq)
    if isinstance(source, np.ndarray):
        return read_frames(source, hdu=hdu, plane=plane)[0]
    opened = open_source(source)
    return _frame(opened, _one(opened, hdu, plane), plane, dq)


def read_info(source: Source, hdu: int | None = None, plane: int | None = None) -> FrameInfo:
    """What the headers say of one frame; its pixels are not touched.

    Raises: FrameError: as :func:`read_frame`, short of what only the layout of a raw frame or its pixels can show.
    """
    if isinstance(source, np.ndarray):
        return read_frames(source, hdu=hdu, plane=plane)[0].info
    opened = open_source(source)
    return _info(opened, _one(opened, hdu, plane), plane)


def read_size(source: Source, hdu: int | None = None, plane: int | None = None, *, trimmed: bool = False) -> tuple[int, int]:
    """``(H, W)`` of one frame in pixels, as :func:`read_frame` gives it; of a plain file from headers alone.

    Args:
        source, hdu, plane: as for :func:`read_frame`.
        trimmed: of a raw Hubble chip the size without its bias columns.
    Raises: FrameError: as :func:`read_frame`.
    """
    if isinstance(source, np.ndarray):
        return read_frame(source, hdu, plane).raw_shape
    opened = open_source(source)
    index = _one(opened, hdu, plane)
    info = _info(opened, index, plane)
    layout = _layout(opened, index, info) if trimmed else None
    return layout.science_shape if layout else _window(opened.hdus[index], info)[1:]


def read_corners(source: Source, hdu: int | None = None, plane: int | None = None) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Where the corners of one frame lie on the sky, from its header: see :func:`zoo.frames.wcs.find_corners`.

    Args:
        source, hdu, plane: as for :func:`read_frame`.
    Returns: ``(4, 2)`` right ascension and declination in degrees, without bias columns; ``None`` where the header does not tell.
    Raises: FrameError: as :func:`read_info`.
    """
    if isinstance(source, np.ndarray):
        return None
    opened = open_source(source)
    index = _one(opened, hdu, plane)
    info = _info(opened, index, plane)
    layout = _layout(opened, index, info)
    if layout is None:
        top, height, width = _window(opened.hdus[index], info)
        return find_corners(opened.hdus[index].header, (top, 0, height, width))
    light = [amplifier.science for amplifier in layout.amplifiers]
    left, right = min(window.x for window in light), max(window.x + window.width for window in light)
    return find_corners(opened.hdus[index].header, (light[0].y, left, light[0].height, right - left))


def list_hdus(source: Source) -> tuple[int, ...]:
    """The HDUs of the frames that :func:`read_frames` would return, from headers alone.

    Raises: FrameError: if the file is refused, or holds no frame.
    """
    if isinstance(source, np.ndarray):
        return (0,)
    return tuple(_choose(open_source(source), None, None))


def _check_flags(dq: int | None) -> None:
    if dq is not None and (isinstance(dq, bool) or not isinstance(dq, int) or not 0 <= dq < 1 << 32):
        raise UsageError(f"dq must be a sum of DQ flags, 0 to {(1 << 32) - 1}, or None for those of the camera, got {dq!r}")


def _choose(opened: Opened, hdu: int | None, plane: int | None) -> list[int]:
    """The HDUs that become frames."""
    hdus, path = opened.hdus, opened.path
    if hdu is not None:
        if hdu >= len(hdus) and opened.damage:
            raise opened.damage
        if not 0 <= hdu < len(hdus):
            raise FrameError("bad-hdu", path=path, hdu=hdu, got=f"a file of {len(hdus)} HDUs", expected=f"0 to {len(hdus) - 1}")
        if hdus[hdu].planes != 1 and (plane is None or not hdus[hdu].planes):
            raise _no_image([hdus[hdu]], path, hdu)
        return [hdu]
    images = [found for found in hdus if _is_default(found, plane)]
    if opened.damage:
        raise _damaged(opened.damage, images)
    if not images:
        raise _no_image(hdus, path, None)
    chips = [found.index for found in images if _name(found) == "SCI"]
    info = _info(opened, chips[0], None) if chips else FrameInfo()
    if info.instrument in CAMERAS and info.product != "drz":
        promised = hdus[0].header.get("NEXTEND")
        if info.product in ("raw", "flt") and isinstance(promised, int) and len(hdus) <= promised:
            raise FrameError("truncated", path=path, got=f"{len(hdus) - 1} extensions", expected=f"NEXTEND = {promised}")
        return chips
    return [images[0].index]


def _one(opened: Opened, hdu: int | None, plane: int | None) -> int:
    indices = _choose(opened, hdu, plane)
    if len(indices) > 1:
        remedy = f"pass hdu={' or '.join(map(str, indices))}"
        raise FrameError("several-frames", path=opened.path, got=f"{len(indices)} frames", expected="one", remedy=remedy)
    return indices[0]


def _name(hdu: Hdu) -> str:
    return str(hdu.header.get("EXTNAME", "")).strip().upper()


def _is_line(hdu: Hdu) -> bool:
    """Whether an image is a single row or column, as spectra are stored."""
    return hdu.planes > 0 and min(hdu.axes[-2:]) == 1 < max(hdu.axes[-2:])


def _is_default(hdu: Hdu, plane: int | None) -> bool:
    """Whether an image may become a frame without having been asked for by number."""
    wanted = hdu.planes == 1 or (hdu.planes > 1 and plane is not None)
    return wanted and _name(hdu) not in AUXILIARY and not _is_line(hdu)


def _damaged(damage: FrameError, images: Sequence[Hdu]) -> FrameError:
    """The refusal of a file whose later HDUs cannot be read, with what can be done if there is an image before them."""
    remedy = f"--hdu {images[0].index} reads the image before the damage" if images else ""
    return FrameError(damage.code, path=damage.path, hdu=damage.hdu, got=damage.got, expected=damage.expected, remedy=remedy)


def _no_image(hdus: Sequence[Hdu], path: Path | None, hdu: int | None) -> FrameError:
    """Why none of some HDUs gives a frame."""
    images = [found for found in hdus if found.kind in ("image", "compressed") and found.axes and 0 not in found.axes]
    cubes = [found for found in images if found.planes > 1 and not _is_line(found) and (hdu is not None or _name(found) not in AUXILIARY)]
    if cubes:
        got = f"an image of {' x '.join(map(str, cubes[0].axes[::-1]))}"
        remedy = f"choose one with --plane 0 to {cubes[0].planes - 1} (plane= in Python)"
        return FrameError("not-2d", path=path, hdu=hdu, got=got, expected="two axes", remedy=remedy)
    lines = [found for found in images if not found.planes or _is_line(found)]
    if lines:
        got = f"a spectrum, or another line, of {' x '.join(map(str, lines[0].axes[::-1]))} pixels"
        return FrameError("not-2d", path=path, hdu=hdu, got=got, expected="two axes")
    if images:
        got = f"nothing but {', '.join(dict.fromkeys(map(_name, images)))}"
        remedy = f"--hdu {images[0].index} reads it all the same"
        return FrameError("no-image", path=path, hdu=hdu, got=got, expected="a 2-D science image", remedy=remedy)
    kinds = {found.kind for found in hdus}
    if hdu is not None and "table" in kinds:
        return FrameError("table-hdu", path=path, hdu=hdu, got="a table", expected="an image")
    held = "tables only" if "table" in kinds else "random groups" if "groups" in kinds else "headers without pixels"
    return FrameError("no-image", path=path, hdu=hdu, got=held, expected="a 2-D image")


def _info(opened: Opened, index: int, plane: int | None) -> FrameInfo:
    """What the headers say of one image.

    Raises: FrameError: ``bad-plane``.
    """
    found = opened.hdus[index]
    if plane is not None and not 0 <= plane < found.planes:
        raise FrameError("bad-plane", path=opened.path, hdu=index, got=f"plane {plane}", expected=f"0 to {found.planes - 1}")
    info = info_from_headers(opened.primary(index), found.header, path=opened.path, hdu=index)
    return info if found.planes == 1 else replace(info, plane=plane)


def _frame(opened: Opened, index: int, plane: int | None, dq: int | None) -> Frame:
    """Build the frame of one HDU that has passed the gate."""
    found = opened.hdus[index]
    info = _info(opened, index, plane)
    science = _name(found) == "SCI"
    layout = _layout(opened, index, info)
    pixels, encoding = opened.stored(index, plane or 0)
    notes: tuple[str, ...] = ()
    if found.planes == 1:
        with part("decode"):
            if science:
                pixels, encoding, notes = _without_flagged(opened, index, info, pixels, encoding, dq)
            drizzled = info.product == "drz" and _name(found) not in AUXILIARY
            if science or drizzled:
                pixels, encoding = _without_border(opened, index, pixels, encoding, guess=drizzled)
    check_valid(pixels, encoding, least_valid(), path=opened.path, hdu=index)
    # A raw frame is in DN, whatever it says, until the overscan step has applied the gains.
    unit, gain, note = unit_of("COUNTS" if layout else info.bunit, info.exptime)
    top, height, width = _window(found, info)
    whole = height == found.axes[-2]
    regions = () if whole and gain == 1 else (Region(y=top, x=0, height=height, width=width, gain=gain),)
    saturation = layout.saturation() if layout else None
    return Frame(pixels, encoding, info, regions, unit, saturation, layout, notes + ((note,) if note else ()))


def _layout(opened: Opened, index: int, info: FrameInfo) -> Layout | None:
    """Where the bias columns of a raw Hubble chip are; ``None`` for anything else."""
    found = opened.hdus[index]
    raw = info.product == "raw" and _name(found) == "SCI"
    return layout_of(opened.primary(index), found.header, path=opened.path, hdu=index) if raw else None


def _window(found: Hdu, info: FrameInfo) -> tuple[int, int, int]:
    """First row, height and width of the frame in its image; calibrated UVIS chips lose the 3 rows nearest the gap."""
    height, width = found.axes[-2:]
    surplus = info.instrument == "WFC3/UVIS" and info.product != "drz" and info.chip in (1, 2) and (height, width) == (2051, 4096)
    return (3 if info.chip == 1 else 0, 2048, width) if surplus else (0, height, width)


def _without_flagged(
    opened: Opened, index: int, info: FrameInfo, pixels: Tensor, encoding: Encoding, dq: int | None
) -> tuple[Tensor, Encoding, tuple[str, ...]]:
    """A SCI image without the pixels that its DQ extension calls bad, and a note where that says nothing usable."""
    telescope = str(opened.primary(index).get("TELESCOP", "")).strip().upper()
    bits = BAD_BITS.get(info.instrument, BAD_BITS.get(telescope, 0)) if dq is None else dq
    if not bits:
        return pixels, encoding, ()
    quality = opened.extension("DQ", index)
    if quality is None:
        return pixels, encoding, (f"DQ: not looked at, for an HDU of the file is {opened.damage.code}",) if opened.damage else ()
    shape = opened.hdus[index].axes[-2:]
    constant = quality.header.get("PIXVALUE", 0)
    mask = None
    if not quality.planes and 0 not in quality.axes and isinstance(constant, int):
        # HST keeps a DQ array whose pixels are all alike as this number.
        mask = np.full(shape, bool(constant & bits))
    elif quality.planes == 1 and quality.axes[-2:] == shape:
        mask = flagged(*opened.stored(quality.index, 0), bits)
    if mask is None:
        axes = " x ".join(map(str, quality.axes[::-1]))
        return pixels, encoding, (f"DQ: not used, for it holds {axes or 'no'} pixels of BITPIX {quality.bitpix}",)
    return *invalidate(pixels, encoding, mask), ()


def _without_border(opened: Opened, index: int, pixels: Tensor, encoding: Encoding, *, guess: bool) -> tuple[Tensor, Encoding]:
    """An image without the pixels to which no exposure contributed; without WHT and CTX they are guessed from its border, or left."""
    shape = opened.hdus[index].axes[-2:]
    for name in ("WHT", "CTX"):
        weight = opened.extension(name, index)
        if weight and weight.planes and weight.axes[-2:] == shape:
            mask = empty(*opened.stored(weight.index, 0), signed=name == "CTX")
            for plane in range(1, weight.planes):
                mask &= empty(*opened.stored(weight.index, plane), signed=name == "CTX")
            return invalidate(pixels, encoding, mask)
    border = empty_border(pixels, encoding) if guess else None
    return (pixels, encoding) if border is None else invalidate(pixels, encoding, border)
