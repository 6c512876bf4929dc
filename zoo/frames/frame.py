"""The frame: pixels as they lie in the file, what they mean, and where they come from."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import InputShapeError
from zoo.frames.hst import Layout, Window
from zoo.frames.observation import Observation
from zoo.frames.products import SUFFIX, Unit, product_of
from zoo.ops.raw import Encoding, Region, decode
from zoo.stopwatch import part

# IPPPSSOOT: instrument letter, programme, visit, observation, transmission.
_HST_ROOTNAME = re.compile(r"[a-z][a-z0-9]{7}[a-z0-9]", re.IGNORECASE)


@dataclass(frozen=True)
class FrameInfo:
    """What the headers say of one frame. Text is empty and numbers are NaN where they say nothing.

    Attributes:
        path, hdu: the file and the index of its HDU; ``None`` for pixels that came from memory.
        plane: which plane of a cube, from 0; ``None`` where the image has only two axes.
        rootname: ``ROOTNAME``, else the file name without its suffixes.
        instrument: ``ACS/WFC``, ``WFC3/UVIS``, ``ACS/HRC``, or whatever ``INSTRUME`` and ``DETECTOR`` spell.
        detector: ``DETECTOR``.
        filter: ``FILTER``, or the ones of ``FILTER1`` and ``FILTER2`` that are not clear, joined by ``+``.
        product: ``raw``, ``flt`` (also ``flc``), ``drz`` (also ``drc``) or ``other``.
        target: ``TARGNAME``; ``OBJECT`` is never used.
        visit: programme and visit of an HST rootname, such as ``j8bt05``.
        proposal: ``PROPOSID``.
        exptime: seconds. ra, dec: of the target, degrees.
        bunit: ``BUNIT`` as the file spells it; ``Frame.unit`` says what the decoded pixels count.
        chip: ``CCDCHIP``.
        simulated: whether the file says ``SIMULATE = T``; scale: its ``SIMSCALE``.
    """

    path: Path | None = None
    hdu: int | None = None
    plane: int | None = None
    rootname: str = ""
    instrument: str = ""
    detector: str = ""
    filter: str = ""
    product: str = "other"
    target: str = ""
    visit: str = ""
    proposal: str = ""
    exptime: float = math.nan
    bunit: str = ""
    ra: float = math.nan
    dec: float = math.nan
    chip: int | None = None
    simulated: bool = False
    scale: int = 1


@dataclass(frozen=True, eq=False)
class Frame:
    """One detector chip, or one image.

    Attributes:
        pixels: ``(H, W * itemsize)`` uint8 bytes as in the file when ``encoding`` is given, else ``(1, H, W)`` float32.
        encoding: how the bytes become numbers, or ``None``.
        info: where the frame comes from.
        regions: windows of the raw pixels that make up the frame, each with its bias and gain; applied when the frame is decoded. Empty
            means all pixels as they are.
        unit: unit of the decoded pixels. ``DN`` stands for any linear unit that is not known to be electrons.
        saturation: raw value from which a pixel is saturated, or ``None`` if that is not known.
        layout: geometry of a raw Hubble frame that still carries its bias columns, else ``None``.
        notes: one line for each step that had nothing to do, and for what reading the file could not do.
        origin: the frame, of the same shape, from which a step made these pixels and gave a number to those without a value; else ``None``.
        observation: the exposure as the last degradation left it; ``None`` before the first, and after any other step that changes pixels.
    """

    pixels: Tensor
    encoding: Encoding | None
    info: FrameInfo = field(default_factory=FrameInfo)
    regions: tuple[Region, ...] = ()
    unit: Unit = "DN"
    saturation: float | None = None
    layout: Layout | None = None
    notes: tuple[str, ...] = ()
    origin: Frame | None = None
    observation: Observation | None = None

    @property
    def raw_shape(self) -> tuple[int, int]:
        """``(H, W)`` of the stored pixels."""
        if self.encoding is None:
            return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])
        return int(self.pixels.shape[0]), int(self.pixels.shape[1]) // self.encoding.itemsize

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(1, H, W)`` of the decoded frame, after its regions."""
        if not self.regions:
            return (1, *self.raw_shape)
        return 1, max(r.to_y + r.height for r in self.regions), max(r.to_x + r.width for r in self.regions)

    def decode(self, out: Tensor | None = None) -> Tensor:
        """The linear pixels.

        Args:
            out: ``(1, H, W)`` float32 to write into.
        Returns: ``(1, H, W)`` float32 in ``unit``; BLANK, NaN and infinite pixels are NaN. A native frame without ``out`` returns its own
            pixels, not a copy.
        Raises: InputShapeError: if ``out`` has another shape.
        """
        if out is not None and tuple(out.shape) != self.shape:
            raise InputShapeError(f"out must have shape {self.shape}, the shape of the frame, got {tuple(out.shape)}")
        if self.encoding is None and not self.regions:
            return self.pixels if out is None else out.copy_(self.pixels)
        stored = self.pixels if self.encoding else self.pixels[0]
        with part("decode"):
            image = decode(stored, self.encoding, regions=self.regions or None, out=None if out is None else out[0])
        return image[None] if out is None else out

    def with_pixels(self, pixels: Tensor, *, unit: Unit | None = None) -> Frame:
        """The same frame with other, native pixels and nothing pending.

        Args:
            pixels: ``(1, H, W)`` float32.
            unit: unit of the new pixels; by default the frame's own.
        Raises: InputShapeError: if the shape or dtype is another.
        """
        if pixels.ndim != 3 or pixels.shape[0] != 1 or pixels.dtype != torch.float32:
            raise InputShapeError(f"pixels must be (1, H, W) float32, got {tuple(pixels.shape)} {pixels.dtype}")
        # The saturation level is a raw value, which means nothing for pixels that were computed.
        forgotten: dict[str, Any] = {"saturation": None, "layout": None, "origin": None, "observation": None}
        return replace(self, pixels=pixels, encoding=None, regions=(), unit=unit or self.unit, **forgotten)

    def sha256(self) -> str:
        """Hash of the stored science pixels: equal for equal pixels, whatever the file name or headers.

        For a raw Hubble frame only the light-sensitive pixels count, for a frame with regions only those.
        """
        height, width = self.raw_shape
        if self.encoding is None:
            # As FITS would store them, so that an array and its file agree.
            data = self.pixels[0].contiguous().numpy().astype(">f4")
            stored, encoding = torch.from_numpy(data.view(np.uint8).reshape(height, -1)), Encoding(-32)
        else:
            stored, encoding = self.pixels, self.encoding
        windows = [Window(r.y, r.x, r.height, r.width) for r in self.regions] or [Window(0, 0, height, width)]
        if self.layout:
            windows = [amplifier.science for amplifier in self.layout.amplifiers]
        digest = hashlib.sha256(f"{encoding.bitpix} {float(encoding.bscale)} {float(encoding.bzero)} {encoding.blank}".encode())
        for window in windows:
            columns = slice(window.x * encoding.itemsize, (window.x + window.width) * encoding.itemsize)
            rows = stored[window.y : window.y + window.height, columns].contiguous()
            digest.update(f"{window.height} x {window.width}".encode())
            digest.update(memoryview(rows.numpy()))  # type: ignore[arg-type]  # numpy declares the buffer protocol from 3.12 on
        return digest.hexdigest()


