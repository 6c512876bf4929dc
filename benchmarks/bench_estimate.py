"""What `zoo.estimate` says beside what real steps take: torch's allocator, and the resident set of the process.

Run: ``python benchmarks/bench_estimate.py [--sizes 256x512,512x1024] [--out FILE]``; prints a table and writes JSON. Every case runs in a
fresh process with 2 threads and ``MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=0``, two steps for the resident set and two more
under torch.profiler, which records every allocation. The estimate is a range for the resident set; its middle is compared. Inference is
that of `zoo.predict`, on a prepared model, whose stem is streamed where its map is large; training also with streamed stems and
recomputed blocks.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measure import circumstances
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

import zoo
from zoo import storage
from zoo.costs.memory import peak_resident_bytes, reset_peak, resident_bytes, trim_heap
from zoo.costs.target import parse_shape, parse_target
from zoo.models import checkpoint_blocks, prepare_inference, stream_stem
from zoo.models.prepare import release_weights
from zoo.registry import get_registry
from zoo.training import TrainConfig
from zoo.training.optimizer import make_optimizer

THREADS = 2
STEPS = 2
MARK = "steps"
HEAP = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
ALL = ("hrcn[padding=same]", "alexnet", "resnet18", "resnet50", "vgg11")
KINDS = {  # mode and what zoo.estimate is told -> models
    ("infer", ()): ALL,
    ("train", ()): ALL,
    ("train", ("stream",)): ALL[:4],
    ("train", ("stream", "recompute")): ("hrcn[padding=same]", "resnet50"),
}
TARGETS = {"allocated": (0.02, 0.06), "resident": (0.06, 0.12)}  # median and worst error
SETTINGS = TrainConfig.from_mapping({"train": {"optimizer": "sgd", "lr": 1e-9}}).train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="256x512,512x1024")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "estimate.json")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(**json.loads(options.case))))
        return
    facts = circumstances(threads=THREADS, environment=HEAP)
    results = []
    print(f"{'model':20}{'frame':>12}{'step':>24}{'':>6}{'estimate':>10}{'allocated':>10}{'error':>8}{'resident':>10}{'error':>8}")
    shapes = [parse_shape(size) for size in options.sizes.split(",")]
    for shape, ((mode, switches), models), precision in itertools.product(shapes, KINDS.items(), ("fp32", "bf16")):
        asked: dict[str, Any] = {"precision": precision, "optimizer": "sgd", **dict.fromkeys(switches, True)}
        estimate = zoo.estimate(models, train=mode == "train", device="cpu", threads=THREADS, input_shape=shape, **asked)
        for record in estimate.models:
            case = {"model": record.model, "shape": shape, "mode": mode, "precision": precision, "switches": switches}
            found = run_apart(case)
            errors = {
                "allocated": record.peak_bytes / found["allocated_bytes"] - 1,
                "resident": sum(record.resident_bytes) / 2 / found["resident_bytes"] - 1,
            }
            results.append(
                {**case, "peak_bytes": record.peak_bytes, "estimated_resident_bytes": record.resident_bytes, **found, "errors": errors}
            )
            words = f"{'x'.join(map(str, shape)):>12}{', '.join((mode, *switches)):>24}"
            print(
                f"{record.model:20}{words}{precision:>6}{record.peak_bytes / 2**20:10.1f}"
                f"{found['allocated_bytes'] / 2**20:10.1f}{errors['allocated']:8.2%}"
                f"{found['resident_bytes'] / 2**20:10.1f}{errors['resident']:8.2%}",
                flush=True,
            )
    summary = {}
    for name, (median, worst) in TARGETS.items():
        errors = [abs(result["errors"][name]) for result in results]
        summary[name] = {"median": statistics.median(errors), "worst": max(errors), "target_median": median, "target_worst": worst}
        print(f"{name}: median error {statistics.median(errors):.2%} (target {median:.0%}), worst {max(errors):.2%} (target {worst:.0%})")
    storage.write_json(options.out, {"schema": 1, "metadata": facts, "summary": summary, "results": results})


def run_apart(case: dict[str, Any]) -> dict[str, int]:
    """Measure a case in a fresh process."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    output = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **HEAP, "OMP_NUM_THREADS": str(THREADS)}, check=True
    ).stdout
    found: dict[str, int] = json.loads(output.splitlines()[-1])
    return found


def measure(model: str, shape: list[int], mode: str, precision: str, switches: list[str]) -> dict[str, int]:
    """Return the highest resident set above that after all imports, and the highest sum of allocations, in bytes."""
    torch.set_num_threads(THREADS)
    target = parse_target(model, get_registry())
    toy = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, 2))
    zoo.create_model(target.name, input_shape=tuple(shape), **target.options)  # imports the code
    step_of(toy, (1, 8, 8), mode, precision, switches)()  # loads what torch loads at its first use
    gc.collect()
    trim_heap()

    def run() -> int:
        step = step_of(zoo.create_model(target.name, input_shape=tuple(shape), **target.options), shape, mode, precision, switches)
        gc.collect()
        trim_heap()
        reset_peak()
        with record_function(MARK):
            for _ in range(STEPS):
                step()
        return peak_resident_bytes()

    before = resident_bytes()
    resident = run() - before
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recording:
        run()
    return {"resident_bytes": resident, "allocated_bytes": max(allocations(recording))}


def allocations(recording: profile) -> Iterator[int]:
    """The bytes that are allocated after each allocation and release during the steps, those of before included."""
    events = list(recording.profiler.kineto_results.experimental_event_tree())
    began_ns = min(event.start_time_ns for event in events if event.name == MARK)
    while events:
        event = events.pop()
        events.extend(event.children)
        if event.name == "[memory]" and event.start_time_ns >= began_ns:
            yield event.extra_fields.total_allocated


def step_of(model: nn.Module, shape: Sequence[int], mode: str, precision: str, switches: Sequence[str]) -> Callable[[], object]:
    """An inference as `zoo.predict` makes it, or a training step as `zoo.train` makes it with SGD, whose momentum exists already."""
    images, labels = torch.rand(1, *shape), torch.zeros(1, dtype=torch.long)
    if mode == "infer":
        prepared = prepare_inference(model.eval(), precision=precision, input_shape=tuple(shape))
        release_weights(model, prepared)  # as `zoo.predict` does

        def infer() -> object:
            with torch.inference_mode():
                return prepared(images)

        return infer
    if "stream" in switches:
        stream_stem(model)
    if "recompute" in switches:
        checkpoint_blocks(model)
    model.train().to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, SETTINGS)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    def train() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train


if __name__ == "__main__":
    main()
