"""Where the corners of an image lie on the sky, from the linear part of the WCS in its header.

Gnomonic projection with a CD matrix, or CDELT with PC or CROTA2 (Calabretta & Greisen, A&A 395, 1077, 2002). Distortion is left out: at the
corners of a Hubble chip it is a few arcseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def find_corners(header: Mapping[str, Any], window: tuple[int, int, int, int]) -> NDArray[np.float64] | None:
    """Return the positions of the outer corners of a window.

    Args:
        header: of the image. window: its first row and column, from 0, and its height and width in pixels.

    Returns: ``(4, 2)`` right ascension and declination in degrees, in order around the window; ``None`` where the header does not tell.
    """
    if not str(header.get("CTYPE1", "")).startswith("RA---TAN") or not str(header.get("CTYPE2", "")).startswith("DEC--TAN"):
        return None
    matrix = _matrix(header)
    place = [_number(header, key) for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")]
    if not all(map(math.isfinite, (*place, *matrix))) or matrix[0] * matrix[3] == matrix[1] * matrix[2]:
        return None
    x_ref, y_ref, ra, dec = place
    top, left, height, width = window
    # The middle of the first pixel is 1, its edge 0.5.
    x = np.array([left, left + width, left + width, left]) + 0.5 - x_ref
    y = np.array([top, top, top + height, top + height]) + 0.5 - y_ref
    east, north = (np.radians(matrix[k] * x + matrix[k + 1] * y) for k in (0, 2))
    a, d = math.radians(ra), math.radians(dec)
    # The tangent point plus offsets along the unit vectors to the east and the north.
    points = np.column_stack(
        [
            math.cos(d) * math.cos(a) - east * math.sin(a) - north * math.sin(d) * math.cos(a),
            math.cos(d) * math.sin(a) + east * math.cos(a) - north * math.sin(d) * math.sin(a),
            math.sin(d) + north * math.cos(d),
        ]
    )
    longitude = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360.0
    return np.column_stack([longitude, np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))])


def _matrix(header: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Degrees per pixel: d(east)/dx, d(east)/dy, d(north)/dx, d(north)/dy; NaN where the header does not tell."""
    if any(key in header for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")):
        xx, xy, yx, yy = (_number(header, key, 0.0) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"))
        return xx, xy, yx, yy
    sx, sy = _number(header, "CDELT1"), _number(header, "CDELT2")
    if any(key.startswith("PC") and "_" in key for key in header):
        xx, xy, yx, yy = (
            _number(header, key, default) for key, default in (("PC1_1", 1.0), ("PC1_2", 0.0), ("PC2_1", 0.0), ("PC2_2", 1.0))
        )
        return sx * xx, sx * xy, sy * yx, sy * yy
    turn = math.radians(_number(header, "CROTA2", 0.0))
    return sx * math.cos(turn), -sy * math.sin(turn), sx * math.sin(turn), sy * math.cos(turn)


def _number(header: Mapping[str, Any], key: str, default: float = math.nan) -> float:
    value = header.get(key, default)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
