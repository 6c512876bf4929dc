"""How often ``zoo profile --against`` is wrong: recorded noise, replayed with and without a slow-down of 8 %.

Run: ``python benchmarks/bench_against.py [--record MINUTES] [--replays N]``; prints a table and writes JSON to ``results/against.json``.

``--record`` profiles the same steps again and again, each time in a fresh process, and adds their blocks to
``results/against_noise.json``; how busy the machine is meanwhile is recorded with them. A replay draws two different runs of the same step,
cuts a stretch of at least 60 % out of each, makes the second slower or not, and asks for the verdict.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import zoo
from zoo import storage
from zoo.profiling.against import SLOWER, TOO_NOISY, judge, quotients, run_spread
from zoo.profiling.samples import LEAST_BLOCKS

RESULTS = Path(__file__).parent / "results"
CASES = (("hrcn[padding=same]", (1, 128, 256), "infer"), ("resnet18", (1, 128, 256), "train"))
CLOCKS = ("processor", "wall")  # the first is what is compared on one thread
SLOW_DOWN = 1.08
BUDGET_S = 25.0
LEAST_SHARE = 0.6

Block = dict[str, dict[str, float]]


def record(minutes: float, path: Path) -> None:
    """Add runs to the recorded noise until the time is over."""
    held = json.loads(path.read_text()) if path.exists() else {"schema": 1, "runs": []}
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for model, shape, mode in CASES:
            profile = zoo.profile(model, input_shape=shape, mode=mode, threads=1, budget=BUDGET_S, frames="none")
            step = profile.models[0].to_dict()["steps"][0]
            run = {"model": model, "input_shape": shape, "mode": mode, "busy_cores_before": profile.metadata["busy_cores_before"]}
            run |= {"load_average": profile.metadata["load_average_before"], "blocks": [_short(block) for block in step["blocks"]]}
            held["runs"].append(run)
            held["metadata"] = profile.metadata
            storage.write_text(path, json.dumps(storage.finite(held), separators=(",", ":")) + "\n")  # ten thousand times: no indents
            print(f"{model} {mode}: {len(run['blocks'])} blocks, load {run['load_average']:.1f}", flush=True)


def _short(block: Block) -> Block:
    """Leave out the clocks that were not read, and all below a microsecond."""
    return {
        kernel: {clock: round(seconds, 6) for clock, seconds in times.items() if seconds is not None} for kernel, times in block.items()
    }


def replay(runs: list[list[Block]], clock: str, factor: float, count: int, rng: random.Random) -> Counter[str]:
    """Count the verdicts over pairs of different runs, of which the second is slower by ``factor``."""
    verdicts: Counter[str] = Counter()
    for _ in range(count):
        pair = [_cut(run, rng) for run in rng.sample(runs, 2)]
        then, now = (quotients(run, clock) for run in pair)
        spread = math.hypot(*(run_spread(run, clock) for run in pair))
        verdicts[judge([value + math.log(factor) for value in now], then, spread=spread).verdict] += 1
    return verdicts


def _cut(run: list[Block], rng: random.Random) -> list[Block]:
    length = rng.randint(max(LEAST_BLOCKS, math.ceil(LEAST_SHARE * len(run))), len(run))
    start = rng.randint(0, len(run) - length)
    return run[start : start + length]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--replays", type=int, default=10_000)
    parser.add_argument("--noise", type=Path, default=RESULTS / "against_noise.json")
    parser.add_argument("--out", type=Path, default=RESULTS / "against.json")
    options = parser.parse_args()
    if options.record:
        record(options.record, options.noise)
    noise = json.loads(options.noise.read_text())
    results: list[dict[str, Any]] = []
    print(f"{'model':20}{'step':7}{'clock':11}{'runs':>5}{'load':>10}{'false alarms':>14}{'8 % caught':>12}{'too noisy':>11}{'spread':>9}")
    for model, shape, mode in CASES:
        chosen = [run for run in noise["runs"] if (run["model"], tuple(run["input_shape"]), run["mode"]) == (model, shape, mode)]
        chosen = [run for run in chosen if len(run["blocks"]) >= LEAST_BLOCKS]
        loads, runs = [run["load_average"] for run in chosen], [run["blocks"] for run in chosen]
        for clock in CLOCKS:
            rng = random.Random(0)
            same, slow = (replay(runs, clock, factor, options.replays, rng) for factor in (1.0, SLOW_DOWN))
            spread = statistics.stdev(statistics.median(quotients(run, clock)) for run in runs)
            result = {
                "model": model, "input_shape": shape, "mode": mode, "clock": clock, "runs": len(runs), "replays": options.replays,
                "false_alarms": same[SLOWER] / options.replays, "caught": slow[SLOWER] / options.replays,
                "too_noisy_same": same[TOO_NOISY] / options.replays, "too_noisy_slow": slow[TOO_NOISY] / options.replays,
                "spread_of_runs": spread, "load_least": min(loads), "load_most": max(loads),
            }  # fmt: skip
            results.append(result)
            load = f"{min(loads):.0f}-{max(loads):.0f}"
            print(
                f"{model:20}{mode:7}{clock:11}{len(runs):5}{load:>10}{100 * result['false_alarms']:12.2f} %{100 * result['caught']:10.1f} %"
                f"{100 * result['too_noisy_same']:9.1f} %{100 * spread:7.2f} %"
            )
    storage.write_json(options.out, {"schema": 1, "metadata": noise["metadata"], "slow_down": SLOW_DOWN, "results": results})


if __name__ == "__main__":
    main()
