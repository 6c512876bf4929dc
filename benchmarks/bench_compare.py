"""What `zoo compare` says of models that are alike, and of models that differ: rejections at 5 %, and coverage of the interval.

Each draw gives every target two chances of being called right, one for each model, from beta distributions with the stated means and
intra-target correlation; the frames of a target are independent with that chance. ``shared``: the share of targets whose two chances have
the same rank in their distributions, as for models that find the same targets hard. Layouts as in bench_intervals.py. Rejections of models
that are alike should be 5 %, and coverage 95 %. Run: ``python benchmarks/bench_compare.py [--draws N] [--out FILE]``; writes JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
from bench_intervals import LAYOUTS
from scipy.special import betaincinv

from zoo import storage
from zoo.evaluation import paired

ACCURACY = 0.88
DIFFERENCES = (0.0, 0.04)
CORRELATIONS = (0.1, 0.3)
SHARED = (0.0, 0.5)


def draw(rng: np.random.Generator, counts: np.ndarray, means: tuple[float, float], correlation: float, shared: float) -> list[np.ndarray]:
    """Whether each frame is called right, by each of two models."""
    strength = 1 / correlation - 1
    rank = rng.random((2, counts.size))
    rank[1] = np.where(rng.random(counts.size) < shared, rank[0], rank[1])
    chances = [betaincinv(mean * strength, (1 - mean) * strength, ranks) for mean, ranks in zip(means, rank, strict=True)]
    return [rng.random(counts.sum()) < np.repeat(chance, counts) for chance in chances]


def measure(counts: np.ndarray, difference: float, correlation: float, shared: float, draws: int, seed: int) -> dict[str, float]:
    """Shares of the draws in which each test rejects, and in which the interval holds the difference."""
    rng = np.random.default_rng(seed)
    targets = np.repeat([f"T{i:02d}" for i in range(counts.size)], counts).tolist()
    by_target = by_frame = held = given = 0
    for _ in range(draws):
        one, two = draw(rng, counts, (ACCURACY + difference / 2, ACCURACY - difference / 2), correlation, shared)
        sums, sizes = paired.target_sums(one, two, targets)
        by_target += paired.sign_flip_p(sums) < 0.05
        by_frame += paired.mcnemar_p(int((one & ~two).sum()), int((two & ~one).sum())) < 0.05
        interval = paired.difference_interval(sums, sizes)
        given += not interval.reason
        held += interval.lower <= difference <= interval.upper
    return {"rejected_by_target": by_target / draws, "rejected_by_frame": by_frame / draws, "coverage": held / given}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "compare.json")
    arguments = parser.parse_args()
    started, results = time.perf_counter(), []
    for (layout, sizes), difference, correlation, shared in itertools.product(LAYOUTS.items(), DIFFERENCES, CORRELATIONS, SHARED):
        shares = measure(np.array(sizes[0] + sizes[1]), difference, correlation, shared, arguments.draws, arguments.seed)
        results.append({"layout": layout, "difference": difference, "intra_target_correlation": correlation, "shared": shared, **shares})
        text = "  ".join(f"{name} {value:.3f}" for name, value in shares.items())
        print(f"{layout:16s} difference {difference:.2f}  correlation {correlation:.1f}  shared {shared:.1f}  {text}", flush=True)
    metadata = {
        "draws": arguments.draws,
        "seed": arguments.seed,
        "accuracy": ACCURACY,
        "test": paired.TEST,
        "interval": paired.INTERVAL,
        "numpy": np.__version__,
    }
    storage.write_json(arguments.out, {"schema": 1, "metadata": metadata, "results": results})
    print(json.dumps({"seconds": round(time.perf_counter() - started, 1), "out": str(arguments.out)}))


if __name__ == "__main__":
    main()
