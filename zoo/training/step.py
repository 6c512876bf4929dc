"""One optimizer step: forward and backward over its batches, then the update, or nothing at all where a number is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from torch import nn

from zoo.data import Row
from zoo.data.loader import Batch
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
    """

    sums: Sums
    norm: float
    fault: Fault | None
    elapsed_s: float


def take_step(plan: Plan, state: TrainingState, criterion: Criterion, batches: Iterator[Batch], size: int) -> StepResult:
    """Train on the next ``size`` batches, the gradient being the mean of theirs.

    Where the loss of a batch or the gradient is not finite, nothing of the step stays: not in the weights, the buffers (BatchNorm's
    statistics), the average, nor the optimizer. Its batches are used up all the same. The learning rate has to be set already.
    """
    began_s = time.monotonic()
    model, optimizer, scaler, ranks = state.model, state.optimizer, state.scaler, plan.ranks
    sums, norm, fault, rows = Sums(), math.nan, None, list[Row]()
    state.buffers.keep()
    for number, batch in enumerate(islice(batches, size), start=state.position.batch):
        if fault:
            continue  # the other batches of a step that is left out
        ranks.seed(plan.config.train.seed, state.position.epoch, number)
        logits, labels = score_batch(plan, model, batch)  # (N, K) float32, (N,)
        loss = criterion(logits, labels)
        value = loss.item()
        rows.extend(batch.whole_rows)
        if not math.isfinite(value):
            fault = loss_fault(value, ranks.gather(is_finite(batch.images), len(batch.whole_rows)), batch.whole_rows)
        if not fault:
            scaler.scale(loss / size).backward()  # type: ignore[no-untyped-call]
            sums.add(value, logits, labels)
    if not fault:
        ranks.sum_gradients(model.parameters())
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
    return StepResult(sums, norm, fault, time.monotonic() - began_s)
