"""What an estimate says: one record per model, each with its fit to every budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from zoo.costs.hardware import TOO_LARGE, Budget
from zoo.profiling.capacity import RateFit

ESTIMATED = "estimated"


@dataclass(frozen=True)
class Remedy:
    """Settings with which a step fits.

    Attributes:
        batch: frames per pass. accumulate: passes per optimizer step; 1 in inference.
        precision: ``fp32`` or ``bf16``. optimizer: ``adamw`` or ``sgd``; of no effect in inference.
        stream: the stem runs in strips. recompute: blocks are computed again in the backward pass. Of no effect in inference.
        peak_bytes: the peak of tensors then.
        change: what differs from what was asked for, in words.
        command: a command line with these settings; words in capitals stand for what only its user knows.
    """

    batch: int
    accumulate: int
    precision: str
    optimizer: str
    stream: bool
    recompute: bool
    peak_bytes: int
    change: str
    command: str


@dataclass(frozen=True)
class BudgetFit:
    """How a step fits into a budget.

    Attributes:
        budget: name and capacity.
        usable_bytes: what of it tensors can have: least and most.
        verdict: ``fits``; ``perhaps`` (it depends on what the allocator wastes and the kernels take for themselves); ``too-large``.
        largest_batch: frames with which the step surely fits, all else as asked; 0 where not even one does.
        remedy: what would make it fit; ``None`` where it does, or where nothing that zoo can change would.
    """

    budget: Budget
    usable_bytes: tuple[int, int]
    verdict: str
    largest_batch: int
    remedy: Remedy | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "budget": self.budget.name,
            "capacity_bytes": self.budget.capacity_bytes,
            "usable_bytes": self.usable_bytes,
            "verdict": self.verdict,
            "largest_batch": self.largest_batch,
            "remedy": asdict(self.remedy) if self.remedy else None,
        }


@dataclass(frozen=True)
class ModelEstimate:
    """The memory of one inference, or one training step, of a model, in bytes, computed without running it.

    Attributes:
        model: its name with the options that differ from their defaults, or the run directory as it was given.
        label: the name with its options, also for a run.
        status: ``estimated``; ``failed`` or ``crashed`` where there is no estimate. note: why; or what the estimate lacks.
        exit_code: what the command line returns for an error; 0 where there was none.
        input_shape: ``(C, H, W)`` of one frame.
        parameters: elements. macs: multiply-accumulates of convolutions and matrix products, forward, one frame; ``None`` where unknown.
        peak_bytes: all tensors at the worst instant.
        parts: those of ``weights`` (with buffers), ``gradients``, ``optimizer``, ``saved`` (kept for the backward pass), ``transient`` and
            ``input`` at that instant; they add up to ``peak_bytes``.
        phase, layer: what is at work then: ``rest``, ``forward`` or ``backward``, and the module.
        holders: module and bytes of gradients, saved and transient tensors that it made and that are alive then, largest first.
        needed_bytes: least and most that the device must have, or on the CPU the process: peak, context or imports, and what allocator and
            kernels may add.
        resident_bytes: on the CPU, least and most by which the resident set of the process grows after all imports, where the heap wastes
            little (docs/estimate.md); ``None`` on a GPU.
        complete: whether the model could be followed to its end; otherwise all figures are those of the part before, and too small.
        fits: one per budget. rates: one per device, where a rate was asked about.
    """

    model: str
    label: str
    status: str = ESTIMATED
    note: str = ""
    exit_code: int = 0
    input_shape: tuple[int, ...] = ()
    parameters: int | None = None
    macs: int | None = None
    peak_bytes: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    phase: str = ""
    layer: str = ""
    holders: tuple[tuple[str, int], ...] = ()
    needed_bytes: tuple[int, int] | None = None
    resident_bytes: tuple[int, int] | None = None
    complete: bool = True
    fits: tuple[BudgetFit, ...] = ()
    rates: tuple[RateFit, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("holders", "fits", "rates")}
        holders = [{"layer": layer, "bytes": size} for layer, size in self.holders]
        return {**values, "parts": dict(self.parts), "holders": holders, "fits": [fit.to_dict() for fit in self.fits]} | {
            "rates": [asdict(rate) for rate in self.rates]
        }


@dataclass(frozen=True)
class Estimate:
    """Models side by side, in the order asked for.

    Attributes:
        models: the records.
        metadata: the version of torch, and what was asked for.
    """

    models: tuple[ModelEstimate, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether some model fits, surely or perhaps, into some budget; true without budgets."""
        verdicts = [fit.verdict for model in self.models for fit in model.fits]
        return not verdicts or any(verdict != TOO_LARGE for verdict in verdicts)

    @property
    def problems(self) -> tuple[ModelEstimate, ...]:
        """The records with an error."""
        return tuple(model for model in self.models if model.exit_code)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the metadata."""
        return {"models": [model.to_dict() for model in self.models]}
