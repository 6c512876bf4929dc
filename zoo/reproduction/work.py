"""The parts of a reproduction: a training, an evaluation, the figures of cost. Each is done once, and known again by what it depends on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zoo
from zoo import storage
from zoo.data import DataSet
from zoo.errors import CheckFailedError, InterruptedRunError, UsageError
from zoo.evaluation import evaluate
from zoo.evaluation.result import Evaluation
from zoo.evaluation.stored import EVALUATIONS_FOLDER
from zoo.models.places import CARD_NAME, MODEL_FOLDER, model_hash
from zoo.profiling import profile
from zoo.profiling.estimate import estimate
from zoo.profiling.machine import processor_name, usable_cores
from zoo.reproduction.folder import RUNS, Folder, digest
from zoo.reproduction.progress import Progress
from zoo.reproduction.recipe import Network, Recipe, TestSet
from zoo.training import TrainConfig, train
from zoo.training.run import CONFIG_NAME, ENVIRONMENT_NAME, MANIFEST_NAME, machine_facts, source_commit

# Keys of a configuration on which no weight depends.
_ELSEWHERE = {"data": ("root", "frame_cache", "baselines"), "train": ("workers",), "output": ("path", "force", "loggers")}
MOST_SEEN = 5  # targets named in a message


@dataclass(frozen=True)
class Machine:
    """Where and how the parts run: ``device``, ``precision`` of evaluation, threads that read frames, and memory for training."""

    device: str
    precision: str
    workers: int
    fit: str | None = None


@dataclass(frozen=True)
class Done:
    """A finished part: its record, how long it took when it was done, and whether it was there already."""

    record: Mapping[str, Any]
    seconds: float
    found: bool


def run_name(network: Network, seed: int) -> str:
    """Name of the folder of one training."""
    return f"{network.key}-seed{seed}"


def train_network(folder: Folder, recipe: Recipe, network: Network, seed: int, data: DataSet, machine: Machine, progress: Progress) -> Done:
    """Train one network, go on with its training, or find it finished.

    The checkpoints of a finished run are removed: they hold up to five times its weights, and nothing would go on from them.

    Raises:
        UsageError: a run of another recipe is there. InterruptedRunError: as `zoo.train`. What else `zoo.train` raises.
    """
    name = run_name(network, seed)
    part, path = f"train-{name}", folder.run(name)
    config = recipe.config(network, seed, path, device=machine.device, workers=machine.workers, fit=machine.fit)
    rows = data.manifest.fingerprint()
    key = digest({"config": _weights_of(config), "rows": rows})
    record = folder.read(part, key)
    if record is not None and _is_finished(path, record):
        return Done(record, record["seconds"], found=True)
    if record is None and folder.has(part) and not folder.force:
        raise UsageError(
            f"{path}: got a run of another recipe, device or list of frames; choose another --output, or replace it with --force"
        )
    began, before = time.monotonic(), 0.0 if record is None else record["seconds"]
    begun = record is not None and all((path / file).is_file() for file in (CONFIG_NAME, ENVIRONMENT_NAME, MANIFEST_NAME))
    if not begun:
        shutil.rmtree(path, ignore_errors=True)
    folder.write(part, key, {"seconds": before})
    if not (begun and (path / MODEL_FOLDER / CARD_NAME).is_file()):  # else it was stopped just after its last step
        try:
            with progress.training() as told:
                train(None if begun else config, resume=path if begun else None, progress=told)
        except InterruptedRunError as err:
            folder.write(part, key, {"seconds": before + time.monotonic() - began})
            words = f"while {network.key} was trained; the same command goes on from there"
            raise InterruptedRunError(words, signal_number=err.exit_code - 128) from err
    environment = storage.read_json(path / ENVIRONMENT_NAME)
    record = {
        "seconds": before + time.monotonic() - began,
        "weights": model_hash(path / MODEL_FOLDER),
        "rows": rows,
        "config": _weights_of(TrainConfig.read(path / CONFIG_NAME)),
        "training": storage.read_json(path / MODEL_FOLDER / CARD_NAME)["training"],
        "made_by": {name: environment[name] for name in ("zoo", "commit", "python", "versions", "machine")},
    }
    folder.write(part, key, record)
    shutil.rmtree(path / "checkpoints", ignore_errors=True)
    return Done(record, record["seconds"], found=False)


def _weights_of(config: TrainConfig) -> dict[str, Any]:
    """The settings without those on which no weight depends."""
    return {
        table: {key: value for key, value in values.items() if key not in _ELSEWHERE.get(table, ())}
        if isinstance(values, Mapping)
        else values
        for table, values in config.to_mapping().items()
    }


def _is_finished(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a run holds the whole model that its record names."""
    model = path / MODEL_FOLDER
    if "weights" not in record or not (model / CARD_NAME).is_file():
        return False
    storage.verify_directory(model)
    return bool(model_hash(model) == record["weights"])


