"""Loss and accuracy while training, and on the validation frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.training.batches import validation_batches
from zoo.training.plan import Plan

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Sums:
    """Loss and hits of some frames; the loss is the mean of the batches, each weighed by its frames."""

    started_s: float = 0.0
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


def forward(plan: Plan, model: nn.Module, images: Tensor) -> Tensor:
    """Return float32 logits ``(N, K)``, computed in the plan's precision."""
    with torch.autocast(plan.device.type, dtype=torch.bfloat16, enabled=plan.precision == "bf16"):
        logits: Tensor = model(images)
    return logits.float()


def validate(plan: Plan, model: nn.Module, criterion: Criterion, stop_if_asked: Callable[[], None]) -> dict[str, float]:
    """Return loss, accuracy and balanced accuracy on the validation frames; empty if there are none. The model is left in eval mode."""
    if not plan.val:
        return {}
    model.eval()
    sums = Sums()
    right, count = torch.zeros(len(plan.dataset.labels)), torch.zeros(len(plan.dataset.labels))
    with torch.no_grad():
        for batch in validation_batches(plan):
            stop_if_asked()
            logits = forward(plan, model, batch.images.to(plan.device))
            labels = batch.labels.to(plan.device)
            sums.add(criterion(logits, labels).item(), logits, labels)
            hit = (logits.argmax(1) == labels).cpu()
            right.index_add_(0, batch.labels, hit.float())
            count.index_add_(0, batch.labels, torch.ones(len(hit)))
    recalls = (right / count)[count > 0]
    return {"val_loss": sums.loss, "val_accuracy": sums.accuracy, "val_balanced_accuracy": recalls.mean().item()}
