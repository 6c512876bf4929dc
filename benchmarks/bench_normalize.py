"""Decoding, limits and normalization of one 2048x4096 frame beside numpy and astropy.

The unit ``mc`` is one copy of a float32 frame between two buffers that exist, measured in turn with every candidate, because the speed of a
shared machine drifts. zoo writes into a buffer that exists; numpy does where it can, astropy allocates. Every candidate is checked against
numpy and astropy in float64 first. Run: ``python benchmarks/bench_normalize.py [--threads N] [--repeats N] [--only WORD] [--out FILE]``;
prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import astropy
import numpy as np
import torch
from astropy.stats import mad_std, sigma_clipped_stats
from astropy.visualization import AsinhStretch, AsymmetricPercentileInterval, ManualInterval, ZScaleInterval
from measure import SHAPE, circumstances, time_beside_copy

from zoo import storage
from zoo.ops import Encoding, MedianMAD, Percentile, Region, SigmaClip, ZScale, decode, frame_statistics, normalize

UINT16 = Encoding(16, 1.0, 32768.0)
FLOAT32 = Encoding(-32)
HALVES = [Region(0, 0, 2048, 2048, 0, 0, 998.37, 1.58), Region(0, 2048, 2048, 2048, 0, 2048, 1001.71, 1.6)]
CLIP = SigmaClip(3.0, 5, 3.0, 10.0)

Call = Callable[[], Any]


def simulated_counts() -> np.ndarray[Any, Any]:
    """A sky of uint16 counts with stars of every brightness, some saturated."""
    rng = np.random.default_rng(0)
    counts = rng.normal(1200.0, 30.0, SHAPE)
    stars = rng.integers(0, counts.size, 100_000)
    counts.flat[stars] += rng.pareto(0.8, stars.size) * 50
    return np.clip(np.round(counts), 0, 65535).astype(np.uint16)


def bytes_of(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(array.view(np.uint8).copy())


def candidates() -> Iterator[tuple[str, str, Call, float]]:
    """Work, library, call, and the largest difference from the reference that may be."""
    counts = simulated_counts()
    sky = counts.astype(np.float32)
    sky[np.random.default_rng(1).random(SHAPE) < 0.001] = np.nan
    raw16 = bytes_of((counts.astype(np.int32) - 32768).astype(">i2"))
    raw32 = bytes_of(sky.astype(">f4"))
    stored16, stored32 = raw16.numpy().view(">i2"), raw32.numpy().view(">f4")
    native = torch.from_numpy(sky)
    out, array = torch.empty(SHAPE), np.empty(SHAPE, dtype=np.float32)

    def astropy_pipeline(stored: np.ndarray[Any, Any], bzero: float, find: Callable[[Any], tuple[float, float]]) -> Any:
        values = stored.astype(np.float32) + np.float32(bzero)
        return AsinhStretch()(ManualInterval(*find(values[np.isfinite(values)]))(values))

    def clipped(values: Any) -> tuple[float, float]:
        _, median, std = sigma_clipped_stats(values)
        return median - 3 * std, median + 10 * std

    def spread(values: Any) -> tuple[float, float]:
        median, scale = np.median(values), mad_std(values)
        return median - 3 * scale, median + 10 * scale

    percentile = AsymmetricPercentileInterval(1, 99).get_limits
    work = "decode int16"
    yield work, "zoo", lambda: decode(raw16, UINT16, out=out), 0.0
    yield work, "numpy", lambda: np.add(stored16, np.float32(32768.0), out=array), 0.0
    for work, options in {"asinh, given limits": {}, "asinh, given limits, two amplifiers": {"regions": HALVES}}.items():
        limits = torch.tensor([1100.0, 2000.0], dtype=torch.float64)
        yield f"{work}, int16", "zoo", lambda o=options, v=limits: normalize(raw16, UINT16, limits=v, out=out, **o), 4e-7
        if not options:
            yield f"{work}, int16", "astropy", lambda: astropy_pipeline(stored16, 32768.0, lambda _: (1100.0, 2000.0)), 4e-7
    for work, encoding, raw, stored in (("int16", UINT16, raw16, stored16), ("float32 with NaN", FLOAT32, raw32, stored32)):
        rules = (
            ("percentiles (1, 99)", Percentile(1, 99), percentile),
            ("z-scale", ZScale(), ZScaleInterval().get_limits),
            ("median and MAD", MedianMAD(3, 10), spread),
            ("sigma clip", CLIP, clipped),
        )
        for rule, limits, find in rules:
            name = f"{work} -> {rule} + asinh"
            yield name, "zoo", lambda e=encoding, r=raw, v=limits: normalize(r, e, limits=v, out=out), 4e-7
            # astropy works in the float32 of its input, and so does its z-scale
            yield name, "astropy", lambda s=stored, b=encoding.bzero, f=find: astropy_pipeline(s, b, f), 2e-3
        name = f"{work}, two amplifiers -> percentiles + asinh"
        yield name, "zoo", lambda e=encoding, r=raw: normalize(r, e, regions=HALVES, out=out), 4e-7
    work = "statistics of float32: percentiles (1, 99), median, MAD, mean, std"
    points = (0.01, 0.99)
    yield work, "zoo", lambda: frame_statistics(native, quantiles=points).quantiles, 0.0

    def numpy_statistics() -> Any:
        valid = sky[np.isfinite(sky)]
        median = np.median(valid)
        np.median(np.abs(valid - median)), valid.mean(), valid.std()
        return np.quantile(valid, points)

    yield work, "numpy", numpy_statistics, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--only", default="", help="only work whose name holds this")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "normalize.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = circumstances(shape=SHAPE, numpy=np.__version__, astropy=astropy.__version__)

    results, firsts = [], {}
    print(f"{'work':68} {'library':8} {'ms':>8} {'IQR':>7} {'mc':>7}  difference")
    for work, library, call, allowed in candidates():
        if options.only not in work:
            continue
        value = np.asarray(call()).astype(np.float64)
        difference = float(np.nanmax(np.abs(np.nan_to_num(value) - firsts.setdefault(work, np.nan_to_num(value)))))
        if difference > allowed:
            raise SystemExit(f"{work}: {library} is {difference:.2e} away from zoo, more than {allowed:.0e}")
        repeats = options.repeats if library == "zoo" else min(options.repeats, 3)
        timed = time_beside_copy(call, repeats=repeats)
        record = {"work": work, "library": library, **timed, "difference_from_zoo": difference}
        results.append(record)
        times = f"{record['time_s'] * 1e3:8.1f} {record['iqr_s'] * 1e3:7.1f} {record['copies']:7.2f}"
        print(f"{work:68} {library:8} {times}  {difference:.1e}", flush=True)
    storage.write_json(options.out, {"schema": 1, "metadata": facts, "results": results})


if __name__ == "__main__":
    main()
