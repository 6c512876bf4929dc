"""The two simulated cameras: pixels, detectors, filters, and what each filter shows of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Band:
    """A filter.

    Attributes:
        name: as in the header.
        micron: pivot wavelength.
        width: throughput times bandwidth, relative to ACS F606W.
        line: response to emission lines relative to the continuum of F606W; large in narrow bands that sit on a line.
    """

    name: str
    micron: float
    width: float
    line: float

    def stars(self, tint: float) -> float:
        """Response to a star of colour ``tint`` (-1 blue to 1 red), 1 in F606W."""
        return float(self.width * (self.micron / 0.6) ** (1.4 * tint))

    @property
    def extinction(self) -> float:
        """Optical depth of dust relative to that at 0.6 micron."""
        return float((0.6 / self.micron) ** 1.3)


@dataclass(frozen=True)
class Camera:
    """A camera with two chips, at full size.

    Attributes:
        instrument, detector: as in the header.
        letter: first letter of the root names.
        pixel: arcseconds per pixel.
        rows, columns: of one chip's science area.
        gap: rows between the chips on the sky.
        gains: values of ``CCDGAIN`` that it is used with.
        read_noise: electrons.
        dark: electrons per second and pixel.
        bands: the filters it carries.
    """

    instrument: str
    detector: str
    letter: str
    pixel: float
    rows: int
    columns: int
    gap: int
    gains: tuple[float, ...]
    read_noise: float
    dark: float
    bands: tuple[Band, ...]


ACS = Camera(
    "ACS", "WFC", "j", 0.05, 2048, 4096, 50, (2.0, 2.0, 1.0), 5.2, 0.003,
    (
        Band("F435W", 0.433, 0.42, 0.5), Band("F475W", 0.475, 0.62, 0.55), Band("F555W", 0.536, 0.58, 0.7),
        Band("F606W", 0.592, 1.0, 1.0), Band("F658N", 0.658, 0.035, 0.9), Band("F814W", 0.806, 0.72, 0.35),
    ),
)  # fmt: skip

UVIS = Camera(
    "WFC3", "UVIS", "i", 0.04, 2051, 4096, 31, (1.5,), 3.1, 0.002,
    (
        Band("F336W", 0.336, 0.2, 0.5), Band("F438W", 0.433, 0.3, 0.5), Band("F555W", 0.531, 0.66, 0.7),
        Band("F606W", 0.589, 0.92, 1.0), Band("F657N", 0.657, 0.05, 0.9), Band("F814W", 0.803, 0.52, 0.35),
    ),
)  # fmt: skip

CAMERAS = MappingProxyType({"ACS/WFC": ACS, "WFC3/UVIS": UVIS})
