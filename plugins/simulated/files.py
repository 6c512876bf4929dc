"""Simulated exposures as raw HST files: seven HDUs, the keywords of both cameras, both chips in their true layout."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time
from numpy.typing import NDArray

from zoo import storage
from zoo.frames.hst import Layout, acs_wfc, wfc3_uvis
from zoo.plugins.simulated.bands import ACS
from zoo.plugins.simulated.detector import Chip, expose
from zoo.plugins.simulated.fields import stream
from zoo.plugins.simulated.render import Pointing, expected
from zoo.plugins.simulated.scene import Scene
from zoo.plugins.simulated.targets import Exposure

VERSION = 1
"""Raised whenever the same seed gives other pixels."""

CHIPS = ((1, 2), (4, 1))
"""HDU and chip of the two science images."""

_RAYS = 20.0  # cosmic rays per second on a full-size chip: about one per second and square centimetre
_SECOND_WHEEL = ("F435W", "F814W")  # filters of ACS that sit in wheel 2


def write_exposure(path: Path, seed: int, exposure: Exposure, scene: Scene, scale: int) -> None:
    """Render an exposure and write it.

    Args:
        path: the file; an existing one is replaced.
        seed: the data set's seed.
        exposure: what to render; noise depends on the seed, the target's index and the exposure's alone.
        scene: sky of the exposure's target.
        scale: scale of the layout; 1 is full size.

    Raises:
        StorageError: the file cannot be written.
    """
    pointing = exposure.pointing(scene.extent, scale)
    hdus = fits.HDUList([fits.PrimaryHDU(header=_primary(exposure, path.name, seed, scale))])
    for version, (_, number) in enumerate(CHIPS, start=1):
        layout = chip_layout(exposure, number).scaled(scale)
        imaging = layout.amplifiers[0].imaging
        electrons = expected(scene, pointing, number, (imaging.height, layout.science_shape[1]))
        chip = Chip(
            layout=layout,
            bias=_levels(exposure, layout),
            read_noise=exposure.camera.read_noise,
            dark=exposure.camera.dark,
            exptime=exposure.exptime,
            rays=_RAYS / scale**2,
            hot=exposure.hot,
        )
        raw = expose(stream(seed, exposure.target.index, exposure.index, number, "detector"), electrons, chip)
        hdus.extend(_imset(exposure, layout, pointing, version, raw))
    hdus.update_extend()
    buffer = io.BytesIO()
    hdus.writeto(buffer, output_verify="exception")
    storage.write_bytes(path, buffer.getbuffer())


def chip_layout(exposure: Exposure, chip: int) -> Layout:
    """Full-size layout of one chip of the exposure's camera."""
    return acs_wfc(chip, exposure.gain) if exposure.camera == ACS else wfc3_uvis(chip)


def _levels(exposure: Exposure, layout: Layout) -> tuple[float, ...]:
    """Bias of the chip's amplifiers in DN, left to right."""
    return tuple(exposure.bias["ABCD".index(name)] for name in layout.names)


