"""From a configuration to a plan: the data are opened, and everything that the user left open is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from zoo.data import DataSet, Row, open_data
from zoo.data.dataset import with_products
from zoo.data.geometry import fit_pipeline
from zoo.entries import Entry
from zoo.errors import DataError, InputShapeError, UsageError
from zoo.models import checkpoint_blocks, stream_stem
from zoo.models.build import build_shell
from zoo.models.directory import find_run
from zoo.models.freeze import freeze_until
from zoo.models.macs import count_parameters
from zoo.models.prepare import why_plain
from zoo.registry import get_registry
from zoo.steps import Pipeline
from zoo.training.config import TrainConfig, TrainSettings
from zoo.training.device import find_device, find_precision
from zoo.training.distributed import Ranks
from zoo.training.launch import Launch
from zoo.training.memory import MemoryPlan, Work, plan_memory
from zoo.training.metrics import check_loggers
from zoo.training.plan import Plan, products_of
from zoo.training.progress import Progress

BATCH_PIXELS = 2**21
STEP_FRAMES = 16


def make_plan(
    config: TrainConfig, *, progress: Progress | None = None, ranks: Ranks | None = None, memory: MemoryPlan | None = None
) -> Plan:
    """Open the data and settle everything that a run depends on. A registered data set that is not there yet is made.

    The model is built for the shape that the pipeline gives. Where the architecture refuses that shape and its error names options that
    take it, and the user set none of them, those are chosen, with a note.

    Args:
        config: what was asked for.
        progress: is told how many files of the data are ready.
        ranks: the processes that share the work; by default this one is alone.
        memory: of a run that goes on: the plan that it began with, which holds.

    Raises:
        MemoryLimitError: with ``train.fit``, which takes seconds in a process of its own: nothing that may be chosen makes a step fit.
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
    notes += _check_execution(shell, config.train, ranks.size)
    if config.model.freeze_until:
        freeze_until(shell, config.model.freeze_until)
    parameters, trained = count_parameters(shell), sum(one.numel() for one in shell.parameters() if one.requires_grad)
    settings = replace(config.train, batch_size=wanted, accumulate=accumulate)
    if config.train.fit and memory is None:
        work = Work(
            model=config.model.name,
            options=options,
            num_classes=len(dataset.labels),
            freeze_until=config.model.freeze_until,
            input_shape=input_shape,
            source_shape=pipeline.frame_size or (input_shape[1], input_shape[2]),
            parameters=parameters,
            trained=trained,
            device=device,
            precision=find_precision(config.train.precision, device),
            batch_size=batch_size,
            accumulate=accumulate,
        )
        settings, memory = plan_memory(config.train, work)
        settings = replace(settings, batch_size=settings.batch_size or wanted)
        batch_size, accumulate = min(batch_size, settings.batch_size or wanted), settings.accumulate or accumulate
    return Plan(
        config=replace(
            config,
            model=replace(config.model, options=options, pretrained=_lasting_weights(config.model.pretrained, entry)),
            data=replace(config.data, source=_lasting_source(config.data.source), root=config.data.root and config.data.root.resolve()),
            pipeline=tuple(pipeline.to_list()),
            train=replace(
                settings,
                stream=bool(settings.stream),
                recompute=bool(settings.recompute),
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
        precision=find_precision(settings.precision, device),
        batch_size=batch_size,
        accumulate=accumulate,
        parameters=parameters,
        trained=trained,
        notes=tuple(notes),
        ranks=ranks,
        memory=memory,
    )


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


def _check_execution(shell: nn.Module, train: TrainSettings, processes: int) -> list[str]:
    """Refuse a plan of memory for several processes, and say which ways of running do not work with this network, which is changed."""
    if processes > 1 and train.fit:
        raise UsageError(
            f"got --fit {train.fit} for {processes} processes, expected a single one, whose memory is all that it plans; leave it out and "
            "choose --batch-size (of all processes together), --stream, --recompute and --precision yourself"
        )
    notes = []
    if reason := why_plain(shell.eval()):
        notes.append(f"validation runs the network as it is, slower and in more memory than it could: {reason}")
    if train.stream and not stream_stem(shell):
        notes.append("--stream has no effect: the network does not begin with a convolution, ReLU and a max-pool, or cannot be traced")
    if train.recompute and not checkpoint_blocks(shell):
        notes.append("--recompute has no effect: the network has no blocks")
    return notes


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
