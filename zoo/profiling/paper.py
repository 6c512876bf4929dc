"""The hardware comparison of arXiv:2312.04948, with what is published, measured here and estimated, each marked as what it is.

The paper gives one figure of speed, 116.5 ms per sample for HR-CelestialNet, and does not name the hardware. It compares the accuracy of
AlexNet, VGGNet and ResNet without their depths and without any figure of their cost, so all members of these families stand here.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from zoo.costs.process import MEASURED
from zoo.profiling.result import ModelProfile, Profile

PAPER_MODELS = ("hrcn", "alexnet", "vgg11", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
PUBLISHED_MS = {"hrcn": 116.5}
NOT_PUBLISHED = "not published"
NO_HARDWARE = "hardware not published"
DEPTH_UNKNOWN = ("VGGNet", "ResNet")
NAMES = {"hrcn": "HR-CelestialNet", "alexnet": "AlexNet", "vgg": "VGGNet", "resnet": "ResNet"}


@dataclass(frozen=True)
class PaperRow:
    """One network of the paper.

    Attributes:
        network: as the paper calls it. model: as zoo does.
        published_ms: per sample. published_note: what the paper says of it, or does not.
        parameters, macs: computed from the architecture.
        time_s: per frame, here. time_kind: ``measured``, or ``estimated`` from the MACs and the speed of the networks measured beside it.
        time_range_s: where it is estimated, from the fastest and the slowest of these.
        memory_bytes: peak of an inference, above the libraries. memory_kind: ``measured``, or ``estimated`` as `zoo.estimate` does.
        note: why it was not measured.
    """

    network: str
    model: str
    published_ms: float | None
    published_note: str
    parameters: int | None
    macs: int | None
    time_s: float | None
    time_kind: str
    time_range_s: tuple[float, float] | None
    memory_bytes: int | None
    memory_kind: str
    note: str


def paper_rows(result: Profile) -> tuple[PaperRow, ...]:
    """Return a row for each model of a profile of inferences, in its order.

    A network that was not measured, because it does not fit or takes too long, gets its time from its MACs and the range of MACs per
    second of those that were, and its memory from the estimate.
    """
    rates = [rate for model in result.models if (rate := _rate(model)) is not None]
    return tuple(_row(model, rates) for model in result.models)


def _row(model: ModelProfile, rates: list[float]) -> PaperRow:
    name = model.label.partition("[")[0]
    family = next((text for prefix, text in NAMES.items() if name.startswith(prefix)), name)
    published = PUBLISHED_MS.get(name)
    step = model.step("infer")
    time_s, kind, span = step.percentile(50).value_s, MEASURED, None
    if time_s is None:
        kind = ""
        if model.macs and rates:
            span = (model.macs / max(rates), model.macs / min(rates))
            time_s, kind = model.macs / statistics.median(rates), "estimated"
    else:
        time_s /= step.batch
    memory, memory_kind = step.peak_bytes, MEASURED
    if memory is None:
        memory, memory_kind = step.expected_bytes, "estimated" if step.expected_bytes else ""
    note = "" if step.status == MEASURED else f"{step.status}: {step.note}"
    return PaperRow(
        network=f"{family} (depth {NOT_PUBLISHED})" if family in DEPTH_UNKNOWN else family,
        model=model.model,
        published_ms=published,
        published_note=NO_HARDWARE if published else NOT_PUBLISHED,
        parameters=model.parameters,
        macs=model.macs,
        time_s=time_s,
        time_kind=kind,
        time_range_s=span,
        memory_bytes=memory,
        memory_kind=memory_kind,
        note=note,
    )


def _rate(model: ModelProfile) -> float | None:
    """MACs per second of a measured inference."""
    step = model.step("infer")
    median = step.percentile(50).value_s
    return model.macs * step.batch / median if model.macs and median else None
