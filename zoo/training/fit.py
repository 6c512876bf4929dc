"""Training, from the first line to the last: what a run does can be read here from top to bottom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import storage
from zoo.data import Row
from zoo.data.baselines import fit_baselines
from zoo.data.loader import Loader
from zoo.errors import CheckFailedError, DataError, InterruptedRunError, MemoryLimitError, UsageError
from zoo.models.directory import CARD_NAME, WEIGHTS_NAME, load_tensors_into, make_card, save_model
from zoo.registry import get_registry
from zoo.training.checkpoint import Position, load_checkpoint, save_checkpoint
from zoo.training.config import TrainConfig
from zoo.training.device import memory_bytes
from zoo.training.interrupt import Interrupt
from zoo.training.metrics import MetricsLog
from zoo.training.norm import has_running_statistics, measure_norm_statistics
from zoo.training.optimizer import make_optimizer, rate_at, set_rate
from zoo.training.plan import Plan, make_plan
from zoo.training.progress import Progress
from zoo.training.run import (
    BASELINES_NAME,
    CONFIG_NAME,
    ENVIRONMENT_NAME,
    MANIFEST_NAME,
    Run,
    create_run,
    machine_facts,
    open_run,
    write_environment,
)

CHECKPOINT_INTERVAL_S = 300.0

Forward = Callable[[Tensor], Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]


def train(config: TrainConfig | None = None, *, resume: str | os.PathLike[str] | None = None, progress: Progress | None = None) -> Run:
    """Train a model and write a run directory, or go on with one.

    A run that was stopped by a signal or killed goes on from its last checkpoint to the same bits as if it had never stopped, for the same
    torch, thread count and CPU (a difference is noted). torch's global random numbers are left as they were.

    Args:
        config: what to train; the default trains ``hrcn`` on the simulated sky. Not together with ``resume``.
        resume: a run directory, or ``"latest"``; its own configuration holds.
        progress: is told what happens.

    Returns: the finished run.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM came; the step was finished and a checkpoint written; ``exit_code`` is 130 or 143.
        CheckFailedError: the loss is no longer finite. MemoryLimitError: a batch does not fit. StorageError: the run cannot be written, or
            is there already. DataError, UsageError, InputShapeError, UnknownNameError, PluginError: as `zoo.training.make_plan`.

    Example: >>> run = zoo.train(zoo.TrainConfig.from_mapping({"train": {"epochs": 3}})); zoo.load(run.path)
    """
    progress = progress or Progress()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        if resume is None:
            plan = make_plan(config or TrainConfig(), progress=progress)
            run = _begin(plan, progress)
        elif config is None:
            path = open_run(resume)
            plan = make_plan(TrainConfig.read(path / CONFIG_NAME), progress=progress)
            run = _reopen(path, plan, progress)
        else:
            raise UsageError("got config and resume; a resumed run keeps its own configuration, so pass one of the two")
        try:
            return fit(plan, run, progress, resumed=resume is not None)
        except (torch.OutOfMemoryError, RuntimeError) as err:
            if isinstance(err, torch.OutOfMemoryError) or "can't allocate memory" in str(err):
                raise MemoryLimitError(
                    f"a batch of {plan.batch_size} frames of {plan.input_shape} does not fit into the memory of {plan.device}; "
                    "use a smaller --batch-size with --accumulate, or smaller frames (--step resize:factor=2)"
                ) from err
            raise


def fit(plan: Plan, run: Run, progress: Progress, *, resumed: bool) -> Run:
    """Train the planned model in an existing run directory; errors as `train`."""
    settings = plan.config.train
    facts = machine_facts(plan.device, plan.precision)
    torch.manual_seed(settings.seed)
    model = plan.build_model()
    optimizer = make_optimizer(model, settings)
    position = Position()
    if resumed and (run.last.exists() or storage.recover_directory(run.last)):
        position, before = load_checkpoint(run.last, model, optimizer)
        for key in sorted(set(facts) | set(before)):
            if facts.get(key) != before.get(key):
                progress.note(f"{key} was {before.get(key)} and is {facts.get(key)}: the last bits of the weights will differ")

    forward: Forward = partial(_forward, model, plan)
    criterion: Criterion = get_registry().build("losses", settings.loss, class_weights=plan.class_weights())
    saved_s = time.monotonic()
    began_s = saved_s - position.elapsed_s
    log = MetricsLog(run.path, loggers=plan.config.output.loggers, keep_bytes=position.metrics_bytes, warn=progress.note)
    with log, Interrupt() as interrupt:

        def stop_if_asked(*, save: bool = True) -> None:
            if interrupt.received is not None:
                if save:
                    checkpoint()
                raise InterruptedRunError(
                    f"after step {position.step} of {plan.steps}; 'zoo train --resume {run.path}' goes on from there",
                    signal_number=interrupt.received,
                )

        def checkpoint() -> None:
            nonlocal saved_s
            position.elapsed_s = time.monotonic() - began_s
            position.metrics_bytes = log.size_bytes
            save_checkpoint(run.last, model, optimizer, position, facts)
            saved_s = time.monotonic()

        progress.begin(position.step, plan.steps)
        while position.epoch < settings.epochs:
            model.train()
            loader = _loader(plan, plan.train, epoch=position.epoch, start=position.batch, training=True)
            step = _Sums(started_s=time.monotonic())
            for batch in loader:
                images, labels = batch.images.to(plan.device), batch.labels.to(plan.device)
                first = position.batch - position.batch % plan.accumulate
                group = min(plan.accumulate, plan.batches_per_epoch - first)  # the last group of an epoch may be shorter
                logits = forward(images)
                loss = criterion(logits, labels)
                (loss / group).backward()  # type: ignore[no-untyped-call]
                step.add(loss.item(), logits, labels)
                position.batch += 1
                if position.batch - first < group:
                    continue

                if not step.loss_sum < float("inf"):
                    kept = f" The last checkpoint is {run.last}" if run.last.exists() else ""
                    raise CheckFailedError(
                        f"the loss is {step.loss} at step {position.step + 1}; lower --lr, use --clip-norm or --precision fp32, "
                        f"and look at the frames: they are {plan.input_shape[1]}x{plan.input_shape[2]} after the pipeline.{kept}"
                    )
                rate = rate_at(position.step, plan.steps, settings)
                set_rate(optimizer, rate)
                norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm).item() if settings.clip_norm else None
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                position.step += 1
                position.frames, position.correct = position.frames + step.frames, position.correct + step.correct
                position.loss_sum += step.loss_sum
                record = {"event": "step", "step": position.step, "epoch": position.epoch + 1, "lr": rate, "loss": step.loss}
                record |= {
                    "accuracy": step.accuracy,
                    "gradient_norm": norm,
                    "frames_per_s": step.frames / (time.monotonic() - step.started_s),
                }
                record |= {"elapsed_s": time.monotonic() - began_s, "memory_bytes": memory_bytes(plan.device)}
                log.append(record)
                progress.step(record)
                stop_if_asked()
                if time.monotonic() - saved_s >= CHECKPOINT_INTERVAL_S:
                    checkpoint()
                step = _Sums(started_s=time.monotonic())

            val = _validate(plan, model, forward, criterion, stop_if_asked) if plan.val else {}
            train_scores = {"train_loss": position.loss_sum / position.frames, "train_accuracy": position.correct / position.frames}
            position.epoch += 1
            position.begin_epoch()
            record = {"event": "epoch", "epoch": position.epoch, "step": position.step, **train_scores, **val}
            record |= {"elapsed_s": time.monotonic() - began_s}
            log.append(record)
            progress.epoch(record)
            if val and val["val_loss"] < position.best.get("val_loss", float("inf")):
                position.best = {"epoch": position.epoch, **val}
                save_model(run.best, model, _card(plan, position, val))
            checkpoint()
            stop_if_asked()

        # The checkpoint of the last epoch stays as it is: from here on the model is no longer what training would go on with.
        leave_if_asked = partial(stop_if_asked, save=False)
        if settings.keep == "best" and position.best:
            load_tensors_into(model, run.best / WEIGHTS_NAME)
        if has_running_statistics(model):
            with progress.stage("BatchNorm statistics", plan.batches_per_epoch * plan.batch_size) as advance:
                measure_norm_statistics(model, _clean_batches(plan, leave_if_asked, advance), forward)
        val = _validate(plan, model, forward, criterion, leave_if_asked) if plan.val else {}
        position.elapsed_s = time.monotonic() - began_s
        log.append({"event": "end", "step": position.step, "epoch": position.epoch, **val, "elapsed_s": position.elapsed_s})
    card = _card(plan, position, val)
    save_model(run.model, model, card)
    return replace(run, summary=card["training"])


def _begin(plan: Plan, progress: Progress) -> Run:
    """Make the run directory and write what is known before the first step."""
    run = Run(create_run(plan.config, model=plan.entry.name, data=plan.dataset.name), plan.label)
    storage.write_text(run.path / CONFIG_NAME, plan.config.to_toml())
    facts = machine_facts(plan.device, plan.precision)
    write_environment(run.path, plan.config, {**facts, "data": plan.data_fingerprint()})
    plan.dataset.manifest.write_csv(run.path / MANIFEST_NAME)
    progress.plan(plan, run.path)
    _fit_baselines(plan, run, progress)
    return run


def _reopen(path: Path, plan: Plan, progress: Progress) -> Run:
    """Check that a run can go on with the data that are there now."""
    run = Run(path, plan.label)
    if (run.model / CARD_NAME).is_file():
        raise UsageError(f"{path}: this run is finished; 'zoo evaluate {path}' measures it, 'zoo train -o ...' starts another")
    recorded = storage.read_json(path / ENVIRONMENT_NAME)["machine"]["data"]
    if recorded != plan.data_fingerprint():
        raise DataError(f"{path}: the frames, classes or splits of {plan.config.data.source} changed since the run began; start a new run")
    progress.plan(plan, path)
    _fit_baselines(plan, run, progress)
    return run


def _fit_baselines(plan: Plan, run: Run, progress: Progress) -> None:
    """Fit the baselines, once per run, and tell their scores on the validation frames."""
    if not plan.config.data.baselines:
        return
    stored = run.path / BASELINES_NAME
    if stored.is_file():
        scores: Mapping[str, Mapping[str, float]] = storage.read_json(stored)["val"]
    else:
        workers = plan.config.train.workers
        with progress.stage("baselines", len(plan.train) + len(plan.val)) as advance:
            baselines = fit_baselines(plan.dataset, plan.train, workers=workers, progress=advance)
            scores = baselines.score(plan.dataset, plan.val, workers=workers, progress=advance) if plan.val else {}
        storage.write_json(stored, {**baselines.to_dict(), "val": scores})
    if scores:
        progress.baselines(scores)


def _forward(model: nn.Module, plan: Plan, images: Tensor) -> Tensor:
    """Return float32 logits, computed in the plan's precision."""
    with torch.autocast(plan.device.type, dtype=torch.bfloat16, enabled=plan.precision == "bf16"):
        logits: Tensor = model(images)
    return logits.float()


