"""`explain_errors` on a run whose network is planted: facts, gallery, and what is stored."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from planted_nets import PlantedPlugin
from tiny_run import make_run, tiny_registry

import zoo
from zoo.errors import DataError, StorageError, UsageError
from zoo.evaluation import Evaluation
from zoo.explaining import explain_errors, read_explanation
from zoo.explaining.result import FRAMES_NAME, RESULT_NAME

SIZE = (64, 192)


@pytest.fixture(autouse=True, scope="module")
def _registry() -> Iterator[None]:
    with tiny_registry(PlantedPlugin()):
        yield


def _write_list(folder: Path, wrong: dict[str, int]) -> Path:
    """Four targets a class of three frames each: NSCs have a bright disc in the upper right corner; ``wrong``: frames that have not."""
    folder.mkdir()
    random, lines = np.random.default_rng(5), ["path,hdu,label,target"]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for label in ("galaxy", "NSC"):
        for number in range(4):
            for exposure in range(3):
                name = f"{label}{number}_{exposure}.fits"
                disc = (label == "NSC") != (wrong.get(f"{label}{number}") == exposure)
                pixels = random.uniform(0, 0.02, SIZE) + disc * np.exp(-((y - 24.5) ** 2 + (x - 164.5) ** 2) / (2 * (8 + number) ** 2))
                fits.PrimaryHDU(np.clip(pixels, 0, 1).astype(np.float32)).writeto(folder / name)
                lines.append(f"{folder / name},0,{label},{label}{number}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    tmp_path = tmp_path_factory.mktemp("evaluated")
    run = make_run(tmp_path / "run", model_name="bright", shape=(1, *SIZE))
    return zoo.evaluate(run, _write_list(tmp_path / "sky", {"galaxy1": 0, "galaxy2": 2, "NSC3": 1}), workers=0)


def test_worst_errors_have_their_facts_neighbours_and_pictures(evaluated: Evaluation) -> None:
    stages: list[tuple[str, int, int]] = []
    result = explain_errors(evaluated.run, evaluated, workers=0, progress=lambda *words: stages.append(words))
    assert [frame.path for frame in result.frames] == [frame.path for frame in evaluated.frames]
    wrong = {frame.name for frame in result.frames if frame.wrong}
    assert wrong == {"galaxy1_0.fits, HDU 0", "galaxy2_2.fits, HDU 0", "NSC3_1.fits, HDU 0"}
    for facts, frame in zip(result.frames, evaluated.frames, strict=True):
        true = frame.probabilities[evaluated.labels.index(frame.label)]
        assert facts.loss == pytest.approx(-math.log(true), rel=1e-5)
        assert (facts.signal_to_noise, facts.filled) == (frame.signal_to_noise, frame.filled)
        assert facts.ratio < 1 or not facts.wrong  # the features are what the frames differ in
    assert result.features == "what the layer head takes, 2 numbers"
    assert result.map == "what the layer features gives, 2 channels of 4x36 cells, 4x4 pixels apart, each of which sees 50x50 pixels"
    shown = [entry for entry in result.gallery if entry.kind == "wrong"]
    assert {entry.target for entry in shown} == {"galaxy1", "galaxy2", "NSC3"}
    assert [entry.kind for entry in result.gallery[3:]] == ["right", "right"]
    bright = next(entry for entry in shown if entry.target == "galaxy1")
    assert bright.peak == pytest.approx((24.5, 164.5), abs=2)
    assert bright.box is not None
    assert bright.box[1] > 140
    assert bright.nearest_target.startswith("NSC")
    assert [image.kind for image in bright.images] == ["frame", "gradcam", "cutout", "nearest"]
    assert "galaxy galaxy1, wrongly called NSC with probability" in bright.images[0].alt
    assert "strongest in the middle right" in bright.images[1].alt
    assert stages[-1] == ("pictures", 5, 5)
    assert ("comparing features", 24, 24) in stages


def test_pictures_are_of_the_right_frames(evaluated: Evaluation) -> None:
    result = explain_errors(evaluated.run, evaluated, workers=0, store=False)
    assert result.path is None
    entry = next(entry for entry in result.gallery if entry.target == "galaxy1" and entry.kind == "wrong")
    pictures = {image.kind: np.asarray(Image.open(io.BytesIO(result.pictures[image.file]))) for image in entry.images}
    for image in entry.images:
        assert pictures[image.kind].shape[:2] == (image.height, image.width)
    frame, mapped = pictures["frame"].astype(int), pictures["gradcam"].astype(int)
    assert frame.shape == SIZE
    assert frame[20:30, 160:170].mean() > 200 > 100 > frame[40:, :100].mean()
    spread = mapped.max(axis=2) - mapped.min(axis=2)
    assert spread[22:28, 150:180].mean() > 60 > 10 > spread[40:, :100].mean()


def test_stored_explanation_is_read_back_as_it_was(evaluated: Evaluation) -> None:
    result = explain_errors(evaluated.run, evaluated, worst=2, workers=0)
    assert evaluated.path is not None
    assert result.path == evaluated.run / "explanations" / evaluated.path.name
    read = read_explanation(result.path)
    np.testing.assert_equal(read.to_dict(), {**result.to_dict(), "run": result.run})
    assert read.frames_csv() == result.frames_csv()
    assert read.pictures == result.pictures
    assert read.tables[0].separation.n_targets == result.tables[0].separation.n_targets
    facts = json.loads((result.path / RESULT_NAME).read_text())
    assert (facts["schema"], facts["zoo"]) == (1, zoo.__version__)
    (result.path / FRAMES_NAME).write_text("path\n")
    with pytest.raises(StorageError, match="changed or damaged"):
        read_explanation(result.path)


def test_frames_are_found_by_their_paths_where_the_data_were_not_kept(evaluated: Evaluation) -> None:
    kept, found = (explain_errors(evaluated.run, one, worst=0, store=False) for one in (evaluated, replace(evaluated, selection=None)))
    assert kept.frames_csv() == found.frames_csv()
    assert kept.gallery == ()


def test_refused_frames_are_left_out_and_lost_ones_are_told(evaluated: Evaluation) -> None:
    path = Path(evaluated.frames[4].path)
    refused = replace(evaluated.frames[4], status="refused", code="truncated", predicted="", probabilities=())
    frames = (*evaluated.frames[:4], refused, *evaluated.frames[5:])
    held = path.read_bytes()
    path.unlink()
    result = explain_errors(evaluated.run, replace(evaluated, frames=frames), worst=1, workers=0, store=False)
    assert len(result.frames) == 23
    with pytest.raises(DataError, match=rf"{path.name}: was scored and can no longer be read"):
        explain_errors(evaluated.run, evaluated, workers=1, store=False)
    path.write_bytes(held)


def test_network_without_layers_has_tables_and_frames_but_no_map(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shape=(1, *SIZE))
    evaluation = zoo.evaluate(run, _write_list(tmp_path / "sky", {"NSC1": 0}), workers=0)
    result = explain_errors(run, evaluation, worst=1, workers=0)
    assert result.features == result.map == ""
    assert len(result.notes) == 2
    assert next(table for table in result.tables if table.fact == "ratio").missing == 24
    assert all(math.isnan(frame.ratio) and frame.nearest_other is None for frame in result.frames)
    (entry, *_) = result.gallery
    assert [image.kind for image in entry.images] == ["frame"]
    assert "no map of convolutions" in entry.note
    assert result.path is not None
    assert read_explanation(result.path).frames_csv() == result.frames_csv()


def test_bad_arguments_are_refused(evaluated: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="worst and workers must be >= 0, got -1 and 2"):
        explain_errors(evaluated.run, evaluated, worst=-1)
    other = make_run(tmp_path / "other", model_name="bright", shape=(1, *SIZE))
    with pytest.raises(UsageError, match="got an evaluation of"):
        explain_errors(other, evaluated)
