"""Decoding, limits and normalization of one 2048x4096 frame beside rivals.

The unit ``mc`` is one memcpy of a float32 frame between two buffers that exist (``numpy.copyto``, one thread), measured in turn with every
candidate, because the speed of a shared machine drifts. zoo writes into a buffer that exists, and so do rivals that can; all of them are
numpy's, on huge pages where the system has them. Errors are the largest differences from numpy and astropy in float64. Targets are in
copies, for one or two threads. Rivals that are not installed are left out and named; ``bench_fits.py`` starts from files.
Run: ``python benchmarks/bench_normalize.py [--threads 1,2] [--repeats N] [--only WORD] [--clock cpu] [--out FILE]``; prints a table and
writes JSON.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import astropy
import numpy as np
import scipy
import scipy.stats
import torch
from astropy.io import fits
from astropy.stats import mad_std, sigma_clipped_stats
from astropy.visualization import AsinhStretch, AsymmetricPercentileInterval, ManualInterval, ZScaleInterval
from measure import SHAPE, circumstances, room, seconds, time_beside_copy, verdict

from zoo import storage
from zoo.ops import Encoding, MedianMAD, Percentile, Region, SigmaClip, ZScale, decode, normalize
from zoo.ops.raw import describe_source
from zoo.ops.statistics import find_limits

UINT16 = Encoding(16, 1.0, 32768.0)
FLOAT32 = Encoding(-32)
HALVES = [Region(0, 0, 2048, 2048, 0, 0, 998.37, 1.58), Region(0, 2048, 2048, 2048, 0, 2048, 1001.71, 1.6)]
OPTIONAL = {"cv2": "opencv-python-headless", "numba": "numba"}
SLOW_S = 0.25  # candidates slower than this are measured three times only
GIVEN = (1100.0, 2000.0)

Call = Callable[[], Any]


class Work(NamedTuple):
    """What all candidates of a table row do, its result in float64, and the target of zoo: threads and copies."""

    name: str
    truth: Call
    candidates: dict[str, Call]
    target: tuple[int, float] | None = None


def simulated_counts() -> np.ndarray[Any, Any]:
    """A sky of uint16 counts with stars of every brightness, some saturated."""
    rng = np.random.default_rng(0)
    counts = rng.normal(1200.0, 30.0, SHAPE)
    stars = rng.integers(0, counts.size, 100_000)
    counts.flat[stars] += rng.pareto(0.8, stars.size) * 50
    return np.clip(np.round(counts), 0, 65535).astype(np.uint16)


def optional(name: str) -> Any:
    """A rival that may be installed, or None."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def clipped(values: Any) -> tuple[float, float]:
    _, median, std = sigma_clipped_stats(values)
    return median - 3 * std, median + 10 * std


def spread(values: Any) -> tuple[float, float]:
    median, scale = np.median(values), mad_std(values)
    return median - 3 * scale, median + 10 * scale


RULES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "percentiles (1, 99)": (Percentile(1, 99), AsymmetricPercentileInterval(1, 99).get_limits),
    "z-scale": (ZScale(), ZScaleInterval().get_limits),
    "median and MAD": (MedianMAD(3, 10), spread),
    "sigma clip": (SigmaClip(3.0, 5, 3.0, 10.0), clipped),
}


TARGETS = {
    "int16 -> limits: percentiles (1, 99)": (2, 1.0),
    "int16 -> limits: median and MAD": (2, 1.0),
    "int16 -> limits: sigma clip": (1, 1.2),
    "int16 -> limits: z-scale": (1, 0.2),
    "float32 with NaN -> limits: percentiles (1, 99)": (1, 1.2),
    "float32 with NaN -> limits: median and MAD": (1, 1.8),
    "float32 with NaN -> limits: sigma clip": (1, 2.5),
    "float32 with NaN -> limits: z-scale": (1, 0.2),
    "float32 with NaN -> asinh, given limits": (1, 1.7),
    "int16 -> percentiles (1, 99) + asinh": (2, 1.5),
    "int16 -> z-scale + asinh": (2, 1.5),
    "float32 with NaN -> percentiles (1, 99) + asinh": (2, 1.5),
    "float32 with NaN -> sigma clip + asinh": (2, 3.0),
}


