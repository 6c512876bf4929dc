"""How often an interval holds the truth, and how wide it is: every method that `zoo evaluate --interval` offers.

Each draw gives every target a chance of being called right, from a beta distribution with the stated mean and intra-target correlation, and
its frames independent outcomes with that chance; the truth is the mean. Layouts: the cluster sizes of the LCID test list, its NSC alone,
and balanced lists of 24 and of 8 targets of 6 frames. Run: ``python benchmarks/bench_intervals.py [--draws N] [--out FILE]``; prints, and
writes JSON, with ``--ship`` also the part of it that the package quotes, ``zoo/intervals/coverage.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from zoo import intervals, storage
from zoo.evaluation import metrics

# frames per target in LCID_test.csv, galaxies then NSC
LCID_SIZES = ([146, 142, 96, 88, 84, 76, 40, 34, 32, 30, 30, 24, 18, 12], [226, 190, 182, 64, 38, 38, 5])
LAYOUTS = {"LCID test list": LCID_SIZES, "24 targets of 6": ([6] * 12, [6] * 12)}
FEW_TARGETS = {"NSC of the LCID test list": ([], LCID_SIZES[1]), "8 targets of 6": ([6] * 4, [6] * 4)}
EFFECTS = tuple(itertools.product((0.75, 0.88, 0.95), (0.1, 0.3)))
SHIPPED = Path(__file__).parent.parent / "zoo" / "intervals" / "coverage.json"


class Tally:
    """Counts what intervals of one method did."""

    def __init__(self) -> None:
        self.draws = self.given = self.held = self.above = 0
        self.width = 0.0

    def add(self, interval: intervals.Interval, truth: float) -> None:
        self.draws += 1
        if interval.reason:
            return
        self.given += 1
        self.held += interval.lower <= truth <= interval.upper
        self.above += interval.lower > truth
        self.width += interval.upper - interval.lower

    def shares(self) -> dict[str, float]:
        """``coverage``, ``above`` (the whole interval lies above the truth) and mean ``width`` of the intervals, and the share without."""
        return {
            "coverage": self.held / self.given,
            "above": self.above / self.given,
            "width": self.width / self.given,
            "no_interval": 1 - self.given / self.draws,
        }


def coverage(sizes: tuple[list[int], list[int]], accuracy: float, correlation: float, draws: int, seed: int) -> dict[str, Any]:
    """Return the shares of every method for the frame accuracy, and of the default for the means over targets and over classes."""
    rng = np.random.default_rng(seed)
    counts = np.array(sizes[0] + sizes[1])
    names = [f"T{i:02d}" for i in range(counts.size)]
    classes = np.repeat([0, 1], [len(sizes[0]), len(sizes[1])])
    frames = np.array([max(sum(side), 1) for side in sizes])[classes]  # of the class of each target
    strength = 1 / correlation - 1
    methods: defaultdict[str, Tally] = defaultdict(Tally)
    scores: defaultdict[str, Tally] = defaultdict(Tally)
    for _ in range(draws):
        hits = rng.binomial(counts, rng.beta(accuracy * strength, (1 - accuracy) * strength, counts.size))
        for method in intervals.METHODS:
            methods[method].add(intervals.count_interval(hits, counts, names, method=method), accuracy)
        scores["macro per target"].add(intervals.share_interval(hits / counts, names), accuracy)
        if sizes[0]:

            def balanced(mask: np.ndarray, hits: np.ndarray = hits) -> float:
                right, wrong = (np.bincount(classes[mask], weights=n[mask], minlength=2) for n in (hits, counts - hits))
                return metrics.balanced_accuracy(np.array([[right[0], wrong[0]], [wrong[1], right[1]]]).astype(np.int64))

            scores["balanced accuracy"].add(intervals.jackknife(balanced, names, weights=counts / frames), accuracy)
    return {"methods": {k: v.shares() for k, v in methods.items()}, "scores": {k: v.shares() for k, v in scores.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "intervals.json")
    parser.add_argument("--ship", action="store_true", help=f"also write {SHIPPED.name} of the package")
    arguments = parser.parse_args()
    results = []
    layouts = {**LAYOUTS, **FEW_TARGETS}
    for (layout, sizes), (accuracy, correlation) in itertools.product(layouts.items(), EFFECTS):
        found = coverage(sizes, accuracy, correlation, arguments.draws, arguments.seed)
        results.append({"layout": layout, "accuracy": accuracy, "intra_target_correlation": correlation, **found})
        both = {**found["methods"], **found["scores"]}
        text = "  ".join(f"{name} {100 * of['coverage']:.1f} % ({of['width']:.2f})" for name, of in both.items())
        print(f"{layout:26s} {accuracy:.2f} {correlation:.1f}  {text}", flush=True)
    metadata = {"draws": arguments.draws, "seed": arguments.seed, "methods": intervals.METHODS, "numpy": np.__version__}
    recorded = {
        "schema": 2,
        "metadata": metadata,
        "layouts": {name: sizes[0] + sizes[1] for name, sizes in layouts.items()},
        "results": results,
    }
    storage.write_json(arguments.out, recorded)
    if arguments.ship:
        storage.write_json(SHIPPED, shipped(recorded))
    print(json.dumps({"out": str(arguments.out)}))


def shipped(recorded: dict[str, Any]) -> dict[str, Any]:
    """What the package quotes of a recording: layouts, and the coverage of every method."""
    return {
        "schema": 1,
        "layouts": recorded["layouts"],
        "results": [
            {
                **{name: one[name] for name in ("layout", "accuracy", "intra_target_correlation")},
                "coverage": {method: shares["coverage"] for method, shares in one["methods"].items()},
            }
            for one in recorded["results"]
        ],
    }


if __name__ == "__main__":
    main()
