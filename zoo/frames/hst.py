"""Geometry of raw Hubble exposures: which pixel is light, which is bias, and which amplifier read it.

Raw ACS/WFC, WFC3/UVIS and one-chip ACS/HRC frames are described by a few counts (rows, columns, prescan, overscan); all windows follow
from these, so that a simulated frame can have the same layout at ``1/k`` of the size. Windows follow numpy's ``[y, x]``, 0-based, as
the pixels lie in the file; nothing is flipped or rotated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.errors import FrameError, UsageError
from zoo.ops.raw import Region

ADC_LIMIT = 65535.0
"""Largest value that the 16-bit converters of ACS and WFC3 give, in DN."""

# e-/DN for CCDGAIN 1.5, the only gain WFC3/UVIS is used with (WFC3 Instrument Handbook).
_UVIS_GAINS = {"A": 1.58, "B": 1.58, "C": 1.60, "D": 1.59}
_AMPLIFIERS = {2: "CD", 1: "AB"}  # left and right amplifier of a chip


@dataclass(frozen=True)
class Window:
    """A rectangle of raw pixels: rows ``y : y + height``, columns ``x : x + width``."""

    y: int
    x: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """``(rows, columns)``, to index an array with."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True)
class Amplifier:
    """What one amplifier read.

    Attributes:
        name: ``A`` to ``D``.
        readout: every raw pixel that this amplifier read, bias and light.
        imaging: the light-sensitive pixels, with the rows that ``science`` leaves out.
        science: the light-sensitive pixels that become the frame.
        bias: windows without light next to ``science``, from which the bias level is measured.
        to_x: first column of ``science`` in the frame (its first row is always 0).
        gain: electrons per DN.
    """

    name: str
    readout: Window
    imaging: Window
    science: Window
    bias: tuple[Window, ...]
    to_x: int
    gain: float


