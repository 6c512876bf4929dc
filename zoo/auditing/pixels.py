"""What the pixels of the frames say: geometry, bias, a thumbnail, and which frames are equal or nearly equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from zoo.auditing.shortcuts import Measured
from zoo.auditing.table import Coded, Floats, Integers, Table, encode
from zoo.data import DataSet, Row
from zoo.data.features import THUMBNAIL, reduced, sky_and_noise, stretched, thumbnail
from zoo.errors import ZooError
from zoo.steps import Pipeline

BITS = THUMBNAIL**2
MOST_BITS = 12
"""Nearly equal frames differ in at most this many of the 256 bits of their thumbnails, ..."""
LEAST_AGREEMENT = 0.7
"""... and agree in at least this share of 8192 bits that show smaller things; of unlike frames about half agree, at most 0.61 in
the simulated sky."""

_DETAILS = (64, 128)
_WORDS = 16  # of 16 bits; more than MOST_BITS, so that nearly equal frames share at least one word
_ONES = np.array([byte.bit_count() for byte in range(256)], dtype=np.int64)  # numpy counts bits itself from 2.0 on


@dataclass(frozen=True)
class Pixels:
    """What was read of the frames of a table.

    Attributes:
        equal: the same number for frames of equal pixels; near: for frames of nearly equal ones.
        measured: geometry, bias, level and thumbnail of each frame.
        refused: frames that could not be read, and why.
        count: frames that were read.
    """

    equal: Coded
    near: Coded
    measured: Measured
    refused: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class _Frame:
    """What one frame gave; ``refusal`` says why it gave nothing."""

    sha256: str = ""
    size: str = ""
    bias: float = math.nan
    gain: float = math.nan
    level: float = math.nan
    thumbnail: Floats | None = None
    details: NDArray[np.uint8] | None = None
    refusal: str = ""


def read_pixels(
    table: Table, sources: Sequence[DataSet], present: NDArray[np.bool_], *, workers: int = 2, progress: Callable[[int], None] | None = None
) -> Pixels:
    """Read every frame that is there once.

    Args:
        table: the rows of all sources, in order. sources: open them.
        present: ``(N,)``, whether the file of a row exists.
        workers: threads. progress: called with 1 after every frame.
    """
    owners = [source for source in sources for _ in range(len(source.manifest))]
    chosen = np.flatnonzero(present).tolist()
    found = [_Frame()] * len(table)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for place, frame in zip(chosen, pool.map(lambda place: _look(owners[place], table.rows[place]), chosen), strict=True):
                found[place] = frame
                if progress is not None:
                    progress(1)
        finally:
            pool.shutdown(cancel_futures=True)
    thumbnails = np.full((len(table), BITS), math.nan)
    details = np.zeros((len(table), math.prod(_DETAILS) // 8), dtype=np.uint8)
    for place in chosen:
        if (small := found[place].thumbnail) is not None:
            thumbnails[place] = small
        if (bits := found[place].details) is not None:
            details[place] = bits
    names = [row.name for row in table.rows]
    return Pixels(
        equal=encode(
            [name if frame.sha256 else "" for name, frame in zip(names, found, strict=True)], keys=[frame.sha256 for frame in found]
        ),
        near=near_groups(thumbnails, details, names),
        measured=Measured(
            size=encode([frame.size for frame in found]),
            bias=np.array([frame.bias for frame in found]),
            gain=np.array([frame.gain for frame in found]),
            level=np.array([frame.level for frame in found]),
            thumbnails=thumbnails,
        ),
        refused=tuple(frame.refusal for frame in found if frame.refusal),
        count=sum(bool(frame.sha256) for frame in found),
    )


def near_groups(thumbnails: Floats, details: NDArray[np.uint8], names: Sequence[str]) -> Coded:
    """Number frames so that nearly equal ones, and chains of them, have one number.

    Each thumbnail becomes 256 bits, whether a pixel lies above the median. Frames that share 16 neighbouring bits somewhere are compared,
    which finds all pairs that differ in at most 12; of those, `LEAST_AGREEMENT` of the details decides, because smooth galaxies in the
    middle of a frame have much the same thumbnail.

    Args:
        thumbnails: ``(N, 256)``; NaN for a frame that was not read. details: ``(N, 1024)`` bytes.
        names: of the frames.
    """
    codes = np.full(len(names), -1, dtype=np.int64)
    lit = np.flatnonzero(np.isfinite(thumbnails).all(axis=1))
    codes[lit] = lit
    bits = np.packbits(thumbnails[lit] > np.median(thumbnails[lit], axis=1, keepdims=True), axis=1)
    words = bits.reshape(len(lit), _WORDS, 2).astype(np.int64) @ np.array([256, 1])
    for word in range(_WORDS if lit.size else 0):
        order = np.argsort(words[:, word], kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(words[order, word])) + 1):
            if members.size > 1:
                _join(codes, lit[members], bits[members], details[lit[members]])
    numbers = np.unique(codes[codes >= 0])
    dense = np.where(codes >= 0, np.searchsorted(numbers, codes), -1)
    return Coded(dense.astype(np.int64), tuple(names[place] for place in numbers.tolist()))


def _join(codes: Integers, rows: Integers, bits: NDArray[np.uint8], details: NDArray[np.uint8]) -> None:
    """Give nearly equal frames among ``rows`` the smallest of their numbers, in place."""
    most = (1 - LEAST_AGREEMENT) * 8 * details.shape[1]
    for place in range(len(rows) - 1):
        close = np.flatnonzero(_differing(bits[place + 1 :], bits[place]) <= MOST_BITS) + place + 1
        close = close[_differing(details[close], details[place]) <= most]
        if close.size:
            joined = codes[rows[np.r_[place, close]]]
            codes[np.isin(codes, joined)] = joined.min()


def _differing(many: NDArray[np.uint8], one: NDArray[np.uint8]) -> Integers:
    """In how many bits each row differs from one."""
    return np.asarray(_ONES[many ^ one].sum(axis=1), dtype=np.int64)


def _look(source: DataSet, row: Row) -> _Frame:
    """What one frame gives, from one reading of its pixels."""
    try:
        frame = source.open(row)
        sha256 = frame.sha256()
        for step in Pipeline([{"step": "overscan"}]).frame_steps:
            frame = step(frame)
        image = reduced(frame.decode()[0])
    except (ZooError, OSError) as err:
        return _Frame(refusal=f"{row.name}: {err}")
    sky, noise = sky_and_noise(image)
    small = thumbnail(image, sky, noise)
    height, width = frame.shape[1:]
    bias, gain = (
        float(np.mean([getattr(region, name) for region in frame.regions])) if frame.regions else math.nan for name in ("bias", "gain")
    )
    details = _details(stretched(image, sky, noise)) if np.isfinite(small).all() else None
    return _Frame(sha256, f"{height}x{width}", bias, gain, math.asinh(sky), small, details)


def _details(light: Tensor) -> NDArray[np.uint8]:
    """8192 bits, ``(1024,)`` bytes: whether each of 64 x 128 block means lies above the mean of the 5 x 5 around it."""
    blocks = F.adaptive_avg_pool2d(light[None, None], _DETAILS)
    around = F.avg_pool2d(blocks, 5, stride=1, padding=2, count_include_pad=False)
    return np.packbits((blocks > around).flatten().numpy())
