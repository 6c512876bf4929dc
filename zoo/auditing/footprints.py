"""Where frames lie on the sky as their own headers say, which beats the position in a list: centre, size, and how the chip is turned."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zoo.auditing.table import Floats, Table
from zoo.data import DataSet, Row
from zoo.data.footprints import ARCMIN_PER_RADIAN, directions
from zoo.errors import FrameError
from zoo.frames.fits import read_corners


def with_footprints(table: Table, sources: Sequence[DataSet], present: NDArray[np.bool_], *, workers: int = 2) -> Table:
    """Replace positions by those of the headers, and add the corners, where a file is there and tells.

    Args:
        table: the rows of all sources, in order. sources: open them. present: ``(N,)``, whether the file of a row exists.
        workers: threads that read headers.
    """
    owners = [source for source in sources for _ in range(len(source.manifest))]
    chosen = [place for place in np.flatnonzero(present).tolist() if owners[place].reads_files]
    if not chosen:
        return table
    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = list(pool.map(lambda place: _corners(owners[place], table.rows[place]), chosen))
    corners = np.full((len(table), 4, 3), np.nan)
    for place, one in zip(chosen, found, strict=True):
        if one is not None:
            corners[place] = directions(one[:, 0], one[:, 1])
    known = np.isfinite(corners[:, 0, 0])
    middle = corners[known].mean(axis=1)
    ra, dec = table.ra.copy(), table.dec.copy()
    ra[known] = np.degrees(np.arctan2(middle[:, 1], middle[:, 0])) % 360.0
    dec[known] = np.degrees(np.arctan2(middle[:, 2], np.hypot(middle[:, 0], middle[:, 1])))
    return replace(table, ra=ra, dec=dec, corners=corners)


def sizes_of(corners: Floats) -> Floats:
    """``(N, 2)`` width and height in arcmin of footprints ``(N, 4, 3)``, as the chords between their corners."""
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2) * ARCMIN_PER_RADIAN
    return np.column_stack([(sides[:, 0] + sides[:, 2]) / 2, (sides[:, 1] + sides[:, 3]) / 2])


def distance_to(corners: Floats, points: Floats) -> Floats:
    """Arcmin from points to footprints, 0 inside them.

    Args:
        corners: ``(N, 4, 3)`` unit vectors, convex and in order. points: ``(N, 3)`` unit vectors.

    Returns: ``(N,)``; NaN where one of the two is unknown, infinity for a point on the other side of the sky.
    """
    middle = corners.mean(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    # Seen from the middle of the sphere on the plane that touches it in the middle of the footprint, great circles are straight lines.
    first = corners[:, 0] - middle * np.sum(corners[:, 0] * middle, axis=1, keepdims=True)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(middle, first)], axis=1)
    height = np.sum(points * middle, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spot = np.einsum("nkc,nc->nk", axes, points) / height[:, None]
        outline = np.einsum("nkc,nic->nik", axes, corners) / np.einsum("nc,nic->ni", middle, corners)[..., None]
    edges, away = np.roll(outline, -1, axis=1) - outline, spot[:, None] - outline
    turn = edges[..., 0] * away[..., 1] - edges[..., 1] * away[..., 0]
    inside = (turn >= 0).all(axis=1) | (turn <= 0).all(axis=1)
    along = np.clip(np.sum(edges * away, axis=2) / np.sum(edges * edges, axis=2), 0.0, 1.0)
    nearest = np.linalg.norm(away - along[..., None] * edges, axis=2).min(axis=1)
    distance = np.where(inside, 0.0, nearest * ARCMIN_PER_RADIAN)
    return np.asarray(np.where(np.isnan(height), np.nan, np.where(height > 0, distance, np.inf)), dtype=np.float64)


def _corners(source: DataSet, row: Row) -> Floats | None:
    with suppress(FrameError):  # what cannot be read is told where the pixels are read
        return read_corners(source.manifest.path_of(row), row.hdu, row.plane)
    return None
