"""What else a profile says of a model: the way of a frame, throughput against batch size, and the layers. Seconds, bytes, per frame."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from zoo.costs.process import MEASURED
from zoo.profiling.samples import STEADY_VARIATION, WINDOWS, Percentile, percentile, variation

PARTS = ("read", "gate", "decode", "normalize", "condition", "transfer", "model", "write")

ADDS_UP_WITHIN = 0.05  # of the whole
KNEE_SHARE = 0.95  # of the best throughput


@dataclass(frozen=True)
class PathProfile:
    """One frame after the other from a FITS file to its class and the row of it, in one thread, as `zoo.predict` does it.

    Attributes:
        status, note, exit_code: as in `StepProfile`.
        source: the file or folder that was predicted, or ``simulated``.
        precision: of the model.
        parts_s: seconds of each of `PARTS` per frame, over watched passes; together with ``uncovered_s`` they are ``whole_s``.
        whole_s: of the same passes, from the path to the row, per frame.
        samples_s: per frame, of the passes without a stopwatch, in their order: the end-to-end latency.
        watched: passes with a stopwatch.
        frames_per_file: science images in a file, which a pass takes together.
        refused: files that were refused and left out.
    """

    status: str
    note: str = ""
    exit_code: int = 0
    source: str = ""
    precision: str = "fp32"
    parts_s: Mapping[str, float] = field(default_factory=dict)
    whole_s: float | None = None
    samples_s: tuple[float, ...] = ()
    watched: int = 0
    frames_per_file: float = 1.0
    refused: int = 0

    @property
    def uncovered_s(self) -> float | None:
        """What no part accounts for."""
        return None if self.whole_s is None else self.whole_s - sum(self.parts_s.values())

    @property
    def covered(self) -> float | None:
        """The parts together as a share of the whole."""
        return None if not self.whole_s else sum(self.parts_s.values()) / self.whole_s

    @property
    def adds_up(self) -> bool:
        """Whether the parts make up the whole within 5 %; true where nothing was measured."""
        return self.covered is None or abs(1.0 - self.covered) <= ADDS_UP_WITHIN

    def percentile(self, percent: int) -> Percentile:
        """Return the 50th, 90th or 99th percentile of the end-to-end latency per frame."""
        return percentile(self.samples_s, percent)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with the check."""
        latency = {f"p{percent}": asdict(self.percentile(percent)) for percent in (50, 90, 99)}
        return {**asdict(self), "uncovered_s": self.uncovered_s, "covered": self.covered, "adds_up": self.adds_up, **latency}


@dataclass(frozen=True)
class Throughput:
    """Steps one right after the other with one batch size.

    Attributes:
        mode: ``infer`` or ``train``. batch: frames per step.
        status, note, exit_code: as in `StepProfile`.
        windows: frames per second of each window of at least 3 seconds, in order.
        bound_bytes, expected_bytes, expected_resident_bytes, peak_bytes, reserved_bytes, device_used_bytes, host_peak_bytes: as in
            `StepProfile`.
    """

    mode: str
    batch: int
    status: str = MEASURED
    note: str = ""
    exit_code: int = 0
    windows: tuple[float, ...] = ()
    bound_bytes: int | None = None
    expected_bytes: int | None = None
    expected_resident_bytes: tuple[int, int] | None = None
    peak_bytes: int | None = None
    reserved_bytes: int | None = None
    device_used_bytes: int | None = None
    host_peak_bytes: int | None = None

    @property
    def frames_per_s(self) -> float | None:
        """The mean of the last three windows where they agree, else the median of all."""
        if not self.windows:
            return None
        return statistics.fmean(self.windows[-WINDOWS:]) if self.steady else statistics.median(self.windows)

    @property
    def variation(self) -> float | None:
        """Coefficient of variation of the last three windows; ``None`` with fewer."""
        return variation(self.windows)

    @property
    def steady(self) -> bool:
        """Whether the last three windows agree within 3 %."""
        return self.variation is not None and self.variation < STEADY_VARIATION

    @property
    def cut(self) -> str:
        """What is missing from the definition, in words; empty where nothing is."""
        if self.status != MEASURED or self.steady:
            return ""
        if self.variation is None:
            return f"the budget held {len(self.windows)} of the 3 windows of 3 s"
        return f"windows vary by {100 * self.variation:.1f} %, 3 % asked for"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "frames_per_s": self.frames_per_s, "variation": self.variation, "steady": self.steady, "cut": self.cut}


def find_knee(points: Sequence[Throughput]) -> int | None:
    """Return the smallest batch with 95 % of the best throughput; ``None`` with fewer than two measured batches."""
    measured = sorted((point for point in points if point.frames_per_s), key=lambda point: point.batch)
    if len(measured) < 2:
        return None
    best = max(point.frames_per_s or 0.0 for point in measured)
    return next(point.batch for point in measured if (point.frames_per_s or 0.0) >= KNEE_SHARE * best)


@dataclass(frozen=True)
class LayerProfile:
    """One layer in the order in which a frame passes them.

    Attributes:
        name: in the model. kind: its class.
        macs: multiply-accumulates of one frame, forward; 0 for layers without products.
        output_shape: of one frame, without the batch. output_bytes: of the same, in the precision that was asked for.
        saved_bytes: what it keeps for the backward pass of a training step, for the whole batch; ``None`` without that mode.
        time_s: median of an inference, the whole batch; ``None`` where it was merged into another layer (`zoo.models.prepare_inference`).
        runs: times that the median is of.
    """

    name: str
    kind: str
    macs: int
    output_shape: tuple[int, ...]
    output_bytes: int
    saved_bytes: int | None = None
    time_s: float | None = None
    runs: int = 0
