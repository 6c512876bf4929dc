"""Checkpoints from which a run goes on to the same bits: tensors in safetensors, the rest in JSON, both sealed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import storage
from zoo.errors import StorageError
from zoo.models.directory import WEIGHTS_NAME, load_tensors, load_tensors_into, save_tensors
from zoo.training.optimizer import optimizer_tensors, restore_optimizer
from zoo.training.state import Position, TrainingState

SCHEMA = 1
STATE_TENSORS = "state.safetensors"
STATE_JSON = "state.json"
AVERAGE = "ema/"  # before the names of averaged weights


def save_checkpoint(folder: Path, state: TrainingState, facts: dict[str, Any]) -> None:
    """Write the state and torch's random numbers; the previous checkpoint stays until this one is complete.

    Args:
        folder: ``checkpoints/last`` of the run.
        facts: what the machine is like, compared on resume (`zoo.training.run.machine_facts`).

    Raises:
        StorageError: it cannot be written.
    """
    groups = [{key: value for key, value in group.items() if key != "params"} for group in state.optimizer.param_groups]
    with storage.sealed_directory(folder) as new:
        save_tensors(new / WEIGHTS_NAME, state.model.state_dict())
        average = {f"{AVERAGE}{name}": tensor for name, tensor in state.average.model.state_dict().items()} if state.average else {}
        save_tensors(new / STATE_TENSORS, {**optimizer_tensors(state.optimizer), **average, **_random_state()})
        record = {"schema": SCHEMA, "position": asdict(state.position), "groups": groups, "machine": facts}
        record["scaler"] = state.scaler.state_dict()
        storage.write_json(new / STATE_JSON, record)


def load_checkpoint(folder: Path, state: TrainingState) -> dict[str, Any]:
    """Put a checkpoint into ``state`` and torch's random number generators.

    Returns: the facts of the machine that wrote it.

    Raises:
        StorageError: absent, damaged, or of another architecture; names the file.
    """
    if not storage.recover_directory(folder):
        raise StorageError(f"{folder}: no checkpoint was written before the run stopped; start again with --force")
    storage.verify_directory(folder)
    record = storage.read_json(folder / STATE_JSON)
    if record.get("schema") != SCHEMA:
        raise StorageError(
            f"{folder / STATE_JSON}: got schema {record.get('schema')!r}, expected {SCHEMA}; a newer zoo may have written it"
        )
    load_tensors_into(state.model, folder / WEIGHTS_NAME)
    tensors = load_tensors(folder / STATE_TENSORS)
    restore_optimizer(state.optimizer, tensors)
    if state.average:
        _restore_average(state.average.model, tensors, folder / STATE_TENSORS)
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(record["scaler"])
    _restore_random_state(tensors)
    state.position = Position(**record["position"])
    return dict(record["machine"])


def _restore_average(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    averaged = {name.removeprefix(AVERAGE): tensor for name, tensor in tensors.items() if name.startswith(AVERAGE)}
    try:
        model.load_state_dict(averaged)
    except RuntimeError as err:
        raise StorageError(f"{path}: the averaged weights do not fit the architecture, whose code may have changed since: {err}") from err


def _random_state() -> dict[str, Tensor]:
    """The generators that random layers such as dropout draw from."""
    states = {"rng/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states.update({f"rng/cuda{index}": torch.cuda.get_rng_state(index) for index in range(torch.cuda.device_count())})
    return states


def _restore_random_state(tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors["rng/cpu"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"rng/cuda{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"rng/cuda{index}"], index)
