"""Simulated exposures as raw HST files: seven HDUs, the keywords of both cameras, both chips in their true layout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo import storage
from zoo.frames import Layout, acs_wfc, wfc3_uvis
from zoo.plugins.simulated.bands import ACS
from zoo.plugins.simulated.detector import Chip, expose
from zoo.plugins.simulated.fields import Array, stream
from zoo.plugins.simulated.render import Pointing, expected
from zoo.plugins.simulated.scene import Scene
from zoo.plugins.simulated.targets import Exposure

VERSION = 3
"""Raised whenever the same seed gives other pixels, or files say other things of themselves."""

CHIPS = ((1, 2), (4, 1))
"""HDU and chip of the two science images."""

_RAYS = 20.0  # cosmic rays per second on a full-size chip: about one per second and square centimetre
_SECOND_WHEEL = ("F435W", "F814W")  # filters of ACS that sit in wheel 2

Card = tuple[str, bool | int | float | str, str]
"""Keyword, value, comment."""


def chip_of(exposure: Exposure, number: int, scale: int) -> Chip:
    """Chip 1 or 2 as an exposure finds it, in a layout of a scale; 1 is full size."""
    return Chip(
        layout=(layout := (acs_wfc(number, exposure.gain) if exposure.camera == ACS else wfc3_uvis(number)).scaled(scale)),
        bias=tuple(exposure.bias["ABCD".index(name)] for name in layout.names),
        read_noise=exposure.camera.read_noise,
        dark=exposure.camera.dark,
        exptime=exposure.exptime,
        rays=_RAYS / scale**2,
        hot=exposure.hot,
    )


def light_on(exposure: Exposure, chip: Chip, scene: Scene, scale: int) -> Array:
    """Electrons expected from the sky on all rows of a chip that receive light, ``(rows, columns)`` float32."""
    shape = (chip.layout.amplifiers[0].imaging.height, chip.layout.science_shape[1])
    return expected(scene, exposure.pointing(scene.extent, scale), chip.layout.chip or 1, shape)


def noise_of(seed: int, exposure: Exposure, chip: Chip) -> np.random.Generator:
    """The random numbers of a chip's exposure."""
    return stream(seed, exposure.target.index, exposure.index, chip.layout.chip or 1, "detector")


def write_exposure(path: Path, seed: int, exposure: Exposure, scene: Scene, scale: int, recipe: Mapping[str, int | str]) -> None:
    """Render an exposure and write it.

    Args:
        path: the file; an existing one is replaced.
        seed: the data set's seed.
        exposure: what to render; noise depends on the seed, the target's index and the exposure's alone.
        scene: sky of the exposure's target.
        scale: scale of the layout; 1 is full size.
        recipe: keywords that say what data set it belongs to.

    Raises:
        StorageError: the file cannot be written.
    """
    pointing = exposure.pointing(scene.extent, scale)
    blocks = [_header(_primary(exposure, path.name, seed, scale, recipe))]
    for version, (_, number) in enumerate(CHIPS, start=1):
        chip = chip_of(exposure, number, scale)
        layout = chip.layout
        raw = expose(noise_of(seed, exposure, chip), light_on(exposure, chip, scene, scale), chip)
        # Unsigned 16 bit as FITS has them: big-endian int16, 32768 lower.
        pixels = (raw ^ 0x8000).astype(">u2").tobytes()
        blocks += [_header(_science(exposure, layout, pointing, number, version, raw)), _padded(pixels, b"\0")]
        blocks += [_header(_constant(exposure, layout, name, version)) for name in ("ERR", "DQ")]
    storage.write_bytes(path, b"".join(blocks))


def _padded(data: bytes, filler: bytes) -> bytes:
    """Data filled up to a multiple of the FITS block."""
    return data + filler * (-len(data) % 2880)