@dataclass(frozen=True)
class Layout:
    """The layout of one raw chip, as counts of pixels.

    Attributes:
        instrument: ``ACS/WFC``, ``WFC3/UVIS`` or ``ACS/HRC``.
        chip: 2 or 1 (``CCDCHIP``), ``None`` for a one-chip camera.
        names: its amplifiers, left to right.
        rows, columns: light-sensitive pixels of the frame per amplifier.
        surplus_rows: light-sensitive rows next to the virtual rows that are left out of the frame.
        virtual_rows: rows without light, on the gap side.
        prescan: columns without light at each outer edge.
        overscan: columns without light per amplifier, between the halves.
        bias_columns: how many columns, nearest the light, measure the bias.
        gains: electrons per DN, one per amplifier.
        full_well: electrons that a pixel holds.
        scale: 1, or the integer by which a simulated frame is smaller than the camera.
    """

    instrument: str
    chip: int | None
    names: str
    rows: int
    columns: int
    surplus_rows: int
    virtual_rows: int
    prescan: int
    overscan: int
    bias_columns: int
    gains: tuple[float, ...]
    full_well: float
    scale: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """``(NAXIS2, NAXIS1)`` of the raw image."""
        halves = len(self.names)
        overscan = self.overscan * halves
        return self.rows + self.surplus_rows + self.virtual_rows, 2 * self.prescan + halves * self.columns + overscan

    @property
    def science_shape(self) -> tuple[int, int]:
        """``(rows, columns)`` of the frame once bias is cut off."""
        return self.rows, len(self.names) * self.columns

    @property
    def gap_is_low(self) -> bool:
        """Whether the chip gap, and with it the virtual rows, lies at row 0 (chip 1) instead of the last row."""
        return self.chip == 1

    @property
    def amplifiers(self) -> tuple[Amplifier, ...]:
        """The amplifiers of this chip, left to right."""
        height, width = self.shape
        imaging_y = self.virtual_rows if self.gap_is_low else 0
        science_y = imaging_y + (self.surplus_rows if self.gap_is_low else 0)
        result = []
        for index, (name, gain) in enumerate(zip(self.names, self.gains, strict=True)):
            # Columns of light: [prescan | columns | overscan][overscan | columns | prescan].
            x = self.prescan + index * (self.columns + 2 * self.overscan)
            left, right = x - self.bias_columns, x + self.columns
            if len(self.names) == 1:
                starts, readout = [left, right], Window(0, 0, height, width)
            else:
                inward, outward = (right, left) if index == 0 else (left, right)
                starts, readout = [inward if self.overscan else outward], Window(0, index * width // 2, height, width // 2)
            result.append(
                Amplifier(
                    name=name,
                    readout=readout,
                    imaging=Window(imaging_y, x, self.rows + self.surplus_rows, self.columns),
                    science=Window(science_y, x, self.rows, self.columns),
                    bias=tuple(Window(science_y, start, self.rows, self.bias_columns) for start in starts),
                    to_x=index * self.columns,
                    gain=gain,
                )
            )
        return tuple(result)

    def saturation(self, bias: float | tuple[float, ...] = 0.0) -> float:
        """The value from which a raw pixel is saturated: ADC limit or full well, whichever is lower.

        Args:
            bias: bias level in DN, one for all amplifiers or one each; the full well counts from there.
        Returns: raw DN, bias included; the lowest over the amplifiers.
        """
        levels = bias if isinstance(bias, tuple) else (bias,) * len(self.gains)
        return min(ADC_LIMIT, *(level + self.full_well / gain for level, gain in zip(levels, self.gains, strict=True)))

    def regions(self, bias: tuple[float, ...]) -> tuple[Region, ...]:
        """The regions that cut the science pixels out of the raw ones and turn DN into electrons.

        Args:
            bias: measured bias in DN, one per amplifier, in the order of ``amplifiers``.
        """
        return tuple(
            Region(y=a.science.y, x=a.science.x, height=a.science.height, width=a.science.width, to_x=a.to_x, bias=level, gain=a.gain)
            for a, level in zip(self.amplifiers, bias, strict=True)
        )

    def scaled(self, factor: int) -> Layout:
        """The same camera with ``1 / factor`` as many pixels: science area divided exactly, every other count rounded up.

        Raises: UsageError: if ``factor`` does not divide the science rows and the columns of an amplifier.
        """
        if factor < 1 or self.rows % factor or self.columns % factor:
            raise UsageError(
                f"a layout can be scaled by a divisor of {self.rows} rows and {self.columns} columns per amplifier, got {factor}"
            )

        def up(count: int) -> int:
            return -(-count // factor)

        return replace(
            self,
            rows=self.rows // factor,
            columns=self.columns // factor,
            surplus_rows=up(self.surplus_rows),
            virtual_rows=up(self.virtual_rows),
            prescan=up(self.prescan),
            overscan=up(self.overscan),
            bias_columns=up(self.bias_columns),
            scale=self.scale * factor,
        )


def acs_wfc(chip: int, gain: float = 2.0) -> Layout:
    """Raw ACS/WFC, 4144 x 2068: 24 prescan columns at each edge, 20 virtual rows on the gap side.

    The bias is measured in the 6 prescan columns nearest the light, which carry no remainder of the previous row. ``gain`` is
    ``CCDGAIN``: 1 before Cycle 14, 2 since.
    """
    return Layout("ACS/WFC", chip, _AMPLIFIERS[chip], 2048, 2048, 0, 20, 24, 0, 6, (gain, gain), 84_700.0)


def wfc3_uvis(chip: int) -> Layout:
    """Raw WFC3/UVIS, 4206 x 2070: 2 x 30 virtual columns between the halves, 19 virtual rows on the gap side.

    Of its 2051 rows the 3 nearest the gap are left out, so that both cameras give 2048 x 4096. The full well varies over the chips from
    63,000 to 72,000 e-; the lower value is used, so no saturated pixel counts as valid.
    """
    names = _AMPLIFIERS[chip]
    return Layout("WFC3/UVIS", chip, names, 2048, 2048, 3, 19, 25, 30, 30, tuple(_UVIS_GAINS[name] for name in names), 63_000.0)


def acs_hrc(amplifier: str = "C", gain: float = 2.0) -> Layout:
    """Raw one-chip ACS/HRC, 1062 x 1044: 19 columns without light at each edge, 20 virtual rows at the top.

    The 6 columns nearest the light on both sides measure the bias: in genuine frames column 0 lies 43 DN above the level and column 8 still
    1 DN, while columns 13:19 and 1043:1049 agree within 0.5 DN. Full well: ACS Instrument Handbook, table of characteristics.
    """
    return Layout("ACS/HRC", None, amplifier, 1024, 1024, 0, 20, 19, 0, 6, (gain,), 155_000.0)


def layout_of(
    primary: Mapping[str, Any], sci: Mapping[str, Any], *, path: Path | str | None = None, hdu: int | None = None
) -> Layout | None:
    """The layout of a raw frame, from its headers alone.

    Args:
        primary: header of HDU 0: ``INSTRUME``, ``DETECTOR``, ``CCDGAIN``, ``CCDAMP``, ``SUBARRAY``, ``SIMULATE``, ``SIMSCALE``.
        sci: header of the SCI extension: ``NAXIS1``, ``NAXIS2``, ``BITPIX``, ``CCDCHIP``, ``BINAXIS1``, ``BINAXIS2``, ``LTV1``, ``LTV2``.
        path, hdu: where the headers come from, for messages.
    Returns: the layout, or ``None`` for a camera whose raw geometry is not known here.
    Raises: FrameError: ``subarray``, ``binned``, ``bad-header``, ``unknown-readout`` or ``bad-geometry``.
    """
    camera = (str(primary.get("INSTRUME", "")).strip().upper(), str(primary.get("DETECTOR", "")).strip().upper())
    if camera not in {("ACS", "WFC"), ("WFC3", "UVIS"), ("ACS", "HRC")}:
        return None
    name = "/".join(camera)

    def refuse(code: str, got: str, expected: str, remedy: str = "") -> FrameError:
        return FrameError(code, path=path, hdu=hdu, got=got, expected=expected, remedy=remedy)

    if primary.get("SUBARRAY", sci.get("SUBARRAY", False)) is True:
        raise refuse("subarray", f"a raw {name} subarray (SUBARRAY = T)", "a full frame", "use the calibrated _flt product")
    binning = (sci.get("BINAXIS1", 1), sci.get("BINAXIS2", 1))
    if binning != (1, 1):
        raise refuse("binned", f"a raw {name} frame binned {binning[0]} x {binning[1]}", "1 x 1", "use the calibrated _flt product")
    if sci.get("BITPIX", 16) != 16:
        raise refuse("bad-header", f"BITPIX {sci.get('BITPIX')} in a raw {name} frame", "16-bit integers")
    layout = _camera_layout(name, primary, sci, refuse)
    layout = layout.scaled(_simulated_scale(primary, layout, refuse))
    got = (sci.get("NAXIS2"), sci.get("NAXIS1"))
    if got != layout.shape:
        expected = f"{layout.shape[1]} x {layout.shape[0]}"
        raise refuse("bad-geometry", f"{got[1]} x {got[0]} pixels in a raw {name} frame", expected, "use the calibrated _flt product")
    return layout


def _camera_layout(name: str, primary: Mapping[str, Any], sci: Mapping[str, Any], refuse: Callable[..., FrameError]) -> Layout:
    gain = primary.get("CCDGAIN", sci.get("CCDGAIN"))
    if isinstance(gain, bool) or not isinstance(gain, int | float) or not math.isfinite(gain) or gain <= 0:
        raise refuse("bad-header", f"CCDGAIN = {gain!r}", "a gain in electrons per DN above 0")
    amplifiers = str(primary.get("CCDAMP", "C" if name == "ACS/HRC" else "ABCD")).strip().upper()
    if name == "ACS/HRC":
        # The windows below are known for readout through the lower corners only.
        shift = (sci.get("LTV1", 19.0), sci.get("LTV2", 0.0))
        if amplifiers not in {"C", "D"} or shift != (19.0, 0.0):
            raise refuse(
                "unknown-readout", f"CCDAMP = {amplifiers!r} with LTV1, LTV2 = {shift}", "one of the amplifiers C and D with (19, 0)"
            )
        return acs_hrc(amplifiers, float(gain))
    if amplifiers != "ABCD":
        raise refuse("unknown-readout", f"CCDAMP = {amplifiers!r} in a raw {name} frame", "'ABCD'", "use the calibrated _flt product")
    chip = sci.get("CCDCHIP")
    if chip not in (1, 2):
        raise refuse("bad-header", f"CCDCHIP = {chip!r} in a raw {name} frame", "1 or 2")
    if name == "ACS/WFC":
        return acs_wfc(chip, float(gain))
    if gain != 1.5:
        raise refuse("unknown-readout", f"CCDGAIN = {gain} in a raw {name} frame", "1.5, whose gains are published")
    return wfc3_uvis(chip)


def _simulated_scale(primary: Mapping[str, Any], layout: Layout, refuse: Callable[..., FrameError]) -> int:
    if primary.get("SIMULATE") is not True:
        return 1
    scale = primary.get("SIMSCALE", 1)
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1 or layout.rows % scale or layout.columns % scale:
        raise refuse("bad-header", f"SIMSCALE = {scale!r}", f"an integer that divides {layout.rows}")
    return scale
