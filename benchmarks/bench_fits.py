"""From a FITS file in the page cache to a normalized 2048x4096 tensor in its place in a batch: zoo beside other readers.

All give the same picture: percentiles (1, 99.5), asinh with a = 0.1, [0, 1], pixels without a value 0. The work of each is measured in turn
with the others and with a copy of a float32 frame (``mc``), since the speed of a shared machine drifts. ``of mmap`` compares with the floor
that zoo has to meet: the bytes mapped by numpy at a known offset, headers not looked at, and ``zoo.ops.normalize`` on them.
Run: ``python benchmarks/bench_fits.py [--threads 1,2] [--repeats N] [--clock wall|cpu] [--out FILE]``; prints a table and writes JSON.
Readers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import astropy
import numpy as np
import torch
from astropy.io import fits
from astropy.visualization import AsinhStretch, AsymmetricPercentileInterval, ManualInterval
from measure import SHAPE, circumstances, seconds

from zoo import storage
from zoo.frames import read_frame
from zoo.ops import Asinh, Encoding, Percentile, normalize
from zoo.steps import Pipeline

RULE = {"limits": Percentile(1, 99.5), "stretch": Asinh(0.1)}
STEPS = ["overscan", "resize:height=2048,width=4096", "normalize:lower=1,upper=99.5,a=0.1", "pad:height=2048,width=4096"]
FLOOR = "numpy mmap, zoo op"
READERS = ("fitsio", "torchfits")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SLOW_REPEATS = 3  # of what takes longer than the rest together

Call = Callable[[], Any]


def write_frames(folder: Path) -> dict[str, tuple[Path, Encoding]]:
    """A sky with stars as a camera and as a reduced frame have it: unsigned 16-bit counts, and float32 with NaN."""
    rng = np.random.default_rng(0)
    counts = rng.normal(1200.0, 30.0, SHAPE)
    stars = rng.integers(0, counts.size, 100_000)
    counts.flat[stars] += rng.pareto(0.8, stars.size) * 50
    counts = np.clip(np.round(counts), 0, 65535)
    holes = counts.astype(np.float32)
    holes[rng.random(SHAPE) < 0.001] = np.nan
    files = {}
    for name, data, encoding in (
        ("uint16", counts.astype(np.uint16), Encoding(16, 1.0, 32768.0)),
        ("float32 with NaN", holes, Encoding(-32)),
    ):
        files[name] = (folder / f"{data.dtype}.fits", encoding)
        fits.PrimaryHDU(data).writeto(files[name][0])
    return files


def by_astropy(values: Any) -> Any:
    """Limits and stretch by astropy.visualization; it keeps the dtype."""
    limits = AsymmetricPercentileInterval(1, 99.5).get_limits(values[np.isfinite(values)])
    return np.nan_to_num(AsinhStretch(0.1)(ManualInterval(*limits)(values)))


def readers(path: Path, encoding: Encoding, place: torch.Tensor) -> dict[str, Call]:
    """Who reads the file how; ``place`` is ``(1, H, W)`` of a batch."""
    with fits.open(path) as hdus:
        start = hdus[0].fileinfo()["datLoc"]
    pipeline, out = Pipeline(STEPS), place[0]
    width = SHAPE[1] * encoding.itemsize

    def mapped() -> Any:
        raw = np.memmap(path, np.uint8, "c", start, (SHAPE[0], width))
        return normalize(torch.from_numpy(raw), encoding, **RULE, out=out)  # type: ignore[arg-type]

    def astropy_pixels() -> Any:
        with fits.open(path, memmap=False) as hdus:
            return hdus[0].data.astype(np.float32)

    calls: dict[str, Call] = {
        FLOOR: mapped,
        "zoo": lambda: pipeline.run_frame(read_frame(path), out=place),
        "astropy, zoo op": lambda: normalize(torch.from_numpy(astropy_pixels()), **RULE, out=out),  # type: ignore[arg-type]
        "astropy alone": lambda: by_astropy(astropy_pixels()),
    }
    if importlib.util.find_spec("fitsio"):
        fitsio = importlib.import_module("fitsio")
        calls["fitsio, zoo op"] = lambda: normalize(torch.from_numpy(fitsio.read(str(path)).astype(np.float32)), **RULE, out=out)
    if importlib.util.find_spec("torchfits"):
        torchfits = importlib.import_module("torchfits")
        calls["torchfits, zoo op"] = lambda: normalize(torchfits.read(str(path)).to(torch.float32), **RULE, out=out)
    return calls


def measure(calls: dict[str, Call], *, repeats: int, clock: Callable[[], float]) -> dict[str, dict[str, Any]]:
    """Times of every call, in turn with the others and with a copy of a frame."""
    source, target = torch.rand(SHAPE), torch.zeros(SHAPE)
    times: dict[str, list[float]] = {name: [] for name in calls}
    copies = []
    for turn in range(repeats):
        copies.append(seconds(lambda: target.copy_(source), clock))
        for name, call in calls.items():
            if turn < SLOW_REPEATS or "alone" not in name:
                times[name].append(seconds(call, clock))
    copy, floor = statistics.median(copies), statistics.median(times[FLOOR])
    found = {}
    for name, list_ in times.items():
        median, (lower, upper) = statistics.median(list_), np.percentile(list_, [25, 75])
        facts = {"time_s": median, "iqr_s": float(upper - lower), "repeats": len(list_), "copy_s": copy}
        found[name] = {**facts, "copies": median / copy, "of_floor": median / floor}
    return found


def largest_difference(got: Any, truth: Any) -> float:
    return float(np.abs(np.asarray(got, dtype=np.float64).reshape(SHAPE) - truth).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="numbers of threads, each measured")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: of the processor, for a busy machine and one thread")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fits.json")
    options = parser.parse_args()
    counts = [int(n) for n in options.threads.split(",")]
    versions = {name: version(name) for name in READERS if importlib.util.find_spec(name)}
    missing = [name for name in READERS if name not in versions]
    facts = circumstances(shape=SHAPE, numpy=np.__version__, astropy=astropy.__version__, **versions, missing=missing)
    facts |= {"threads": counts, "clock": options.clock}
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    results = []
    print(f"{'pixels':18} {'reader':20} threads {'ms':>8} {'IQR':>7} {'mc':>7} {'of mmap':>8}  error")
    with tempfile.TemporaryDirectory() as folder:
        for pixels, (path, encoding) in write_frames(Path(folder)).items():
            batch = torch.zeros(2, 1, *SHAPE)
            truth = by_astropy(fits.getdata(path).astype(np.float64))
            calls = readers(path, encoding, batch[1])
            # The first call of each warms it up too.
            errors = {name: largest_difference(call(), truth) for name, call in calls.items()}
            for threads in counts:
                torch.set_num_threads(threads)
                for name, timed in measure(calls, repeats=options.repeats, clock=CLOCKS[options.clock]).items():
                    results.append({"pixels": pixels, "reader": name, "threads": threads, **timed, "error": errors[name]})
                    figures = f"{timed['time_s'] * 1e3:8.2f} {timed['iqr_s'] * 1e3:7.2f} {timed['copies']:7.2f} {timed['of_floor']:8.2f}"
                    print(f"{pixels:18} {name:20} {threads:7} {figures}  {errors[name]:.1e}", flush=True)
    storage.write_json(options.out, {"schema": 1, "metadata": facts, "results": results})


if __name__ == "__main__":
    main()
