"""The child's part of `zoo.estimate`: recording the step that was asked for, and finding what would make it fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from zoo.costs.hardware import FITS, verdict
from zoo.costs.kernels import Copies, onednn_copies
from zoo.costs.settings import Settings
from zoo.costs.tape import Change, Peak, StepMemory
from zoo.costs.trace import record_step

Budgets = Sequence[tuple[int, int]]

# State per parameter element in float32: the momentum of SGD, both moments of AdamW, which also counts the steps of each parameter.
_SLOTS = {"sgd": 1, "adamw": 2}
_COUNTER_BYTES = {"sgd": 0, "adamw": 4}


def optimizer_bytes(model: nn.Module, optimizer: str) -> int:
    """Return the size of the optimizer's state for the parameters that learn: ``adamw``, or ``sgd`` with momentum."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    elements = sum(parameter.numel() * parameter.element_size() for parameter in learned)
    return _SLOTS[optimizer] * elements + _COUNTER_BYTES[optimizer] * len(learned)


class Fitting:
    """The memory of a model under any settings, each recorded once and only when it is asked for.

    Args:
        model: any device.
        input_shape: ``(C, H, W)`` of one frame.
        training: a training step instead of an inference.
        copies: of the kernels, as `record_step` takes them.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, int, int], *, training: bool, copies: Copies | None = None) -> None:
        self._model, self._shape, self._training, self._copies = model, input_shape, training, copies
        self._known: dict[Settings, StepMemory] = {}
        self.complete = True

    def memory(self, settings: Settings) -> StepMemory:
        """Return the memory of a step with these settings as a function of the batch."""
        kind = settings._replace(batch=1, accumulate=min(settings.accumulate, 2))
        if kind not in self._known:
            self._known[kind] = StepMemory(self._recorder(kind))
        return self._known[kind]

    def peak(self, settings: Settings) -> Peak:
        """Return the peak of a step with these settings."""
        return self.memory(settings).peak(settings.batch)

    def remedy(self, asked: Settings, limit: int) -> Settings | None:
        """Return the mildest change of the settings with which the step fits into ``limit`` bytes, ``None`` where none does.

        bfloat16 comes first, then smaller batches, in training as many per optimizer step as make up the old one, then both; SGD in place
        of AdamW, which is another training, comes last.
        """
        for optimizer in dict.fromkeys((asked.optimizer, "sgd") if self._training else (asked.optimizer,)):
            for precision, cut in ((asked.precision, False), ("bf16", False), (asked.precision, True), ("bf16", True)):
                tried = asked._replace(optimizer=optimizer, precision=precision)
                fitting = self._cut(tried, limit) if cut else tried
                if fitting not in (None, asked) and self.peak(fitting).total <= limit:
                    return fitting
        return None

    def _cut(self, settings: Settings, limit: int) -> Settings | None:
        """The settings with the largest batch that fits, and in training divides the one that was asked for."""
        if not self._training:
            most = min(self.memory(settings).largest_batch(limit), settings.batch)
            return settings._replace(batch=most) if most else None
        for batch in range(settings.batch // 2, 0, -1):
            if settings.batch % batch == 0:
                parts = settings._replace(batch=batch, accumulate=settings.accumulate * settings.batch // batch)
                if self.peak(parts).total <= limit:
                    return parts
        return None

    def _recorder(self, kind: Settings) -> Callable[[int], list[Change]]:
        state = optimizer_bytes(self._model, kind.optimizer) if self._training else 0

        def record(batch: int) -> list[Change]:
            tape, complete = record_step(
                self._model,
                self._shape,
                batch=batch,
                training=self._training,
                precision=kind.precision,
                optimizer_bytes=state,
                accumulate=kind.accumulate > 1,
                ema=kind.ema,
                copies=self._copies,
            )
            self.complete = self.complete and complete
            return tape

        return record


def fit_model(
    model: nn.Module, input_shape: tuple[int, int, int], asked: Settings, *, training: bool, device: str, threads: int, budgets: Budgets
) -> dict[str, Any]:
    """Return the memory of a model and its fit to each budget as plain values, which `zoo.profiling.estimate` reads.

    Args:
        model: any device.
        input_shape: ``(C, H, W)`` of one frame.
        asked: the settings.
        training: a training step instead of an inference.
        device: ``cuda``, or ``cpu``, whose kernels copy what they work on. threads: of torch on the CPU.
        budgets: usable bytes of each: least and most.
    """
    fitting = Fitting(model, input_shape, training=training, copies=onednn_copies(threads) if device == "cpu" else None)
    peak, touched = fitting.peak(asked), None
    if device == "cpu":  # scratch memory is allocated whole, and used in part
        touched = Fitting(model, input_shape, training=training, copies=onednn_copies(0)).peak(asked).total
    fits = []
    for least, most in budgets:
        found = verdict(peak.total, (least, most))
        remedy = None if found == FITS else fitting.remedy(asked, least)
        fits.append(
            {
                "verdict": found,
                "largest_batch": fitting.memory(asked).largest_batch(least),
                "remedy": remedy and {**remedy._asdict(), "peak_bytes": fitting.peak(remedy).total},
            }
        )
    return {"peak": dataclasses.asdict(peak), "touched": touched, "complete": fitting.complete, "fits": fits}
