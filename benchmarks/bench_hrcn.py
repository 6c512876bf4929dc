"""Inference of plain hrcn on one 1x2048x4096 frame: latency and peak memory of the module as it is built, fp32, batch 1.

Run: ``python benchmarks/bench_hrcn.py [--threads N] [--repeats N] [--out FILE]``; prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from pathlib import Path

import torch
from measure import circumstances, seconds

import zoo
from zoo import storage
from zoo.models import count_macs

SHAPE = (1, 2048, 4096)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "hrcn.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    facts = circumstances(shape=SHAPE)
    model = zoo.create_model("hrcn", input_shape=SHAPE).eval()
    frame = torch.rand(1, *SHAPE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    with torch.inference_mode():
        model(frame)
        for _ in range(arguments.repeats):
            times.append(seconds(lambda: model(frame)))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    quartiles = statistics.quantiles(times, n=4)
    macs = count_macs(model, SHAPE)
    result = {
        "model": "hrcn",
        "mode": "inference, fp32, NCHW, batch 1",
        "median_s": statistics.median(times),
        "iqr_s": quartiles[2] - quartiles[0],
        "repeats": arguments.repeats,
        "peak_above_weights_bytes": peak,
        "macs": macs,
    }
    storage.write_json(arguments.out, {"schema": 1, "metadata": facts, "results": [result]})
    print(f"{'model':8}{'median s':>10}{'IQR s':>8}{'peak MiB above weights':>25}{'GFLOP/s':>9}")
    speed = 2e-9 * macs / result["median_s"]
    print(f"{'hrcn':8}{result['median_s']:10.2f}{result['iqr_s']:8.2f}{peak / 2**20:25.0f}{speed:9.0f}")


if __name__ == "__main__":
    main()
