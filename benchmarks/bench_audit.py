"""How often ``zoo data audit`` raises an alarm where there is nothing, and where there is something; and how long it takes.

Sets are drawn target by target, as observations are: each target has its own mix of cameras and filters, one to three programmes, its own
exposure times and a place on the sky, all of which its frames share, so that nothing is independent by frame. In a *clean* set the class
of a target has nothing to do with these. With a *shortcut*, a share of the targets of each class is observed with the camera of its class
alone. Of *leaks* one thing of the training is planted in the test of a clean set, and its relation must be named.

Run: ``python benchmarks/bench_audit.py [--draws N] [--rows N] [--out FILE]``; prints and writes JSON.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

import zoo
from zoo import storage
from zoo.data import DataSet, Manifest, Row

# frames per target in LCID_test.csv, galaxies then NSC
LCID_SIZES = ([146, 142, 96, 88, 84, 76, 40, 34, 32, 30, 30, 24, 18, 12], [226, 190, 182, 64, 38, 38, 5])
LAYOUTS = {
    "LCID test list": LCID_SIZES,
    "24 targets of 6": ([6] * 12, [6] * 12),
    "8 targets of 20": ([20] * 4, [20] * 4),
    "60 targets of 10": ([10] * 30, [10] * 30),
}
CAMERAS = ("ACS/WFC", "WFC3/UVIS")
FILTERS = ("F435W", "F555W", "F606W", "F625W", "F658N", "F775W", "F814W", "F850LP")


def draw_rows(sizes: tuple[list[int], list[int]], rng: np.random.Generator, shortcut: float = 0.0) -> list[Row]:
    """Rows of a set whose sizes are shuffled over the classes; of ``shortcut`` of the targets the camera is that of the class."""
    counts = sizes[0] + sizes[1]
    labels = ["galaxy"] * len(sizes[0]) + ["NSC"] * len(sizes[1])
    order = rng.permutation(len(counts))
    rows = []
    for target, (label, place) in enumerate(zip(labels, order, strict=True)):
        camera, filters = rng.beta(0.5, 0.5), rng.dirichlet(np.full(len(FILTERS), 0.5))
        if rng.random() < shortcut:
            camera = float(label == "galaxy")
        programmes = [f"{rng.integers(46656):03x}"[-3:] for _ in range(rng.integers(1, 4))]
        ra, dec = rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1)))
        exptime = np.exp(rng.normal(6.0, 0.8))
        for index in range(0, counts[place], 2):
            uvis = rng.random() < camera
            visit = f"{'i' if uvis else 'j'}{rng.choice(programmes)}{target:02x}"
            name, band = f"{visit}{index // 2:02x}q", str(rng.choice(FILTERS, p=filters))
            taken, dx, dy = float(round(exptime * np.exp(rng.normal(0, 0.5)), 1)), rng.normal(0, 0.02), rng.normal(0, 0.02)
            rows += [
                Row(
                    path=f"{name}_raw.fits",
                    hdu=hdu,
                    label=label,
                    target=f"T{target:02d}",
                    rootname=name,
                    instrument=CAMERAS[uvis],
                    filter=band,
                    product="raw",
                    exptime=taken,
                    ra=(ra + dx / max(np.cos(np.radians(dec)), 0.01)) % 360,
                    dec=float(np.clip(dec + dy + 0.01 * (hdu == 4), -90, 90)),
                )
                for hdu in ((1, 4) if index + 1 < counts[place] else (1,))
            ]
    return rows


def audit_rows(rows: list[Row]) -> zoo.auditing.Audit:
    """The audit of rows without files."""
    return zoo.audit(DataSet("set", Manifest(tuple(rows), Path()), []), pixels=False)


def alarm_rates(draws: int, seed: int) -> dict[str, dict[str, float]]:
    """Share of the draws with an alarm of a shortcut, for every layout and strength of the shortcut."""
    rates: dict[str, dict[str, float]] = {}
    for layout, sizes in LAYOUTS.items():
        rates[layout] = {}
        for strength in (0.0, 0.8, 1.0):
            rng = np.random.default_rng(seed)
            alarms = 0
            for _ in range(draws):
                found = audit_rows(draw_rows(sizes, rng, strength))
                alarms += any(one.alarm for one in found.shortcuts)
            rates[layout][f"shortcut in {strength:.0%} of targets" if strength else "clean"] = alarms / draws
    return rates


def plant(rows: list[Row], relation: str, rng: np.random.Generator) -> list[Row]:
    """Split a clean set by target, and put one thing of the training into the test."""
    test = {f"T{target:02d}" for target in rng.permutation(len({row.target for row in rows}))[:6]}
    split = [dataclasses.replace(row, split="test" if row.target in test else "train") for row in rows]
    source = split[int(rng.choice([place for place, row in enumerate(split) if row.split == "train"]))]
    other = {
        "none": None,
        "exposure": dataclasses.replace(source, path="copy_raw.fits", rootname=source.rootname[:-1] + "s"),
        "chip pair": dataclasses.replace(source, path="copy_raw.fits", hdu=5 - (source.hdu or 0)),
        "visit": dataclasses.replace(source, path="copy_raw.fits", rootname=source.rootname[:6] + "zzq", ra=np.nan, dec=np.nan),
        "target": dataclasses.replace(source, path="copy_raw.fits", rootname="", ra=np.nan, dec=np.nan, target=f"t {source.target[1:]}"),
        "sky": dataclasses.replace(source, path="copy_raw.fits", rootname="", dec=float(np.clip(source.dec + 0.01, -90, 90))),
    }[relation]
    if other is None:
        return split
    return [*split, dataclasses.replace(other, split="test", target=other.target if relation == "target" else "planted")]


def leak_rates(draws: int, seed: int) -> dict[str, float]:
    """Share of the draws in which what was planted is named; under ``none`` any leak or conflict at all."""
    rates = {}
    for relation in ("none", "exposure", "chip pair", "visit", "target", "sky"):
        rng = np.random.default_rng(seed)
        found = 0
        for _ in range(draws):
            leakage = audit_rows(plant(draw_rows(LCID_SIZES, rng), relation, rng)).leakage
            named = {leak.relation for leak in leakage.leaks if leak.shared}
            found += bool(named or leakage.conflicts) if relation == "none" else relation in named
        rates[relation] = found / draws
    return rates


def timings(n_rows: int, seed: int) -> dict[str, dict[str, float]]:
    """Seconds of the audit of a CSV, of 100 frames a target, clean and with every target in all three splits."""
    rng = np.random.default_rng(seed)
    size = n_rows // 100
    rows = draw_rows(([100] * (size // 2), [100] * (size - size // 2)), rng)
    seconds: dict[str, dict[str, float]] = {}
    columns = ("path", "hdu", "label", "target", "rootname", "instrument", "filter", "exptime", "ra", "dec")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("clean", "leaking"):
            path = Path(folder, f"{name}.csv")
            with path.open("w", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow([*columns, "split"])
                for place, row in enumerate(rows):
                    splits = zoo.data.SPLITS
                    split = splits[(place // 100 if name == "clean" else place) % 3]
                    writer.writerow([*(getattr(row, column) for column in columns), split])
            zoo.audit(path)
            runs = []
            for _ in range(5):
                wall, cpu = time.perf_counter(), time.process_time()
                zoo.audit(path)
                runs.append((time.perf_counter() - wall, time.process_time() - cpu))
            wall_s, cpu_s = np.median(runs, axis=0)
            seconds[name] = {"rows": len(rows), "median_wall_s": float(wall_s), "median_cpu_s": float(cpu_s)}
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = {
        "draws": arguments.draws,
        "seed": arguments.seed,
        "alarms of shortcuts": alarm_rates(arguments.draws, arguments.seed),
        "leaks named": leak_rates(arguments.draws // 4, arguments.seed),
        "time": timings(arguments.rows, arguments.seed),
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(results, indent=2))
    if arguments.out:
        storage.write_json(arguments.out, results)


if __name__ == "__main__":
    main()
