"""State dicts out of files that others wrote: ``.pth`` and ``.pt`` (tensors only, no code is run) and safetensors."""

from __future__ import annotations

import pickle
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from zoo.errors import StorageError, WeightsError
from zoo.models.directory import load_tensors

# Where training programs put the state dict of a checkpoint, and what wrappers put before its names.
CONTAINERS = ("state_dict", "model_state_dict", "model")
PREFIXES = {"module.": "DistributedDataParallel", "_orig_mod.": "torch.compile", "model.": "Lightning"}


@dataclass(frozen=True)
class StateFile:
    """The state dict of a file, on the CPU.

    Attributes:
        state: tensors by name.
        notes: what was done to get at it, and what else the file holds, one line each.
    """

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()

    def without_prefixes(self, names: Collection[str]) -> StateFile:
        """Take off what wrappers put before every name, as long as no name is among ``names``, those of the model."""
        state, notes = self.state, list(self.notes)
        while not any(name in names for name in state):
            prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), "")
            if not prefix:
                break
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            notes.append(f"names began with {prefix!r} ({PREFIXES[prefix]})")
        return StateFile(state, tuple(notes))


def read_state(path: Path) -> StateFile:
    """Read the state dict of a file, whose kind is told by its first bytes.

    Raises:
        WeightsError: it is neither safetensors nor a file of `torch.save`, is damaged, or holds something else than a state dict.
        StorageError: there is no such file.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError as err:
        raise StorageError(f"{path}: cannot be read: {err.strerror or err}") from err
    if start[8:9] == b"{":
        try:
            content: object = load_tensors(path)
        except StorageError as err:
            raise WeightsError(f"{err}; it may be cut short") from err
    elif start.startswith((b"PK\x03\x04", b"\x80")):
        content = _read_pickle(path)
    else:
        page = start.lstrip().lower().startswith((b"<!doctype", b"<html"))
        kind = "a web page" if page else f"a file that starts with {start[:8]!r}" if start else "an empty file"
        raise WeightsError(f"{path}: got {kind}, expected weights: .safetensors, or .pth/.pt as torch.save writes them")
    return _unwrap(content, path)


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # damaged files raise errors of every kind
        # torch's own message advises to load the file unsafely, so only its cause is kept
        blocked = re.search(r"GLOBAL ([\w.]+)", str(err))
        if isinstance(err, pickle.UnpicklingError) and blocked:
            raise WeightsError(
                f"{path}: holds Python objects ({blocked.group(1)}) beside tensors, which are not loaded because they could run code; "
                "where the file is trusted, save its state dict alone: torch.save(model.state_dict(), FILE)"
            ) from err
        inner = re.search(r"error:\s*(.*)", str(err)) if isinstance(err, pickle.UnpicklingError) else None
        cause = inner.group(1) if inner else (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise WeightsError(f"{path}: cannot be read as a file of torch.save: {cause}; it may be cut short") from err


def _is_state(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _unwrap(content: object, path: Path) -> StateFile:
    """Return the state dict that ``content`` is or contains, and a note on the rest of it."""
    if _is_state(content):
        return StateFile(dict(content))
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: got a {type(content).__name__}, expected a state dict: tensors by name")
    for container in CONTAINERS:
        held = content.get(container)
        if _is_state(held):
            rest = ", ".join(str(key) for key in content if key != container)
            return StateFile(dict(held), (f"taken from {container!r} of the checkpoint" + (f"; not used: {rest}" if rest else ""),))
    keys = ", ".join(map(str, list(content)[:8])) or "nothing"
    raise WeightsError(f"{path}: got a mapping of {keys}; expected tensors by name, by themselves or under {', '.join(CONTAINERS)}")
