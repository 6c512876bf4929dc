"""What the child process does: the facts of a model, its steps, its throughput, its layers, the way of a frame, an op."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from zoo.costs.fitting import fit_model
from zoo.costs.memory import (
    USABLE_SHARE,
    free_on,
    keep_heap,
    limit_private,
    peak_resident_bytes,
    private_bytes,
    reset_peak,
    resident_bytes,
)
from zoo.costs.process import FAILED, MEASURED, TOO_SLOW
from zoo.costs.settings import Settings
from zoo.costs.subject import Job, count_subject, make_subject
from zoo.costs.text import say_bytes, say_seconds
from zoo.errors import UsageError
from zoo.models import prepare_inference
from zoo.profiling.bound import memory_bound
from zoo.profiling.calibration import Calibration
from zoo.profiling.layers import describe_layers, time_layers
from zoo.profiling.ops import profile_op
from zoo.profiling.result import SKIPPED
from zoo.profiling.sampling import Clock, take_blocks, take_samples, take_windows
from zoo.profiling.waterfall import in_memory, measure_path
from zoo.profiling.workload import Tell, announce, free_garbage, inference_model, step_of, wake_libraries

Result = dict[str, Any]

# A convolution by Winograd's method makes up to four times fewer multiplications than counted: F(4x4, 3x3), Lavin and Gray 2016.
RATE_LEEWAY = 4.0
RATE_SIDES = {"cpu": 1024, "cuda": 8192}

BLOCKS_SHARE = 0.4  # of the budget of a step, for what a comparison needs


def measure_facts(job: Job, tell: Tell) -> Result:
    """Count parameters and MACs and compute the memory of each mode and batch; nothing of the size of a feature map is allocated.

    ``bounds`` is what tensors alone take, below which no step is; ``expected`` is what `zoo.estimate` says of the same case.
    """
    device = announce(job, tell)
    subject = make_subject(job, weights=False)
    model, shape = subject.model, subject.input_shape
    counts = count_subject(subject)
    steps = []
    for mode in job["modes"]:
        training, prepared = mode == "train", mode == "infer" and not job["plain"]
        bounded = prepare_inference(model.eval(), precision=job["precision"], input_shape=shape) if prepared else model
        for batch in job["batches"]:
            bound = memory_bound(bounded, shape, batch=batch, training=training, precision=job["precision"]).peak
            known = {"mode": mode, "batch": batch, "bound": bound, "peak": None, "touched": None}
            if training or prepared:  # what is estimated of an inference is that of a prepared model
                asked = Settings(batch=batch, precision=job["precision"], optimizer="sgd")
                threads = torch.get_num_threads()
                found = fit_model(model, shape, asked, training=training, device=device.type, threads=threads, budgets=())
                known |= {"peak": found["peak"]["total"], "touched": found["touched"]}
            steps.append(known)
    return {
        "status": MEASURED,
        **counts,
        "weights_bytes": sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())),
        "steps": steps,
    }


def measure_step(job: Job, tell: Tell) -> Result:
    """Time the inference or the training step of a model and measure its memory, unless a bound says that it does not fit."""
    device = announce(job, tell)
    facts, refused = _refuse(job, device)
    if refused:
        return facts
    calibrate, clock = Calibration(device), Clock(device)
    share_s = BLOCKS_SHARE * job["budget_s"]
    with _cudnn(job):
        with _Memory(job, device) as memory:
            tell("stage", stage="running")
            timing = take_samples(lambda: clock(memory.run), job["budget_s"] - share_s, after_first=memory.mark_cold)
        keep_heap()
        blocks = take_blocks(lambda: clock(memory.run), calibrate, share_s, once_s=statistics.median(timing.samples_s))
    return {**facts, "status": MEASURED, **memory.found, **dataclasses.asdict(timing), "blocks": blocks}


def measure_throughput(job: Job, tell: Tell) -> Result:
    """Run steps one right after the other and count frames per second, unless a bound says that they do not fit."""
    device = announce(job, tell)
    facts, refused = _refuse(job, device)
    if refused:
        return facts
    with _Memory(job, device) as memory:
        tell("stage", stage="running")
        with _cudnn(job):
            windows = take_windows(memory.run, _wait(device), job["budget_s"], frames=job["batch"])
    return {**facts, "status": MEASURED, "windows": windows, **memory.found}


def measure_layers(job: Job, tell: Tell) -> Result:
    """Describe the layers of a model and, in inference, time them, unless a bound says that it does not fit."""
    device = announce(job, tell)
    rows = describe_layers(make_subject(job, weights=False), job, saved="train" in job["modes"])
    if "infer" not in job["modes"]:
        return {"status": MEASURED, "layers": rows}
    facts, refused = _refuse({**job, "mode": "infer"}, device)
    if refused:
        return {**facts, "layers": rows}
    wake_libraries(job, device, step_of("infer"))
    subject = make_subject(job, weights=True)
    network = inference_model(subject, device, job)
    tell("stage", stage="running")
    return {"status": MEASURED, "layers": time_layers(rows, network, subject, device, job)}


def measure_frames(job: Job, tell: Tell) -> Result:
    """Follow frames from their files to their classes, unless a bound says that the model does not fit."""
    device = announce(job, tell)
    facts, refused = _refuse(job, device)
    if refused:
        return facts
    wake_libraries(job, device, step_of("infer"))
    loaded = in_memory(make_subject(job, weights=True), job)
    return measure_path(loaded, job, device, lambda: tell("stage", stage="running"))


def try_limit(job: Job, tell: Tell) -> Result:
    """Run a step twice with ``limit_bytes`` above what was there before its model was built; any other status means that it failed.

    On a GPU the limit is that of torch's caching allocator, which also holds what it cannot give out again; on the CPU that of the
    process's private memory (``RLIMIT_DATA``, Linux), where every allocation counts as a whole, touched or not.

    Raises:
        UsageError: memory cannot be limited here.
    """
    device = announce(job, tell)
    prepare = step_of(job["mode"])
    wake_libraries(job, device, prepare)
    before = torch.cuda.memory_reserved(device) if device.type == "cuda" else private_bytes()
    if before is None:
        raise UsageError("--fit-min: the memory of a process can only be limited on Linux")
    subject = make_subject(job, weights=True)
    run = prepare(subject, device, job)
    free_garbage(device)
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (before + job["limit_bytes"]) / total), device)
    else:
        limit_private(before + job["limit_bytes"])
    tell("stage", stage="running")
    try:
        for _ in range(2):  # the first does not find what the others find
            run()
    except (RuntimeError, MemoryError) as error:  # libraries have many words for it, and what has run before fails for no other reason
        words = str(error).strip().splitlines()
        return {"status": FAILED, "note": words[0] if words else type(error).__name__}
    return {"status": MEASURED}


def measure_op(job: Job, tell: Tell) -> Result:
    """Time an op beside its reference and a copy, on each kind of pixel."""
    device = announce(job, tell)
    arithmetic_rate(device, "fp32")
    tell("stage", stage="running")
    return {"status": MEASURED, "cases": profile_op(job["op"], device, budget_s=job["budget_s"], shape=tuple(job["shape"]))}


def too_large(bound: int, free: int | None) -> str:
    """Return why a step with this lower bound is not run, or nothing where it is.

    Args:
        bound: bytes that it needs at least. free: bytes that the device has left; ``None`` where nobody knows.
    """
    if free is None or bound <= USABLE_SHARE * free:
        return ""
    usable = USABLE_SHARE * free
    return f"needs at least {say_bytes(bound)}, {100 * USABLE_SHARE:.0f} % of the free memory is {say_bytes(usable)}"


def too_long(job: Job, rate: float) -> str:
    """Return why one run could not end within its limit, or nothing where it could.

    A run multiplies as often as counted, less what Winograd's method saves; a training step does so again for the gradients of the weights.

    Args:
        job: its ``macs`` for one frame (``None`` where unknown), ``batch``, ``mode`` and ``limit_s``.
        rate: operations per second of a matrix product on this device.
    """
    passes = 2 if job["mode"] == "train" else 1
    least_s = 2.0 * (job["macs"] or 0) * job["batch"] * passes / (RATE_LEEWAY * rate)
    if least_s <= job["limit_s"]:
        return ""
    return f"one run takes at least {say_seconds(least_s)}, the limit is {say_seconds(job['limit_s'])}; raise --budget"


def arithmetic_rate(device: torch.device, precision: str, *, least_s: float = 0.2, least_runs: int = 8) -> float:
    """Return the operations per second of the fastest of some square matrix products; on a GPU in bfloat16, which none is faster than."""
    side, clock = RATE_SIDES[device.type], Clock(device)
    dtypes = [torch.bfloat16] if device.type == "cuda" else [torch.float32]
    if device.type == "cpu" and precision == "bf16":
        dtypes.append(torch.bfloat16)  # not always the faster of the two
    times: list[float] = []
    for dtype in dtypes:
        left, right = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
        torch.mm(left, right)
        began = len(times)
        while len(times) - began < least_runs or sum(times[began:]) < least_s:
            times.append(clock(lambda left=left, right=right: torch.mm(left, right))[0])  # type: ignore[misc]
    return float(2.0 * side**3 / min(times))


class _Memory:
    """A step that is built and run inside a block, and what the block took; on the CPU above what was there before the model was built."""

    def __init__(self, job: Job, device: torch.device) -> None:
        self._job, self._device = job, device
        self.found: Result = {}

    def __enter__(self) -> _Memory:
        prepare, device = step_of(self._job["mode"]), self._device
        wake_libraries(self._job, device, prepare)
        self._before = resident_bytes()
        self._held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        self._subject = make_subject(self._job, weights=True)
        self.run = prepare(self._subject, device, self._job)
        free_garbage(device)
        self._begin_anew()
        return self

    def mark_cold(self) -> None:
        """Note the peak of the first step, and begin anew for those that follow."""
        self.found["cold_bytes"], self._host = self._peak(), peak_resident_bytes()
        self._begin_anew()

    def __exit__(self, *error: object) -> None:
        steady, host, device = self._peak(), peak_resident_bytes(), self._device
        cold = self.found.get("cold_bytes", steady)
        self.found |= {"peak_bytes": max(cold, steady), "steady_bytes": steady, "host_peak_bytes": max(host, getattr(self, "_host", 0))}
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            self.found |= {"reserved_bytes": torch.cuda.max_memory_reserved(device), "device_used_bytes": total - free}

    def _begin_anew(self) -> None:
        reset_peak()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _peak(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._held
        return peak_resident_bytes() - self._before


def _refuse(job: Job, device: torch.device) -> tuple[Result, bool]:
    """What is known before a step is run, and whether that is a reason not to run it."""
    free, bound = free_on(device), job["bound_bytes"]
    facts: Result = {"bound_bytes": bound, "free_bytes": free}
    if refusal := too_large(bound, free):
        return {**facts, "status": SKIPPED, "note": refusal}, True
    if refusal := too_long(job, arithmetic_rate(device, job["precision"])):
        return {**facts, "status": TOO_SLOW, "note": refusal}, True
    return facts, False


def _cudnn(job: Job) -> AbstractContextManager[None]:
    """Training is deterministic, as in `zoo.train`."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, deterministic=job["mode"] == "train")
    return flags


def _wait(device: torch.device) -> Callable[[], object]:
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