def _header(cards: Sequence[Card]) -> bytes:
    """A FITS header in the fixed format."""
    lines = []
    for keyword, value, comment in cards:
        if isinstance(value, bool):
            text = f"{'T' if value else 'F':>20}"
        elif isinstance(value, str):
            text = f"'{value:<8}'".ljust(20)
        else:
            text = f"{str(value).upper():>20}"
        lines.append(f"{keyword:<8}= {text} / {comment}"[:80].ljust(80))
    return _padded("".join([*lines, "END".ljust(80)]).encode("ascii"), b" ")


def _primary(exposure: Exposure, filename: str, seed: int, scale: int, recipe: Mapping[str, int | str]) -> list[Card]:
    """Header of HDU 0."""
    target, camera, band = exposure.target, exposure.camera, exposure.band
    begin = (datetime(1858, 11, 17) + timedelta(days=exposure.start)).isoformat(timespec="seconds")
    cards: list[Card] = [
        ("SIMPLE", True, "data conform to FITS standard"),
        ("BITPIX", 16, "bits per data value"),
        ("NAXIS", 0, "number of data axes"),
        ("EXTEND", True, "file may contain standard extensions"),
        ("NEXTEND", 6, "number of standard extensions"),
        ("FILENAME", filename, "name of file"),
        ("FILETYPE", "SCI", "type of data found in data file"),
        ("TELESCOP", "HST", "telescope used to acquire data"),
        ("INSTRUME", camera.instrument, "identifier for instrument used to acquire data"),
        ("EQUINOX", 2000.0, "equinox of celestial coord. system"),
        ("SIMULATE", True, "a simulated exposure, not an observation"),
        ("SIMSCALE", scale, "factor by which the layout is smaller"),
        ("SIMSEED", seed, "seed of the simulation"),
        ("SIMVERS", VERSION, "version of the simulator"),
        *((keyword, value, "what the simulated data set was asked for") for keyword, value in recipe.items()),
        ("ROOTNAME", exposure.rootname, "rootname of the observation set"),
        ("IMAGETYP", "EXT", "type of exposure identifier"),
        ("PRIMESI", camera.instrument, "instrument designated as prime"),
        ("TARGNAME", target.name, "proposer's target name"),
        ("RA_TARG", target.ra, "right ascension of the target (deg) (J2000)"),
        ("DEC_TARG", target.dec, "declination of the target (deg) (J2000)"),
        ("PROPOSID", target.proposal, "PEP proposal identifier"),
        ("DATE-OBS", begin[:10], "UT date of start of observation (yyyy-mm-dd)"),
        ("TIME-OBS", begin[11:], "UT time of start of observation (hh:mm:ss)"),
        ("EXPSTART", exposure.start, "exposure start time (Modified Julian Date)"),
        ("EXPEND", exposure.start + exposure.exptime / 86_400, "exposure end time (Modified Julian Date)"),
        ("EXPTIME", exposure.exptime, "exposure duration (seconds)"),
        ("EXPFLAG", "NORMAL", "exposure interruption indicator"),
        ("OBSTYPE", "IMAGING", "observation type"),
        ("OBSMODE", "ACCUM", "operating mode"),
        ("SUBARRAY", False, "data from a subarray (T) or full frame (F)"),
        ("DETECTOR", camera.detector, "detector in use"),
        ("APERTURE", "WFC" if camera == ACS else "UVIS", "aperture name"),
        ("CCDAMP", "ABCD", "CCD amplifier readout configuration"),
        ("CCDGAIN", exposure.gain, "commanded gain of CCD"),
    ]
    if camera == ACS:
        second = band.name in _SECOND_WHEEL
        cards.append(("FILTER1", "CLEAR1L" if second else band.name, "element selected from filter wheel 1"))
        cards.append(("FILTER2", band.name if second else "CLEAR2L", "element selected from filter wheel 2"))
    else:
        cards.append(("FILTER", band.name, "element selected from filter wheel"))
    return cards


