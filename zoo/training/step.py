"""One optimizer step: forward and backward over its batches, then the update, or nothing at all where a number is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from zoo.data import Row
from zoo.data.loader import Batch
from zoo.training.batches import TrainingBatches, parts_of
from zoo.training.device import is_out_of_memory
from zoo.training.guard import Fault, gradient_fault, is_finite, loss_fault
from zoo.training.plan import Criterion, Plan
from zoo.training.scores import Sums, score_batch
from zoo.training.state import TrainingState


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    Attributes:
        sums: loss and hits of its frames.
        norm: of the whole gradient, before it was clipped; NaN where there is none.
        fault: why the step was left out, or ``None``.
        elapsed_s: how long it took, with the wait for its frames.
        restarts: how often it began again because memory ran out.
    """

    sums: Sums
    norm: float
    fault: Fault | None
    elapsed_s: float
    restarts: int = 0


def take_step(plan: Plan, state: TrainingState, criterion: Criterion, batches: TrainingBatches, size: int) -> StepResult:
    """Train on the next ``size`` batches, the gradient being the mean of theirs.

    Where the loss of a batch or the gradient is not finite, nothing of the step stays: not in the weights, the buffers (BatchNorm's
    statistics), the average, nor the optimizer. Its batches are used up all the same. The learning rate has to be set already.

    Where memory runs out in a run with a plan for it, the whole step begins again with half as many frames at once.
    """
    began_s = time.monotonic()
    model, optimizer, scaler = state.model, state.optimizer, state.scaler
    shrunk, gradients = 0, None
    while gradients is None:
        state.buffers.keep()
        gradients = _add_gradients(plan, state, criterion, batches.read(state.position.batch, size), size)
        if gradients is None:
            shrunk += 1
            state.buffers.restore()
            optimizer.zero_grad(set_to_none=True)
            if plan.device.type == "cuda":
                torch.cuda.empty_cache()
    sums, fault, rows = gradients
    norm = math.nan
    if not fault:
        plan.ranks.sum_gradients(model.parameters())
        scaler.unscale_(optimizer)
        total = nn.utils.get_total_norm([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        norm = total.item()
        fault = gradient_fault(norm, rows, scale=scaler.get_scale()) or state.buffers.fault(rows)
        if not fault:
            if plan.config.train.clip_norm:
                nn.utils.clip_grads_with_norm_(model.parameters(), plan.config.train.clip_norm, total)
            scaler.step(optimizer)
        scaler.update()  # the scale is halved after an overflow, and doubled after 2000 steps without one
    if fault:
        state.buffers.restore()
    elif state.average:
        state.average.update(model, state.position.step)
    optimizer.zero_grad(set_to_none=True)
    return StepResult(sums, norm, fault, time.monotonic() - began_s, shrunk)


def _add_gradients(
    plan: Plan, state: TrainingState, criterion: Criterion, batches: Iterator[Batch], size: int
) -> tuple[Sums, Fault | None, list[Row]] | None:
    """Go forward and backward over the batches; ``None`` if memory ran out and the plan has been changed for another attempt."""
    sums, fault, rows, frames = Sums(), None, list[Row](), 0
    try:
        for number, batch in enumerate(batches, start=state.position.batch):
            if fault:
                continue  # the other batches of a step that is left out
            plan.ranks.seed(plan.config.train.seed, state.position.epoch, number)
            rows.extend(batch.whole_rows)
            frames = len(batch.whole_rows)
            for part in parts_of(batch, plan.memory.micro_batch if plan.memory else frames):
                fault = fault or _add_gradient(plan, state, criterion, part, sums, size * (frames / len(part.whole_rows)))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or plan.memory is None or not plan.memory.shrink(state.position.step + 1, frames, str(error)):
            raise
        return None
    return sums, fault, rows


def _add_gradient(plan: Plan, state: TrainingState, criterion: Criterion, batch: Batch, sums: Sums, divisor: float) -> Fault | None:
    """Add the gradient of the loss of these frames over ``divisor``, and count them in ``sums``."""
    logits, labels = score_batch(plan, state.model, batch)  # (N, K) float32, (N,)
    loss = criterion(logits, labels)
    value = loss.item()
    if not math.isfinite(value):
        return loss_fault(value, plan.ranks.gather(is_finite(batch.images), len(batch.whole_rows)), batch.whole_rows)
    state.scaler.scale(loss / divisor).backward()  # type: ignore[no-untyped-call]
    sums.add(value, logits, labels)
    return None
