"""What a profile says: one record per model, each with one per step, and one per op and kind of pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from zoo.costs.process import MEASURED
from zoo.profiling.figures import LayerProfile, PathProfile, Throughput, find_knee
from zoo.profiling.samples import FLOORS, Block, Percentile, percentile

MODES = ("infer", "train")
SKIPPED = "skipped"


@dataclass(frozen=True)
class StepProfile:
    """One inference, or one training step, of a model. Bytes and seconds; ``None`` where something was not measured.

    Attributes:
        mode: ``infer`` or ``train``. batch: frames per step.
        status: ``measured``; ``skipped`` (it needs more memory than is free, and was not tried); ``too-slow`` (it did not end in time,
            or could not); ``out-of-memory``; ``crashed`` (the process ended by a signal or without a word); ``failed`` (an error).
        note: why it was not measured; empty where it was.
        exit_code: what the command line returns for an error; 0 where there was none.
        bound_bytes: least memory, computed without running; of tensors alone.
        expected_bytes: what `zoo.estimate` says of the same step: all tensors at the worst instant.
        expected_resident_bytes: the same on the CPU, as the least and most by which the process grows.
        free_bytes: free memory of the device when the process began.
        peak_bytes: on the CPU the highest resident set during the steps, above the one after all imports and before the model; on a GPU the
            highest sum of torch's tensors.
        cold_bytes, steady_bytes: the same, of the first run and of those after it.
        reserved_bytes: highest memory that torch's allocator held on a GPU.
        device_used_bytes: what the driver says is taken on a GPU after the runs, by all processes and contexts.
        host_peak_bytes: highest resident set of the whole process during the steps.
        fit_min_bytes: the smallest limit of memory under which the step still succeeds, above what was there before the model was built;
            ``None`` where it was not asked for, or not found.
        samples_s: wall time of each run that counts, in the order of the runs.
        device_s: time of the same runs on the GPU's stream.
        blocks: further runs in turn with a calibration, for `compare_profiles`; empty where the budget does not hold enough of them.
        first_s: the first run, which prepares kernels and memory.
        warmup: runs before the samples.
        steady: whether the times had settled before the samples began.
    """

    mode: str
    status: str
    note: str = ""
    exit_code: int = 0
    batch: int = 1
    bound_bytes: int | None = None
    expected_bytes: int | None = None
    expected_resident_bytes: tuple[int, int] | None = None
    free_bytes: int | None = None
    peak_bytes: int | None = None
    cold_bytes: int | None = None
    steady_bytes: int | None = None
    reserved_bytes: int | None = None
    device_used_bytes: int | None = None
    host_peak_bytes: int | None = None
    fit_min_bytes: int | None = None
    samples_s: tuple[float, ...] = ()
    device_s: tuple[float, ...] = ()
    blocks: tuple[Block, ...] = ()
    first_s: float | None = None
    warmup: int = 0
    steady: bool = False

    @property
    def cut(self) -> str:
        """What the budget has cut from the measurement, in words; empty where nothing was."""
        if self.status != MEASURED or self.steady:
            return ""
        if self.warmup == 0:
            return "a single run, without warm-up, took the budget"
        runs = "1 run" if self.warmup == 1 else f"{self.warmup} runs"
        return f"the budget ended the warm-up after {runs}, before the times had settled"

    def percentile(self, percent: int) -> Percentile:
        """Return the 50th, 90th or 99th percentile of the latency, empty where the samples are too few for it."""
        return percentile(self.samples_s, percent)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with the percentiles."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["blocks"] = [{"step": block.step._asdict(), "calibration": block.calibration._asdict()} for block in self.blocks]
        return values | {"cut": self.cut} | {f"p{percent}": _plain(self.percentile(percent)) for percent in FLOORS}


@dataclass(frozen=True)
class ModelProfile:
    """One model.

    Attributes:
        model: its name with the options that differ from their defaults, or the run directory as it was given.
        label: the name with its options, also for a run; the same as ``model`` where the model could not be built.
        input_shape: ``(C, H, W)`` of one frame; empty where the model could not be built.
        batch: frames per step; of several the smallest.
        parameters: elements. macs: multiply-accumulates of convolutions and matrix products for one frame; ``None`` where unknown.
        weights_bytes: parameters and buffers as they lie in memory.
        steps: one per mode, with that batch.
        path: the way of a frame from its file to its class; ``None`` where it was not asked for.
        throughput: one per mode and batch, where several batches were asked for.
        layers: in the order in which a frame passes them, where they were asked for. layers_note: why they, or their times, are missing.
    """

    model: str
    label: str
    input_shape: tuple[int, ...] = ()
    batch: int = 1
    parameters: int | None = None
    macs: int | None = None
    weights_bytes: int | None = None
    steps: tuple[StepProfile, ...] = ()
    path: PathProfile | None = None
    throughput: tuple[Throughput, ...] = ()
    layers: tuple[LayerProfile, ...] = ()
    layers_note: str = ""

    def knee(self, mode: str) -> int | None:
        """Return the smallest batch with 95 % of the best throughput; ``None`` with fewer than two measured ones."""
        return find_knee([point for point in self.throughput if point.mode == mode])

    def step(self, mode: str) -> StepProfile:
        """Return the record of ``infer`` or ``train``. Raises: KeyError: that mode was not asked for."""
        for step in self.steps:
            if step.mode == mode:
                return step
        raise KeyError(mode)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        records = ("steps", "path", "throughput", "layers")
        return {
            **{entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in records},
            "steps": [step.to_dict() for step in self.steps],
            "path": self.path and self.path.to_dict(),
            "throughput": [point.to_dict() for point in self.throughput],
            "knee": {mode: self.knee(mode) for mode in dict.fromkeys(point.mode for point in self.throughput)},
            "layers": [_plain(layer) for layer in self.layers],
        }


@dataclass(frozen=True)
class OpProfile:
    """One op on one frame, beside its reference in pure torch and a copy of a float32 frame of the same size, in one process.

    Attributes:
        op: its name in `zoo.ops`. pixels: ``int16`` or ``float32``, as they lie in a FITS file.
        shape: ``(H, W)`` in pixels.
        status, note, exit_code: as in `StepProfile`.
        median_s, iqr_s, runs: of the op, writing into memory that exists.
        copy_s: median of the copies made in turn with it. copies: ``median_s / copy_s``.
        reference_s, reference_iqr_s, reference_runs: of the reference, which allocates its result.
        speedup: ``reference_s / median_s``.
        difference: largest difference to the reference, as a share of the reference's largest value; for statistics the largest relative
            difference of a figure.
        library: another one that does the same on the processor (``astropy``, ``scipy``, ``numpy``), or empty. library_s, library_runs:
            median time, and of how many runs. library_difference: as ``difference``.
    """

    op: str
    pixels: str
    shape: tuple[int, ...] = ()
    status: str = MEASURED
    note: str = ""
    exit_code: int = 0
    median_s: float | None = None
    iqr_s: float | None = None
    runs: int = 0
    copy_s: float | None = None
    copies: float | None = None
    reference_s: float | None = None
    reference_iqr_s: float | None = None
    reference_runs: int = 0
    speedup: float | None = None
    difference: float | None = None
    library: str = ""
    library_s: float | None = None
    library_runs: int = 0
    library_difference: float | None = None


Record = StepProfile | PathProfile | Throughput | OpProfile


@dataclass(frozen=True)
class Profile:
    """Models and ops side by side, in the order asked for.

    Attributes:
        models, ops: the records.
        metadata: versions, machine, device, threads, allocator settings, commit, seed, and what was asked for.
    """

    models: tuple[ModelProfile, ...] = ()
    ops: tuple[OpProfile, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> tuple[Record, ...]:
        """All that was measured or tried: of every model its steps, the way of a frame, and its batches; then the ops."""
        found: list[Record] = []
        for model in self.models:
            found += [*model.steps, *([model.path] if model.path else []), *model.throughput]
        return (*found, *self.ops)

    @property
    def measured(self) -> int:
        """How many records hold a measurement."""
        return sum(record.status == MEASURED for record in self.records)

    @property
    def problems(self) -> tuple[Record, ...]:
        """The records with an error."""
        return tuple(record for record in self.records if record.exit_code)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the metadata."""
        return {"models": [model.to_dict() for model in self.models], "ops": [_plain(op) for op in self.ops]}


def _plain(record: Percentile | OpProfile | LayerProfile) -> dict[str, Any]:
    return {entry.name: getattr(record, entry.name) for entry in fields(record)}
