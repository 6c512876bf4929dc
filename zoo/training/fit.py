"""Training, from the first line to the last: what a run does can be read here from top to bottom."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import nn

from zoo import storage
from zoo.errors import CheckFailedError, InterruptedRunError, MemoryLimitError, UsageError
from zoo.models.directory import save_model
from zoo.registry import get_registry
from zoo.training.batches import training_batches
from zoo.training.checkpoint import load_checkpoint, save_checkpoint
from zoo.training.config import TrainConfig
from zoo.training.device import memory_bytes
from zoo.training.finish import finish_model, training_card
from zoo.training.interrupt import Interrupt
from zoo.training.metrics import MetricsLog
from zoo.training.opening import begin_run, reopen_run
from zoo.training.optimizer import make_optimizer, rate_at, set_rate
from zoo.training.plan import Plan, make_plan
from zoo.training.progress import Progress
from zoo.training.run import CONFIG_NAME, Run, machine_facts, open_run
from zoo.training.scores import Criterion, Sums, forward, validate
from zoo.training.state import TrainingState

CHECKPOINT_INTERVAL_S = 300.0


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
            run = begin_run(plan, progress)
        elif config is None:
            path = open_run(resume)
            plan = make_plan(TrainConfig.read(path / CONFIG_NAME), progress=progress)
            run = reopen_run(path, plan, progress)
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
    state = TrainingState(model, make_optimizer(model, settings))
    if resumed and (run.last.exists() or storage.recover_directory(run.last)):
        before = load_checkpoint(run.last, state)
        for key in sorted(set(facts) | set(before)):
            if facts.get(key) != before.get(key):
                progress.note(f"{key} was {before.get(key)} and is {facts.get(key)}: the last bits of the weights will differ")

    position = state.position
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
            save_checkpoint(run.last, state, facts)
            saved_s = time.monotonic()

        progress.begin(position.step, plan.steps)
        while position.epoch < settings.epochs:
            model.train()
            batches = iter(training_batches(plan, epoch=position.epoch, start=position.batch))
            for size in plan.group_sizes(position.batch):  # batches whose mean gradient makes one optimizer step
                group = Sums(started_s=time.monotonic())
                for batch in islice(batches, size):
                    images, labels = batch.images.to(plan.device), batch.labels.to(plan.device)
                    logits = forward(plan, model, images)
                    loss = criterion(logits, labels)
                    (loss / size).backward()  # type: ignore[no-untyped-call]
                    group.add(loss.item(), logits, labels)

                if not group.loss_sum < float("inf"):
                    kept = f" The last checkpoint is {run.last}" if run.last.exists() else ""
                    raise CheckFailedError(
                        f"the loss is {group.loss} at step {position.step + 1}; lower --lr, use --clip-norm or --precision fp32, "
                        f"and look at the frames: they are {plan.input_shape[1]}x{plan.input_shape[2]} after the pipeline.{kept}"
                    )
                rate = rate_at(position.step, plan.steps, settings)
                set_rate(state.optimizer, rate)
                norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm).item() if settings.clip_norm else None
                state.optimizer.step()
                state.optimizer.zero_grad(set_to_none=True)

                position.step, position.batch = position.step + 1, position.batch + size
                position.frames, position.correct = position.frames + group.frames, position.correct + group.correct
                position.loss_sum += group.loss_sum
                now_s = time.monotonic()
                record = {"event": "step", "step": position.step, "epoch": position.epoch + 1, "lr": rate, "loss": group.loss}
                record |= {"accuracy": group.accuracy, "gradient_norm": norm, "frames_per_s": group.frames / (now_s - group.started_s)}
                record |= {"elapsed_s": now_s - began_s, "memory_bytes": memory_bytes(plan.device)}
                log.append(record)
                progress.step(record)
                stop_if_asked()
                if now_s - saved_s >= CHECKPOINT_INTERVAL_S:
                    checkpoint()

            val = validate(plan, model, criterion, stop_if_asked)
            record = {"train_loss": position.loss_sum / position.frames, "train_accuracy": position.correct / position.frames, **val}
            position.epoch += 1
            position.begin_epoch()
            record = {"event": "epoch", "epoch": position.epoch, "step": position.step, **record, "elapsed_s": time.monotonic() - began_s}
            log.append(record)
            progress.epoch(record)
            if val and val["val_loss"] < position.best.get("val_loss", float("inf")):
                position.best = {"epoch": position.epoch, **val}
                save_model(run.best, model, training_card(plan, position, val))
            checkpoint()
            stop_if_asked()

        # The checkpoint of the last epoch stays as it is: from here on the model is no longer what training would go on with.
        val = finish_model(plan, run, state, criterion, progress, partial(stop_if_asked, save=False))
        position.elapsed_s = time.monotonic() - began_s
        log.append({"event": "end", "step": position.step, "epoch": position.epoch, **val, "elapsed_s": position.elapsed_s})
    card = training_card(plan, position, val)
    save_model(run.model, model, card)
    return replace(run, summary=card["training"])
