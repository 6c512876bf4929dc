"""What training leaves beside the weights: calibration and range, in the seal, without being the model's identity."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo import storage
from zoo.data import open_data
from zoo.errors import StorageError
from zoo.models.directory import update_model
from zoo.models.places import model_hash
from zoo.training import TrainConfig, train

Configure = Callable[..., TrainConfig]


def test_training_leaves_calibration_range_and_class_shares(configure: Configure, sky: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.calibration.frame_range.LEAST_TARGETS", 4)
    loaded = zoo.load(train(configure()).path)
    calibration = loaded.calibration
    assert calibration is not None
    rows = open_data(str(sky)).select("val")
    assert calibration.targets == tuple(row.target for row in rows)
    assert [calibration.labels[index] for index in calibration.truth] == [row.label for row in rows]
    assert (calibration.data, calibration.split) == ("sky", "val")
    # The logits are those that the stored weights give.
    pipeline, model = loaded.pipeline, loaded.model
    with torch.inference_mode():
        images = torch.stack([pipeline.run_frame(open_data(str(sky)).open(row)) for row in rows])
        again = model(pipeline.run_batch(images)).double().numpy()
    assert np.allclose(calibration.logits, again, atol=1e-5)
    assert loaded.temperature == calibration.temperature != 1
    assert loaded.probabilities(again) == pytest.approx(calibration.probabilities(again))
    assert loaded.range is not None
    assert (loaded.range.n_frames, loaded.range.n_targets) == (16, 4)
    assert loaded.card["training"]["class_shares"] == {"galaxy": 0.5, "NSC": 0.5}


def test_few_targets_have_a_calibration_and_no_range(configure: Configure) -> None:
    loaded = zoo.load(train(configure()).path)
    assert loaded.calibration is not None
    assert loaded.range is None


def test_without_validation_frames_there_is_no_calibration(configure: Configure, sky: Path, tmp_path: Path) -> None:
    manifest = open_data(str(sky)).manifest
    manifest.with_rows(row for row in manifest.rows if row.split != "val").write_csv(tmp_path / "list.csv")
    loaded = zoo.load(train(configure(data={"source": str(tmp_path / "list.csv")})).path)
    assert loaded.calibration is None
    assert loaded.temperature == 1.0


def test_a_new_calibration_keeps_weights_and_identity(configure: Configure) -> None:
    run = train(configure()).path
    folder = run / "model"
    before, seal = model_hash(folder), storage.sha256(folder / storage.SEAL_NAME)
    weights = storage.sha256(folder / "model.safetensors")
    stored: dict[str, Any] = json.loads((folder / "calibration.json").read_text())
    update_model(folder, {"calibration.json": {**stored, "temperature": 3.0}})
    assert zoo.load(run).temperature == 3.0
    assert storage.sha256(folder / "model.safetensors") == weights
    assert model_hash(folder) == before
    assert storage.sha256(folder / storage.SEAL_NAME) != seal
    # A run of an older zoo has the same identity as its seal.
    (folder / "calibration.json").unlink()
    storage.seal_directory(folder)
    assert model_hash(folder) == storage.sha256(folder / storage.SEAL_NAME)
    assert zoo.load(run).calibration is None


def test_a_damaged_model_is_not_sealed_again(configure: Configure) -> None:
    folder = train(configure()).path / "model"
    (folder / "card.json").write_text("{}")
    with pytest.raises(StorageError, match=r"card.json: SHA-256"):
        update_model(folder, {"calibration.json": {}})
    storage.write_json(folder / storage.SEAL_NAME, {"schema": 1, "files": {}})
    with pytest.raises(StorageError, match=r"without card.json"):
        model_hash(folder)
