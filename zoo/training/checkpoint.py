"""Checkpoints from which a run goes on to the same bits: tensors in safetensors, the rest in JSON, both sealed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    """Write the state; the previous checkpoint stays until this one is complete.

    It holds no random numbers: order and augmentation are drawn from (seed, epoch, frame), dropout from (seed, epoch, batch, rank).

    Args:
        folder: ``checkpoints/last`` of the run.
        facts: what the machine is like, compared on resume (`zoo.training.run.machine_facts`).

    Raises:
        StorageError: it cannot be written.
    """
    try:
        _save(folder, state, facts)
    except StorageError as err:
        kept = f"the checkpoint before it is intact: 'zoo train --resume {folder.parent.parent}' goes on from it" if folder.exists() else ""
        raise StorageError(f"{err}; {kept or 'there is no checkpoint before it'}") from err


def _save(folder: Path, state: TrainingState, facts: dict[str, Any]) -> None:
    groups = [{key: value for key, value in group.items() if key != "params"} for group in state.optimizer.param_groups]
    with storage.sealed_directory(folder) as new:
        save_tensors(new / WEIGHTS_NAME, state.model.state_dict())
        average = {f"{AVERAGE}{name}": tensor for name, tensor in state.average.model.state_dict().items()} if state.average else {}
        save_tensors(new / STATE_TENSORS, {**optimizer_tensors(state.optimizer), **average})
        record = {"schema": SCHEMA, "position": asdict(state.position), "groups": groups, "machine": facts}
        record["scaler"] = state.scaler.state_dict()
        storage.write_json(new / STATE_JSON, record)


def load_checkpoint(folder: Path, state: TrainingState) -> dict[str, Any]:
    """Put a checkpoint into ``state``.

    Returns: the facts of the machine that wrote it.

    Raises:
        StorageError: absent, damaged, or of another architecture; names the file.
    """
    if not storage.recover_directory(folder):
        raise StorageError(f"{folder}: no checkpoint was written before the run stopped; start again with --force")
    try:
        storage.verify_directory(folder)
    except StorageError as err:
        raise StorageError(f"{err}; the run cannot go on from it{_other_ways(folder)}") from err
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
    state.position = Position(**record["position"])
    return dict(record["machine"])


def _other_ways(folder: Path) -> str:
    """What can be done with a run whose last checkpoint is damaged."""
    best = folder.parent / "best"
    try:
        storage.verify_directory(best)
    except StorageError:
        return "; start again with --force"
    return f". {best} is sound: 'zoo evaluate {best}' measures that epoch, --pretrained {best / WEIGHTS_NAME} begins a new run from it"


def _restore_average(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    averaged = {name.removeprefix(AVERAGE): tensor for name, tensor in tensors.items() if name.startswith(AVERAGE)}
    try:
        model.load_state_dict(averaged)
    except RuntimeError as err:
        raise StorageError(f"{path}: the averaged weights do not fit the architecture, whose code may have changed since: {err}") from err
