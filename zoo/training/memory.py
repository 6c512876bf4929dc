"""``zoo train --fit``: settings whose step stays within a given memory, and what became of them when it was not enough.

The peak of a step is predicted without running it, and what a budget leaves for it is the rule of `zoo.costs.usable_bytes`, both as in
`zoo.estimate`. On a CPU the budget is what the process may grow by after its imports, the frames that are read ahead included; on a GPU it
is the memory of the device.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from zoo import storage
from zoo.costs import Settings, find_settings, predict_peaks, usable_bytes
from zoo.costs.memory import USABLE_SHARE, free_on, trim_heap
from zoo.errors import MemoryLimitError, UsageError
from zoo.settings import parse_bytes
from zoo.training.config import TrainSettings

PLAN_NAME = "plan.json"
SCHEMA = 1
PREFETCH = 1  # batches that are read ahead

SETTING_FLAGS = {
    "optimizer": "--optimizer",
    "precision": "--precision",
    "batch": "--batch-size",
    "stream": "--stream",
    "checkpoint": "--recompute",
    "ema": "--ema",
}


class Work(NamedTuple):
    """The training that has to fit.

    Attributes:
        model, options: a registered architecture and its options. num_classes, freeze_until: as in the plan.
        input_shape: ``(C, H, W)`` of a frame. source_shape: ``(H, W)`` of the largest frames before the steps.
        parameters, trained: of the model; those that learn.
        device: where it trains. precision: what ``auto`` is there.
        batch_size, accumulate: what the step is made of without a limit.
    """

    model: str
    options: Mapping[str, Any]
    num_classes: int
    freeze_until: str | None
    input_shape: tuple[int, int, int]
    source_shape: tuple[int, int]
    parameters: int
    trained: int
    device: torch.device
    precision: str
    batch_size: int
    accumulate: int


@dataclass
class MemoryPlan:
    """What was planned and what happened, which ``plan.json`` of the run holds.

    Attributes:
        fit: as it was asked for.
        limit_bytes, predicted_bytes: memory that tensors may take, and the predicted peak of a step.
        why: the choice in one line.
        micro_batch: frames that pass the network at once; a batch is cut where it has more.
        history: every time that the memory was not enough: ``step``, ``micro_batch`` before and after, ``reason``.
    """

    fit: str
    limit_bytes: int
    predicted_bytes: int
    why: str
    micro_batch: int
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, run: Path) -> MemoryPlan | None:
        """Return the plan of a run, ``None`` where it has none."""
        if not (run / PLAN_NAME).is_file():
            return None
        record = dict(storage.read_json(run / PLAN_NAME))
        schema = record.pop("schema", None)
        if schema != SCHEMA:
            raise UsageError(f"{run / PLAN_NAME}: got schema {schema!r}, expected {SCHEMA}; a newer zoo may have written it")
        record.pop("bit_reproducible")
        return cls(**record)

    def write(self, run: Path) -> None:
        """Write ``plan.json``."""
        storage.write_json(run / PLAN_NAME, {"schema": SCHEMA, **asdict(self), "bit_reproducible": self.bit_reproducible})

    @property
    def bit_reproducible(self) -> bool:
        """Whether the same run gives the same bits again: memory that ran out does so at another step the next time."""
        return not self.history

    def shrink(self, step: int, frames: int, reason: str) -> bool:
        """Halve the micro-batch after a step over batches of ``frames`` ran out of memory; ``False`` where it is a single frame."""
        before = min(self.micro_batch, frames)
        if before == 1:
            return False
        self.micro_batch = before // 2
        words = " ".join(reason.split())[:200]
        self.history.append({"step": step, "micro_batch_before": before, "micro_batch": self.micro_batch, "reason": words})
        return True


def plan_memory(settings: TrainSettings, work: Work) -> tuple[TrainSettings, MemoryPlan]:
    """Choose what the user left open so that a training step stays within ``settings.fit``.

    The mildest change that is enough is taken, see `zoo.costs.fitting.Fitting.remedy`; the frames of an optimizer step stay the same.

    Returns: the settings with nothing left open, and the plan.

    Raises:
        MemoryLimitError: nothing that may be changed makes it fit; says what would.
    """
    limit = _limit(settings, work)
    asked = Settings(
        batch=work.batch_size,
        precision="fp32" if work.precision == "fp32" else "bf16",
        optimizer=settings.optimizer or "adamw",
        accumulate=work.accumulate,
        ema=bool(settings.ema),
        stream=bool(settings.stream),
        checkpoint=bool(settings.recompute),
    )
    fixed = _given(settings)
    if "optimizer" not in fixed and _saving_bytes(asked, work) > limit:
        asked = asked._replace(optimizer="sgd")
    found = None if _saving_bytes(asked, work) > limit else _find(asked, limit, fixed, work)
    if found is None:
        raise MemoryLimitError(_why_not(asked, limit, fixed, settings, work))
    chosen, peak = found
    chosen_settings = replace(
        settings,
        batch_size=chosen.batch if chosen.batch != work.batch_size else settings.batch_size,
        accumulate=chosen.accumulate,
        optimizer=chosen.optimizer,
        precision=settings.precision if settings.precision != "auto" else chosen.precision,
        stream=chosen.stream,
        recompute=chosen.checkpoint,
    )
    why = f"fit {settings.fit}: {_describe(chosen)}; a step takes {_gb(peak)}, {_gb(limit)} are free for it"
    if chosen.batch != work.batch_size:
        why += f"; BatchNorm sees {chosen.batch} instead of {work.batch_size} frames, a step still has {chosen.batch * chosen.accumulate}"
    return chosen_settings, MemoryPlan(str(settings.fit), limit, peak, why, chosen.batch)


def give_back_freed_memory() -> None:
    """Let malloc return what is freed to the system at once (glibc), where it otherwise keeps pieces of up to 32 MiB for later.

    It costs page faults, and keeps the process within what its tensors need.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(-3, 65536)  # M_MMAP_THRESHOLD, bytes
        library.mallopt(-1, 0)  # M_TRIM_THRESHOLD
    trim_heap()


