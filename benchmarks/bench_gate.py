"""The gate: headers checked in C++, by the Python reference and by astropy, and the DATASUM of a chip, on a file like a raw ACS exposure.

The file has the seven HDUs of a raw ACS/WFC exposure with as many keywords as these have (260 in the primary header, 190 for each SCI, 60
for ERR and DQ, which hold no pixels) and full chips. Every method ends with all keywords as Python values; astropy parses a card when it is
asked for. Run: ``python benchmarks/bench_gate.py [--repeats N] [--out FILE]``; writes JSON.
"""

from __future__ import annotations

import argparse
import mmap
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy
import numpy as np
from astropy.io import fits
from measure import circumstances, seconds

from zoo import storage
from zoo.frames import acs_wfc
from zoo.frames.checksum import data_sum, reference_sum
from zoo.frames.gate import scan
from zoo.frames.headers import walk


def write_exposure(path: Path) -> int:
    """Write the file; returns how many cards its headers have."""
    rng = np.random.default_rng(0)
    hdus: list[Any] = [fits.PrimaryHDU()]
    counts = [260]
    for version in (1, 2):
        pixels = rng.integers(2000, 4000, acs_wfc(version).shape, dtype=np.uint16)
        hdus += [fits.ImageHDU(pixels, name="SCI", ver=version), *(fits.ImageHDU(name=name, ver=version) for name in ("ERR", "DQ"))]
        counts += [190, 60, 60]
    for hdu, count in zip(hdus, counts, strict=True):
        n = 0
        while len(hdu.header) < count:
            hdu.header[f"KEY{n:05d}"] = ((n, n / 7, f"text {n}", n % 2 == 0)[n % 4], "what the keyword means")
            n += 1
    fits.HDUList(hdus).writeto(path, checksum=True)
    return sum(len(hdu.header) for hdu in hdus)


def with_astropy(path: Path) -> None:
    with fits.open(path) as hdus:
        for hdu in hdus:
            dict(hdu.header)


def in_turn(methods: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Median and spread of each method, measured in turn."""
    for call in methods.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, call in methods.items():
            times[name].append(seconds(call))
    return {
        name: {"time_s": statistics.median(found), "iqr_s": float(np.subtract(*np.percentile(found, [75, 25])))}
        for name, found in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gate.json")
    arguments = parser.parse_args()
    metadata = circumstances(repeats=arguments.repeats, astropy=astropy.__version__)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jabc01xyq_raw.fits"
        cards = write_exposure(path)
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        chip = scan(data, path)[0][1]
        size = -(-chip.size // 2880) * 2880
        headers = in_turn(
            {"c++": lambda: scan(data, path), "python": lambda: walk(data), "astropy": lambda: with_astropy(path)}, arguments.repeats
        )
        sums = in_turn(
            {
                "c++": lambda: data_sum(data, chip.offset, size),
                "numpy": lambda: reference_sum(data, chip.offset, size),
                "copy": lambda: bytes(memoryview(data)[chip.offset : chip.offset + size]),
            },
            arguments.repeats,
        )
    results = {"headers": headers, "datasum": sums}
    for question, methods in results.items():
        for name, found in methods.items():
            print(f"{question:8s} {name:8s} {found['time_s'] * 1e3:8.3f} ms  iqr {found['iqr_s'] * 1e3:.3f}", flush=True)
    storage.write_json(
        arguments.out, {"schema": 1, "metadata": {**metadata, "cards": cards, "hdus": 7, "chip_bytes": size}, "results": results}
    )


if __name__ == "__main__":
    main()
