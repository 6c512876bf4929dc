"""What kind of product a file is, which of its extensions hold the sky, and what its numbers count."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Unit = Literal["DN", "electron", "dimensionless"]

CAMERAS = ("ACS/WFC", "WFC3/UVIS", "ACS/HRC")
"""Cameras of which every SCI extension is a chip, and becomes a frame."""

# Extensions that say something about the pixels of another one; they are read only when asked for by number. Names of Hubble and Webb
# products, of Astropy's CCDData, and of the pipelines of large surveys.
AUXILIARY = frozenset(
    (
        "ERR", "ERROR", "DQ", "PIXELDQ", "GROUPDQ", "WHT", "WEIGHT", "CTX", "CON", "SAMP", "TIME", "EXP", "AREA", "MASK", "UNCERT",
        "VARIANCE", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "BPM", "COVERAGE", "D2IMARR", "WCSDVARR", "THUMBNAIL",
    )
)  # fmt: skip

SUFFIX = re.compile(r"[_-](raw|flt|flc|drz|drc)(?:[_-]sci)?\.(?:fits?|fts)(?:\.(?:gz|bz2|fz))?$", re.IGNORECASE)
"""The end of a file name that tells the product."""

_PRODUCTS = {"raw": "raw", "flt": "flt", "flc": "flt", "drz": "drz", "drc": "drz"}
_ELECTRONS = re.compile(r"(?:ELECTRONS?|E-)(?P<rate>(?:/|\s+PER\s+)(?:S|SEC|SECOND)|\s+S\^?-1)?")


def product_of(path: Path | None, primary: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """``raw``, ``flt`` (also ``flc``), ``drz`` (also ``drc``) or ``other``.

    The file name decides, then ``FILENAME``. Where both say nothing, a Hubble file is known by what its calibration has recorded: drizzling
    writes ``NDRIZIM``; ``FLATCORR = COMPLETE`` makes a ``flt`` unless ``CRCORR`` says that exposures were combined; and the 16-bit counts
    of a SCI extension of :data:`CAMERAS` are raw.

    Args:
        path: the file. primary: header of HDU 0. header: header of the image.
    """
    for name in ("" if path is None else path.name, str(primary.get("FILENAME", ""))):
        found = SUFFIX.search(name.strip())
        if found:
            return _PRODUCTS[found[1].lower()]

    def text(key: str) -> str:
        return str(header.get(key, primary.get(key, ""))).strip().upper()

    camera = f"{text('INSTRUME')}/{text('DETECTOR')}"
    if text("TELESCOP") not in {"HST", ""} or text("INSTRUME") not in {"ACS", "WFC3"}:
        return "other"
    if "NDRIZIM" in header or "NDRIZIM" in primary:
        return "drz"
    if text("EXTNAME") != "SCI":
        return "other"
    if camera in CAMERAS and text("BUNIT") == "COUNTS" and header.get("BITPIX") == 16:
        return "raw"
    combined = text("CRCORR") == "COMPLETE" and camera != "WFC3/IR"  # there it means that the reads of one exposure were fitted
    return "flt" if text("FLATCORR") == "COMPLETE" and not combined else "other"


def unit_of(bunit: str, exptime: float) -> tuple[Unit, float, str]:
    """What the pixels count, by which factor to multiply them, and what could not be done.

    Rates in electrons per second become the electrons of the whole exposure, which is what noise and full well are measured in. An
    ``EXPTIME`` of exactly 1 is what mosaics carry whose real exposure time is not told; their rates stay rates. Anything that is not known
    to be electrons is ``DN``, which stands for any linear unit, and is left alone: counts, counts per second, surface brightness.

    Args:
        bunit: ``BUNIT``, any case. exptime: seconds, NaN if unknown.
    Returns: unit, factor, and a note or an empty text.
    """
    found = _ELECTRONS.fullmatch(bunit.strip().upper())
    if not found:
        return "DN", 1.0, ""
    if not found["rate"]:
        return "electron", 1.0, ""
    if not math.isfinite(exptime) or exptime <= 0 or exptime == 1:
        told = "no EXPTIME" if math.isnan(exptime) else f"EXPTIME = {exptime:g}"
        return "DN", 1.0, f"{bunit.strip()} with {told}: rates, left as they are"
    return "electron", exptime, ""
