"""Training, from the first line to the last: what a run does can be read here from top to bottom."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from zoo.errors import InterruptedRunError, MemoryLimitError
from zoo.models.directory import save_model
from zoo.training.batches import TrainingBatches
from zoo.training.checkpoint import save_checkpoint
from zoo.training.config import TrainConfig
from zoo.training.device import is_out_of_memory, memory_bytes
from zoo.training.distributed import join
from zoo.training.finish import finish_model, learn_of_model, training_card
from zoo.training.guard import LIMIT, frame_names, stop_error, target_names
from zoo.training.interrupt import Interrupt
from zoo.training.launch import Launch
from zoo.training.metrics import MetricsLog, NoMetrics
from zoo.training.opening import open_metrics, open_training
from zoo.training.optimizer import rate_at, set_rate
from zoo.training.plan import Plan
from zoo.training.progress import Progress
from zoo.training.run import Run, machine_facts
from zoo.training.scores import Outputs, validate
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
            StorageError: the run cannot be written. NetworkError, WeightsError: as `zoo.models.load_pretrained`.
            PeerError: another process failed. UsageError: a run is there already, or as `zoo.training.make_plan`. DataError,
            InputShapeError, UnknownNameError, PluginError: as `zoo.training.make_plan`.

    Example: >>> run = zoo.train(zoo.TrainConfig.from_mapping({"train": {"epochs": 3}})); zoo.load(run.path)
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    deterministic = torch.backends.cudnn.flags(enabled=True, deterministic=True)
    with torch.random.fork_rng(devices=devices), deterministic, join(Launch.from_environment()) as ranks:
        progress = progress if progress and ranks.writes else Progress()
        plan, run, state = open_training(config, resume, ranks, progress)
        try:
            return fit(plan, run, state, progress)
        except (RuntimeError, MemoryError) as err:
            if is_out_of_memory(err):
                raise MemoryLimitError(
                    f"a batch of {plan.batch_size} frames of {plan.input_shape} does not fit into the memory of {plan.device}; "
                    "let --fit auto choose, use a smaller --batch-size with --accumulate, or smaller frames (--step resize:factor=2)"
                ) from err
            raise


def fit(plan: Plan, run: Run, state: TrainingState, progress: Progress) -> Run:
    """Train the planned model from ``state`` on, in its run directory; errors as `train`."""
    settings, position, ranks = plan.config.train, state.position, plan.ranks
    criterion = plan.build_criterion()
    facts = machine_facts(plan.device, plan.precision, ranks.size)
    patience = settings.patience if plan.val else 0
    saved_s = time.monotonic()
    began_s = saved_s - position.elapsed_s
    log = open_metrics(plan, run, position, progress)
    with log, Interrupt(launched=ranks.size > 1) as interrupt:

        def stop_if_asked(*, save: bool = True) -> None:
            if number := ranks.highest(interrupt.received or 0):  # all processes stop after the same step
                if save:
                    checkpoint()
                    ranks.highest(0)  # a process that ends makes the launcher end the others, so they wait for the one that writes
                raise InterruptedRunError(
                    f"after step {position.step} of {plan.steps}; 'zoo train --resume {run.path}' goes on from there", signal_number=number
                )

        def checkpoint() -> None:
            nonlocal saved_s
            if not ranks.writes:
                return
            position.elapsed_s = time.monotonic() - began_s
            position.metrics_bytes = log.sync()
            save_checkpoint(run.last, state, facts)
            saved_s = time.monotonic()

        progress.begin(position.step, plan.steps)
        while position.epoch < settings.epochs and not position.is_stale(patience):
            state.train()
            batches = TrainingBatches(plan, epoch=position.epoch)
            for size in plan.group_sizes(position.batch):
                rate = rate_at(position.step, plan.steps, settings)
                set_rate(state.optimizer, rate)
                result = take_step(plan, state, criterion, batches, size)
                if result.restarts:
                    _tell_restarts(plan, run, result, log, progress)
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
                if ranks.writes:
                    save_model(run.best, state.evaluated, training_card(plan, run, position, val))
            checkpoint()
            stop_if_asked()

        if position.epoch < settings.epochs:
            best = f"of {position.best['val_loss']:.4g} in epoch {position.best['epoch']}" if position.best else "(none was finite)"
            progress.note(f"stopped after epoch {position.epoch}: none of the last {patience} lowered the validation loss {best}")
        if position.skipped:
            progress.note(f"{position.skipped} of {position.step} optimizer steps were left out; metrics.jsonl says which and why")
        # The checkpoint of the last epoch stays as it is: from here on the model is no longer what training would go on with.
        outputs = Outputs()
        val = finish_model(plan, run, state, criterion, progress, partial(stop_if_asked, save=False), outputs)
        position.elapsed_s = time.monotonic() - began_s
        log.append({"event": "end", "step": position.step, "epoch": position.epoch, **val, "elapsed_s": position.elapsed_s})
    card = training_card(plan, run, position, val)
    if ranks.writes:
        save_model(run.model, state.evaluated, card, extras=learn_of_model(plan, outputs, progress))
    return replace(run, summary=card["training"])


def _tell_restarts(plan: Plan, run: Run, result: StepResult, log: MetricsLog | NoMetrics, progress: Progress) -> None:
    """Write down that memory ran out, and what is done about it from now on."""
    assert plan.memory is not None
    plan.memory.write(run.path)
    for entry in plan.memory.history[-result.restarts :]:
        log.append({"event": "out-of-memory", **entry})
        progress.note(
            f"memory ran out in step {entry['step']}, which began again with {entry['micro_batch']} instead of "
            f"{entry['micro_batch_before']} frames at once, which BatchNorm sees; this run cannot be repeated bit by bit"
        )


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