def _primary(exposure: Exposure, filename: str, seed: int, scale: int) -> fits.Header:
    """Header of HDU 0."""
    target, camera = exposure.target, exposure.camera
    begin, end = Time([exposure.start, exposure.start + exposure.exptime / 86_400], format="mjd", scale="utc").isot
    cards: list[tuple[str, object, str]] = [
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
        ("ROOTNAME", exposure.rootname, "rootname of the observation set"),
        ("IMAGETYP", "EXT", "type of exposure identifier"),
        ("PRIMESI", camera.instrument, "instrument designated as prime"),
        ("TARGNAME", target.name, "proposer's target name"),
        ("RA_TARG", target.ra, "right ascension of the target (deg) (J2000)"),
        ("DEC_TARG", target.dec, "declination of the target (deg) (J2000)"),
        ("PROPOSID", target.proposal, "PEP proposal identifier"),
        ("DATE-OBS", begin[:10], "UT date of start of observation (yyyy-mm-dd)"),
        ("TIME-OBS", begin[11:19], "UT time of start of observation (hh:mm:ss)"),
        ("DATE-END", end[:10], "UT date of end of observation (yyyy-mm-dd)"),
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
        second = exposure.band.name in _SECOND_WHEEL
        cards.append(("FILTER1", "CLEAR1L" if second else exposure.band.name, "element selected from filter wheel 1"))
        cards.append(("FILTER2", exposure.band.name if second else "CLEAR2L", "element selected from filter wheel 2"))
    else:
        cards.append(("FILTER", exposure.band.name, "element selected from filter wheel"))
    return fits.Header(cards)


def _imset(exposure: Exposure, layout: Layout, pointing: Pointing, version: int, raw: NDArray[np.uint16]) -> list[fits.ImageHDU]:
    """The three HDUs of one chip: pixels, and constant arrays for errors and data quality."""
    science = _science(exposure, layout, pointing, raw)
    hdus = [fits.ImageHDU(raw, header=science, name="SCI", ver=version)]
    for name, unit in (("ERR", "COUNTS"), ("DQ", "UNITLESS")):
        header = fits.Header(
            [
                ("INHERIT", True, "inherit the primary header"),
                ("ROOTNAME", exposure.rootname, "rootname of the observation set"),
                ("BUNIT", unit, "brightness units"),
                ("NPIX1", layout.shape[1], "length of constant array axis 1"),
                ("NPIX2", layout.shape[0], "length of constant array axis 2"),
                ("PIXVALUE", 0.0 if name == "ERR" else 0, "values of pixels in constant array"),
            ]
        )
        hdus.append(fits.ImageHDU(header=header, name=name, ver=version))
    return hdus


def _science(exposure: Exposure, layout: Layout, pointing: Pointing, raw: NDArray[np.uint16]) -> fits.Header:
    """Header of a science image, with the tangent-plane coordinates that the scene was rendered with."""
    rows, columns = layout.shape
    imaging = layout.amplifiers[0].imaging
    x0, y0 = pointing.corner(layout.chip or 1, imaging.height)
    # The middle of the science area, from which column and row of the left half count without a jump.
    column, row = imaging.x + imaging.width / 2 - 0.5, imaging.y + imaging.height / 2 - 0.5
    x, y = (column - imaging.x + x0) * pointing.pixel, (row - imaging.y + y0) * pointing.pixel
    c, s = np.cos(pointing.roll), np.sin(pointing.roll)
    east, north = -(pointing.u + c * x - s * y), pointing.v + s * x + c * y
    ra, dec = _deproject(exposure.target.ra, exposure.target.dec, east, north)
    step = pointing.pixel / 3600
    return fits.Header(
        [
            ("INHERIT", True, "inherit the primary header"),
            ("ROOTNAME", exposure.rootname, "rootname of the observation set"),
            ("EXPNAME", exposure.rootname, "exposure identifier"),
            ("DATAMIN", float(raw.min()), "the minimum value of the data"),
            ("DATAMAX", float(raw.max()), "the maximum value of the data"),
            ("BUNIT", "COUNTS", "brightness units"),
            ("CCDCHIP", layout.chip, "CCD chip (1 or 2)"),
            ("WCSAXES", 2, "number of World Coordinate System axes"),
            ("CRPIX1", column + 1, "x-coordinate of reference pixel"),
            ("CRPIX2", row + 1, "y-coordinate of reference pixel"),
            ("CRVAL1", ra, "first axis value at reference pixel"),
            ("CRVAL2", dec, "second axis value at reference pixel"),
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
            ("SIZAXIS1", columns, "subarray axis1 size in unbinned detector pixels"),
            ("SIZAXIS2", rows, "subarray axis2 size in unbinned detector pixels"),
            ("BINAXIS1", 1, "axis1 data bin size in unbinned detector pixels"),
            ("BINAXIS2", 1, "axis2 data bin size in unbinned detector pixels"),
            ("NCOMBINE", 1, "number of image sets combined"),
            ("SDQFLAGS", 31743, "serious data quality flags"),
        ]
    )


def _deproject(ra: float, dec: float, east: float, north: float) -> tuple[float, float]:
    """Right ascension and declination, in degrees, of a tangent-plane offset in arcseconds from ``ra``, ``dec``."""
    xi, eta, d = np.deg2rad(east / 3600), np.deg2rad(north / 3600), np.deg2rad(dec)
    below = np.cos(d) - eta * np.sin(d)
    turn = np.arctan2(xi, below)
    return float((ra + np.rad2deg(turn)) % 360), float(np.rad2deg(np.arctan2((np.sin(d) + eta * np.cos(d)) * np.cos(turn), below)))
