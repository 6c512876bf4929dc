"""Everything that training changes: a checkpoint holds all of it, and nothing else is needed to go on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from zoo.models.freeze import Frozen
from zoo.training.average import WeightAverage
from zoo.training.guard import BufferMemory
from zoo.training.scores import Sums


@dataclass
class Position:
    """How far a run has come; everything here is plain JSON.

    Attributes:
        step: optimizer steps done, those that were left out too.
        skipped: steps left out because a loss or gradient was not finite. skipped_in_a_row: the last ones; overflows of fp16, which a
            smaller scale of the loss mends, do not count here.
        epoch: epochs done.
        batch: batches of the current epoch that are done.
        frames, loss_sum, correct: sums over the current epoch's training frames.
        metrics_bytes: length of ``metrics.jsonl``; what was written after that is cut off on resume.
        elapsed_s: time spent training, without pauses between runs.
        best: ``epoch`` and scores of the epoch with the lowest validation loss so far; empty before the first.
    """

    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    epoch: int = 0
    batch: int = 0
    frames: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    metrics_bytes: int = 0
    elapsed_s: float = 0.0
    best: dict[str, float] = field(default_factory=dict)

    def is_stale(self, patience: int) -> bool:
        """Whether the last ``patience`` epochs brought no lower validation loss; never with a patience of 0."""
        return 0 < patience <= self.epoch - int(self.best.get("epoch", 0))

    def means(self) -> dict[str, float]:
        """Return loss and accuracy of the epoch so far; NaN where every step was left out."""
        frames = self.frames or math.nan
        return {"train_loss": self.loss_sum / frames, "train_accuracy": self.correct / frames}

    def end_step(self, batches: int, sums: Sums) -> None:
        """Count a step over ``batches`` batches with these sums."""
        self.step, self.batch, self.skipped_in_a_row = self.step + 1, self.batch + batches, 0
        self.frames, self.correct, self.loss_sum = self.frames + sums.frames, self.correct + sums.correct, self.loss_sum + sums.loss_sum

    def skip_step(self, batches: int, *, overflow: bool) -> None:
        """Count a step that was left out."""
        self.step, self.batch, self.skipped = self.step + 1, self.batch + batches, self.skipped + 1
        self.skipped_in_a_row += not overflow

    def end_epoch(self) -> None:
        """Count an epoch; the sums of the next one begin at zero."""
        self.epoch += 1
        self.batch = self.frames = self.correct = 0
        self.loss_sum = 0.0


@dataclass
class TrainingState:
    """What the loop works on.

    Attributes:
        model, optimizer: as the plan built them.
        scaler: of the loss in fp16; one that is switched off otherwise.
        average: the moving average of the weights, if the run keeps one.
        frozen: the layers that keep their weights and statistics, if there are any.
        position: how far the run has come.
        buffers: of the model, as they were before the step.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: GradScaler
    average: WeightAverage | None = None
    frozen: Frozen | None = None
    position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        self.buffers = BufferMemory(self.model)

    @property
    def evaluated(self) -> nn.Module:
        """The model that is validated and saved: the average if there is one."""
        return self.average.model if self.average else self.model

    @property
    def frozen_modules(self) -> tuple[str, ...]:
        """Names of the modules that keep their weights and statistics."""
        return self.frozen.modules if self.frozen else ()

    def train(self) -> None:
        """Switch the model to training mode, its frozen part excepted."""
        if self.frozen:
            self.frozen.train(self.model)
        else:
            self.model.train()
