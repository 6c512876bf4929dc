"""Checkpoints from which a run goes on to the same bits: tensors in safetensors, the rest in JSON, both sealed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo import storage
from zoo.errors import StorageError
from zoo.models.directory import WEIGHTS_NAME, load_tensors, load_tensors_into, save_tensors
from zoo.training.optimizer import optimizer_tensors, restore_optimizer

SCHEMA = 1
STATE_TENSORS = "state.safetensors"
STATE_JSON = "state.json"


@dataclass
class Position:
    """How far a run has come; everything here is plain JSON.

    Attributes:
        step: optimizer steps done.
        epoch: epochs done.
        batch: batches of the current epoch that are done.
        frames, loss_sum, correct: sums over the current epoch's training frames.
        metrics_bytes: length of ``metrics.jsonl``; what was written after that is cut off on resume.
        elapsed_s: time spent training, without pauses between runs.
        best: ``{"epoch", "loss", "accuracy"}`` of the epoch with the lowest validation loss so far; empty before the first.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    frames: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    metrics_bytes: int = 0
    elapsed_s: float = 0.0
    best: dict[str, float] = field(default_factory=dict)

    def begin_epoch(self) -> None:
        """Set the sums of the epoch to zero."""
        self.batch = self.frames = self.correct = 0
        self.loss_sum = 0.0


def save_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, position: Position, facts: dict[str, Any]) -> None:
    """Write weights, optimizer, random numbers and position; the previous checkpoint stays until this one is complete.

    Args:
        folder: ``checkpoints/last`` of the run.
        facts: what the machine is like, compared on resume (`zoo.training.run.machine_facts`).

    Raises:
        StorageError: it cannot be written.
    """
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    with storage.sealed_directory(folder) as new:
        save_tensors(new / WEIGHTS_NAME, model.state_dict())
        save_tensors(new / STATE_TENSORS, {**optimizer_tensors(optimizer), **_random_state()})
        storage.write_json(new / STATE_JSON, {"schema": SCHEMA, "position": asdict(position), "groups": groups, "machine": facts})


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer) -> tuple[Position, dict[str, Any]]:
    """Put a checkpoint into ``model``, ``optimizer`` and torch's random number generators.

    Returns: the position, and the facts of the machine that wrote it.

    Raises:
        StorageError: absent, damaged, or of another architecture; names the file.
    """
    if not storage.recover_directory(folder):
        raise StorageError(f"{folder}: no checkpoint was written before the run stopped; start again with --force")
    storage.verify_directory(folder)
    state = storage.read_json(folder / STATE_JSON)
    if state.get("schema") != SCHEMA:
        raise StorageError(f"{folder / STATE_JSON}: got schema {state.get('schema')!r}, expected {SCHEMA}; a newer zoo may have written it")
    load_tensors_into(model, folder / WEIGHTS_NAME)
    tensors = load_tensors(folder / STATE_TENSORS)
    restore_optimizer(optimizer, tensors)
    _restore_random_state(tensors)
    return Position(**state["position"]), dict(state["machine"])


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
