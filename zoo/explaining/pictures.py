"""Pictures of frames for people: stretched to 8 bits, small, with the Grad-CAM laid over them. Needs Pillow and matplotlib's colours."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UsageError
from zoo.explaining.cam import CamMap

Grey = NDArray[np.uint8]
Pixels = NDArray[np.floating[Any]]
Box = tuple[int, int, int, int]

FRAME_WIDTH = 700
NEAREST_WIDTH = 400
CUTOUT = 256
SAMPLE = 1 << 18  # pixels of which the limits of a stretch are found
LIMITS = (0.5, 99.8)  # percentiles
MEDIAN = 0.18  # brightness that the median gets at least
COLOURS = "plasma"
COLOUR_RANGE = (0.2, 0.9)
"""Perceptually uniform, and its lightness rises throughout, so that it reads with any colour vision; without its ends, which look like the
dark sky and, half transparent, like olive."""
OPACITY, FAINTEST = 0.75, 0.1  # at the maximum; and the share of it below which the frame stays grey

MOST_BYTES = {"frame": 45_000, "gradcam": 60_000, "cutout": 30_000, "nearest": 22_000}
"""Of a picture; twelve entries of four stay below 1.9 MB. Noise that does not fit is compressed harder, down to `QUALITIES`."""
QUALITIES = (88, 80, 70, 60, 50, 40, 30)


def check_pictures() -> None:
    """Raise before any work is done where no picture can be made.

    Raises:
        UsageError: Pillow or matplotlib is not there.
    """
    missing = [name for name, module in (("Pillow", "PIL"), ("matplotlib", "matplotlib")) if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(f"the pictures of an explanation need {' and '.join(missing)}; run pip install 'celestial-zoo[report]'")


def block_mean(image: Pixels, factor: int) -> NDArray[np.float64]:
    """Return the mean of blocks of ``factor`` x ``factor`` pixels, ``(ceil(H / factor), ceil(W / factor))``; the last may be smaller."""
    rows, columns = (np.arange(0, side, factor) for side in image.shape)
    sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0, dtype=np.float64), columns, axis=1)
    heights, widths = (np.diff(np.append(starts, side)) for starts, side in zip((rows, columns), image.shape, strict=True))
    return np.asarray(sums / (heights[:, None] * widths[None]), dtype=np.float64)


def scale_for(size: tuple[int, int], width: int) -> int:
    """Return the smallest block with which a frame is at most ``width`` pixels wide, and high."""
    return max(1, -(-max(size) // width))


def stretch(image: Pixels) -> Grey:
    """Return an image as 8-bit grey on which faint structure is seen.

    Linear between two percentiles; where that leaves the median darker than `MEDIAN`, asinh with the softening that brings it there. An
    image that its pipeline has stretched already stays as it is, so, and a linear one does not look black.

    Args:
        image: ``(H, W)``, any unit; what is not finite becomes black.
    """
    values = np.asarray(image, dtype=np.float64)
    step = max(1, int((values.size / SAMPLE) ** 0.5))
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return np.zeros(values.shape, dtype=np.uint8)
    lower, upper = np.percentile(sample, LIMITS)
    if not upper > lower:
        lower, upper = float(sample.min()), float(sample.max())
    if not upper > lower:
        return np.zeros(values.shape, dtype=np.uint8)
    shares = np.clip((np.nan_to_num(values, nan=lower, posinf=upper, neginf=lower) - lower) / (upper - lower), 0.0, 1.0)
    middle = float(np.clip((np.median(sample) - lower) / (upper - lower), 0.0, 1.0))
    if 0.0 < middle < MEDIAN:
        softening = _softening(middle)
        shares = np.arcsinh(shares / softening) / np.arcsinh(1.0 / softening)
    return np.asarray(np.rint(255 * shares), dtype=np.uint8)


def overlay(grey: Grey, cam: CamMap, scale: int, box: Box | None) -> NDArray[np.uint8]:
    """Return ``(h, w, 3)``: a grey picture with a Grad-CAM in colour, a line where it has half its maximum, and the box of the cut-out.

    Args:
        grey: the frame as blocks of ``scale`` pixels. cam: of the same frame. box: row, column, height and width in the frame.
    """
    from matplotlib import colormaps

    rows, columns = (np.arange(count, dtype=np.float64) * scale + (scale - 1) / 2 for count in grey.shape)
    values = cam.at(rows, columns)
    shares = values / cam.values.max() if cam.values.max() > 0 else np.zeros_like(values)
    colours = np.asarray(colormaps[COLOURS](COLOUR_RANGE[0] + (COLOUR_RANGE[1] - COLOUR_RANGE[0]) * shares))[..., :3] * 255
    opacity = (OPACITY * np.clip((shares - FAINTEST) / (1 - FAINTEST), 0, 1))[..., None]
    picture = (1 - opacity) * grey[..., None] + opacity * colours
    picture[_edge(shares >= 0.5)] = colours.reshape(-1, 3)[shares.argmax()] if shares.any() else 255
    if box is not None:
        top, left, height, width = box
        last = np.array(grey.shape) - 1
        (y0, x0), (y1, x1) = (np.minimum(np.array(corner) // scale, last) for corner in ((top, left), (top + height - 1, left + width - 1)))
        for part in ((y0, slice(x0, x1 + 1)), (y1, slice(x0, x1 + 1)), (slice(y0, y1 + 1), x0), (slice(y0, y1 + 1), x1)):
            picture[part] = 255
    return np.asarray(np.rint(picture), dtype=np.uint8)


def box_around(place: tuple[float, float], size: tuple[int, int]) -> Box:
    """Return row, column, height and width of the square around a place, moved so that it lies in the frame.

    Its side is `CUTOUT`, or half of the shorter side of a smaller frame.
    """
    side = max(1, min(CUTOUT, min(size) // 2))
    top, left = (min(max(round(middle - side / 2), 0), whole - side) for middle, whole in zip(place, size, strict=True))
    return top, left, side, side


def encode(picture: NDArray[np.uint8], most: int) -> bytes:
    """Return a grey ``(h, w)`` or colour ``(h, w, 3)`` picture as JPEG, of the best quality that fits into ``most`` bytes, or the worst."""
    from PIL import Image

    data = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
        data = buffer.getvalue()
        if len(data) <= most:
            break
    return data


def _softening(middle: float) -> float:
    """The softening with which asinh maps ``middle`` to `MEDIAN`, by halving; a smaller one makes it brighter."""
    low, high = -6.0, 2.0  # of its decimal logarithm
    for _ in range(40):
        half = (low + high) / 2
        softening = 10.0**half
        bright = np.arcsinh(middle / softening) / np.arcsinh(1.0 / softening) > MEDIAN
        low, high = (half, high) if bright else (low, half)
    return float(10.0 ** ((low + high) / 2))


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels inside that have a neighbour outside."""
    core = inside.copy()
    for axis in (0, 1):
        for step in (1, -1):
            shifted = np.roll(inside, step, axis=axis)
            line = (slice(None),) * axis + (0 if step == 1 else -1,)
            shifted[line] = inside[line]  # the border of the picture is no edge
            core &= shifted
    return inside & ~core
