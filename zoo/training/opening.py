"""What happens between the plan and the first step: the run directory is made or opened again, the baselines are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zoo import storage
from zoo.data.baselines import fit_baselines
from zoo.errors import DataError, UsageError
from zoo.models.directory import CARD_NAME
from zoo.training.plan import Plan
from zoo.training.progress import Progress
from zoo.training.run import BASELINES_NAME, CONFIG_NAME, ENVIRONMENT_NAME, MANIFEST_NAME, Run, create_run, machine_facts, write_environment


def begin_run(plan: Plan, progress: Progress) -> Run:
    """Make the run directory and write what is known before the first step. Raises: StorageError, as `create_run`."""
    run = Run(create_run(plan.config, model=plan.entry.name, data=plan.dataset.name), plan.label)
    storage.write_text(run.path / CONFIG_NAME, plan.config.to_toml())
    facts = machine_facts(plan.device, plan.precision)
    write_environment(run.path, plan.config, {**facts, "data": plan.data_fingerprint()})
    plan.dataset.manifest.write_csv(run.path / MANIFEST_NAME)
    progress.plan(plan, run.path)
    _fit_baselines(plan, run, progress)
    return run


def reopen_run(path: Path, plan: Plan, progress: Progress) -> Run:
    """Check that a run can go on with the data that are there now. Raises: UsageError: it is finished. DataError: the data changed."""
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
