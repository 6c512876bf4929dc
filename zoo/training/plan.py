"""What a run will do, settled before anything is written: frames, steps, shape, model, device."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data import DataSet, Row
from zoo.data.cache import FrameCache, open_cache
from zoo.data.geometry import AnySizePipeline
from zoo.entries import Entry
from zoo.models.build import build_model
from zoo.registry import get_registry
from zoo.training.config import TrainConfig
from zoo.training.distributed import Ranks
from zoo.training.launch import Launch
from zoo.training.memory import MemoryPlan

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """A run that can be begun.

    Attributes:
        config: with every option of the model and every step written out.
        dataset: frames and splits. train, val: the rows of those splits; ``val`` may be empty.
        pipeline: steps, in training with augmentation, and the rule for frames of other sizes.
        entry, options: the architecture and all its options.
        input_shape: ``(1, H, W)`` of a preprocessed frame, which the model is built for.
        device, precision: ``fp32``, or autocast to ``bf16`` or ``fp16``.
        batch_size: frames per forward pass of all processes together, at most the number of training frames. accumulate: passes per
            optimizer step.
        parameters: of the model. trained: of them those that are not frozen.
        notes: decisions that a user should be told, one line each.
        ranks: the processes that share the work.
        memory: with ``train.fit``: what was planned for it, and what became of that; it changes when memory runs out.
    """

    config: TrainConfig
    dataset: DataSet
    train: tuple[Row, ...]
    val: tuple[Row, ...]
    pipeline: AnySizePipeline
    entry: Entry
    options: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    device: torch.device
    precision: str
    batch_size: int
    accumulate: int
    parameters: int
    trained: int
    notes: tuple[str, ...] = field(default=())
    ranks: Ranks = field(default_factory=lambda: Ranks(Launch()))
    memory: MemoryPlan | None = None

    @property
    def label(self) -> str:
        """The model's name with its options, such as ``hrcn[padding=same]``."""
        return self.entry.label(self.options)

    @cached_property
    def frame_cache(self) -> FrameCache | None:
        """Keeps preprocessed frames; ``None`` where the settings give it no room."""
        return open_cache(self.config.data.frame_cache)

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in the training frames; what is left over is not used in that epoch."""
        return len(self.train) // self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch; the last one may average over fewer batches."""
        return -(-self.batches_per_epoch // self.accumulate)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.config.train.epochs

    def group_sizes(self, start: int = 0) -> Iterator[int]:
        """Yield how many batches each optimizer step of an epoch takes, from batch ``start`` on; the last may take fewer."""
        for first in range(start, self.batches_per_epoch, self.accumulate):
            yield min(self.accumulate, self.batches_per_epoch - first)

    @property
    def products(self) -> tuple[str, ...]:
        """Kinds of HST product among the training frames, sorted."""
        return products_of(self.train)

    def build_model(self) -> nn.Module:
        """Return the model with new weights on the plan's device; kernels lie in memory as channels_last."""
        model = build_model(
            self.entry, self.options, num_classes=len(self.dataset.labels), in_channels=self.input_shape[0], input_shape=self.input_shape
        ).to(self.device)
        # A step of hrcn at 256x512 in bf16 takes 0.94 s this way and 1.15 s otherwise (8 frames, 2 cores of an AMD EPYC with AVX512-BF16).
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return model

    def class_weights(self) -> Tensor | None:
        """Return ``(K,)`` float32 on the plan's device: ``balanced`` weighs every class the same in the mean loss; else ``None``."""
        if self.config.train.class_weights == "none":
            return None
        counts = Counter(self.dataset.class_index(row) for row in self.train)
        classes = len(self.dataset.labels)
        return torch.tensor([len(self.train) / (classes * counts[index]) for index in range(classes)], device=self.device)

    @property
    def loss_label(self) -> str:
        """The loss with its options, such as ``focal[gamma=3.0]``."""
        return get_registry().get("losses", self.config.train.loss).label(self.config.train.loss_options)

    def build_criterion(self) -> Criterion:
        """Return the loss of logits ``(N, K)`` and class indices ``(N,)``."""
        train = self.config.train
        criterion: Criterion = get_registry().build("losses", train.loss, options=train.loss_options, class_weights=self.class_weights())
        return criterion

    def data_fingerprint(self) -> str:
        """SHA-256 of the folder's name, frames, classes, targets and splits; a resumed run must find the same."""
        # The folder of a registered data set is named after the version of its pixels.
        digest = hashlib.sha256(repr((self.dataset.manifest.root.name, self.dataset.labels)).encode())
        for row in self.dataset.manifest.rows:
            digest.update(repr((row.path, row.hdu, row.plane, row.label, row.target, row.rootname, row.split)).encode())
        return digest.hexdigest()

    def describe(self) -> list[tuple[str, str]]:
        """Return what a user should know before the first step, as ``(subject, text)`` lines."""
        train = self.config.train
        name, source = self.dataset.name, self.config.data.source
        lines = [("data", f"{name if name == source else f'{name} ({source})'}, classes {', '.join(self.dataset.labels)}")]
        for split in ("train", "val", "test"):
            rows = self.dataset.select(split)
            if rows:
                lines.append((split, describe_rows(rows, self.dataset.labels)))
        lines += [("note", text) for text in (*self.dataset.manifest.notes, *self.dataset.notes)]
        height, width = self.input_shape[1:]
        batch = f"{self.batch_size} x {self.accumulate}" if self.accumulate > 1 else f"{self.batch_size}"
        schedule = f"steps {self.steps}, epochs {train.epochs}, batch {batch}, {train.optimizer} lr {train.lr:g}"
        schedule += f" times {train.gamma:g} after epochs {', '.join(map(str, train.milestones))}" if train.milestones else ""
        schedule += f", average of the weights with decay {train.ema:g}" if train.ema else ""
        schedule += f", patience {train.patience}" if train.patience else ""
        frozen = (
            f", {self.trained:,} of them trained (frozen until {self.config.model.freeze_until})" if self.config.model.freeze_until else ""
        )
        where = str(self.device) if self.ranks.size == 1 else f"{self.device.type} in {self.ranks.size} processes"
        lines += [
            ("frames", f"{height}x{width} after {self.pipeline}"),
            ("model", f"{self.label}, {self.parameters:,} parameters{frozen}"),
            ("training", f"{schedule}, {self.precision} on {where}, seed {train.seed}"),
        ]
        if self.memory:
            lines.append(("memory", self.memory.why))
        return lines + [("note", text) for text in self.notes]


def products_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the kinds of HST product among the rows that say theirs, sorted."""
    return tuple(sorted({row.product for row in rows if row.product}))


def describe_rows(rows: Sequence[Row], labels: Sequence[str]) -> str:
    """Return frames and targets per class, such as ``96 frames: galaxy 48 of 12 targets, NSC 48 of 12 targets``."""
    parts = []
    for label in labels:
        mine = [row for row in rows if row.label == label]
        targets = len({row.target for row in mine})
        parts.append(f"{label} {len(mine)} of {targets} target{'' if targets == 1 else 's'}")
    return f"{len(rows)} frames: {', '.join(parts)}"
