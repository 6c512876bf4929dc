"""The model directory: weights, pipeline, labels and hashes; all that prediction needs, and nothing pickled.

``model.safetensors`` holds the state dict, ``card.json`` everything else that training settled; ``calibration.json`` and ``range.json``,
where they are, say what was learned of its outputs and inputs afterwards. ``SHA256SUMS.json`` has the hashes of all; it is written last and
checked when the model is loaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import zoo
from zoo import storage
from zoo.calibration import CALIBRATION_NAME, RANGE_NAME, Calibration, FrameRange, softmax
from zoo.entries import Entry
from zoo.errors import PluginError, StorageError, UsageError
from zoo.models.build import build_model
from zoo.models.places import CARD_NAME as CARD_NAME
from zoo.models.places import MODEL_FOLDER as MODEL_FOLDER
from zoo.models.places import RUNS_FOLDER as RUNS_FOLDER
from zoo.models.places import WEIGHTS_NAME as WEIGHTS_NAME
from zoo.models.places import find_run as find_run
from zoo.models.places import model_hash as model_hash
from zoo.models.places import resolve_run as resolve_run
from zoo.origin import describe_origin, find_origin
from zoo.registry import get_registry

if TYPE_CHECKING:
    from zoo.steps import Pipeline

CARD_SCHEMA = 1


@dataclass(frozen=True)
class LoadedModel:
    """A trained model and what it must be used with.

    Attributes:
        model: in eval mode, on the CPU, in the dtype that it was saved in.
        pipeline: the steps it was trained with; random ones do nothing outside training.
        labels: class names in the order of the logits.
        card: everything that was recorded, as JSON gives it.
        path: the model directory.
        run: the run directory around it, or ``None`` for a model directory that stands alone.
        calibration: its temperature and validation frames; ``None`` for a model without validation frames or of an older zoo.
        range: what its training frames looked like; ``None`` for a model of few targets or of an older zoo.
    """

    model: nn.Module
    pipeline: Pipeline
    labels: tuple[str, ...]
    card: dict[str, Any]
    path: Path
    run: Path | None
    calibration: Calibration | None = None
    range: FrameRange | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` that the model takes, which is what the pipeline gives."""
        channels, height, width = self.card["input_shape"]
        return channels, height, width

    @property
    def name(self) -> str:
        """Name with the options that differ from their defaults, such as ``hrcn[padding=same]``."""
        return str(self.card["model"]["label"])

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities ``(..., K)`` of logits ``(..., K)`` at the model's temperature; a row with NaN or infinity is NaN."""
        return softmax(logits, self.temperature)

    @property
    def temperature(self) -> float:
        """By what the logits are divided; 1 for a model without `calibration`."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    def class_shares(self) -> NDArray[np.float64]:
        """Return ``(K,)``, how common each class was in training, which other class shares are measured against.

        Raises:
            UsageError: an older zoo trained the model and did not write them down, or a class had no frames.
        """
        shares = self.card["training"].get("class_shares") or {}
        values = np.array([shares.get(label, 0.0) for label in self.labels])
        if not (values > 0).all():
            raise UsageError(
                f"{self.path}: the card does not say how common each class was in training, so --prior has nothing to start from; "
                "train the model again"
            )
        return values


def make_card(
    entry: Entry,
    options: Mapping[str, Any],
    *,
    input_shape: tuple[int, int, int],
    labels: Sequence[str],
    pipeline: Pipeline,
    domain: str,
    products: Sequence[str],
    training: Mapping[str, Any],
    geometry: str = "resize",
    frame_size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return the card of a model.

    Args:
        entry, options: what built the model, with all options.
        input_shape: ``(C, H, W)`` after the pipeline.
        labels: class names in the order of the logits.
        domain: ``"simulated"``, or what the data say of themselves.
        products: kinds of HST product in the training frames.
        training: what is worth knowing of the training, in plain JSON values.
        geometry: the rule for frames of other sizes, see `zoo.data.geometry`.
        frame_size: ``(H, W)`` of the training frames, pixels, without bias columns; ``None`` where it is not known.
    """
    registry = get_registry()
    steps = [registry.get("steps", str(step["step"])) for step in pipeline.to_list()]
    return {
        "model": {**describe_origin(entry), "label": entry.label(options), "options": dict(options)},
        "steps": [describe_origin(step) for step in steps],
        "input_shape": list(input_shape),
        "labels": list(labels),
        "pipeline": pipeline.to_list(),
        "geometry": geometry,
        "frame_size": None if frame_size is None else list(frame_size),
        "domain": domain,
        "products": sorted(products),
        "training": dict(training),
    }


