"""Everything that training changes: a checkpoint holds all of it, and nothing else is needed to go on."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.optim import Optimizer


@dataclass
class Position:
    """How far a run has come; everything here is plain JSON.

    Attributes:
        step: optimizer steps done.
        epoch: epochs done.
        batch: batches of the current epoch that are done.
        frames, loss_sum, correct: sums over the current epoch's training frames.
        metrics_bytes: length of ``metrics.jsonl``; what was written after that is cut off on resume.
        elapsed_s: time spent training, without pauses between runs.
        best: ``epoch`` and scores of the epoch with the lowest validation loss so far; empty before the first.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    frames: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    metrics_bytes: int = 0
    elapsed_s: float = 0.0
    best: dict[str, float] = field(default_factory=dict)

    def begin_epoch(self) -> None:
        """Set the sums of the epoch to zero."""
        self.batch = self.frames = self.correct = 0
        self.loss_sum = 0.0


@dataclass
class TrainingState:
    """What the loop works on.

    Attributes:
        model, optimizer: as the plan built them.
        position: how far the run has come.
    """

    model: nn.Module
    optimizer: Optimizer
    position: Position = field(default_factory=Position)
