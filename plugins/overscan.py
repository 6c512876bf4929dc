"""overscan: cut the science pixels out of a raw Hubble chip, subtract the bias of each amplifier, and turn DN into electrons.

The geometry is that of ``zoo.frames.hst``. Nothing is computed but the bias levels: windows, bias and gain travel with the frame and are
applied when its pixels are next decoded, in the same pass over memory.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from zoo.errors import FrameError, UsageError
from zoo.frames import Amplifier, Frame, Region, acs_hrc, acs_wfc, wfc3_uvis
from zoo.ops import decode

CLIP_SIGMA = 3.0
CLIP_ROUNDS = 10
_SCALES = (1, 2, 4, 8, 16, 32)


class Overscan:
    """Bias, gain and window of a raw ACS/WFC, WFC3/UVIS or ACS/HRC chip; every other product passes unchanged, with a note."""

    scope = "frame"
    unit_in = "DN"
    unit_out = "electron"
    random = False

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The science area where ``shape`` is that of a raw chip (also of a simulated one, up to 32 times smaller), else ``shape``."""
        for layout in (acs_wfc(2), wfc3_uvis(2), acs_hrc()):
            for scale in _SCALES:
                scaled = layout.scaled(scale)
                if shape == (1, *scaled.shape):
                    return (1, *scaled.science_shape)
        return shape

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        """Measure the bias and attach it to the frame; no pixel is converted.

        Raises: FrameError: ``no-bias`` if all bias pixels of an amplifier are blank.
        """
        if x.layout is None:
            kind = x.info.product if x.info.product != "other" else "generic"
            return replace(x, notes=(*x.notes, f"overscan: nothing to do for a {kind} frame"))
        bias = tuple(_level(x, amplifier) for amplifier in x.layout.amplifiers)
        return replace(x, regions=x.layout.regions(bias), unit="electron", saturation=x.layout.saturation(bias), layout=None)


def measure_bias(frame: Frame) -> dict[str, float]:
    """The bias level of each amplifier of a raw chip, measured in its bias columns.

    It is the mean of the bias pixels within 3 standard deviations of their median, clipped until nothing more falls out: charge that trails
    into the bias columns does not count, and the result is finer than the 1 DN of a median.

    Args:
        frame: a raw frame with its layout.
    Returns: amplifier name to DN.
    Raises: UsageError: if the frame has no bias columns. FrameError: ``no-bias``.
    """
    if frame.layout is None:
        raise UsageError(f"measure_bias needs a raw Hubble frame with its bias columns, got {frame.info.product!r} from {frame.info.path}")
    return {amplifier.name: _level(frame, amplifier) for amplifier in frame.layout.amplifiers}


def _level(frame: Frame, amplifier: Amplifier) -> float:
    parts = [
        decode(frame.pixels, frame.encoding, regions=[Region(w.y, w.x, w.height, w.width)], dtype=torch.float64).flatten()
        for w in amplifier.bias
    ]
    values = torch.cat(parts)
    values = values[torch.isfinite(values)]
    if not len(values):
        got = f"no valid bias pixel of amplifier {amplifier.name}"
        raise FrameError("no-bias", path=frame.info.path, hdu=frame.info.hdu, got=got, expected="at least one")
    for _ in range(CLIP_ROUNDS):
        median, deviation = values.median(), values.std(correction=0)
        kept = values[(values - median).abs() <= CLIP_SIGMA * deviation]
        if len(kept) == len(values):
            break
        values = kept
    return float(values.mean())
