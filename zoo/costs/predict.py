"""The peak of steps that were not made, and settings that make one fit; the work is done in a child process."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from zoo.costs.process import MEASURED, run_job
from zoo.costs.request import PRECISIONS, check_choice, read_request
from zoo.costs.settings import Settings
from zoo.costs.tape import Peak
from zoo.errors import UsageError, ZooError

OPTIMIZERS = ("adamw", "sgd")
DEVICES = ("cuda", "cpu")


def predict_peaks(
    model: str | os.PathLike[str],
    settings: Sequence[Settings],
    *,
    train: bool = True,
    options: Mapping[str, object] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int = 2,
    freeze_until: str | None = None,
    device: str = "cuda",
    threads: int | None = None,
) -> tuple[Peak, ...]:
    """Compute the peak memory of a training step, or an inference, for each of some settings; nothing is run.

    Args:
        model: a name, with options or without (``hrcn[padding=same]``), or a run.
        settings: how the steps are made.
        train: training steps as `zoo.train` makes them instead of inferences.
        options: further options of a registered model.
        input_shape: ``(C, H, W)`` of one frame; by default the one that the model was made for. A run has its own.
        num_classes: of a registered model.
        freeze_until: the last layer that keeps its weights, as in `zoo.models.freeze_until`.
        device: ``cuda``, or ``cpu``, where oneDNN copies what it works on into a layout of its own.
        threads: of torch on the CPU; by default what torch chooses.

    Returns: one per settings, in bytes.

    Raises:
        UsageError: an argument has a value that it cannot have. UnknownNameError: no such model or option. ZooError: the model fails, or
            has no such layer.

    Example: >>> predict_peaks("hrcn", [Settings(batch=2, precision="bf16", optimizer="sgd")])[0].total
    """
    job = _job(train, num_classes, freeze_until, device)
    found = _ask(model, settings, job, options=options, input_shape=input_shape, threads=threads)
    return tuple(_peak(peak) for peak in found["peaks"])


def find_settings(
    model: str | os.PathLike[str],
    asked: Settings,
    limit_bytes: int,
    *,
    fixed: Collection[str] = (),
    train: bool = True,
    options: Mapping[str, object] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int = 2,
    freeze_until: str | None = None,
    device: str = "cuda",
    threads: int | None = None,
) -> tuple[Settings, Peak] | None:
    """Find the mildest change of the settings whose peak is at most ``limit_bytes``; the settings themselves where they fit.

    The order is that of `zoo.costs.fitting.Fitting.remedy`. Other arguments and errors as `predict_peaks`.

    Args:
        model: as there. asked: the settings to begin with. limit_bytes: of tensors.
        fixed: names of `Settings` that stay as they are; ``batch`` stands for ``accumulate`` too.

    Returns: the settings and their peak, or ``None`` where none fit.
    """
    job = {**_job(train, num_classes, freeze_until, device), "limit_bytes": limit_bytes, "fixed": list(fixed)}
    found = _ask(model, [asked], job, options=options, input_shape=input_shape, threads=threads)
    return (Settings(**found["fitting"]), _peak(found["peak"])) if found["fitting"] else None


def _job(train: bool, num_classes: int, freeze_until: str | None, device: str) -> dict[str, Any]:
    return {"mode": "train" if train else "infer", "classes": num_classes, "freeze_until": freeze_until, "device": device}


def _ask(
    model: str | os.PathLike[str],
    settings: Sequence[Settings],
    job: Mapping[str, Any],
    *,
    options: Mapping[str, object] | None,
    input_shape: tuple[int, int, int] | None,
    threads: int | None,
) -> dict[str, Any]:
    """Check the settings, do the work in a child and return what it found."""
    check_choice("device", job["device"], DEVICES)
    for each in settings:
        check_choice("precision", each.precision, PRECISIONS)
        check_choice("optimizer", each.optimizer, OPTIMIZERS)
        if min(each.batch, each.accumulate) < 1:
            raise UsageError(f"batch and accumulate must be >= 1, got {each.batch} and {each.accumulate}")
    request = read_request(model, batch=1, precision="fp32", threads=threads, input_shape=input_shape, options=options)
    (target,) = request.targets
    wanted = {"settings": [each._asdict() for each in settings], "input_shape": input_shape, "threads": threads}
    found = run_job({**job, **target.aim(), **wanted, "work": "zoo.costs.recording:predict", "plugins": request.plugins})
    if found["status"] != MEASURED:
        error = ZooError(f"{target.text}: its memory could not be computed: {found['note']}")
        error.exit_code = found["exit_code"]
        raise error
    return found


def _peak(values: Mapping[str, Any]) -> Peak:
    holders = tuple((layer, size) for layer, size in values["holders"])
    return Peak(values["total"], dict(values["parts"]), values["layer"], values["phase"], holders)