def info_from_headers(
    primary: Mapping[str, Any], header: Mapping[str, Any], *, path: Path | None = None, hdu: int | None = None
) -> FrameInfo:
    """What the headers of a file and of one of its HDUs say; the HDU's own keywords win.

    Args:
        primary: header of HDU 0. header: header of the image's HDU. path, hdu: where they come from.
    """

    def text(*keys: str) -> str:
        for source in (header, primary):
            for key in keys:
                value = source.get(key)
                if value is not None and not isinstance(value, bool) and str(value).strip():
                    return str(value).strip()
        return ""

    def number(key: str) -> float:
        for source in (header, primary):
            value = source.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        return math.nan

    instrument, detector = text("INSTRUME").upper(), text("DETECTOR").upper()
    rootname = text("ROOTNAME").lower() or _stem(path)
    wheels = [name for name in (text("FILTER1"), text("FILTER2")) if name and not name.upper().startswith("CLEAR")]
    chip = number("CCDCHIP")
    simulated = primary.get("SIMULATE") is True
    scale = primary.get("SIMSCALE", 1)
    return FrameInfo(
        path=path,
        hdu=hdu,
        rootname=rootname,
        instrument=f"{instrument}/{detector}" if instrument and detector else instrument,
        detector=detector,
        filter=text("FILTER") or "+".join(wheels),
        product=product_of(path, primary, header),
        target=text("TARGNAME"),
        visit=rootname[:6] if _HST_ROOTNAME.fullmatch(rootname) and text("TELESCOP").upper() in {"HST", ""} and instrument else "",
        proposal=text("PROPOSID"),
        exptime=number("EXPTIME"),
        bunit=str(header.get("BUNIT") or "").strip(),
        ra=number("RA_TARG"),
        dec=number("DEC_TARG"),
        chip=int(chip) if math.isfinite(chip) else None,
        simulated=simulated,
        scale=scale if simulated and isinstance(scale, int) and not isinstance(scale, bool) else 1,
    )


def _stem(path: Path | None) -> str:
    return "" if path is None else SUFFIX.sub("", path.name).rstrip("_-").split(".fit")[0]
