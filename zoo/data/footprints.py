"""Where frames lie on the sky, and which of them are connected: by footprints that overlap, or by a distance.

How a chip is turned is not in a manifest, so the circle around it stands for its outline: frames whose circles do not overlap share no sky,
however they are turned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.data.manifest import Row, summarise
from zoo.errors import DataError, UsageError
from zoo.frames import PIXEL_SCALES

ARCMIN_PER_RADIAN = 60 * 180 / np.pi

CHIPS: dict[str, tuple[float, float]] = {
    camera: (4096 * PIXEL_SCALES[camera] / 60, rows * PIXEL_SCALES[camera] / 60)
    for camera, rows in (("ACS/WFC", 2048), ("WFC3/UVIS", 2051))
}
"""Width and height of one chip in arcmin."""

_CHUNK = 500  # positions looked up at once, which bounds the memory for pairs


def chip_of(row: Row) -> tuple[float, float]:
    """Width and height in arcmin of what a frame shows, NaN where the camera is not known; a drizzled image shows both chips."""
    width, height = CHIPS.get(row.instrument.upper(), (np.nan, np.nan))
    return (width, 2 * height) if row.product == "drz" else (width, height)


def directions(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors ``(N, 3)`` of positions in degrees."""
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def find_regions(rows: Sequence[Row], *, radius: float | None = None) -> NDArray[np.int64]:
    """Number the connected regions of the sky that frames lie in.

    Two frames are connected if the circles around their chips overlap, or if they lie within ``radius`` of each other; a region is all that
    is connected directly or through others.

    Args:
        rows: N frames with positions. radius: arcmin, > 0; ``None`` for the footprints.

    Returns: ``(N,)``, equal for frames of one region.

    Raises:
        DataError: a row has no position, or, without ``radius``, a camera whose footprint is not known. UsageError: ``radius`` is not > 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if radius is not None and not (np.isfinite(radius) and radius > 0):
        raise UsageError(f"radius must be > 0 arcmin, got {radius}")
    ra, dec = (np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in ("ra", "dec"))
    _refuse([row.name for row, known in zip(rows, np.isfinite(ra + dec), strict=True) if not known], "position", "ra and dec of every row")
    if radius is None:
        reach = np.array([np.hypot(*chip_of(row)) / 2 for row in rows])
        unknown = [f"{row.name} ({row.instrument or 'no instrument'})" for row, r in zip(rows, reach, strict=True) if np.isnan(r)]
        _refuse(unknown, "footprint", f"one of the cameras {', '.join(CHIPS)}, or a distance with --radius")
    else:
        reach = np.full(len(rows), radius / 2)
    # Frames of one pointing lie at one place; each place is looked up once.
    _, first, member = np.unique(np.column_stack([ra, dec, reach]), axis=0, return_index=True, return_inverse=True)
    points, reach = directions(ra[first], dec[first]), reach[first] / ARCMIN_PER_RADIAN
    tree, regions = cKDTree(points), np.arange(len(points))
    farthest = 2 * float(reach.max())
    for start in range(0, len(points), _CHUNK):
        pairs = cKDTree(points[start : start + _CHUNK]).sparse_distance_matrix(tree, 2 * np.sin(farthest / 2), output_type="ndarray")
        i, j = pairs["i"] + start, pairs["j"]
        near = 2 * np.arcsin(np.minimum(pairs["v"] / 2, 1.0)) <= reach[i] + reach[j]
        links = coo_array((np.ones(near.sum()), (regions[i[near]], regions[j[near]])), shape=(len(points), len(points)))
        regions = connected_components(links, directed=False)[1].astype(np.int64)[regions]
    return np.asarray(regions[member.ravel()], dtype=np.int64)


def _refuse(names: list[str], what: str, expected: str) -> None:
    """Raise where some frames lack something."""
    if names:
        raise DataError(f"got {len(names)} frames without a {what}: {summarise(names, 3)}; expected {expected}")