def _limit(settings: TrainSettings, work: Work) -> int:
    """Bytes that the tensors of a step may take."""
    if work.device.type == "cuda":
        if settings.fit == "auto":
            return usable_bytes(int(free_on(work.device) or 0), train=True)[0]
        return usable_bytes(parse_bytes(str(settings.fit)), train=True)[0]
    if settings.fit == "auto":
        free = free_on(work.device)
        if free is None:
            raise UsageError("got --fit auto on a system that does not tell its free memory; give an amount, such as --fit 8GB")
        total = int(USABLE_SHARE * free)
    else:
        total = parse_bytes(str(settings.fit))
    channels, height, width = work.input_shape
    frame, source = 4 * channels * height * width, 4 * work.source_shape[0] * work.source_shape[1]
    reading = PREFETCH * work.batch_size * frame + max(1, settings.workers) * 2 * max(frame, source)
    return usable_bytes(max(0, total - reading), device="cpu", train=True, imported=True)[0]


def _given(settings: TrainSettings) -> set[str]:
    """Names of `Settings` that the user has chosen."""
    given = {"ema"} if settings.ema else set()
    given |= {"optimizer"} if settings.optimizer else set()
    given |= {"precision"} if settings.precision != "auto" else set()
    given |= {"batch"} if settings.batch_size or settings.accumulate else set()
    given |= {"stream"} if settings.stream is not None else set()
    given |= {"checkpoint"} if settings.recompute is not None else set()
    return given


def _saving_bytes(settings: Settings, work: Work) -> int:
    """Memory while a checkpoint is written: all that lasts, and a copy of the larger of its two files."""
    weights = 4 * work.parameters
    state = 4 * work.trained * (2 if settings.optimizer == "adamw" else 1) + (weights if settings.ema else 0)
    return weights + state + max(weights, state)


def _find(asked: Settings, limit: int, fixed: set[str], work: Work) -> tuple[Settings, int] | None:
    found = find_settings(work.model, asked, limit, fixed=sorted(fixed), **_aim(work))
    return None if found is None else (found[0], found[1].total)


def _aim(work: Work) -> dict[str, Any]:
    return {
        "options": {key: value for key, value in work.options.items() if value is not None},
        "input_shape": work.input_shape,
        "num_classes": work.num_classes,
        "freeze_until": work.freeze_until,
        "device": work.device.type,
        "threads": torch.get_num_threads(),
    }


def _why_not(asked: Settings, limit: int, fixed: set[str], settings: TrainSettings, work: Work) -> str:
    """Say which choice of the user does not fit, and what would; or how much is needed at least."""
    size = f"{work.input_shape[1]}x{work.input_shape[2]}"
    open_settings = asked if _saving_bytes(asked, work) <= limit else asked._replace(optimizer="sgd", ema=False)
    relaxed = _find(open_settings, limit, set(), work) if fixed and _saving_bytes(open_settings, work) <= limit else None
    if relaxed is not None:
        chosen, peak = relaxed
        wrong = [name for name in SETTING_FLAGS if name in fixed and getattr(asked, name) != getattr(chosen, name)]
        choices = ", ".join(_flag(name, asked) for name in wrong)
        others = f"{_flags(chosen)} takes {_gb(peak)}"
        return f"{work.model} at {size} with {choices} does not fit into {settings.fit} ({_gb(limit)} for its tensors); {others}"
    smallest = Settings(1, "bf16", "sgd", 2, stream=True, checkpoint=True)
    (least,) = predict_peaks(work.model, [smallest], **_aim(work))
    needed = max(least.total, _saving_bytes(smallest, work))
    return (
        f"{work.model} at {size} does not fit into {settings.fit} ({_gb(limit)} for its tensors): with {_flags(smallest)} it takes "
        f"{_gb(needed)}; use smaller frames (--step resize:factor=2), another model, or more memory"
    )


def _describe(settings: Settings) -> str:
    """``bf16, streamed stem, sgd, batch 1 x 16``."""
    parts = [settings.precision]
    parts += ["streamed stem"] if settings.stream else []
    parts += ["blocks computed twice"] if settings.checkpoint else []
    parts += [settings.optimizer]
    parts += ["averaged weights"] if settings.ema else []
    return ", ".join([*parts, f"batch {settings.batch} x {settings.accumulate}"])


def _flags(settings: Settings) -> str:
    return " ".join(
        _flag(name, settings) for name in SETTING_FLAGS if name not in ("stream", "checkpoint", "ema") or getattr(settings, name)
    )


def _flag(name: str, settings: Settings) -> str:
    flag, value = SETTING_FLAGS[name], getattr(settings, name)
    if name in ("stream", "checkpoint"):
        return flag if value else flag.replace("--", "--no-")
    if name == "batch":
        return f"{flag} {value} --accumulate {settings.accumulate}"
    return flag if name == "ema" else f"{flag} {value}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
