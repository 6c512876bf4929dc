"""How often an interval holds the truth: the jackknife by target against the interval by frame.

Each draw gives every target a chance of being called right, from a beta distribution with the stated mean and intra-target correlation, and
its frames independent outcomes with that chance; the truth is the mean. Two layouts: the cluster sizes of the LCID test list, and a
balanced list of 24 targets of 6 frames. Run: ``python benchmarks/bench_intervals.py [--draws N] [--out FILE]``; prints and writes JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np

from zoo import intervals, storage
from zoo.evaluation import metrics

# frames per target in LCID_test.csv, galaxies then NSC
LCID_SIZES = ([146, 142, 96, 88, 84, 76, 40, 34, 32, 30, 30, 24, 18, 12], [226, 190, 182, 64, 38, 38, 5])
LAYOUTS = {"LCID test list": LCID_SIZES, "24 targets of 6": ([6] * 12, [6] * 12)}
EFFECTS = tuple(itertools.product((0.75, 0.88, 0.95), (0.1, 0.3)))


def coverage(sizes: tuple[list[int], list[int]], accuracy: float, correlation: float, draws: int, seed: int) -> dict[str, float]:
    """Return the share of draws whose interval holds ``accuracy``, for each method, and the share without an interval."""
    rng = np.random.default_rng(seed)
    counts = np.array(sizes[0] + sizes[1])
    names = [f"T{i:02d}" for i in range(counts.size)]
    targets = np.repeat(names, counts).tolist()
    labels = np.repeat(np.r_[np.zeros(len(sizes[0]), int), np.ones(len(sizes[1]), int)], counts)
    strength = 1 / correlation - 1
    held = dict.fromkeys(("by target", "balanced accuracy", "macro per target", "by frame"), 0)
    given = dict.fromkeys(held, 0)
    for _ in range(draws):
        chance = rng.beta(accuracy * strength, (1 - accuracy) * strength, counts.size)
        right = rng.random(labels.size) < np.repeat(chance, counts)
        called = np.where(right, labels, 1 - labels)

        def balanced(mask: np.ndarray, called: np.ndarray = called) -> float:
            return metrics.balanced_accuracy(metrics.confusion_matrix(labels[mask], called[mask], 2))

        for name, got in (
            ("by target", intervals.accuracy_interval(right, targets)),
            ("balanced accuracy", intervals.jackknife(balanced, targets)),
            ("macro per target", intervals.macro_interval(right, targets)),
        ):
            given[name] += not got.reason
            held[name] += got.lower <= accuracy <= got.upper
        half = 1.96 * float(np.sqrt(right.mean() * (1 - right.mean()) / right.size))
        given["by frame"] += 1
        held["by frame"] += bool(abs(right.mean() - accuracy) <= half)
    shares = {name: held[name] / given[name] for name in held}
    return {**shares, "no interval": 1 - given["by target"] / draws}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "intervals.json")
    arguments = parser.parse_args()
    started, results = time.perf_counter(), []
    for (layout, sizes), (accuracy, correlation) in itertools.product(LAYOUTS.items(), EFFECTS):
        shares = coverage(sizes, accuracy, correlation, arguments.draws, arguments.seed)
        results.append({"layout": layout, "accuracy": accuracy, "intra_target_correlation": correlation, "coverage": shares})
        print(f"{layout:16s} {accuracy:.2f} {correlation:.1f}  " + "  ".join(f"{k} {v:.3f}" for k, v in shares.items()), flush=True)
    metadata = {"draws": arguments.draws, "seed": arguments.seed, "method": intervals.METHOD, "numpy": np.__version__}
    storage.write_json(arguments.out, {"schema": 1, "metadata": metadata, "results": results})
    print(json.dumps({"seconds": round(time.perf_counter() - started, 1), "out": str(arguments.out)}))


if __name__ == "__main__":
    main()
