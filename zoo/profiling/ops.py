"""Ops on one frame beside their references in pure torch and beside a copy of the frame."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.ops import Encoding, blur, decode, frame_statistics, normalize
from zoo.ops.blur_reference import blur_reference, gaussian_taps
from zoo.ops.normalize import reference_normalize
from zoo.ops.raw import Source, describe_source, reference_values
from zoo.ops.statistics import FrameStatistics
from zoo.ops.statistics_reference import BASIC, COLUMNS, MAD, MEDIAN, MOMENTS, reference_statistics
from zoo.profiling.sampling import Clock
from zoo.profiling.sky import draw_sky, to_counts

QUANTILES = (0.01, 0.99)  # of `frame_statistics` and of `normalize` by default
STRETCH = ("asinh", 0.1)  # of `normalize` by default
SIGMA = 2.0  # pixels
LEAST_RUNS = 3
MOST_RUNS = 100
MOST_REFERENCE_RUNS = 10
MOST_RIVAL_RUNS = 5
OP_SHARE, REFERENCE_SHARE = (
    0.5,
    0.8,
)  # of the budget, when op and reference have had their time; the rest is the other's

_FIGURES = ("count", "min", "max", "mean", "std", "median", "mad")


class Case(NamedTuple):
    """One op on one kind of pixel; `difference` compares what a call returns with the reference.

    ``rival`` does the same in another library, on the processor and by default with one thread.
    """

    pixels: str
    run: Callable[[], Any]
    reference: Callable[[], Tensor]
    difference: Callable[[Any, Tensor], float]
    library: str = ""
    rival: Callable[[], Tensor] | None = None


def profile_op(name: str, device: torch.device, *, budget_s: float, shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Measure an op of `OPS`, each kind of pixel with an equal share of the budget.

    Args:
        name: of the op.
        device: where the frame lies.
        budget_s: seconds for everything; at least 3 runs of the op, one of its reference and one of the other library are made.
        shape: ``(H, W)`` of the frame in pixels.

    Returns: what `zoo.profiling.OpProfile` holds, one mapping per kind of pixel.
    """
    cases = list(OPS[name](_Frame.simulate(shape, device)))
    return [{"pixels": case.pixels, "shape": shape, **_measure(case, device, shape, budget_s / len(cases))} for case in cases]


def _measure(case: Case, device: torch.device, shape: tuple[int, int], budget_s: float) -> dict[str, Any]:
    """Time the op in turn with a copy of a float32 frame between two buffers that exist, then the reference and the other library."""
    clock, began = Clock(device), time.perf_counter()
    source, buffer = torch.rand(shape, device=device), torch.empty(shape, device=device)
    result = case.run()
    buffer.copy_(source)
    runs: list[float] = []
    copies: list[float] = []
    while len(runs) < LEAST_RUNS or (len(runs) < MOST_RUNS and time.perf_counter() - began < OP_SHARE * budget_s):
        copies.append(clock(lambda: buffer.copy_(source))[0])
        runs.append(clock(case.run)[0])
    expected = case.reference()

    def repeat(call: Callable[[], object], most: int, until_s: float) -> list[float]:
        times: list[float] = []
        while not times or (len(times) < most and time.perf_counter() - began + times[-1] < until_s):
            times.append(clock(call)[0])
        return times

    references = repeat(case.reference, MOST_REFERENCE_RUNS, REFERENCE_SHARE * budget_s)
    rival: dict[str, Any] = {}
    if case.rival is not None:
        times = repeat(case.rival, MOST_RIVAL_RUNS, budget_s)
        rival = {"library": case.library, "library_s": statistics.median(times), "library_runs": len(times)}
        rival["library_difference"] = case.difference(case.rival(), expected.cpu())
    median, copy, reference = (statistics.median(times) for times in (runs, copies, references))
    return {
        "median_s": median,
        "iqr_s": quartile_range(runs),
        "runs": len(runs),
        "copy_s": copy,
        "copies": median / copy,
        "reference_s": reference,
        "reference_iqr_s": quartile_range(references),
        "reference_runs": len(references),
        "speedup": reference / median,
        "difference": case.difference(result, expected),
        **rival,
    }


def quartile_range(times: Sequence[float]) -> float | None:
    """Return the distance of the quartiles; ``None`` for a single time."""
    if len(times) < 2:
        return None
    lower, _, upper = statistics.quantiles(times, n=4, method="inclusive")
    return upper - lower


@dataclasses.dataclass(frozen=True)
class _Frame:
    """A simulated sky with stars of every brightness, as FITS stores it; one float pixel in a thousand is NaN."""

    counts: Tensor  # (H, 2 W) uint8: big-endian int16, BZERO 32768
    sky: Tensor  # (H, 4 W) uint8: big-endian float32
    smooth: Tensor  # (H, W) float32 without NaN

    @classmethod
    def simulate(cls, shape: tuple[int, int], device: torch.device) -> _Frame:
        counts = to_counts(draw_sky(shape, 0))
        smooth = counts.astype(np.float32)
        holes = np.where(np.random.default_rng(1).random(shape) < 1e-3, np.float32(np.nan), smooth)
        stored = ((counts ^ 0x8000).astype(">u2"), holes.astype(">f4"))
        raw = [torch.from_numpy(array.view(np.uint8)).to(device) for array in stored]
        return cls(raw[0], raw[1], torch.from_numpy(smooth).to(device))

    def kinds(self) -> Iterator[tuple[str, Tensor, Encoding]]:
        """Name, bytes and encoding of each kind of raw pixel."""
        yield "int16", self.counts, Encoding(16, 1.0, 32768.0)
        yield "float32", self.sky, Encoding(-32)

    def arrays(self) -> Iterator[Any]:
        """The pixels of `kinds` as numpy has them when it has read a file: big-endian."""
        yield self.counts.cpu().numpy().view(">i2")
        yield self.sky.cpu().numpy().view(">f4")

    def empty(self) -> Tensor:
        """A result to write into, whose pages exist."""
        return torch.zeros_like(self.smooth)


