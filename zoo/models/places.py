"""Where a trained model lies: what a name on the command line means. No torch, for commands that read only what a run has written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from zoo import storage
from zoo.errors import StorageError

CARD_NAME = "card.json"
WEIGHTS_NAME = "model.safetensors"
MODEL_FOLDER = "model"
RUNS_FOLDER = "runs"


def resolve_run(run: str | os.PathLike[str]) -> Path:
    """Return the model directory that ``run`` means: itself, its ``model`` folder, or that of ``runs/latest`` for ``"latest"``.

    Raises:
        StorageError: there is none; says whether the path is missing or the training has not ended.
    """
    path = find_run(run)
    if (path / CARD_NAME).is_file():
        return path
    if (path / MODEL_FOLDER / CARD_NAME).is_file():
        return path / MODEL_FOLDER
    if (path / "config.toml").is_file():
        best = path / "checkpoints" / "best"
        hint = f", or use {best}" if (best / CARD_NAME).is_file() else ""
        raise StorageError(
            f"{path}: its training has not ended, so there is no model yet; 'zoo train --resume {path}' goes on with it{hint}"
        )
    raise StorageError(f"{path}: got a folder without {CARD_NAME} and {MODEL_FOLDER}/{CARD_NAME}, expected a run or a model directory")


def find_run(run: str | os.PathLike[str]) -> Path:
    """Return ``run`` as an existing folder with links resolved; ``"latest"`` means ``runs/latest`` unless a folder of that name is here.

    Raises:
        StorageError: there is no such folder.
    """
    path = Path(run)
    if str(run) == "latest" and not path.is_dir():
        path = Path(RUNS_FOLDER) / "latest"
    if not path.is_dir():
        raise StorageError(f"{path}: no such run; 'zoo train' writes one, and names it in its last line")
    return path.resolve() if path.is_symlink() else path


def model_hash(folder: str | os.PathLike[str]) -> str:
    """Return the SHA-256 that stands for a model: of the seal as it is over card and weights alone.

    What is learned of the model afterwards (``calibration.json``, ``range.json``) has its place in the seal too, but does not make it
    another model: evaluations and comparisons refer to this hash, and stay valid when a run is calibrated anew.

    Raises:
        StorageError: the folder has no seal, or one without card and weights.
    """
    path = Path(folder) / storage.SEAL_NAME
    record = storage.read_json(path)
    try:
        files = {name: record["files"][name] for name in (CARD_NAME, WEIGHTS_NAME)}
        seal = {"schema": record["schema"], "files": files}
    except (KeyError, TypeError) as err:
        raise StorageError(f"{path}: got a seal without {CARD_NAME} and {WEIGHTS_NAME}, expected that of a model directory") from err
    return hashlib.sha256((json.dumps(seal, indent=2) + "\n").encode()).hexdigest()
