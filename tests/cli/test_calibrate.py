"""``zoo calibrate`` on a finished run, and what ``zoo evaluate --abstain`` says of its sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_run import make_run, tiny_registry, write_frame

import zoo
from zoo.cli import main
from zoo.models.places import model_hash

TARGETS = {"train": 6, "val": 20, "test": 8}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run of an older zoo, without calibration and range; one target of the calibration and of the test looks like the other class."""
    rng = np.random.default_rng(2)
    lines = ["path,hdu,label,target,instrument,split"]
    for split, count in TARGETS.items():
        for number in range(count):
            nsc = number % 2
            level = 0.5 + (0.1 + 0.3 * rng.random()) * (1 if nsc != (number == 0) else -1)
            path = write_frame(tmp_path / "frames" / f"{split}{number}.fits", level)
            lines.append(f"{path},0,{'NSC' if nsc else 'galaxy'},{split}{number},ACS/WFC,{split}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    with tiny_registry():
        folder = make_run(tmp_path / "run", config=f'[data]\nsource = "{tmp_path / "list.csv"}"\n')
        (folder / "manifest.csv").write_text((tmp_path / "list.csv").read_text())
        yield folder


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0), *capsys.readouterr()


def test_a_run_is_calibrated_and_its_sets_are_scored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "evaluate", run, "--abstain", "0.95")
    assert code == 5
    assert "this model has none; 'zoo calibrate" in err
    assert not (run / "evaluations").exists()
    identity = model_hash(run / "model")
    code, out, err = call(capsys, "calibrate", run, "--json")
    assert code == 0
    found = json.loads(out)["results"]
    assert (found["n_frames"], found["n_targets"], found["split"]) == (20, 20, "val")
    assert found["log_loss_after"] < found["log_loss_before"]
    assert found["attainable"] == pytest.approx(20 / 21)
    assert "levels up to 0.952" in err
    loaded = zoo.load(run)
    assert loaded.temperature == found["temperature"]
    assert loaded.range is not None
    assert loaded.range.n_targets == 6
    assert loaded.range.instruments == ("ACS/WFC",)
    assert model_hash(run / "model") == identity
    code, out, err = call(capsys, "evaluate", run, "--abstain", "0.95", "--json")
    assert code == 0
    sets = json.loads(out)["results"]["sets"]
    assert (sets["n_frames"], sets["n_targets"], sets["calibration_targets"]) == (8, 8, 20)
    assert sum(sets["sets"].values()) == 8
    assert sets["decided"] == sum(count for name, count in sets["sets"].items() if "|" not in name)
    assert "8 frames of 8 new targets" in err
    code, _, err = call(capsys, "evaluate", run, "--abstain", "0.95", "--split", "val")
    assert code == 3
    assert "every target was used in training or calibration" in err


def test_targets_of_the_training_calibrate_nothing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "calibrate", run, "--data", tmp_path / "list.csv")
    assert code == 2
    assert "on which the model was trained" in err
    assert zoo.load(run).calibration is None


def test_frames_that_cannot_be_read_are_left_out_and_counted(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frames" / "val3.fits").write_bytes(b"no")
    code, out, err = call(capsys, "calibrate", run)
    assert code == 3
    assert "n_targets\t19" in out
    assert "1 frame could not be read" in err
    assert zoo.load(run).calibration is not None
