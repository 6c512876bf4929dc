"""How often sets of classes hold the true class of frames of new targets, and how many frames they decide, in simulation.

Each target has a difficulty, which its frames share in part: the logit margin of a frame is 2 (mean + sqrt(r) target + sqrt(1 - r) frame)
with standard normal draws and intra-target correlation r. Sizes of targets are drawn from those of the published LCID test list;
calibration targets and new ones are drawn anew each time. Beside the sets of zoo (``by_target``): split conformal prediction over frames,
as if they were independent, and with one frame drawn from each target, once. Coverage is of one frame of each of `NEW` new targets.
Run: ``python benchmarks/bench_conformal.py [--draws N] [--out FILE]``; writes JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
from bench_intervals import LAYOUTS
from numpy.typing import NDArray

from zoo import storage
from zoo.calibration import conformal

LEVEL = 0.95
SIZES = np.concatenate(LAYOUTS["LCID test list"])
CALIBRATION_TARGETS = (19, 40, 100)
CORRELATIONS = (0.1, 0.3, 0.7)
ACCURACIES = {0.75: 0.6745, 0.89: 1.2265}  # mean of the margin in units of its spread
NEW = 200

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def draw(rng: np.random.Generator, targets: int, mean: float, correlation: float) -> tuple[Array, Indices, Indices]:
    """Logits, classes and targets of frames."""
    sizes = rng.choice(SIZES, targets)
    index = np.repeat(np.arange(targets), sizes)
    truth = rng.integers(0, 2, targets)[index]
    own, shared = rng.normal(size=index.size), rng.normal(size=targets)[index]
    margin = 2 * (mean + math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)
    sign = np.where(truth == 1, 1, -1) * margin
    return np.stack([-sign, sign], axis=1) / 2, truth, index


def once(rng: np.random.Generator, index: Indices) -> Indices:
    """One frame of each target."""
    shuffled = rng.permutation(index.size)
    _, first = np.unique(index[shuffled], return_index=True)
    return np.asarray(shuffled[first])


def measure(targets: int, mean: float, correlation: float, draws: int, seed: int) -> dict[str, dict[str, float]]:
    """Coverage of frames of new targets, and share of decided frames, of each way to calibrate; new targets have the same weight."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float]]] = {"by_target": [], "one_frame_once": [], "by_frame": []}
    for _ in range(draws):
        logits, truth, index = draw(rng, targets, mean, correlation)
        new, labels, new_index = draw(rng, NEW, mean, correlation)
        picked = once(rng, new_index)
        own, scores = conformal.scores_of(logits, 1.0), conformal.scores_of(new[picked], 1.0)
        one = once(rng, index)
        every = np.arange(index.size)
        ways = {"by_target": (every, index), "one_frame_once": (one, np.arange(one.size)), "by_frame": (every, every)}
        for name, (rows, groups) in ways.items():
            kept = conformal.sets_of(scores, own[rows], truth[rows], groups, LEVEL, by_class=False)
            covered = np.take_along_axis(kept, labels[picked][:, None], axis=1)
            found[name].append((float(covered.mean()), float((kept.sum(axis=1) == 1).mean())))
    summary = {}
    for name, pairs in found.items():
        coverage, decided = np.array(pairs).T
        summary[name] = {
            "coverage": float(coverage.mean()),
            "standard_error": float(coverage.std(ddof=1) / math.sqrt(draws)),
            "spread": float(coverage.std(ddof=1)),
            "decided": float(decided.mean()),
            "spread_of_decided": float(decided.std(ddof=1)),
        }
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "conformal.json")
    arguments = parser.parse_args()
    started, results = time.perf_counter(), []
    print(f"{'accuracy':>8s} {'targets':>7s} {'correlation':>11s}   coverage (and share decided) of level {LEVEL}")
    for (accuracy, mean), targets, correlation in itertools.product(ACCURACIES.items(), CALIBRATION_TARGETS, CORRELATIONS):
        found = measure(targets, mean, correlation, arguments.draws, arguments.seed)
        results.append({"accuracy": accuracy, "calibration_targets": targets, "intra_target_correlation": correlation, **found})
        text = "   ".join(f"{name} {each['coverage']:.3f} ({each['decided']:.2f})" for name, each in found.items())
        print(f"{accuracy:8.2f} {targets:7d} {correlation:11.1f}   {text}", flush=True)
    metadata = {"draws": arguments.draws, "seed": arguments.seed, "level": LEVEL, "new_targets": NEW, "numpy": np.__version__}
    storage.write_json(arguments.out, {"schema": 1, "metadata": metadata, "results": results})
    print(json.dumps({"seconds": round(time.perf_counter() - started, 1), "out": str(arguments.out)}))


if __name__ == "__main__":
    main()
