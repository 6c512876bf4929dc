"""Time and memory of hrcn on one 1x2048x4096 frame: as a plain PyTorch module, and as zoo runs it.

The plain module is what the authors publish: NCHW, float32, SGD with momentum. zoo trains it in channels_last with a streamed stem and
checkpointed blocks (``zoo train --stream --recompute``), and prepares it for inference. Every case runs in a fresh process, whose
allocator gives freed memory back at once.

Run: ``python benchmarks/bench_hrcn.py [--threads N] [--repeats N] [--out FILE]``; prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import circumstances
from torch import nn
from torch.nn import functional as F

import zoo
from zoo import storage
from zoo.models import checkpoint_blocks, count_macs, prepare_inference, stream_stem

SHAPE = (1, 2048, 4096)
HEAP = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
MIB = 2**20

# Job, precision, as zoo runs it; then the largest time and peak memory in units of the plain case before it.
CASES: dict[str, tuple[str, str, bool, float, float]] = {
    "train-plain": ("train", "fp32", False, 1.0, 1.0),
    "train-fp32": ("train", "fp32", True, 0.9, 0.36),
    "train-bf16": ("train", "bf16", True, 0.6, 0.33),
    "infer-plain": ("infer", "fp32", False, 1.0, 1.0),
    "infer-fp32": ("infer", "fp32", True, 0.35, 0.5),
    "infer-bf16": ("infer", "bf16", True, 0.19, 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="training steps or frames that are timed, after one that is not")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "hrcn.json")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.repeats)))
        return
    facts = circumstances(shape=SHAPE, environment=HEAP)
    with torch.device("meta"):
        facts["macs"] = count_macs(zoo.create_model("hrcn", input_shape=SHAPE), SHAPE)
    results = []
    for name in CASES:
        command = [sys.executable, __file__, "--case", name, "--threads", str(arguments.threads), "--repeats", str(arguments.repeats)]
        done = subprocess.run(command, env={**os.environ, **HEAP}, stdout=subprocess.PIPE, text=True, check=True)
        results.append(json.loads(done.stdout))
        print(f"{name} is done", file=sys.stderr)
    storage.write_json(arguments.out, {"schema": 2, "metadata": facts, "results": results})
    print_table(results)


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Run one case in this process; times of a step or frame in seconds, memory in bytes."""
    job, precision, tuned, _, _ = CASES[name]
    torch.manual_seed(0)
    imported = memory_bytes("VmRSS")
    model = zoo.create_model("hrcn", input_shape=SHAPE)
    frame, label = torch.rand(1, *SHAPE), torch.tensor([1])
    run = training(model, frame, label, precision, tuned) if job == "train" else inference(model, frame, precision, tuned)
    del model
    loaded = memory_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again, from what is in memory now
    run()
    wall, cpu = [], []
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    peak = memory_bytes("VmHWM")
    return {
        "case": name,
        "time_s": statistics.median(wall),
        "times_s": wall,
        "cpu_s": statistics.median(cpu),
        "imported_bytes": imported,
        "loaded_bytes": loaded,
        "peak_rss_bytes": peak,
        "peak_above_loaded_bytes": peak - loaded,
    }


def training(model: nn.Module, frame: torch.Tensor, label: torch.Tensor, precision: str, tuned: bool) -> Callable[[], None]:
    """One step of SGD with momentum; tuned as `zoo train` sets it up."""
    if tuned:
        model = model.to(memory_format=torch.channels_last)
        stream_stem(model, pools=True)
        checkpoint_blocks(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=tuned or None)
    model.train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(frame)
        F.cross_entropy(logits.float(), label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def inference(model: nn.Module, frame: torch.Tensor, precision: str, tuned: bool) -> Callable[[], None]:
    """The logits of one frame; tuned as `zoo evaluate` and `zoo predict` set it up."""
    ready = prepare_inference(model.eval(), precision=precision, input_shape=SHAPE) if tuned else model.eval()

    def run() -> None:
        with torch.inference_mode():
            ready(frame)

    return run


def memory_bytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"/proc/self/status has no {field}; this benchmark needs Linux")
    return 1024 * int(found[1])


def print_table(results: list[dict[str, Any]]) -> None:
    """Times and peaks beside the plain case of the same job, and what they should be at most."""
    print(f"{'case':13}{'time s':>8}{'x plain':>9}{'target':>8}{'CPU s':>8}{'x plain':>9}{'peak MiB':>10}{'x plain':>9}{'target':>8}")
    for result in results:
        job, _, tuned, most_time, most_memory = CASES[result["case"]]
        plain = next(other for other in results if other["case"] == f"{job}-plain")
        # Training is compared by the whole process, inference by what it needs beside the weights.
        field = "peak_rss_bytes" if job == "train" else "peak_above_loaded_bytes"
        targets = (f"{most_time:.2f}", f"{most_memory:.2f}") if tuned else ("", "")
        time_ratio, cpu_ratio, peak_ratio = (result[key] / plain[key] for key in ("time_s", "cpu_s", field))
        print(
            f"{result['case']:13}{result['time_s']:8.2f}{time_ratio:9.2f}{targets[0]:>8}{result['cpu_s']:8.2f}{cpu_ratio:9.2f}"
            f"{result[field] / MIB:10.0f}{peak_ratio:9.2f}{targets[1]:>8}"
        )
    print("peak: of the whole process in training, above weights and image in inference")


if __name__ == "__main__":
    main()