def _loader(plan: Plan, rows: tuple[Row, ...], *, epoch: int = 0, start: int = 0, training: bool, shuffle: bool = True) -> Loader:
    """Return batches of ``rows``; where they are shuffled, what does not fill the last batch is left out."""
    return Loader(
        plan.dataset,
        rows,
        plan.pipeline,
        batch_size=plan.batch_size,
        seed=plan.config.train.seed,
        epoch=epoch,
        start=start,
        shuffle=shuffle,
        drop_last=shuffle,
        training=training,
        workers=plan.config.train.workers,
        shape=plan.input_shape,
    )


def _clean_batches(plan: Plan, stop_if_asked: Callable[[], None], advance: Callable[[int], None]) -> Iterator[Tensor]:
    """Yield the training frames without augmentation, shuffled so that every batch holds all classes."""
    for batch in _loader(plan, plan.train, training=False):
        stop_if_asked()
        yield batch.images.to(plan.device)
        advance(len(batch.rows))


def _validate(plan: Plan, model: nn.Module, forward: Forward, criterion: Criterion, stop_if_asked: Callable[[], None]) -> dict[str, float]:
    """Return loss, accuracy and balanced accuracy on the validation frames."""
    model.eval()
    sums = _Sums()
    right, count = torch.zeros(len(plan.dataset.labels)), torch.zeros(len(plan.dataset.labels))
    with torch.no_grad():
        for batch in _loader(plan, plan.val, training=False, shuffle=False):
            stop_if_asked()
            logits = forward(batch.images.to(plan.device))
            labels = batch.labels.to(plan.device)
            sums.add(criterion(logits, labels).item(), logits, labels)
            hit = (logits.argmax(1) == labels).cpu()
            right.index_add_(0, batch.labels, hit.float())
            count.index_add_(0, batch.labels, torch.ones(len(hit)))
    recalls = (right / count)[count > 0]
    return {"val_loss": sums.loss, "val_accuracy": sums.accuracy, "val_balanced_accuracy": recalls.mean().item()}


