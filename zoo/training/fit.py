"""Training, from the first line to the last: what a run does can be read here from top to bottom."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from zoo.errors import InterruptedRunError, MemoryLimitError, UsageError
from zoo.models.directory import save_model
from zoo.training.batches import training_batches
from zoo.training.checkpoint import save_checkpoint
from zoo.training.config import TrainConfig
from zoo.training.device import memory_bytes
from zoo.training.finish import finish_model, training_card
from zoo.training.guard import LIMIT, frame_names, stop_error, target_names
from zoo.training.interrupt import Interrupt
from zoo.training.metrics import MetricsLog
from zoo.training.opening import begin_run, reopen_run
from zoo.training.optimizer import rate_at, set_rate
from zoo.training.plan import Plan, make_plan
from zoo.training.progress import Progress
from zoo.training.run import CONFIG_NAME, Run, machine_facts, open_run
from zoo.training.scores import validate
from zoo.training.state import TrainingState
from zoo.training.step import StepResult, take_step

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
        CheckFailedError: three steps in a row had a loss or gradient that is not finite. MemoryLimitError: a batch does not fit.
            StorageError: the run cannot be written, or is there already. NetworkError, WeightsError: as `zoo.models.load_pretrained`.
            DataError, UsageError, InputShapeError, UnknownNameError, PluginError: as `zoo.training.make_plan`.

    Example: >>> run = zoo.train(zoo.TrainConfig.from_mapping({"train": {"epochs": 3}})); zoo.load(run.path)
    """
    progress = progress or Progress()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        if resume is None:
            plan = make_plan(config or TrainConfig(), progress=progress)
            run, state = begin_run(plan, progress)
        elif config is None:
            path = open_run(resume)
            plan = make_plan(TrainConfig.read(path / CONFIG_NAME), progress=progress)
            run, state = reopen_run(path, plan, progress)
        else:
            raise UsageError("got config and resume; a resumed run keeps its own configuration, so pass one of the two")
        try:
            return fit(plan, run, state, progress)
        except (torch.OutOfMemoryError, RuntimeError) as err:
            if isinstance(err, torch.OutOfMemoryError) or "can't allocate memory" in str(err):
                raise MemoryLimitError(
                    f"a batch of {plan.batch_size} frames of {plan.input_shape} does not fit into the memory of {plan.device}; "
                    "use a smaller --batch-size with --accumulate, or smaller frames (--step resize:factor=2)"
                ) from err
            raise


def fit(plan: Plan, run: Run, state: TrainingState, progress: Progress) -> Run:
    """Train the planned model from ``state`` on, in its run directory; errors as `train`."""
    settings, position = plan.config.train, state.position
    criterion = plan.build_criterion()
    facts = machine_facts(plan.device, plan.precision)
    patience = settings.patience if plan.val else 0
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
        while position.epoch < settings.epochs and not position.is_stale(patience):
            state.train()
            batches = iter(training_batches(plan, epoch=position.epoch, start=position.batch))
            for size in plan.group_sizes(position.batch):
                rate = rate_at(position.step, plan.steps, settings)
                set_rate(state.optimizer, rate)
                result = take_step(plan, state, criterion, batches, size)
                if result.fault is None:
                    position.end_step(size, result.sums)
                else:
                    position.skip_step(size, overflow=result.fault.overflow)
                record = _record(plan, state, result, rate) | {"elapsed_s": time.monotonic() - began_s}
                log.append(record)
                if result.fault is None:
                    progress.step(record)
                else:
                    progress.skipped(record, str(result.fault))
                    if position.skipped_in_a_row == LIMIT:
                        raise stop_error(result.fault, step=position.step, checkpoint=run.last)
                stop_if_asked()
                if time.monotonic() - saved_s >= CHECKPOINT_INTERVAL_S:
                    checkpoint()

            val = validate(plan, state.evaluated, criterion, progress, stop_if_asked)
            scores = {**position.means(), **val}
            position.end_epoch()
            record = {"event": "epoch", "epoch": position.epoch, "step": position.step, "skipped_steps": position.skipped, **scores}
            record |= {"elapsed_s": time.monotonic() - began_s}
            log.append(record)
            progress.epoch(record)
            if val and val["val_loss"] < position.best.get("val_loss", float("inf")):
                position.best = {"epoch": position.epoch, **val}
                save_model(run.best, state.evaluated, training_card(plan, run, position, val))
            checkpoint()
            stop_if_asked()

        if position.epoch < settings.epochs:
            best = f"of {position.best['val_loss']:.4g} in epoch {position.best['epoch']}" if position.best else "(none was finite)"
            progress.note(f"stopped after epoch {position.epoch}: none of the last {patience} lowered the validation loss {best}")
        if position.skipped:
            progress.note(f"{position.skipped} of {position.step} optimizer steps were left out; metrics.jsonl says which and why")
        # The checkpoint of the last epoch stays as it is: from here on the model is no longer what training would go on with.
        val = finish_model(plan, run, state, criterion, progress, partial(stop_if_asked, save=False))
        position.elapsed_s = time.monotonic() - began_s
        log.append({"event": "end", "step": position.step, "epoch": position.epoch, **val, "elapsed_s": position.elapsed_s})
    card = training_card(plan, run, position, val)
    save_model(run.model, state.evaluated, card)
    return replace(run, summary=card["training"])


def _record(plan: Plan, state: TrainingState, result: StepResult, rate: float) -> dict[str, Any]:
    """Return the line of ``metrics.jsonl`` for a step that was just counted."""
    where = {"step": state.position.step, "epoch": state.position.epoch + 1, "lr": rate}
    if result.fault:
        rows = result.fault.rows
        names = {"frames": frame_names(rows), "targets": target_names(rows), "skipped_steps": state.position.skipped}
        return {"event": "skipped", **where, "reason": result.fault.reason, **names}
    record = {"event": "step", **where, "loss": result.sums.loss, "accuracy": result.sums.accuracy, "gradient_norm": result.norm}
    if state.scaler.is_enabled():
        record["loss_scale"] = state.scaler.get_scale()
    return record | {"frames_per_s": result.sums.frames / result.elapsed_s, "memory_bytes": memory_bytes(plan.device)}
