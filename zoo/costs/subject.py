"""The model of a job, built or loaded in the process that looks at it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from zoo.errors import InputShapeError
from zoo.models import LoadedModel, count_macs, count_parameters, load
from zoo.models.build import build_model, build_shell
from zoo.registry import get_registry

CLASSES = 2

Job = dict[str, Any]


class Subject(NamedTuple):
    """A model on its device, ready for the first step.

    Attributes:
        label: its name with options.
        model: not yet in training or eval mode.
        input_shape: ``(C, H, W)``.
        loaded: the run it came from, or ``None``.
    """

    label: str
    model: nn.Module
    input_shape: tuple[int, int, int]
    loaded: LoadedModel | None


def make_subject(job: Job, *, weights: bool) -> Subject:
    """Build the registered model, without memory for its weights where they are not needed, or load the run.

    Args:
        job: ``run``; or ``name``, ``options`` and ``classes`` (by default two); and ``input_shape``, which may be ``None``.
        weights: they will be used.

    Raises:
        InputShapeError: the run takes other frames, or the architecture does not take these. Others as `zoo.load` and `create_model`.
    """
    if job["run"]:
        loaded = load(job["run"])
        if job["input_shape"] and tuple(job["input_shape"]) != loaded.input_shape:
            raise InputShapeError(f"{job['run']} takes frames of {loaded.input_shape}; leave --input-shape out, or name {loaded.name}")
        return Subject(loaded.name, loaded.model, loaded.input_shape, loaded)
    entry = get_registry().get("models", job["name"])
    options = entry.parse_options(job["options"])
    channels, height, width = job["input_shape"] or entry.metadata["input_shape"]
    build, classes = build_model if weights else build_shell, job.get("classes", CLASSES)
    model = build(entry, options, num_classes=classes, in_channels=channels, input_shape=(channels, height, width))
    return Subject(entry.label(options), model, (channels, height, width), None)


def count_subject(subject: Subject) -> dict[str, Any]:
    """Return the facts of a model that do not depend on the step."""
    try:
        macs: int | None = count_macs(subject.model, subject.input_shape)
    except RuntimeError:  # the code looks at values, which shapes alone do not have
        macs = None
    return {
        "label": subject.label,
        "input_shape": subject.input_shape,
        "parameters": count_parameters(subject.model),
        "macs": macs,
    }