def _extension(exposure: Exposure, name: str, version: int, shape: tuple[int, ...]) -> list[Card]:
    """The keywords that every extension begins with; ``shape`` in numpy's order."""
    return [
        ("XTENSION", "IMAGE", "extension type"),
        ("BITPIX", 16, "bits per data value"),
        ("NAXIS", len(shape), "number of data axes"),
        *((f"NAXIS{axis}", length, f"length of data axis {axis}") for axis, length in enumerate(reversed(shape), start=1)),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("INHERIT", True, "inherit the primary header"),
        ("EXTNAME", name, "extension name"),
        ("EXTVER", version, "extension version number"),
        ("ROOTNAME", exposure.rootname, "rootname of the observation set"),
        ("EXPNAME", exposure.rootname, "exposure identifier"),
    ]


def _constant(exposure: Exposure, layout: Layout, name: str, version: int) -> list[Card]:
    """Header of a constant array, which has no data."""
    return [
        *_extension(exposure, name, version, ()),
        ("BUNIT", "COUNTS" if name == "ERR" else "UNITLESS", "brightness units"),
        ("NPIX1", layout.shape[1], "length of constant array axis 1"),
        ("NPIX2", layout.shape[0], "length of constant array axis 2"),
        ("PIXVALUE", 0.0 if name == "ERR" else 0, "values of pixels in constant array"),
    ]


def _science(exposure: Exposure, layout: Layout, pointing: Pointing, chip: int, version: int, raw: NDArray[np.uint16]) -> list[Card]:
    """Header of a science image, with the tangent-plane coordinates that the scene was rendered with."""
    imaging = layout.amplifiers[0].imaging
    x0, y0 = pointing.corner(chip, imaging.height)
    # The target itself is the reference, on the chip or not: so both chips share one tangent plane. Columns count from the left half.
    c, s = math.cos(pointing.roll), math.sin(pointing.roll)
    x, y = -(c * pointing.u + s * pointing.v), s * pointing.u - c * pointing.v
    column, row = x / pointing.pixel - x0 + imaging.x, y / pointing.pixel - y0 + imaging.y
    step = pointing.pixel / 3600
    return [
        *_extension(exposure, "SCI", version, layout.shape),
        ("DATAMIN", float(raw.min()), "the minimum value of the data"),
        ("DATAMAX", float(raw.max()), "the maximum value of the data"),
        ("BUNIT", "COUNTS", "brightness units"),
        ("BSCALE", 1.0, "scale factor for array value to physical value"),
        ("BZERO", 32768.0, "physical value for an array value of zero"),
        ("CCDCHIP", chip, "CCD chip (1 or 2)"),
        ("WCSAXES", 2, "number of World Coordinate System axes"),
        ("CRPIX1", column + 1, "x-coordinate of reference pixel"),
        ("CRPIX2", row + 1, "y-coordinate of reference pixel"),
        ("CRVAL1", exposure.target.ra, "first axis value at reference pixel"),
        ("CRVAL2", exposure.target.dec, "second axis value at reference pixel"),
        ("CTYPE1", "RA---TAN", "the coordinate type for the first axis"),
        ("CTYPE2", "DEC--TAN", "the coordinate type for the second axis"),
        ("CD1_1", -c * step, "partial of first axis coordinate w.r.t. x"),
        ("CD1_2", s * step, "partial of first axis coordinate w.r.t. y"),
        ("CD2_1", s * step, "partial of second axis coordinate w.r.t. x"),
        ("CD2_2", c * step, "partial of second axis coordinate w.r.t. y"),
        ("LTV1", float(imaging.x), "offset in X to subsection start"),
        ("LTV2", float(imaging.y), "offset in Y to subsection start"),
        ("LTM1_1", 1.0, "reciprocal of sampling rate in X"),
        ("LTM2_2", 1.0, "reciprocal of sampling rate in Y"),
        ("BINAXIS1", 1, "axis1 data bin size in unbinned detector pixels"),
        ("BINAXIS2", 1, "axis2 data bin size in unbinned detector pixels"),
        ("NCOMBINE", 1, "number of image sets combined"),
    ]
