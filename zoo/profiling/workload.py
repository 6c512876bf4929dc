"""What is run and timed: an inference as `zoo.predict` makes it, and a training step as `zoo.train` makes it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.costs.memory import trim_heap
from zoo.costs.subject import CLASSES, Job, Subject
from zoo.models import prepare_inference
from zoo.models.prepare import Prepared, release_weights
from zoo.profiling.machine import circumstances
from zoo.registry import get_registry
from zoo.training.config import TrainSettings
from zoo.training.device import find_device
from zoo.training.optimizer import make_optimizer

Tell = Callable[..., None]
Prepare = Callable[[Subject, torch.device, Job], Callable[[], object]]

SEED = 0
LEARNING_RATE = 1e-9  # the weights stay what they are, so every step computes the same and none runs into NaN or denormals


def announce(job: Job, tell: Tell) -> torch.device:
    """Set the threads, find the device and tell the circumstances."""
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    device = find_device(job["device"])
    tell("machine", **circumstances(device), seed=SEED)
    return device


def step_of(mode: str) -> Prepare:
    """Return what makes a step of ``infer`` or ``train``."""
    return training_step if mode == "train" else inference


def inference(subject: Subject, device: torch.device, job: Job) -> Callable[[], object]:
    """Return the call that `zoo.predict` and `zoo.evaluate` make for a batch; like them, it lets go of the weights as they were loaded.

    With ``plain`` in the job it is that of the model as it is written.
    """
    network = inference_model(subject, device, job)
    if isinstance(network, Prepared):
        release_weights(subject.model, network)
    images, _ = batch_of(subject, device, job)
    pipeline = None if subject.loaded is None else subject.loaded.pipeline

    def infer() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(images if pipeline is None else pipeline.run_batch(images))
        return logits

    return infer


def inference_model(subject: Subject, device: torch.device, job: Job) -> nn.Module:
    """Return the module that an inference calls, in eval mode on its device."""
    model = subject.model.eval().to(device)
    if not job["plain"]:
        return prepare_inference(model, precision=job["precision"], input_shape=subject.input_shape, device=device)
    return _Plain(model, device, job["precision"])


def training_step(subject: Subject, device: torch.device, job: Job) -> Callable[[], object]:
    """Return one step as `zoo.train` makes it with ``--optimizer sgd``: forward, cross entropy, backward, SGD with Nesterov momentum.

    The momentum exists before the first step, as in every step of a training but the first.
    """
    model = subject.model.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # as `zoo.train` lays it out
    images, labels = batch_of(subject, device, job)
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


def batch_of(subject: Subject, device: torch.device, job: Job) -> tuple[Tensor, Tensor]:
    """Return frames of uniform noise in [0, 1), ``(N, C, H, W)`` float32, and labels ``(N,)``, on the device."""
    classes = CLASSES if subject.loaded is None else len(subject.loaded.labels)
    images = torch.rand(job["batch"], *subject.input_shape, generator=torch.Generator().manual_seed(SEED))
    return images.to(device), torch.arange(job["batch"], device=device) % classes


def wake_libraries(job: Job, device: torch.device, prepare: Prepare) -> None:
    """Import all code and make one step of a toy, so that what torch loads at its first use is not taken for the model's memory.

    The generator of random numbers is seeded, and the free heap given back.
    """
    if not job["run"]:
        get_registry().get("models", job["name"]).load()
    toy = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, CLASSES))
    prepare(Subject("toy", toy, (1, 8, 8), None), device, job)()
    torch.manual_seed(SEED)
    free_garbage(device)


def free_garbage(device: torch.device) -> None:
    """Give what nobody refers to back to the system, and on a GPU to the driver."""
    gc.collect()
    trim_heap()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class _Plain(nn.Module):
    """A model as its plugin wrote it, under autocast where that is asked for."""

    def __init__(self, model: nn.Module, device: torch.device, precision: str) -> None:
        super().__init__()
        self.model, self._device, self._autocast = model, device, precision == "bf16"

    def forward(self, images: Tensor) -> Any:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            return self.model(images)
