"""What happens between the plan and the first step: weights are drawn or fetched, the run directory is made or opened, baselines fitted."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zoo import storage
from zoo.data.baselines import fit_baselines
from zoo.errors import DataError, InterruptedRunError, UsageError
from zoo.models import checkpoint_blocks, stream_stem
from zoo.models.directory import CARD_NAME
from zoo.models.freeze import freeze_until
from zoo.models.pretrained import PretrainedReport, load_pretrained
from zoo.training.average import WeightAverage
from zoo.training.checkpoint import load_checkpoint
from zoo.training.config import TrainConfig
from zoo.training.distributed import Ranks, take_threads
from zoo.training.memory import MemoryPlan, give_back_freed_memory
from zoo.training.metrics import MetricsLog, NoMetrics
from zoo.training.optimizer import make_optimizer
from zoo.training.plan import Plan
from zoo.training.planning import make_plan
from zoo.training.progress import Progress
from zoo.training.run import (
    BASELINES_NAME,
    CONFIG_NAME,
    ENVIRONMENT_NAME,
    MANIFEST_NAME,
    Run,
    check_place,
    create_run,
    find_run_of_job,
    machine_facts,
    open_run,
    write_environment,
)
from zoo.training.shared_norm import share_norm_statistics
from zoo.training.state import Position, TrainingState

_ORIGIN = ("source", "sha256", "licence", "trained_on")  # of pretrained weights, in the card


def open_training(
    config: TrainConfig | None, resume: str | os.PathLike[str] | None, ranks: Ranks, progress: Progress
) -> tuple[Plan, Run, TrainingState]:
    """Settle what will be trained, make or open its run directory, which only rank 0 writes to, and build the state to go on from.

    Processes that a launcher started again after a failure go on with the run that they began. Errors as `zoo.training.train`.
    """
    if config is not None and resume is not None:
        raise UsageError("got config and resume; a resumed run keeps its own configuration, so pass one of the two")
    if resume is None and ranks.launch.restarts:
        resume = ranks.only_first(lambda: find_run_of_job(config or TrainConfig(), ranks.launch.job)) or None
    if resume is None:
        settings = config or TrainConfig()
        ranks.first(lambda: check_place(settings) if ranks.writes else None)  # before data are made or read
        plan = _plan(settings, ranks, progress)
        begun = ranks.first(lambda: begin_run(plan, progress) if ranks.writes else None)
        path = Path(ranks.only_first(lambda: str(begun[0].path) if begun else ""))
        run, state = begun or (Run(path, plan.label), _build_state(plan, progress, pretrained=False)[0])
    else:
        path = open_run(resume)
        plan = _plan(TrainConfig.read(path / CONFIG_NAME), ranks, progress, memory=MemoryPlan.read(path))
        run, state = ranks.first(lambda: reopen_run(path, plan, progress))
    for model in dict.fromkeys((state.model, state.evaluated)):  # in the same order everywhere; the two may be one
        ranks.copy_from_first(model)
    return plan, run, state


def _plan(config: TrainConfig, ranks: Ranks, progress: Progress, memory: MemoryPlan | None = None) -> Plan:
    """Return the plan, made by rank 0 before the others, for whom the data are there then."""
    plan = ranks.first(lambda: make_plan(config, progress=progress, ranks=ranks, memory=memory))
    if plan.memory and plan.device.type == "cpu":
        give_back_freed_memory()
    if plan.device.type == "cpu" and (threads := take_threads(ranks.launch)):
        progress.note(f"{threads} threads in each of {ranks.launch.local_size} processes; OMP_NUM_THREADS other than 1 chooses")
    return plan


def begin_run(plan: Plan, progress: Progress) -> tuple[Run, TrainingState]:
    """Draw or fetch the weights, make the run directory, and write what is known before the first step.

    Raises:
        UsageError, StorageError: as `create_run`. NetworkError, WeightsError, UnknownNameError: as `load_pretrained`; then there is no
            directory yet.
    """
    state, report = _build_state(plan, progress)
    facts = machine_facts(plan.device, plan.precision, plan.ranks.size) | {"data": plan.data_fingerprint()}
    run = Run(create_run(plan.config, model=plan.entry.name, data=plan.dataset.name), plan.label, pretrained=_origin(report))
    origin = dataclasses.asdict(report) if report else None
    write_environment(run.path, plan.config, facts, pretrained=origin, job=plan.ranks.launch.job)
    storage.write_text(run.path / CONFIG_NAME, plan.config.to_toml())
    if plan.memory:
        plan.memory.write(run.path)
    plan.dataset.manifest.write_csv(run.path / MANIFEST_NAME)
    progress.plan(plan, run.path)
    if report:
        progress.pretrained(report)
    _fit_baselines(plan, run, progress)
    return run, state


def reopen_run(path: Path, plan: Plan, progress: Progress) -> tuple[Run, TrainingState]:
    """Check that a run can go on with the data that are there now, and put its last checkpoint into the state.

    Raises:
        UsageError: the run is finished. DataError: the data or the pretrained weights changed. StorageError: as `load_checkpoint`.
    """
    environment = storage.read_json(path / ENVIRONMENT_NAME)
    origin = environment.get("pretrained") or {}
    run = Run(path, plan.label, pretrained={key: origin[key] for key in _ORIGIN if key in origin})
    if (run.model / CARD_NAME).is_file():
        raise UsageError(f"{path}: this run is finished; 'zoo evaluate {path}' measures it, 'zoo train -o ...' starts another")
    if environment["machine"]["data"] != plan.data_fingerprint():
        raise DataError(f"{path}: the frames, classes or splits of {plan.config.data.source} changed since the run began; start a new run")
    if run.last.exists() or storage.recover_directory(run.last):
        state, _ = _build_state(plan, progress, pretrained=False)
        _restore(plan, run, state, progress)
    else:
        state, report = _build_state(plan, progress)
        if _origin(report) != run.pretrained:
            raise DataError(f"{path}: the weights {plan.config.model.pretrained} changed since the run began; start a new run")
    progress.plan(plan, path)
    _fit_baselines(plan, run, progress)
    return run, state


def _build_state(plan: Plan, progress: Progress, *, pretrained: bool = True) -> tuple[TrainingState, PretrainedReport | None]:
    """Return the state before the first step; without ``pretrained`` the weights are left as drawn, for a checkpoint to replace."""
    settings, wanted = plan.config.train, plan.config.model
    torch.manual_seed(settings.seed)
    model = plan.build_model()
    report = None
    if wanted.pretrained and pretrained:
        report = load_pretrained(model, wanted.pretrained, entry=plan.entry, progress=progress.fetched)
    if settings.stream:
        stream_stem(model, pools=True)
    if settings.recompute:
        checkpoint_blocks(model)  # after the stem, which is found in the plain network
    if plan.ranks.size > 1:
        share_norm_statistics(model)
    frozen = freeze_until(model, wanted.freeze_until) if wanted.freeze_until else None
    scaler = torch.amp.GradScaler(plan.device.type, enabled=plan.precision == "fp16")
    average = WeightAverage(model, settings.ema) if settings.ema else None
    return TrainingState(model, make_optimizer(model, settings), scaler, average, frozen), report


def _restore(plan: Plan, run: Run, state: TrainingState, progress: Progress) -> None:
    """Put the last checkpoint into the state; note where the machine differs from the one that wrote it."""
    facts, before = machine_facts(plan.device, plan.precision, plan.ranks.size), load_checkpoint(run.last, state)
    for key in sorted(set(facts) | set(before)):
        if facts.get(key) != before.get(key):
            progress.note(f"{key} was {before.get(key)} and is {facts.get(key)}: the last bits of the weights will differ")


def _origin(report: PretrainedReport | None) -> dict[str, Any]:
    """Return what a card says of the weights that a run began with; empty for new ones."""
    return {key: getattr(report, key) for key in _ORIGIN} if report else {}


def open_metrics(plan: Plan, run: Run, position: Position, progress: Progress) -> MetricsLog | NoMetrics:
    """Return ``metrics.jsonl`` of the run, cut back to ``position``, for the process that writes it."""
    if not plan.ranks.writes:
        return NoMetrics()
    return MetricsLog(run.path, loggers=plan.config.output.loggers, keep_bytes=position.metrics_bytes, warn=progress.note)


def _fit_baselines(plan: Plan, run: Run, progress: Progress) -> None:
    """Fit the baselines, once per run, and tell their scores on the validation frames."""
    if not plan.config.data.baselines:
        return
    stored = run.path / BASELINES_NAME
    if stored.is_file():
        scores: Mapping[str, Mapping[str, float]] = storage.read_json(stored)["val"]
    else:
        workers = plan.config.train.workers
        try:
            with progress.stage("baselines", len(plan.train) + len(plan.val)) as advance:
                baselines = fit_baselines(plan.dataset, plan.train, workers=workers, progress=advance)
                scores = baselines.score(plan.dataset, plan.val, workers=workers, progress=advance) if plan.val else {}
        except KeyboardInterrupt:  # the step loop takes signals later; the run directory is there already
            where = f"while the baselines were fitted; 'zoo train --resume {run.path}' goes on from there"
            raise InterruptedRunError(where, signal_number=signal.SIGINT) from None
        storage.write_json(stored, {**baselines.to_dict(), "val": scores})
    if scores:
        progress.baselines(scores)