def stretched(values: Any, find: Callable[[Any], Any]) -> Any:
    """Asinh between the limits of the valid pixels, by astropy; pixels without a value become 0."""
    return np.nan_to_num(AsinhStretch()(ManualInterval(*find(values[np.isfinite(values)]))(values)))


def limits_by_histogram(histogram: Any) -> list[float]:
    """The percentiles (1, 99) of 16-bit counts, where no rank has to be interpolated."""
    upto = np.cumsum(histogram)
    return [float(np.searchsorted(upto, q * (upto[-1] - 1), side="right")) for q in (0.01, 0.99)]


def by_table(counts: Any, histogram: Any) -> Any:
    """Percentiles from a histogram of 16-bit counts, the stretch of every count, and the table applied to the frame."""
    low, high = limits_by_histogram(histogram)
    place = np.clip((np.arange(65536, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    return (np.arcsinh(place / 0.1) / np.arcsinh(10.0)).astype(np.float32).take(counts)


def asinh_in_place(library: Any, frame: Any, target: Any) -> Any:
    """Clip, scale and stretch with one array, by numpy or torch."""
    clip, asinh = (library.clip, library.arcsinh) if library is np else (library.clamp, library.asinh)
    library.subtract(frame, GIVEN[0], out=target)
    target *= 1.0 / (GIVEN[1] - GIVEN[0])
    clip(target, 0.0, 1.0, out=target)
    target *= 10.0
    asinh(target, out=target)
    target *= 1.0 / np.arcsinh(10.0)
    return target


class Frames:
    """One sky as counts, as big-endian FITS pixels of 16 bits, and as float32 with NaN, with room for a result."""

    def __init__(self) -> None:
        self.counts = simulated_counts()
        self.wide = self.counts.astype(np.float64)
        self.sky = self.counts.astype(np.float32)
        self.sky[np.random.default_rng(1).random(SHAPE) < 0.001] = np.nan
        self.stored16, self.stored32 = (self.counts.astype(np.int32) - 32768).astype(">i2"), self.sky.astype(">f4")
        self.raw16, self.raw32 = (torch.from_numpy(stored.view(np.uint8)) for stored in (self.stored16, self.stored32))
        self.out, self.array = room(), np.zeros(SHAPE, dtype=np.float32)
        self.histograms: dict[str, Call] = {"numpy bincount": lambda: np.bincount(self.counts.ravel(), minlength=65536)}
        if cv2 := optional("cv2"):
            self.histograms["OpenCV calcHist"] = lambda: (
                cv2.calcHist([self.counts], [0], None, [65536], [0, 65536]).ravel().astype(np.int64)
            )


def decoding(f: Frames) -> Work:
    """Big-endian int16 with BZERO to float32."""
    buffer = io.BytesIO()
    fits.PrimaryHDU(f.counts).writeto(buffer)
    file = buffer.getvalue()
    candidates: dict[str, Call] = {
        "zoo": lambda: decode(f.raw16, UINT16, out=f.out),
        "numpy": lambda: np.add(f.stored16, np.float32(32768.0), out=f.array),
        "torch": lambda: torch.from_numpy(f.stored16.byteswap().view(np.int16)).to(torch.float32).add_(32768.0),
        "astropy": lambda: fits.HDUList.fromstring(file)[0].data.astype(np.float32),
    }
    if numba := optional("numba"):

        @numba.njit  # type: ignore[untyped-decorator]
        def swap(codes: Any, target: Any) -> None:
            for i in range(codes.size):
                target[i] = np.float32(np.int16((codes[i] >> 8) | (codes[i] << 8))) + np.float32(32768.0)

        candidates["numba"] = lambda: (swap(f.stored16.view(np.uint16).ravel(), f.array.ravel()), f.array)[1]
    return Work("decode int16", lambda: f.wide, candidates, (1, 0.6))


def given_limits(f: Frames) -> Iterator[Work]:
    """Asinh between known limits."""
    given = torch.tensor(GIVEN, dtype=torch.float64)
    truth = lambda values: stretched(values, lambda _: GIVEN)  # noqa: E731
    sky = torch.from_numpy(f.sky)
    yield Work(
        "int16 -> asinh, given limits",
        lambda: truth(f.wide),
        {"zoo": lambda: normalize(f.raw16, UINT16, limits=given, out=f.out)},
    )
    candidates: dict[str, Call] = {
        "zoo": lambda: normalize(f.raw32, FLOAT32, limits=given, out=f.out),
        "astropy": lambda: truth(f.sky),
        "numpy in place": lambda: asinh_in_place(np, f.sky, f.array),
        "torch in place": lambda: asinh_in_place(torch, sky, f.out),
    }
    if numba := optional("numba"):

        @numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
        def asinh(values: Any, target: Any) -> None:
            for i in range(values.size):
                place = min(max((values[i] - np.float32(1100.0)) * np.float32(1 / 900), np.float32(0.0)), np.float32(1.0))
                target[i] = np.arcsinh(place * np.float32(10.0)) * np.float32(1 / np.arcsinh(10.0))

        candidates["numba fastmath"] = lambda: (asinh(f.sky.ravel(), f.array.ravel()), f.array)[1]
    name = "float32 with NaN -> asinh, given limits"
    yield Work(name, lambda: truth(f.sky.astype(np.float64)), candidates, TARGETS[name])


def finding(f: Frames, rule: str, of_floats: bool) -> Work:
    """Limits alone."""
    limits, find = RULES[rule]
    raw, encoding, values = (f.raw32, FLOAT32, f.sky) if of_floats else (f.raw16, UINT16, f.counts)
    source = describe_source(raw, encoding, None, None, "keep")
    candidates: dict[str, Call] = {
        "zoo": lambda: find_limits(raw, source, limits, False),
        "astropy": lambda: np.array(find(values[np.isfinite(values)] if of_floats else values)),
    }
    tensor = torch.from_numpy(f.sky)
    if rule.startswith("percentiles") and of_floats:
        candidates["numpy nanpercentile"] = lambda: np.nanpercentile(f.sky, [1, 99])
        candidates["torch nanquantile"] = lambda: torch.nanquantile(tensor.reshape(-1), torch.tensor([0.01, 0.99]))
    if rule.startswith("percentiles") and not of_floats:
        candidates |= {name: lambda h=histogram: np.array(limits_by_histogram(h())) for name, histogram in f.histograms.items()}
    if rule == "median and MAD" and of_floats:

        def by_torch() -> Any:
            median = tensor.nanmedian()
            scale = (tensor - median).abs_().nanmedian() * 1.482602218505602
            return np.array([median - 3 * scale, median + 10 * scale])

        candidates["torch"] = by_torch
    if rule == "sigma clip" and of_floats:
        valid = f.sky[np.isfinite(f.sky)]
        candidates["scipy sigmaclip, about the mean"] = lambda: scipy.stats.sigmaclip(valid, 3.0, 3.0)
    name = f"{'float32 with NaN' if of_floats else 'int16'} -> limits: {rule}"
    wide = f.sky.astype(np.float64) if of_floats else f.wide
    return Work(name, lambda: np.array(find(wide[np.isfinite(wide)])), candidates, TARGETS[name])


def pipeline(f: Frames, rule: str, of_floats: bool) -> Work:
    """From big-endian pixels to [0, 1]."""
    limits, find = RULES[rule]
    raw, encoding, wide = (f.raw32, FLOAT32, f.sky.astype(np.float64)) if of_floats else (f.raw16, UINT16, f.wide)
    candidates: dict[str, Call] = {"zoo": lambda: normalize(raw, encoding, limits=limits, out=f.out)}
    if of_floats:
        candidates["astropy"] = lambda: stretched(f.stored32.astype(np.float32), find)
    else:
        candidates["astropy"] = lambda: stretched(f.stored16.astype(np.float32) + np.float32(32768.0), find)
    if rule.startswith("percentiles") and not of_floats:
        candidates |= {f"{name}, take": lambda h=histogram: by_table(f.counts, h()) for name, histogram in f.histograms.items()}

        def by_torch() -> Any:
            frame = torch.from_numpy(f.stored16.byteswap().view(np.int16)).to(torch.float32).add_(32768.0)
            low, high = frame.reshape(-1).quantile(torch.tensor([0.01, 0.99]))
            return frame.sub_(low).div_(high - low).clamp_(0.0, 1.0).mul_(10.0).asinh_().div_(np.arcsinh(10.0))

        candidates["torch"] = by_torch
    name = f"{'float32 with NaN' if of_floats else 'int16'} -> {rule} + asinh"
    return Work(name, lambda: stretched(wide, find), candidates, TARGETS.get(name))


def works() -> Iterator[Work]:
    """The rows of the table."""
    f = Frames()
    yield decoding(f)
    yield from given_limits(f)
    for of_floats in (False, True):
        yield from (finding(f, rule, of_floats) for rule in RULES)
        yield from (pipeline(f, rule, of_floats) for rule in RULES)
    yield Work(
        "int16, two amplifiers -> percentiles + asinh",
        lambda: normalized_halves(f.wide),
        {"zoo": lambda: normalize(f.raw16, UINT16, regions=HALVES, out=f.out)},
    )


def normalized_halves(values: Any) -> Any:
    halves = [(values[:, r.x : r.x + r.width] - r.bias) * r.gain for r in HALVES]
    return stretched(np.concatenate(halves, axis=1), RULES["percentiles (1, 99)"][1])


def largest_difference(got: Any, reference: Any) -> float:
    return float(np.max(np.abs(np.nan_to_num(np.asarray(got).astype(np.float64)) - np.nan_to_num(reference))))


def measure(work: Work, library: str, threads: int, options: argparse.Namespace, clock: Callable[[], float]) -> dict[str, Any]:
    """One record: time, time of the copy, and the target where it is meant for so many threads."""
    torch.set_num_threads(threads)
    call = work.candidates[library]
    timed = time_beside_copy(call, repeats=min(3, options.repeats) if seconds(call) > SLOW_S else options.repeats, clock=clock)
    aimed = library == "zoo" and work.target is not None and work.target[0] == threads
    return {
        "work": work.name,
        "library": library,
        "threads": threads,
        **timed,
        "target_copies": work.target[1] if aimed and work.target else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="numbers of threads, each measured")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", default="", help="only work whose name holds this")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, for one thread on a busy machine")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "normalize.json")
    options = parser.parse_args()
    if options.clock == "cpu" and options.threads != "1":
        parser.error(f"--clock cpu adds the time of all threads: pass --threads 1 with it, got {options.threads}")
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    counts = [int(n) for n in options.threads.split(",")]
    versions = {package: version(package) for name, package in OPTIONAL.items() if optional(name)}
    missing = [package for package in OPTIONAL.values() if package not in versions]
    facts = circumstances(
        clock=options.clock,
        shape=SHAPE,
        numpy=np.__version__,
        scipy=scipy.__version__,
        astropy=astropy.__version__,
        **versions,
        missing=missing,
    )
    facts["threads"] = counts
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    results = []
    print(f"{'work':48} {'library':31} threads {'ms':>8} {'IQR':>7} {'mc':>7}  {'error':8} target")
    for work in works():
        if options.only not in work.name:
            continue
        truth = work.truth()
        for library, call in work.candidates.items():
            error = None if "sigmaclip" in library else largest_difference(call(), truth)
            for threads in counts if library.startswith(("zoo", "torch")) else counts[:1]:
                record = {**measure(work, library, threads, options, clock), "error": error}
                results.append(record)
                figures = f"{record['time_s'] * 1e3:8.2f} {record['iqr_s'] * 1e3:7.2f} {record['copies']:7.2f}"
                told = "" if error is None else f"{error:.1e}"
                aim = verdict(record["copies"], record["target_copies"])
                print(f"{work.name:48} {library:31} {threads:7} {figures}  {told:8} {aim}", flush=True)
    storage.write_json(options.out, {"schema": 2, "metadata": facts, "results": results})


if __name__ == "__main__":
    main()
