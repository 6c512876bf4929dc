"""The layers of a model one by one: multiply-accumulates, output and saved memory on shapes alone, and the time of an inference."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.costs.subject import Job, Subject
from zoo.costs.trace import record_step
from zoo.profiling.workload import batch_of

MOST_RUNS = 30
BYTES = {"fp32": 4, "bf16": 2}

Row = dict[str, Any]


def describe_layers(subject: Subject, job: Job, *, saved: bool) -> list[Row]:
    """Return one row per layer without layers of its own, in the order in which a frame passes them, and one for what lies between them.

    Nothing of the size of a feature map is held.

    Args:
        subject: the model, the meta device will do.
        job: ``batch`` and ``precision``.
        saved: also what each layer keeps for the backward pass of a training step.
    """
    model = subject.model
    shells = {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    counter, rows = FlopCounterMode(display=False), list[Row]()
    names = {module: name for name, module in model.named_modules()}
    began: list[int] = []

    def enter(module: nn.Module, _: Any) -> None:
        began.append(counter.get_total_flops())

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        size = output[0].numel() * BYTES[job["precision"]] if shape else 0
        macs = (counter.get_total_flops() - began.pop()) // 2
        rows.append({"name": names[module], "kind": type(module).__name__, "macs": macs, "output_shape": shape, "output_bytes": size})

    modes = [(module, module.training) for module in model.modules()]
    handles = [hook for module in _leaves(model) for hook in (module.register_forward_pre_hook(enter), module.register_forward_hook(leave))]
    try:
        model.eval()
        with torch.no_grad(), counter:
            torch.func.functional_call(model, shells, (torch.empty(1, *subject.input_shape, device="meta"),))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    rows.append({"name": "", "kind": "between layers", "macs": 0, "output_shape": (), "output_bytes": 0})
    if saved:
        kept = _saved_bytes(subject, job)
        rows = [{**row, "saved_bytes": kept[row["name"]]} for row in rows]
    return rows


def time_layers(rows: list[Row], network: nn.Module, subject: Subject, device: torch.device, job: Job) -> list[Row]:
    """Return the rows with the time of each layer, and in the last one of what lies between them.

    Args:
        rows: of `describe_layers`.
        network: what an inference calls; where `zoo.models.prepare_inference` has merged a layer into another there is none of its name.
        subject, device: model and device. job: ``batch``, ``precision`` and ``budget_s``.
    """
    images, _ = batch_of(subject, device, job)
    if subject.loaded is not None:
        images = subject.loaded.pipeline.run_batch(images)
    wait: Callable[[], object] = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
    passes: list[dict[str, float]] = []
    began = time.perf_counter()
    with torch.inference_mode():
        network(images)  # warms up
        while not passes or (len(passes) < MOST_RUNS and time.perf_counter() - began + passes[-1][""] <= job["budget_s"]):
            passes.append(_one_pass(network, images, wait))
    times = {name: statistics.median(run.get(name, 0.0) for run in passes) for name in passes[0]}
    whole = statistics.median(run[""] for run in passes)
    times[""] = max(0.0, whole - sum(times.get(row["name"], 0.0) for row in rows[:-1]))
    return [{**row, "time_s": times.get(row["name"]), "runs": len(passes) if row["name"] in times else 0} for row in rows]


def _one_pass(network: nn.Module, images: Tensor, wait: Callable[[], object]) -> dict[str, float]:
    """Seconds of every layer, by its name, and of the whole pass under ``""``; the device is waited for at each layer."""
    seconds: dict[str, float] = {}
    starts: list[float] = []
    prefixes = _inner_names(network)

    def enter(module: nn.Module, _: Any) -> None:
        wait()
        starts.append(time.perf_counter())

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        wait()
        name = prefixes[module]
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - starts.pop()

    handles = [hook for m in _leaves(network) for hook in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    try:
        wait()
        start = time.perf_counter()
        network(images)
        wait()
        seconds[""] = time.perf_counter() - start
    finally:
        for handle in handles:
            handle.remove()
    return seconds


def _inner_names(network: nn.Module) -> dict[nn.Module, str]:
    """Names of the modules inside the wrapper, which are those of the model."""
    return {module: name.removeprefix("model.") for name, module in network.named_modules()}


def _leaves(model: nn.Module) -> Iterator[nn.Module]:
    """Modules without modules of their own, each once."""
    return (module for module in model.modules() if next(module.children(), None) is None)


def _saved_bytes(subject: Subject, job: Job) -> Counter[str]:
    """What each layer keeps for the backward pass, at the end of the forward pass."""
    tape, _ = record_step(subject.model, subject.input_shape, batch=job["batch"], training=True, precision=job["precision"])
    saved = Counter[str]()
    for change in tape:
        if change.kind == "saved" and change.phase == "forward":
            saved[change.layer] += change.size
    return saved
