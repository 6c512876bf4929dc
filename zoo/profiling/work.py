"""What the child process does: the facts of a model, its inference, its training step, an op."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.costs.memory import USABLE_SHARE, free_on, peak_resident_bytes, reset_peak, resident_bytes, trim_heap
from zoo.costs.process import MEASURED, TOO_SLOW
from zoo.costs.subject import CLASSES, Job, Subject, count_subject, make_subject
from zoo.costs.text import say_bytes, say_seconds
from zoo.profiling.bound import memory_bound
from zoo.profiling.machine import circumstances
from zoo.profiling.ops import profile_op
from zoo.profiling.result import SKIPPED
from zoo.profiling.sampling import Clock, take_samples
from zoo.registry import get_registry
from zoo.training.config import TrainSettings
from zoo.training.device import find_device
from zoo.training.optimizer import make_optimizer

Result = dict[str, Any]
Tell = Callable[..., None]

SEED = 0
LEARNING_RATE = 1e-9  # the weights stay what they are, so every step computes the same and none runs into NaN or denormals

# A convolution by Winograd's method makes up to four times fewer multiplications than counted: F(4x4, 3x3), Lavin and Gray 2016.
RATE_LEEWAY = 4.0
RATE_SIDES = {"cpu": 1024, "cuda": 8192}


def measure_facts(job: Job, tell: Tell) -> Result:
    """Count parameters and MACs and bound the memory of each mode; nothing of the size of a feature map is allocated."""
    _announce(job, tell)
    subject = make_subject(job, weights=False)
    model, shape = subject.model, subject.input_shape
    bounds = {
        mode: dataclasses.asdict(memory_bound(model, shape, batch=job["batch"], training=mode == "train", precision=job["precision"]))
        for mode in job["modes"]
    }
    return {
        "status": MEASURED,
        **count_subject(subject),
        "weights_bytes": sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())),
        "bounds": bounds,
    }


def measure_step(job: Job, tell: Tell) -> Result:
    """Time the inference or the training step of a model and measure its memory, unless a bound says that it does not fit."""
    device = _announce(job, tell)
    training = job["mode"] == "train"
    free, bound = free_on(device), job["bound_bytes"]
    facts: Result = {"bound_bytes": bound, "free_bytes": free}
    if refusal := too_large(bound, free):
        return {**facts, "status": SKIPPED, "note": refusal}
    if refusal := too_long(job, arithmetic_rate(device, job["precision"])):
        return {**facts, "status": TOO_SLOW, "note": refusal}

    prepare = _training_step if training else _inference
    _wake_libraries(job, device, prepare)
    torch.manual_seed(SEED)
    gc.collect()
    trim_heap()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    before = resident_bytes()
    run = prepare(make_subject(job, weights=True), device, job)
    reset_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    tell("stage", stage="running")
    clock = Clock(device)
    with torch.backends.cudnn.flags(enabled=True, deterministic=training):  # as `zoo.train` does
        timing = take_samples(lambda: clock(run), job["budget_s"])
    host = peak_resident_bytes()
    if device.type == "cuda":
        facts |= {"peak_bytes": torch.cuda.max_memory_allocated(device), "reserved_bytes": torch.cuda.max_memory_reserved(device)}
    else:
        facts["peak_bytes"] = host - before
    return {**facts, "status": MEASURED, "host_peak_bytes": host, **dataclasses.asdict(timing)}


def measure_op(job: Job, tell: Tell) -> Result:
    """Time an op beside its reference and a copy, on each kind of pixel."""
    device = _announce(job, tell)
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


def _inference(subject: Subject, device: torch.device, job: Job) -> Callable[[], object]:
    """Return the call that `zoo.predict` and `zoo.evaluate` make for a batch."""
    model = subject.model.eval().to(device)
    images, _ = _batch(subject, device, job)

    def infer() -> Tensor:
        with torch.inference_mode():
            batch = images if subject.loaded is None else subject.loaded.pipeline.run_batch(images)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=job["precision"] == "bf16"):
                logits: Tensor = model(batch)
        return logits

    return infer


def _training_step(subject: Subject, device: torch.device, job: Job) -> Callable[[], object]:
    """Return one step as `zoo.train` makes it with ``--optimizer sgd``: forward, cross entropy, backward, SGD with Nesterov momentum.

    The momentum exists before the first step, as in every step of a training but the first.
    """
    model = subject.model.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # as `zoo.train` lays it out
    images, labels = _batch(subject, device, job)
    optimizer = make_optimizer(model, TrainSettings(optimizer="sgd", lr=LEARNING_RATE))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    def train() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=job["precision"] == "bf16"):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train


def _batch(subject: Subject, device: torch.device, job: Job) -> tuple[Tensor, Tensor]:
    """Frames of uniform noise in [0, 1), ``(N, C, H, W)`` float32, and labels ``(N,)``, on the device."""
    classes = CLASSES if subject.loaded is None else len(subject.loaded.labels)
    images = torch.rand(job["batch"], *subject.input_shape, generator=torch.Generator().manual_seed(SEED))
    return images.to(device), torch.arange(job["batch"], device=device) % classes


def _wake_libraries(job: Job, device: torch.device, prepare: Callable[[Subject, torch.device, Job], Callable[[], object]]) -> None:
    """Import all code and make one step of a toy, so that what torch loads at its first use is not taken for the model's memory."""
    if not job["run"]:
        get_registry().get("models", job["name"]).load()
    toy = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, CLASSES))
    prepare(Subject("toy", toy, (1, 8, 8), None), device, job)()


def _announce(job: Job, tell: Tell) -> torch.device:
    """Set the threads, find the device and tell the circumstances."""
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    device = find_device(job["device"])
    tell("machine", **circumstances(device), seed=SEED)
    return device
