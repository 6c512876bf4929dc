"""What stands behind an accuracy: how it falls as frames get worse, and what the errors have in common."""

from __future__ import annotations

import time
from collections.abc import Callable

from zoo.data import DataSet
from zoo.evaluation.result import Evaluation
from zoo.explaining import explain_errors
from zoo.reproduction.folder import RUNS, Folder, digest
from zoo.reproduction.progress import Progress
from zoo.reproduction.recipe import Insight, Network
from zoo.reproduction.work import Done, Machine, run_name
from zoo.robustness import measure_robustness

Evaluate = Callable[[], Evaluation]
"""Gives the evaluation of a network on the test set; it is made again where it is not at hand."""


def degrade_frames(
    folder: Folder,
    network: Network,
    insight: Insight,
    data: DataSet,
    weights: str,
    evaluated: Evaluate,
    machine: Machine,
    progress: Progress,
) -> Done:
    """Measure one network on frames that are made worse, or find that done. Raises: as `zoo.robustness.measure_robustness`."""
    depends = {"weights": weights, "rows": data.manifest.fingerprint(), "levels": dict(insight.levels), "frames": insight.frames}

    def work() -> str:
        evaluation = evaluated()
        measure_robustness(
            folder.run(run_name(network, 0)),
            axes=list(insight.levels) or None,
            levels=insight.levels or None,
            frames=insight.frames or None,
            evaluation=evaluation,
            device=machine.device,
            precision=machine.precision,
            workers=machine.workers,
            progress=progress.work,
        )
        return _name(evaluation)

    return _once(folder, f"robustness-{network.key}", "robustness", network, {**depends, "precision": machine.precision}, work)


def explain_network(
    folder: Folder,
    network: Network,
    insight: Insight,
    data: DataSet,
    weights: str,
    evaluated: Evaluate,
    machine: Machine,
    progress: Progress,
) -> Done:
    """Look for what the errors of one network have in common, or find that done. Raises: as `zoo.explaining.explain_errors`."""
    depends = {"weights": weights, "rows": data.manifest.fingerprint(), "worst": insight.worst, "precision": machine.precision}

    def work() -> str:
        evaluation = evaluated()
        explain_errors(
            folder.run(run_name(network, 0)),
            evaluation,
            worst=insight.worst,
            device=machine.device,
            precision=machine.precision,
            workers=machine.workers,
            progress=progress.work,
        )
        return _name(evaluation)

    return _once(folder, f"errors-{network.key}", "explanations", network, depends, work)


def _name(evaluation: Evaluation) -> str:
    assert evaluation.path is not None
    return evaluation.path.name


def _once(folder: Folder, part: str, place: str, network: Network, depends: dict[str, object], work: Callable[[], str]) -> Done:
    """Do a part that leaves a folder in ``place`` of the run, unless that is there."""
    key = digest(depends)
    record = folder.read(part, key)
    if record is not None and (folder.path / record["folder"]).is_dir():
        return Done(record, record["seconds"], found=True)
    began = time.monotonic()
    name = work()
    record = {"seconds": time.monotonic() - began, "folder": f"{RUNS}/{run_name(network, 0)}/{place}/{name}"}
    folder.write(part, key, record)
    return Done(record, record["seconds"], found=False)