def evaluate_network(folder: Folder, network: Network, seed: int, data: DataSet, machine: Machine, progress: Progress) -> Evaluation:
    """Evaluate one run on the test frames of a set, and store the result in the run.

    Raises:
        CheckFailedError: the run was trained on a target of the set. DataError: no frame of the set can be read.
    """
    result = evaluate(
        folder.run(run_name(network, seed)),
        data,
        split="test",
        precision=machine.precision,
        device=machine.device,
        workers=machine.workers,
        progress=progress.work,
        notify=progress.note,
    )
    _check_unseen(result, network)
    return result


def measure_network(
    folder: Folder,
    network: Network,
    seed: int,
    test: TestSet,
    data: DataSet,
    weights: str,
    machine: Machine,
    evaluated: Callable[[], Evaluation],
) -> Done:
    """Evaluate one run on one set, or find that done.

    Args:
        evaluated: gives the evaluation, as `evaluate_network`, where there is none.
    """
    name = run_name(network, seed)
    rows = data.manifest.fingerprint()
    key = digest({"weights": weights, "rows": rows, "steps": test.steps, "precision": machine.precision})
    record = folder.read(f"{test.key}-{name}", key)
    if record is not None and (place := folder.path / record["evaluation"]).is_dir():
        storage.verify_directory(place)
        return Done(record, record["seconds"], found=True)
    began = time.monotonic()
    result = evaluated()
    assert result.path is not None
    record = {
        "seconds": time.monotonic() - began,
        "evaluation": f"{RUNS}/{name}/{EVALUATIONS_FOLDER}/{result.path.name}",
        "weights": weights,
        "rows": rows,
        "made_by": _versions(),
    }
    folder.write(f"{test.key}-{name}", key, record)
    return Done(record, record["seconds"], found=False)


def _check_unseen(result: Evaluation, network: Network) -> None:
    """A reproduction whose test frames show targets of the training would measure memory."""
    if result.seen:
        names = ", ".join(result.seen[:MOST_SEEN]) + (f" and {len(result.seen) - MOST_SEEN} more" if len(result.seen) > MOST_SEEN else "")
        raise CheckFailedError(
            f"{network.key}: got {len(result.seen)} targets of {result.data} that were trained on ({names}), expected none; "
            "take them out of the list that is trained on, as 'zoo data build --exclude' does"
        )


def measure_cost(folder: Folder, network: Network, budget_s: float, weights: str, machine: Machine, progress: Progress) -> Done:
    """Count, predict and measure what a network costs at the size at which it was trained; memory is predicted, without a run.

    What cannot be had is ``None`` and has its reason in ``notes``.
    """
    run = folder.run(run_name(network, 0))
    config = TrainConfig.read(run / CONFIG_NAME)
    settings = config.train
    key = digest({"weights": weights, "machine": _hardware(machine), "budget_s": budget_s, "zoo": zoo.__version__})
    record = folder.read(f"cost-{network.key}", key)
    if record is not None:
        return Done(record, record["seconds"], found=True)
    began = time.monotonic()
    where = "cuda" if machine.device.startswith("cuda") else "cpu"
    shared: dict[str, Any] = {"device": where, "precision": machine.precision}
    step: dict[str, Any] = {
        "batch": settings.batch_size or 1,
        "optimizer": settings.optimizer or "adamw",
        "ema": bool(settings.ema),
        "stream": bool(settings.stream),
        "recompute": bool(settings.recompute),
    }
    infer = estimate([run], **shared).models[0]
    training = estimate([run], train=True, **shared, **step).models[0]
    measured = profile(
        [run], mode="infer", precision=machine.precision, device=machine.device, budget=budget_s, frames="none", progress=progress.note
    )
    told = measured.models[0].step("infer")
    median = told.percentile(50)
    record = {
        "input_shape": list(infer.input_shape),
        "parameters": infer.parameters,
        "macs": infer.macs,
        "infer_bytes": infer.peak_bytes,
        "train_bytes": training.peak_bytes,
        "batch": step["batch"],
        "time_s": median.value_s,
        "samples": len(told.samples_s),
        "notes": [f"{network.key}: {text}" for text in (infer.note, training.note, told.note, told.cut) if text],
        "precision": machine.precision,
        "machine": _hardware(machine),
        "seconds": time.monotonic() - began,
        "weights": weights,
        "made_by": _versions(),
    }
    folder.write(f"cost-{network.key}", key, record)
    return Done(record, record["seconds"], found=False)


def _versions() -> dict[str, Any]:
    """What made a result."""
    import torch

    return {"zoo": zoo.__version__, "commit": source_commit(), "versions": {"torch": torch.__version__}}


def _hardware(machine: Machine) -> dict[str, Any]:
    """What a latency depends on."""
    from zoo.training import find_device

    return {**machine_facts(find_device(machine.device), machine.precision), "processor": processor_name(), "cores": usable_cores()}


def needed_bytes(networks: Mapping[str, int], optimizers: Callable[[str], int]) -> int:
    """Return the disk space of runs: every model, and at the worst instant the checkpoints of the largest one.

    Args:
        networks: run -> parameters. optimizers: run -> tensors of the size of the weights that its optimizer keeps.
    """
    # While a checkpoint is replaced the old and the new one are there; the best and the final model are one copy each.
    worst = max((count * (2 * (1 + optimizers(run)) + 1) for run, count in networks.items()), default=0)
    return 4 * (sum(networks.values()) + worst)
