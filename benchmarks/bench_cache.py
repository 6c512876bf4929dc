"""What a frame costs computed and read back from the cache of preprocessed frames, by how its file is stored.

One frame of 2048 x 4096 pixels, sky and stars, as a plain file of 16-bit integers, in RICE tiles, and as gzipped floats; through the
default steps for its own size and for 512 x 1024. Files and entries are in the page cache of the system; one thread.

Run: ``python benchmarks/bench_cache.py [--repeats N] [--out FILE]``; prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits

from zoo import storage
from zoo.data import DataSet, Manifest, Row
from zoo.data.cache import CachedFrames, FrameCache
from zoo.steps import Pipeline, default_pipeline

SHAPE = (2048, 4096)


def write_files(folder: Path) -> dict[str, Row]:
    """The same sky in three files."""
    rng = np.random.default_rng(0)
    sky = (rng.normal(300, 20, SHAPE) + (rng.random(SHAPE) > 0.999) * 3000).clip(0, 60_000).astype(np.int16)
    fits.PrimaryHDU(sky).writeto(folder / "plain.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(sky, compression_type="RICE_1")]).writeto(folder / "rice.fits")
    fits.PrimaryHDU(sky.astype(np.float32)).writeto(folder / "floats.fits.gz")
    files = {"plain, int16": ("plain.fits", 0), "tiles, RICE_1": ("rice.fits", 1), "gzip, float32": ("floats.fits.gz", 0)}
    return {name: Row(path, hdu, "galaxy", "T") for name, (path, hdu) in files.items()}


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call by the clock, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def measure(data: DataSet, row: Row, pipeline: Pipeline, folder: Path, out: torch.Tensor, repeats: int) -> tuple[float, float]:
    """Milliseconds of a frame computed into a batch, and of one read into it from the cache."""
    cached = CachedFrames(FrameCache(10**9, folder), data, pipeline)
    computed = median_ms(lambda: pipeline.run_frame(data.open(row), out=out), repeats)
    return computed, median_ms(lambda: out.copy_(cached.read(row)), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_files(folder)
        for size in (SHAPE, (512, 1024)):
            pipeline, out = Pipeline(default_pipeline((1, *size))), torch.empty(1, *size)
            for stored, row in rows.items():
                data = DataSet(stored, Manifest((row,), folder), [])
                computed, read = measure(data, row, pipeline, folder / "cache", out, arguments.repeats)
                results.append({"file": stored, "size": list(size), "computed_ms": computed, "cached_ms": read})
                print(f"{stored:16} to {size[0]}x{size[1]:<5} computed {computed:7.1f} ms   from the cache {read:6.1f} ms")
    if arguments.out:
        storage.write_json(arguments.out, {"frames": results, "machine": platform.processor() or platform.machine(), "threads": 1})


if __name__ == "__main__":
    main()
