"""What is known of a frame besides its class: which chip it is, how far from its target it lies, and in which condition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from zoo.data import DataSet, Row
from zoo.data.condition import measure_condition
from zoo.data.dataset import COMPRESSED
from zoo.data.footprints import ARCMIN_PER_RADIAN, directions
from zoo.errors import FrameError
from zoo.frames import Frame
from zoo.frames.fits import read_corners

FACTS = frozenset({"rootname", "instrument", "filter", "product", "exptime", "chip", "middle", "target_at", "condition"})
"""What `read_facts` returns, and a cache entry must hold, besides whether the frame was adapted."""

_TARGET_COLUMNS = ("target_ra", "target_dec")
_CONDITIONS = ("signal_to_noise", "filled", "valid", "saturated")
_NOWHERE = [math.nan, math.nan]


def read_facts(data: DataSet, row: Row, frame: Frame) -> dict[str, Any]:
    """Return what the file of a frame says, as plain values that a cache can keep; nothing in it comes from the row.

    ``middle`` and ``target_at`` are right ascension and declination in degrees, of the middle of the frame and of ``RA_TARG``; NaN where
    the header does not tell. The middle of a compressed file is not looked up, because that would unpack it again.
    """
    facts = {name: getattr(frame.info, name) for name in ("rootname", "instrument", "filter", "product", "exptime")}
    corners = None
    if data.reads_files and not row.path.casefold().endswith(COMPRESSED):
        with suppress(FrameError):
            corners = read_corners(data.manifest.path_of(row), row.hdu, row.plane)
    return {
        **facts,
        "chip": "" if frame.info.chip is None else str(frame.info.chip),
        "middle": _NOWHERE if corners is None else _middle(corners),
        "target_at": [frame.info.ra, frame.info.dec],
        "condition": measure_condition(frame).to_dict(),
    }


def tell_facts(row: Row, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a `FrameResult`: what the row says, else the file, of `read_facts`."""
    told = {name: getattr(row, name) or facts[name] for name in ("rootname", "instrument", "filter", "product")}
    return {
        **told,
        "exptime": facts["exptime"] if math.isnan(row.exptime) else row.exptime,
        "chip": facts["chip"],
        "offset_arcmin": _offset(row, facts),
        **{name: facts["condition"][name] for name in _CONDITIONS},
    }


def _offset(row: Row, facts: Mapping[str, Any]) -> float:
    """Distance in arcmin of the middle of the frame from its target, NaN where one of the two is not known.

    A list that has columns for its targets gives the positions of frames in ``ra`` and ``dec``; in others these may be the target's.
    """
    listed = all(row.extra.get(name) for name in _TARGET_COLUMNS)
    target = [_number(row.extra[name]) for name in _TARGET_COLUMNS] if listed else facts["target_at"]
    middle = [row.ra, row.dec] if listed and math.isnan(facts["middle"][0]) else facts["middle"]
    if not all(map(math.isfinite, (*target, *middle))):
        return math.nan
    one, other = (directions(np.array([ra]), np.array([dec]))[0] for ra, dec in (target, middle))
    return 2 * math.asin(min(1.0, float(np.linalg.norm(one - other)) / 2)) * float(ARCMIN_PER_RADIAN)


def _middle(corners: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """The middle of four positions in degrees."""
    x, y, z = directions(corners[:, 0], corners[:, 1]).mean(axis=0).tolist()
    return [math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