def _decode_cases(frame: _Frame) -> Iterator[Case]:
    out = frame.empty()
    for (pixels, raw, encoding), stored in zip(frame.kinds(), frame.arrays(), strict=True):
        source = describe_source(raw, encoding, None, None, "keep")
        yield Case(
            pixels,
            partial(decode, raw, encoding, out=out),
            partial(_reference_decode, raw, source),
            _pixel_difference,
            "numpy",
            partial(_decode_by_numpy, stored, encoding),
        )


def _decode_by_numpy(stored: Any, encoding: Encoding) -> Tensor:
    return torch.from_numpy(np.add(stored, np.float32(encoding.bzero), dtype=np.float32))


def _reference_decode(raw: Tensor, source: Source) -> Tensor:
    return reference_values(raw, source)[0]


def _statistics_cases(frame: _Frame) -> Iterator[Case]:
    wanted = BASIC | MOMENTS | MEDIAN | MAD
    for pixels, raw, encoding in frame.kinds():
        source = describe_source(raw, encoding, None, None, "keep")
        yield Case(
            pixels,
            partial(frame_statistics, raw, encoding, quantiles=QUANTILES),
            partial(reference_statistics, raw, source, list(QUANTILES), wanted, [], [], False),
            _figure_difference,
        )


def _normalize_cases(frame: _Frame) -> Iterator[Case]:
    out = frame.empty()
    for (pixels, raw, encoding), stored in zip(frame.kinds(), frame.arrays(), strict=True):
        yield Case(
            pixels,
            partial(normalize, raw, encoding, out=out),
            partial(_reference_normalize, raw, encoding),
            _pixel_difference,
            "astropy",
            partial(_normalize_by_astropy, stored, encoding),
        )


def _normalize_by_astropy(stored: Any, encoding: Encoding) -> Tensor:
    """Decoding by numpy, limits and stretch by astropy; pixels without a value become 0."""
    from astropy.visualization import AsinhStretch, AsymmetricPercentileInterval, ManualInterval

    values = _decode_by_numpy(stored, encoding).numpy()
    limits = AsymmetricPercentileInterval(*(100 * q for q in QUANTILES)).get_limits(values[np.isfinite(values)])
    return torch.from_numpy(np.nan_to_num(AsinhStretch(STRETCH[1])(ManualInterval(*limits)(values))))


def _reference_normalize(raw: Tensor, encoding: Encoding) -> Tensor:
    source = describe_source(raw, encoding, None, None, "top")
    limits = reference_statistics(raw, source, list(QUANTILES), 0, [], [], False)[..., COLUMNS:]
    return reference_normalize(raw, source, limits, *STRETCH, True, 0.0)


def _blur_cases(frame: _Frame) -> Iterator[Case]:
    out = frame.empty()
    taps, radii = gaussian_taps(torch.tensor([[SIGMA, SIGMA]], dtype=torch.float64), 4.0, torch.float32)
    yield Case(
        "float32",
        partial(blur, frame.smooth, SIGMA, out=out),
        partial(blur_reference, frame.smooth, taps, radii, "reflect", 0.0, "propagate", 0.0, False),
        _pixel_difference,
        "scipy",
        partial(_blur_by_scipy, frame.smooth.cpu().numpy()),
    )


def _blur_by_scipy(image: Any) -> Tensor:
    from scipy import ndimage

    return torch.from_numpy(ndimage.gaussian_filter(image, SIGMA, mode="reflect", truncate=4.0))


OPS: dict[str, Callable[[_Frame], Iterator[Case]]] = {
    "normalize": _normalize_cases,
    "blur": _blur_cases,
    "decode": _decode_cases,
    "frame_statistics": _statistics_cases,
}


def _pixel_difference(result: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest value; infinite where one of the two is NaN and the other is not."""
    if not torch.equal(result.isnan(), expected.isnan()):
        return math.inf
    return float((result.double() - expected.double()).abs().nan_to_num().max() / expected.double().abs().nan_to_num().max())


def _figure_difference(result: FrameStatistics, expected: Tensor) -> float:
    """Largest relative difference of a figure."""
    figures = torch.stack([getattr(result, name).double() for name in _FIGURES])
    found, wanted = torch.cat([figures, result.quantiles]), torch.cat([expected[: len(_FIGURES)], expected[COLUMNS:]])
    return float(((found - wanted).abs() / wanted.abs().clamp(min=torch.finfo(torch.float64).tiny)).max())
