"""The child's part of `zoo.estimate`: recording the step that was asked for, and finding what would make it fit."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from zoo.costs.hardware import FITS, verdict
from zoo.costs.kernels import Copies, onednn_copies
from zoo.costs.settings import Settings
from zoo.costs.tape import Change, Peak, StepMemory
from zoo.costs.trace import record_step
from zoo.models import checkpoint_blocks, prepare_inference, stream_stem

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
        training: a training step as `zoo.train` makes it, instead of an inference as `zoo.predict` and `zoo.evaluate` make it.
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
            self._known[kind] = StepMemory(self._recorder(kind) if self._training else self._inference_recorder(kind))
        return self._known[kind]

    def peak(self, settings: Settings) -> Peak:
        """Return the peak of a step with these settings."""
        return self.memory(settings).peak(settings.batch)

    def remedy(self, asked: Settings, limit: int, fixed: Collection[str] = ()) -> Settings | None:
        """Return the mildest change of the settings with which the step fits into ``limit`` bytes, ``None`` where none does.

        In training a streamed stem comes first, which changes nothing but rounding, then bfloat16. Next are checkpointed blocks, which cost
        time, and smaller batches, as many per optimizer step as make up the old one, which change what BatchNorm sees: without BatchNorm
        they come before the blocks. Last is SGD without an average of the weights, which is another training. Inference has bfloat16 and
        smaller batches.

        Args:
            asked: the settings. limit: bytes.
            fixed: names of settings that stay as they are.
        """
        for tried, cut in self._changes(asked, fixed):
            fitting = self._cut(tried, limit) if cut else tried
            if fitting not in (None, asked) and self.peak(fitting).total <= limit:
                return fitting
        return None

    def _changes(self, asked: Settings, fixed: Collection[str]) -> Iterator[tuple[Settings, bool]]:
        """Settings from the mildest to the strongest change, each with whether its batch may be cut too."""
        precisions = tuple(dict.fromkeys((asked.precision,) if "precision" in fixed else (asked.precision, "bf16")))
        cuts = (False,) if "batch" in fixed else (False, True)
        if not self._training:
            yield from ((asked._replace(precision=precision), cut) for cut in cuts for precision in precisions)
            return
        streams = "stream" not in fixed and self._has(stream_stem)
        checkpoints = "checkpoint" not in fixed and self._has(checkpoint_blocks)
        stronger = [(False, checkpoints), (True, False), (True, checkpoints)]  # smaller batches, checkpointed blocks
        if not any(isinstance(module, _NormBase) for module in self._model.modules()):
            stronger = [(True, False), (False, checkpoints), (True, checkpoints)]
        other = asked._replace(
            optimizer=asked.optimizer if "optimizer" in fixed else "sgd", ema=asked.ema if "ema" in fixed else False
        )  # another training
        for base in dict.fromkeys((asked, other)):
            for cut, checkpoint in ((False, False), *stronger):
                for precision in precisions if cut in cuts else ():
                    yield base._replace(precision=precision, stream=base.stream or streams, checkpoint=base.checkpoint or checkpoint), cut

    def _has(self, change: Callable[[nn.Module, bool], list[str]]) -> bool:
        """Whether a change of the model finds anything to change."""
        found = bool(change(self._model, True))
        change(self._model, False)
        return found

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
        state, average = optimizer_bytes(self._model, kind.optimizer), kind.ema * sum(_storages(self._model).values())

        def record(batch: int) -> list[Change]:
            with _changed(self._model, kind):
                tape, complete = record_step(
                    self._model,
                    self._shape,
                    batch=batch,
                    training=True,
                    precision=kind.precision,
                    optimizer_bytes=state,
                    accumulate=kind.accumulate > 1,
                    more_weights=average,
                    copies=self._copies,
                )
            self.complete = self.complete and complete
            return tape

        return record

    def _inference_recorder(self, kind: Settings) -> Callable[[int], list[Change]]:
        prepared = prepare_inference(self._model.eval(), precision=kind.precision, input_shape=self._shape)

        def record(batch: int) -> list[Change]:
            tape, complete = record_step(prepared, self._shape, batch=batch, training=False, copies=self._copies)
            self.complete = self.complete and complete
            return tape

        return record


def _storages(model: nn.Module) -> dict[int, int]:
    """Identity and bytes of the memory of parameters and buffers; what is shared counts once."""
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    return {storage._cdata: storage.nbytes() for storage in storages}


@contextlib.contextmanager
def _changed(model: nn.Module, kind: Settings) -> Iterator[None]:
    """Streaming and checkpointing inside the block; the stem comes first, which is found by tracing the plain model."""
    try:
        if kind.stream:
            stream_stem(model, pools=True)
        if kind.checkpoint:
            checkpoint_blocks(model)
        yield
    finally:
        checkpoint_blocks(model, False)
        stream_stem(model, False)


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
    tape = fitting.memory(asked).tape(asked.batch)
    weights = peak.parts["weights"]
    moved = 2 * sum(change.size for change in tape if change.size > 0 and change.phase != "rest")  # written once, and read at least once
    return {
        "peak": dataclasses.asdict(peak),
        "touched": touched,
        "complete": fitting.complete,
        "fits": fits,
        "traffic_bytes": (moved + weights) // asked.batch,
    }