def _card(plan: Plan, position: Position, scores: Mapping[str, float]) -> dict[str, Any]:
    settings = plan.config.train
    training = {
        "data": plan.config.data.source,
        "frames": len(plan.train),
        "targets": len({row.target for row in plan.train}),
        "epochs": position.epoch,
        "steps": position.step,
        "kept": settings.keep if position.best else "last",
        "seed": settings.seed,
        "precision": plan.precision,
        "elapsed_s": position.elapsed_s,
        **scores,
    }
    return make_card(
        plan.entry,
        plan.options,
        input_shape=plan.input_shape,
        labels=plan.dataset.labels,
        pipeline=plan.pipeline,
        domain=plan.dataset.domain,
        products=plan.products,
        training=training,
    )


@dataclass
class _Sums:
    """Loss and hits of some frames; the loss is the mean of the batches, each weighed by its frames."""

    started_s: float = 0.0
    frames: int = 0
    correct: int = 0
    loss_sum: float = 0.0

    def add(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        self.frames += len(labels)
        self.correct += int((logits.argmax(1) == labels).sum())
        self.loss_sum += loss * len(labels)

    @property
    def loss(self) -> float:
        return self.loss_sum / self.frames

    @property
    def accuracy(self) -> float:
        return self.correct / self.frames
