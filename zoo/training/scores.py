"""Loss and accuracy while training, and on the validation frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from zoo.data import Batch, Row
from zoo.models import prepare_inference
from zoo.training.batches import validation_batches
from zoo.training.guard import describe_frames
from zoo.training.plan import Criterion, Plan
from zoo.training.progress import Progress


@dataclass
class Sums:
    """Loss and hits of some frames; the loss is the mean of the batches, each weighed by its frames."""

    frames: int = 0
    correct: int = 0
    loss_sum: float = 0.0

    def add(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        """Count one batch: its mean loss, logits ``(N, K)`` and class indices ``(N,)``."""
        self.frames += len(labels)
        self.correct += int((logits.argmax(1) == labels).sum())
        self.loss_sum += loss * len(labels)

    @property
    def loss(self) -> float:
        """Mean loss of a frame."""
        return self.loss_sum / self.frames

    @property
    def accuracy(self) -> float:
        """Share of the frames whose largest logit is that of their class."""
        return self.correct / self.frames


@dataclass
class Outputs:
    """The logits of some frames, batch by batch; `all` joins them."""

    rows: list[Row] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    def add(self, rows: Sequence[Row], logits: Tensor) -> None:
        """Keep the logits ``(N, K)`` of N frames."""
        self.rows += rows
        self.logits.append(logits.double().cpu())

    def all(self) -> Tensor:
        """All logits, ``(N, K)`` float64, in the order of ``rows``; there must be one batch at least."""
        return torch.cat(self.logits)


def forward(plan: Plan, model: nn.Module, images: Tensor) -> Tensor:
    """Return float32 logits ``(N, K)``, computed in the plan's precision."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(plan.precision)
    with torch.autocast(plan.device.type, dtype=dtype, enabled=dtype is not None):
        logits: Tensor = model(images)
    return logits.float()


def score_batch(plan: Plan, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return float32 logits ``(N, K)`` and class indices ``(N,)`` of a whole batch; each process runs the model on its part of it."""
    images = batch.images.to(plan.device, non_blocking=True)  # the loader's memory is pinned where that matters
    part = forward(plan, model, images) if len(images) else images.new_empty((0, len(plan.dataset.labels)))
    return plan.ranks.gather(part, len(batch.whole_rows)), batch.whole_labels.to(plan.device)


def validate(
    plan: Plan,
    model: nn.Module,
    criterion: Criterion,
    progress: Progress,
    stop_if_asked: Callable[[], None],
    outputs: Outputs | None = None,
) -> dict[str, float]:
    """Return loss, accuracy and balanced accuracy on the validation frames; empty if there are none.

    Args:
        model: left in eval mode.
        progress: is told which frames make the loss NaN or infinite, if any do.
        stop_if_asked: called before every batch; may raise.
        outputs: keeps the logits of the frames.
    """
    if not plan.val:
        return {}
    prepared = prepare_inference(model.eval(), precision=plan.precision, input_shape=plan.input_shape)
    sums, bad = Sums(), list[Row]()
    right, count = torch.zeros(len(plan.dataset.labels)), torch.zeros(len(plan.dataset.labels))
    with torch.no_grad():
        for batch in validation_batches(plan):
            stop_if_asked()
            logits, labels = score_batch(plan, prepared, batch)
            loss = criterion(logits, labels).item()
            if not math.isfinite(loss):
                bad += [row for row, finite in zip(batch.whole_rows, torch.isfinite(logits).all(1), strict=True) if not finite]
            sums.add(loss, logits, labels)
            if outputs is not None:
                outputs.add(batch.whole_rows, logits)
            hit = (logits.argmax(1) == labels).cpu()
            right.index_add_(0, batch.whole_labels, hit.float())
            count.index_add_(0, batch.whole_labels, torch.ones(len(hit)))
    if not math.isfinite(sums.loss):
        where = f": the model gives no finite logits for {describe_frames(bad)}" if bad else ""
        progress.note(f"the validation loss is {sums.loss}{where}")
    recalls = (right / count)[count > 0]
    return {"val_loss": sums.loss, "val_accuracy": sums.accuracy, "val_balanced_accuracy": recalls.mean().item()}