def save_model(
    folder: str | os.PathLike[str], model: nn.Module, card: Mapping[str, Any], *, extras: Mapping[str, Any] | None = None
) -> Path:
    """Write a model directory; it appears under its name when it is complete.

    Args:
        folder: made if absent; what is there is replaced.
        model: any device and dtype; saved as it is. Tied weights are stored under each of their names.
        card: from `make_card`; ``schema`` and ``zoo`` (the version) are added.
        extras: further JSON files of the model directory by name, such as ``calibration.json``.

    Returns: the folder.

    Raises:
        StorageError: it cannot be written. PluginError: the state dict holds something that is no tensor.
    """
    with storage.sealed_directory(folder) as new:
        save_tensors(new / WEIGHTS_NAME, model.state_dict())
        storage.write_json(new / CARD_NAME, {"schema": CARD_SCHEMA, "zoo": zoo.__version__, **card})
        for name, value in (extras or {}).items():
            storage.write_json(new / name, value)
    return Path(folder)


def update_model(folder: str | os.PathLike[str], extras: Mapping[str, Any]) -> None:
    """Add JSON files to a model directory, or replace them; the directory is exchanged as a whole, under a new seal.

    Weights and card stay as they are, and so does `model_hash`, to which evaluations refer.

    Raises:
        StorageError: a file was changed since it was written, or the directory cannot be written.
    """
    path = Path(folder)
    storage.verify_directory(path)
    with storage.sealed_directory(path) as new:
        for file in path.iterdir():
            if file.is_file() and file.name not in (storage.SEAL_NAME, *extras) and not file.name.startswith(storage.TEMPORARY_PREFIX):
                try:
                    (new / file.name).hardlink_to(file)
                except OSError:  # a file system without hard links
                    shutil.copy2(file, new / file.name)
        for name, value in extras.items():
            storage.write_json(new / name, value)


def load(run: str | os.PathLike[str]) -> LoadedModel:
    """Load a trained model with its pipeline and labels; every file is checked against its recorded hash first.

    Args:
        run: a run directory, its model directory, or ``"latest"`` for ``runs/latest``.

    Raises:
        StorageError: there is no finished model, or a file was changed. PluginError: the architecture or a step comes from a plugin that is
            not loaded; names its distribution and version.

    Example: >>> loaded = zoo.load("runs/latest"); loaded.labels  ->  ('galaxy', 'NSC')
    """
    path = resolve_run(run)
    storage.verify_directory(path)
    card = storage.read_json(path / CARD_NAME)
    if not isinstance(card, dict) or card.get("schema") != CARD_SCHEMA:
        raise StorageError(f"{path / CARD_NAME}: got an unknown layout, expected schema {CARD_SCHEMA}; a newer zoo may have written it")
    from zoo.steps import Pipeline

    entry = find_origin("models", card["model"], where=path)
    for step in card["steps"]:
        find_origin("steps", step, where=path)
    shape = tuple(card["input_shape"])
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten; the caller's random numbers stay as they were
        options = entry.parse_options(card["model"]["options"])
        model = build_model(
            entry, options, num_classes=len(card["labels"]), in_channels=shape[0], input_shape=(shape[0], shape[1], shape[2])
        )
    load_tensors_into(model, path / WEIGHTS_NAME)
    calibration, frame_range = path / CALIBRATION_NAME, path / RANGE_NAME
    inside_run = path.name == MODEL_FOLDER and (path.parent / "config.toml").is_file()
    return LoadedModel(
        model=model.eval(),
        pipeline=Pipeline.from_list(card["pipeline"]),
        labels=tuple(card["labels"]),
        card=card,
        path=path,
        run=path.parent if inside_run else None,
        calibration=Calibration.from_dict(storage.read_json(calibration)) if calibration.is_file() else None,
        range=FrameRange.from_dict(storage.read_json(frame_range)) if frame_range.is_file() else None,
    )


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device as one safetensors file, atomically.

    Raises:
        StorageError: it cannot be written. PluginError: a value is no tensor.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    ready: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise PluginError(f"{path.name}: {name!r} is {type(tensor).__name__}, expected a tensor; states of other kinds cannot be saved")
        held = tensor.detach().cpu().contiguous()
        storage_start = held.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory
        ready[name] = held.clone() if storage_start in seen else held
        seen.add(storage_start)
    with storage.atomic_path(path) as temporary:
        try:
            save_file(ready, temporary, metadata={"format": "pt"})
            temporary.chmod(storage.FILE_MODE)  # safetensors makes files that only their owner can read
        except (OSError, SafetensorError) as err:
            needed = sum(tensor.nbytes for tensor in ready.values())
            raise storage.write_error(path, err, needed=needed, temporary=temporary) from err


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU. Raises: StorageError: absent, or not such a file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as err:
        raise StorageError(f"{path}: cannot be read as safetensors: {err}") from err
    return tensors


def load_tensors_into(model: nn.Module, path: Path) -> None:
    """Copy a saved state dict into ``model``. Raises: StorageError: names or shapes differ from what the architecture has now."""
    try:
        model.load_state_dict(load_tensors(path), strict=True)
    except RuntimeError as err:
        raise StorageError(f"{path}: does not fit the architecture, whose code may have changed since: {err}") from err
