"""What a run will do, settled before anything is written: frames, steps, shape, model, device."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data import DataSet, Row, open_data
from zoo.data.cache import FrameCache, open_cache
from zoo.data.dataset import with_products
from zoo.data.geometry import AnySizePipeline, fit_pipeline
from zoo.entries import Entry
from zoo.errors import DataError, InputShapeError, UsageError
from zoo.models.build import build_model, build_shell
from zoo.models.directory import find_run
from zoo.models.freeze import freeze_until
from zoo.models.macs import count_parameters
from zoo.registry import get_registry
from zoo.steps import Pipeline
from zoo.training.config import TrainConfig, TrainSettings
from zoo.training.device import find_device, find_precision
from zoo.training.distributed import Ranks
from zoo.training.launch import Launch
from zoo.training.metrics import check_loggers
from zoo.training.progress import Progress

Criterion = Callable[[Tensor, Tensor], Tensor]

BATCH_PIXELS = 2**21
STEP_FRAMES = 16


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
        return lines + [("note", text) for text in self.notes]


def make_plan(config: TrainConfig, *, progress: Progress | None = None, ranks: Ranks | None = None) -> Plan:
    """Open the data and settle everything that a run depends on. A registered data set that is not there yet is made.

    The model is built for the shape that the pipeline gives. Where the architecture refuses that shape and its error names options that
    take it, and the user set none of them, those are chosen, with a note.

    Args:
        config: what was asked for.
        progress: is told how many files of the data are ready.
        ranks: the processes that share the work; by default this one is alone.

    Raises:
        DataError: the data break a rule that the message names. UnknownNameError, UsageError, PipelineError: a name or option is wrong.
        InputShapeError: the architecture does not take the frames. PluginError: code of a plugin cannot be imported.
    """
    registry = get_registry()
    entry = registry.get("models", config.model.name)
    entry.parse_options(config.model.options)
    loss_options = registry.get("losses", config.train.loss).parse_options(config.train.loss_options)
    registry.build(
        "losses", config.train.loss, options=loss_options, class_weights=None
    )  # a value out of range is told before data are made
    check_loggers(config.output.loggers)
    ranks = ranks or Ranks(Launch())
    device = ranks.device(find_device(config.train.device))
    Pipeline.from_list(config.pipeline)  # a wrong step is told before data are made or read
    dataset = open_data(
        config.data.source,
        root=config.data.root,
        labels=config.data.labels or None,
        target_regex=config.data.target_regex,
        options=config.data.options or None,
        progress=progress.files if progress else None,
    )
    dataset = with_products(dataset, workers=config.train.workers)
    train, val = dataset.select("train"), dataset.select("val")
    _check_rows(dataset, train, config)
    pipeline, sizes = fit_pipeline(
        dataset, (*train, *val), [dict(step) for step in config.pipeline], config.data.geometry, workers=config.train.workers
    )
    notes = [*_name_mixture(train), *sizes]
    input_shape = pipeline.input_shape
    options, chosen = _fit_options(entry, config.model.options, input_shape, len(dataset.labels))
    if chosen:
        height, width = input_shape[1:]
        words = ", ".join(f"{key}={value}" for key, value in chosen.items())
        notes.append(
            f"{entry.name} in its published layout does not take {height}x{width}, so {words} is set: a variant, not the published network"
        )
    wanted, accumulate = _choose_batch(config, input_shape, ranks.size)
    batch_size = min(wanted, len(train) // ranks.size * ranks.size)
    if batch_size == 0:
        raise DataError(f"{dataset.name}: got {len(train)} training frames for {ranks.size} processes, expected one or more for each")
    if batch_size < wanted:
        notes.append(f"batch size {batch_size} instead of {wanted}: there are no more training frames")
    if not val:
        notes.append("there are no validation frames; the last weights become the model")
    if config.train.patience and not val:
        notes.append("there are no validation frames, so patience has no effect")
    if not any(step.unit_out == "dimensionless" for step in (*pipeline.frame_steps, *pipeline.batch_steps)):
        notes.append("warning: no step brings the brightness to a common scale (normalize does); networks rarely learn from such frames")
    shell = build_shell(entry, options, num_classes=len(dataset.labels), in_channels=input_shape[0], input_shape=input_shape)
    if config.model.freeze_until:
        freeze_until(shell, config.model.freeze_until)
    return Plan(
        config=replace(
            config,
            model=replace(config.model, options=options, pretrained=_lasting_weights(config.model.pretrained, entry)),
            data=replace(config.data, source=_lasting_source(config.data.source), root=config.data.root and config.data.root.resolve()),
            pipeline=tuple(pipeline.to_list()),
            train=replace(
                config.train,
                batch_size=wanted,
                accumulate=accumulate,
                loss_options=loss_options,
                milestones=_choose_milestones(config.train),
            ),
        ),
        dataset=dataset,
        train=train,
        val=val,
        pipeline=pipeline,
        entry=entry,
        options=options,
        input_shape=input_shape,
        device=device,
        precision=find_precision(config.train.precision, device),
        batch_size=batch_size,
        accumulate=accumulate,
        parameters=count_parameters(shell),
        trained=sum(parameter.numel() for parameter in shell.parameters() if parameter.requires_grad),
        notes=tuple(notes),
        ranks=ranks,
    )


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


def _check_rows(dataset: DataSet, train: Sequence[Row], config: TrainConfig) -> None:
    """Refuse a training split that lacks a class, or mixes products without leave."""
    present = {row.label for row in train}
    absent = [label for label in dataset.labels if label not in present]
    if absent:
        raise DataError(
            f"{dataset.name}: got no training frames of {', '.join(absent)}, expected some of every class; "
            "set the column split of the manifest, or name the classes with --labels"
        )
    products = products_of(train)
    if len(products) > 1 and not config.data.allow_product:
        counts = Counter(row.product for row in train if row.product)
        raise DataError(
            f"{dataset.name}: got training frames of products {', '.join(f'{name} ({counts[name]})' for name in products)}, expected one; "
            "choose one product, or pass --allow-product to train on the mixture"
        )


def _name_mixture(train: Sequence[Row]) -> list[str]:
    """Say which products are trained on together."""
    counts = Counter(row.product for row in train if row.product)
    mixed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return [f"--allow-product: training on products {mixed}"] if len(counts) > 1 else []


def _choose_batch(config: TrainConfig, input_shape: tuple[int, int, int], processes: int = 1) -> tuple[int, int]:
    """Return batch size and accumulation; chosen ones make 16 frames a step, and keep hrcn's activations below 3 GiB at any frame size.

    Every process takes the same number of frames of a batch.
    """
    given = config.train.batch_size
    if given and given % processes:
        raise UsageError(
            f"got batch size {given} for {processes} processes, expected a multiple of {processes}: it counts the frames of all together"
        )
    each = max(1, min(STEP_FRAMES // processes, BATCH_PIXELS // (input_shape[1] * input_shape[2])))
    batch_size = given or each * processes
    return batch_size, config.train.accumulate or (1 if given else -(-STEP_FRAMES // batch_size))


def _fit_options(
    entry: Entry, given: Mapping[str, Any], input_shape: tuple[int, int, int], num_classes: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all options of the model, and those that were chosen because the shape needs them."""
    options = entry.parse_options(given)
    try:
        build_shell(entry, options, num_classes=num_classes, in_channels=input_shape[0], input_shape=input_shape)
    except InputShapeError as err:
        if not err.options or set(err.options) & set(given):
            raise
        return entry.parse_options({**given, **err.options}), dict(err.options)
    return options, {}


def _choose_milestones(train: TrainSettings) -> tuple[int, ...]:
    """Return the epochs after which a step schedule lowers the rate; by default half and three quarters, as He et al. 2016 on CIFAR."""
    if train.schedule != "step" or train.milestones:
        return train.milestones
    return tuple(sorted({train.epochs // 2, train.epochs * 3 // 4} - {0}))


def _lasting_weights(source: str | None, entry: Entry) -> str | None:
    """Return a path to pretrained weights as absolute, so that the run can be resumed from anywhere; names and URLs as they are."""
    if source is None or source in entry.metadata["weights"]:
        return source
    if source == "latest":
        return str(find_run(source))
    return str(Path(source).resolve()) if Path(source).exists() else source


def _lasting_source(source: str) -> str:
    """Return a path as absolute, so that the run can be resumed from anywhere, and a registered name as it is."""
    is_name = "/" not in source and source in get_registry().names("datasets")
    return source if is_name else str(Path(source).resolve())
