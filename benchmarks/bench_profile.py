"""The lower bound of the memory beside the peaks that `zoo profile` measures, for several models, sizes and precisions.

Run: ``python benchmarks/bench_profile.py [--budget TIME] [--out FILE]``; prints a table and writes JSON. Peaks are resident sets of fresh
processes; the bound counts tensors alone, so the share that it reaches is what is known before a model is run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import zoo
from zoo import storage

CASES = (
    ("hrcn[padding=same]", (1, 256, 512), "fp32"),
    ("hrcn[padding=same]", (1, 1024, 2048), "fp32"),
    ("hrcn[padding=same]", (1, 1024, 2048), "bf16"),
    ("alexnet", (1, 512, 1024), "fp32"),
    ("alexnet", (1, 1024, 2048), "fp32"),
    ("resnet18", (1, 256, 512), "fp32"),
    ("resnet18", (1, 1024, 2048), "fp32"),
    ("resnet18", (1, 1024, 2048), "bf16"),
    ("resnet50", (1, 512, 1024), "fp32"),
    ("vgg11", (1, 256, 512), "fp32"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="15s")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "profile.json")
    options = parser.parse_args()
    results, facts = [], {}
    print(f"{'model':20}{'frame':>14}{'':>6}{'step':>7}{'bound MiB':>11}{'peak MiB':>10}{'share':>7}")
    for model, shape, precision in CASES:
        profile = zoo.profile(model, input_shape=shape, precision=precision, budget=options.budget)
        facts = facts or dict(profile.metadata)
        for step in profile.models[0].steps:
            record = {"model": model, "input_shape": shape, "precision": precision, "mode": step.mode, "status": step.status}
            record |= {"bound_bytes": step.bound_bytes, "peak_bytes": step.peak_bytes}
            bound, peak = step.bound_bytes or 0, step.peak_bytes or 0
            record["share"] = bound / peak if peak else None
            results.append(record)
            measured = f"{peak / 2**20:10.0f}{bound / peak:7.2f}" if peak else f"  {step.status}"
            print(f"{model:20}{'x'.join(map(str, shape)):>14}{precision:>6}{step.mode:>7}{bound / 2**20:11.0f}{measured}", flush=True)
    storage.write_json(options.out, {"schema": 1, "metadata": facts, "results": results})


if __name__ == "__main__":
    main()
