"""Decoding, limits, normalization, and the way from a FITS file to a normalized tensor of one 2048x4096 frame, beside rivals.

The unit ``mc`` is one memcpy of a float32 frame between two buffers that exist (``numpy.copyto``, one thread), measured in turn with every
candidate, because the speed of a shared machine drifts. zoo writes into a buffer that exists, and so do rivals that can. Errors are the
largest differences from numpy and astropy in float64. Rivals that are not installed are left out and named.
Run: ``python benchmarks/bench_normalize.py [--threads 1,2] [--repeats N] [--only WORD] [--out FILE]``; prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import astropy
import numpy as np
import torch
from astropy.io import fits
from astropy.stats import mad_std, sigma_clipped_stats
from astropy.visualization import AsinhStretch, AsymmetricPercentileInterval, ManualInterval, ZScaleInterval
from measure import SHAPE, circumstances

from zoo import storage
from zoo.frames import read_frame
from zoo.ops import Encoding, MedianMAD, Percentile, Region, SigmaClip, ZScale, decode, normalize
from zoo.ops.raw import describe_source
from zoo.ops.statistics import find_limits

UINT16 = Encoding(16, 1.0, 32768.0)
FLOAT32 = Encoding(-32)
HALVES = [Region(0, 0, 2048, 2048, 0, 0, 998.37, 1.58), Region(0, 2048, 2048, 2048, 0, 2048, 1001.71, 1.6)]
OPTIONAL = ("cv2", "numba", "fitsio", "torchfits")

Call = Callable[[], Any]


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


def stretched(values: Any, find: Callable[[Any], Any]) -> Any:
    """Asinh between the limits of the valid pixels, by astropy; pixels without a value become 0."""
    return np.nan_to_num(AsinhStretch()(ManualInterval(*find(values[np.isfinite(values)]))(values)))


def by_table(counts: Any, histogram: Any, look_up: Callable[[Any], Any]) -> Any:
    """Percentiles from a histogram of 16-bit counts, the stretch of every count, and the table applied to the frame."""
    upto, n = np.cumsum(histogram), counts.size
    limits = [float(np.searchsorted(upto, q * (n - 1), side="right")) for q in (0.01, 0.99)]
    place = np.clip((np.arange(65536, dtype=np.float64) - limits[0]) / (limits[1] - limits[0]), 0.0, 1.0)
    return look_up((np.arcsinh(place / 0.1) / np.arcsinh(10.0)).astype(np.float32))


def candidates(folder: Path) -> Iterator[tuple[str, Call, dict[str, Call]]]:
    """Work, its result in float64, and who does it how."""
    counts = simulated_counts()
    sky = counts.astype(np.float32)
    sky[np.random.default_rng(1).random(SHAPE) < 0.001] = np.nan
    stored16, stored32 = (counts.astype(np.int32) - 32768).astype(">i2"), sky.astype(">f4")
    raw16, raw32 = (torch.from_numpy(stored.view(np.uint8)) for stored in (stored16, stored32))
    out, array = torch.zeros(SHAPE), np.zeros(SHAPE, dtype=np.float32)
    wide = counts.astype(np.float64)
    cv2, numba = optional("cv2"), optional("numba")

    rivals: dict[str, Call] = {
        "zoo": lambda: decode(raw16, UINT16, out=out),
        "numpy": lambda: np.add(stored16, np.float32(32768.0), out=array),
        "torch": lambda: torch.from_numpy(stored16.byteswap().view(np.int16)).to(torch.float32).add_(32768.0),
    }
    if numba:

        @numba.njit  # type: ignore[untyped-decorator]
        def swap(codes: Any, target: Any) -> None:
            for i in range(codes.size):
                target[i] = np.float32(np.int16((codes[i] >> 8) | (codes[i] << 8))) + np.float32(32768.0)

        rivals["numba"] = lambda: (swap(stored16.view(np.uint16).ravel(), array.ravel()), array)[1]
    yield "decode int16", lambda: wide, rivals

    given = torch.tensor([1100.0, 2000.0], dtype=torch.float64)
    for name, encoding, raw, values in (("int16", UINT16, raw16, wide), ("float32 with NaN", FLOAT32, raw32, sky.astype(np.float64))):
        yield (
            f"{name} -> asinh, given limits",
            lambda v=values: stretched(v, lambda _: (1100.0, 2000.0)),
            {"zoo": lambda e=encoding, r=raw: normalize(r, e, limits=given, out=out)},
        )
        source = describe_source(raw, encoding, None, None, "keep")
        for rule, (limits, find) in RULES.items():
            yield (
                f"{name} -> limits: {rule}",
                lambda v=values, f=find: np.array(f(v[np.isfinite(v)])),
                {"zoo": lambda r=raw, s=source, v=limits: find_limits(r, s, v, False)},
            )
            rivals = {"zoo": lambda e=encoding, r=raw, v=limits: normalize(r, e, limits=v, out=out)}
            if raw is raw16:
                rivals["astropy"] = lambda f=find: stretched(stored16.astype(np.float32) + np.float32(32768.0), f)
            else:
                rivals["astropy"] = lambda f=find: stretched(stored32.astype(np.float32), f)
            if raw is raw16 and limits == Percentile(1, 99):
                rivals["numpy bincount"] = lambda: by_table(counts, np.bincount(counts.ravel(), minlength=65536), lambda t: t.take(counts))
                if cv2:

                    def by_opencv() -> Any:
                        histogram = cv2.calcHist([counts], [0], None, [65536], [0, 65536]).ravel().astype(np.int64)
                        return by_table(counts, histogram, lambda t: t.take(counts))

                    rivals["OpenCV calcHist"] = by_opencv
            yield f"{name} -> {rule} + asinh", lambda v=values, f=find: stretched(v, f), rivals
    yield (
        "int16, two amplifiers -> percentiles + asinh",
        lambda: normalized_halves(wide),
        {"zoo": lambda: normalize(raw16, UINT16, regions=HALVES, out=out)},
    )
    yield from reading(folder, counts, wide, out)


def normalized_halves(values: Any) -> Any:
    halves = [(values[:, r.x : r.x + r.width] - r.bias) * r.gain for r in HALVES]
    return stretched(np.concatenate(halves, axis=1), RULES["percentiles (1, 99)"][1])


def reading(folder: Path, counts: Any, wide: Any, out: torch.Tensor) -> Iterator[tuple[str, Call, dict[str, Call]]]:
    """From a file in the page cache to a normalized tensor."""
    path = folder / "frame.fits"
    fits.PrimaryHDU(counts).writeto(path)
    with fits.open(path) as hdus:
        start = hdus[0].fileinfo()["datLoc"]
    buffer = torch.zeros(SHAPE[0], 2 * SHAPE[1], dtype=torch.uint8)
    resident = read_frame(path).pixels.clone()

    def by_mapping() -> Any:
        frame = read_frame(path)
        return normalize(frame.pixels, frame.encoding, out=out)

    def by_reading() -> Any:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            file.readinto(memoryview(buffer.numpy()).cast("B"))  # type: ignore[arg-type]
        return normalize(buffer, UINT16, out=out)

    def by_astropy() -> Any:
        with fits.open(path, memmap=False) as hdus:
            return normalize(torch.from_numpy(hdus[0].data.astype(np.float32)), out=out)

    rivals: dict[str, Call] = {
        "zoo, resident pixels": lambda: normalize(resident, UINT16, out=out),
        "zoo": by_mapping,
        "zoo, read()": by_reading,
        "astropy, zoo": by_astropy,
    }
    if fitsio := optional("fitsio"):
        rivals["fitsio, zoo"] = lambda: normalize(torch.from_numpy(fitsio.read(str(path)).astype(np.float32)), out=out)
    if torchfits := optional("torchfits"):
        rivals["torchfits, zoo"] = lambda: normalize(torchfits.read(str(path)).to(torch.float32), out=out)
    yield "FITS file -> percentiles + asinh", lambda: stretched(wide, RULES["percentiles (1, 99)"][1]), rivals


def time_beside_memcpy(call: Call, *, repeats: int) -> dict[str, float]:
    """Median and spread of a call, and the median of a memcpy measured in turn with it, in seconds."""
    source, target = np.ones(SHAPE, dtype=np.float32), np.zeros(SHAPE, dtype=np.float32)
    call(), np.copyto(target, source)
    times, copies = [], []
    for _ in range(repeats):
        for work, list_ in ((call, times), (lambda: np.copyto(target, source), copies)):
            begin = time.perf_counter()
            work()
            list_.append(time.perf_counter() - begin)
    lower, upper = np.percentile(times, [25, 75])
    median, copy = statistics.median(times), statistics.median(copies)
    return {
        "time_s": median,
        "iqr_s": float(upper - lower),
        "least_s": min(times),
        "repeats": repeats,
        "copy_s": copy,
        "copies": median / copy,
    }


def largest_difference(got: Any, reference: Any) -> float:
    return float(np.max(np.abs(np.nan_to_num(np.asarray(got).astype(np.float64)) - np.nan_to_num(reference))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="numbers of threads, each measured")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", default="", help="only work whose name holds this")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "normalize.json")
    options = parser.parse_args()
    counts = [int(n) for n in options.threads.split(",")]
    versions = {name: version("opencv-python-headless" if name == "cv2" else name) for name in OPTIONAL if optional(name)}
    missing = [name for name in OPTIONAL if name not in versions]
    facts = circumstances(shape=SHAPE, numpy=np.__version__, astropy=astropy.__version__, **versions, missing=missing)
    facts["threads"] = counts
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    results = []
    print(f"{'work':48} {'library':22} threads {'ms':>8} {'IQR':>7} {'mc':>7}  error")
    with tempfile.TemporaryDirectory() as folder:
        for work, reference, rivals in candidates(Path(folder)):
            if options.only not in work:
                continue
            truth = reference()
            for library, call in rivals.items():
                error = largest_difference(call(), truth)
                for threads in counts if library.startswith(("zoo", "torch")) else counts[:1]:
                    torch.set_num_threads(threads)
                    timed = time_beside_memcpy(call, repeats=options.repeats if library.startswith("zoo") else 3)
                    results.append({"work": work, "library": library, "threads": threads, **timed, "error": error})
                    figures = f"{timed['time_s'] * 1e3:8.2f} {timed['iqr_s'] * 1e3:7.2f} {timed['copies']:7.2f}"
                    print(f"{work:48} {library:22} {threads:7} {figures}  {error:.1e}", flush=True)
    storage.write_json(options.out, {"schema": 1, "metadata": facts, "results": results})


if __name__ == "__main__":
    main()
