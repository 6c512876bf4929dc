"""Evaluation: the right frames, the right figures, and no silence about what they are not worth."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import make_run, tiny_registry, write_frame

import zoo
from zoo.calibration import Calibration
from zoo.data import DataSet, Manifest, Row
from zoo.data.baselines import fit_baselines
from zoo.errors import DataError, UsageError
from zoo.evaluation import Evaluation, evaluate
from zoo.storage import verify_directory, write_json


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


def _rows(root: Path, levels: Sequence[float] = (0.3, 0.7)) -> list[Row]:
    """Six targets of two frames per class: galaxies are dark but for one frame of G1, clusters bright but for one of N1 and of N2."""
    rows = []
    odd = {("G1", 1), ("N1", 0), ("N2", 1)}
    for label, letter in (("galaxy", "G"), ("NSC", "N")):
        for number in range(6):
            for exposure in range(2):
                target = f"{letter}{number}"
                bright = (label == "NSC") != ((target, exposure) in odd)
                path = write_frame(root / f"{target}_{exposure}.fits", levels[bright] + 0.01 * number)
                camera = "ACS/WFC" if number % 2 else "WFC3/UVIS"
                split = ("train", "val", "test", "test", "test", "test")[(number + 4) % 6]  # 2 and 3 are train and val
                rows.append(Row(str(path), 0, label, target, path.stem, camera, filter=f"F{exposure}", split=split))
    return rows


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return _rows(tmp_path / "frames")


def _save(rows: Sequence[Row], path: Path) -> Path:
    Manifest(tuple(rows), path.parent).write_csv(path)
    return path


@pytest.fixture
def run(tmp_path: Path, rows: list[Row]) -> Path:
    folder = make_run(tmp_path / "run", config='[data]\nsource = "/gone/list.csv"\n')
    _save(rows, folder / "manifest.csv")
    return folder


def _whole(run: Path, rows: Sequence[Row], **arguments: object) -> Evaluation:
    data = DataSet("list", Manifest(tuple(replace(row, split="") for row in rows), Path("/")), [])
    return evaluate(run, data, **arguments)  # type: ignore[arg-type]


def test_scores_are_those_of_a_hand_count(run: Path, rows: list[Row]) -> None:
    result = _whole(run, rows)
    assert result.split == "all"
    assert result.metrics.confusion == [[11, 1], [2, 10]]
    assert result.metrics.accuracy == pytest.approx(21 / 24)
    assert result.metrics.precision == pytest.approx(10 / 11)
    assert result.metrics.recall == pytest.approx(10 / 12)
    assert result.metrics.macro_target_accuracy == pytest.approx(1 - 3 * 0.5 / 12)
    assert result.metrics.n_targets == 12
    assert result.metrics.per_class["NSC"]["targets"] == 6


def test_intervals_surround_their_scores_or_say_why_not(run: Path, rows: list[Row]) -> None:
    result = _whole(run, rows)
    for name in ("accuracy", "balanced_accuracy", "macro_target_accuracy", "f1", "roc_auc"):
        interval = result.intervals[name]
        assert interval.reason == ""
        assert interval.lower < interval.estimate < interval.upper
        assert interval.estimate == pytest.approx(getattr(result.metrics, name))
    assert result.intervals["recall:NSC"].n_targets == 6
    assert result.intervals["recall:galaxy"].reason == "without target G1 the score is 1"


def test_groups_add_up(run: Path, rows: list[Row]) -> None:
    result = _whole(run, rows)
    assert list(result.groups) == ["target", "instrument", "filter", "chip", "exposure time", "offset"]
    for groups in result.groups.values():
        assert sum(group.n_frames for group in groups) == 24
        assert sum(group.n_frames * group.accuracy for group in groups) == pytest.approx(21)
    assert {group.name: group.accuracy for group in result.groups["target"]}["N1"] == 0.5
    assert [group.labels for group in result.groups["instrument"]] == ["NSC galaxy"] * 2
    assert {group.name for name in ("chip", "exposure time", "offset") for group in result.groups[name]} == {"unknown"}


def test_frames_are_grouped_by_what_their_headers_tell(run: Path, rows: list[Row]) -> None:
    aim = {"RA_TARG": 10.0, "DEC_TARG": 60.0, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 32.5, "CRPIX2": 16.5}
    scale = {"CRVAL1": 10.0, "CD1_1": 1e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-5}
    for number, row in enumerate(rows):
        north = 60.0 + (0.0, 1.5 / 60, 5.0 / 60)[number % 3]
        level = 0.3 if row.label == "galaxy" else 0.7
        Path(row.path).unlink()
        write_frame(Path(row.path), level, **aim, **scale, CRVAL2=north, CCDCHIP=1 + number % 2, EXPTIME=(30.0, 400.0)[number % 2])
    result = _whole(run, rows)
    assert [(group.name, group.n_frames) for group in result.groups["chip"]] == [("1", 12), ("2", 12)]
    assert [(group.name, group.n_frames) for group in result.groups["exposure time"]] == [("below 100 s", 12), ("300 to 600 s", 12)]
    assert [group.name for group in result.groups["offset"]] == ["below 0.5 arcmin", "1 to 2 arcmin", "from 4 arcmin"]
    assert result.frames[1].offset_arcmin == pytest.approx(1.5, abs=1e-6)
    beside = [replace(row, extra={"target_ra": "10.0", "target_dec": "60.1"}) for row in rows]
    assert _whole(run, beside).frames[0].offset_arcmin == pytest.approx(6.0, abs=1e-6)
    assert {frame.valid for frame in result.frames} == {1.0}


def test_frames_are_flagged_as_in_prediction(tmp_path: Path, rows: list[Row]) -> None:
    large = write_frame(tmp_path / "large.fits", 0.3, (64, 128))
    data = DataSet("list", Manifest((replace(rows[0], path=str(large)), *rows[1:]), tmp_path), [])
    result = evaluate(make_run(tmp_path / "raw", products=("raw",)), data, split="all", allow_product=True, store=False)
    assert result.frames[0].flags == ("size-adapted", "other-product")
    assert {frame.flags for frame in result.frames[1:]} == {("other-product",)}


def test_temperature_changes_probabilities_and_no_class(run: Path, rows: list[Row]) -> None:
    loaded = zoo.load(run)
    calibration = Calibration(loaded.labels, 2.0, np.zeros((3, 2)), np.zeros(3, dtype=np.int64), ("a", "b", "b"))
    data = DataSet("list", Manifest(tuple(rows), Path("/")), [])
    plain, cooled = (evaluate(one, data, split="all", store=False) for one in (loaded, replace(loaded, calibration=calibration)))
    assert [(frame.predicted, frame.logits) for frame in plain.frames] == [(frame.predicted, frame.logits) for frame in cooled.frames]
    assert not any("temperature" in line for line in (*plain.notes, *cooled.notes))
    again = evaluate(replace(loaded, calibration=replace(calibration, targets=("a", "n1", "N1"))), data, split="all", store=False)
    assert any(line.startswith("the temperature was fitted on 1 of ") for line in again.notes)
    found = cooled.calibration
    assert found is not None
    assert (found.temperature, found.fitted_targets, found.n_frames, found.n_targets) == (2.0, 2, 24, 12)
    assert found.log_loss_before == plain.metrics.log_loss != cooled.metrics.log_loss == found.log_loss_after
    logits = np.array([frame.logits for frame in cooled.frames]) / 2
    np.testing.assert_allclose([frame.probabilities for frame in cooled.frames], np.exp(logits) / np.exp(logits).sum(axis=1)[:, None])


def test_gain_is_over_the_best_of_all_that_needs_no_network(run: Path, rows: list[Row]) -> None:
    told = [replace(row, exptime=100.0 if row.label == "galaxy" or row.target == "N5" else 900.0) for row in rows]
    result = _whole(run, told)
    assert result.gain is not None
    assert (result.gain.kind, result.gain.over, result.gain.accuracy) == ("shortcut", "exposure time", pytest.approx(22 / 24))
    assert result.gain.difference == result.shortcuts[0].gain
    galaxies = _whole(run, [row for row in rows if row.label == "galaxy"])
    assert galaxies.gain is not None
    assert (galaxies.gain.kind, galaxies.gain.accuracy) == ("majority", 1.0)
    assert galaxies.gain.difference.estimate == pytest.approx(-1 / 12)


def test_classes_of_few_targets_are_named(run: Path, rows: list[Row]) -> None:
    assert "fewer than 8 targets: galaxy 6, NSC 6; what is said of such a class may change with one more target" in _whole(run, rows).notes


def test_interval_method_is_used_throughout(run: Path, rows: list[Row]) -> None:
    by_frame = _whole(run, rows, interval="frame")
    assert {interval.method for interval in by_frame.intervals.values()} == {"frame"}
    assert {group.interval.method for groups in by_frame.groups.values() for group in groups} == {"frame"}
    assert by_frame.intervals["roc_auc"].reason == "--interval frame is for shares of frames"
    assert by_frame.coverage is not None
    assert by_frame.coverage.method.startswith("by frame")
    with pytest.raises(UsageError, match="interval must be one of"):
        _whole(run, rows, interval="normal")


def test_the_best_rule_without_pixels_is_scored_on_the_same_frames(run: Path, rows: list[Row]) -> None:
    told = [replace(row, exptime=100.0 if row.label == "galaxy" or row.target == "N5" else 900.0) for row in rows]
    Path(told[0].path).write_bytes(b"no FITS")
    result = _whole(run, told)
    best, together = result.shortcuts
    assert (best.name, together.name) == ("exposure time", "all columns together")
    assert best.accuracy.estimate == pytest.approx(21 / 23)  # the two frames of N5 are wrong
    assert best.macro_target_accuracy.estimate == pytest.approx(11 / 12)
    assert best.gain.estimate == pytest.approx(result.metrics.accuracy - 21 / 23)
    assert [frame.shortcut for frame in result.frames if frame.target in ("G0", "N5")] == ["", "galaxy", "galaxy", "galaxy"]
    assert {group.name: group.shortcut for group in result.groups["target"]}["N5"] == 0.0
    galaxies = _whole(run, [row for row in told if row.label == "galaxy"])
    assert galaxies.shortcuts == []
    assert {frame.shortcut for frame in galaxies.frames} == {""}


def test_default_data_are_the_test_frames_of_the_run(run: Path, rows: list[Row]) -> None:
    result = evaluate(run)
    assert result.split == "test"
    assert {frame.path for frame in result.frames} == {row.path for row in rows if row.split == "test"}
    assert result.seen == ()
    assert result.accuracy_new is None


def test_targets_of_the_training_are_named(run: Path, rows: list[Row]) -> None:
    result = _whole(run, rows)
    assert result.seen == ("G2", "G3", "N2", "N3")
    assert result.accuracy_new is not None
    assert result.accuracy_new.n_targets == 8
    assert result.accuracy_new.estimate == pytest.approx(14 / 16)
    trained = evaluate(run, split="train")
    assert trained.seen == ("G2", "N2")
    assert trained.accuracy_new is None


def test_one_name_at_two_places_is_two_targets(run: Path, rows: list[Row]) -> None:
    _save([replace(row, ra=10.0, dec=80.0) for row in rows], run / "manifest.csv")
    assert _whole(run, [replace(row, ra=12.0, dec=80.0) for row in rows]).seen == ("G2", "G3", "N2", "N3")
    assert _whole(run, [replace(row, ra=10.0, dec=70.0) for row in rows]).seen == ()
    assert _whole(run, rows).seen == ("G2", "G3", "N2", "N3")


def test_frames_that_cannot_be_read_are_counted_and_the_rest_goes_on(run: Path, rows: list[Row]) -> None:
    Path(rows[0].path).write_bytes(b"no FITS")
    Path(rows[1].path).unlink()
    result = _whole(run, rows, batch_size=3)
    assert len(result.frames) == 24
    assert result.metrics.n_frames == 22
    assert [(frame.target, frame.code) for frame in result.refused] == [("G0", "not-fits"), ("G0", "missing")]
    for row in rows:
        Path(row.path).unlink(missing_ok=True)
    with pytest.raises(DataError, match="none of 24 frames could be read"):
        _whole(run, rows)


def test_stored_evaluation_is_sealed_and_replaced(run: Path, rows: list[Row]) -> None:
    first, again = evaluate(run), evaluate(run)
    assert first.path is not None
    assert first.path == again.path
    assert first.path.parent == run / "evaluations"
    verify_directory(first.path)
    stored = json.loads((first.path / "evaluation.json").read_text())
    assert stored["schema"] == 1
    assert stored["metrics"]["accuracy"] == first.metrics.accuracy
    assert stored["intervals"]["accuracy"]["lower"] == first.intervals["accuracy"].lower
    assert stored["coverage"]["nominal"] == 0.95
    assert "selection" not in stored
    lines = list(csv.DictReader((first.path / "frames.csv").read_text().splitlines()))
    assert [*lines[0]][-4:] == ["saturated", "flags", "logit_galaxy", "logit_NSC"]
    logits = np.array([[float(line["logit_galaxy"]), float(line["logit_NSC"])] for line in lines])
    chances = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(chances, [float(line["p_NSC"]) for line in lines], rtol=1e-12)
    assert [line["path"] for line in lines] == [frame.path for frame in first.frames]
    assert float(lines[0]["p_galaxy"]) + float(lines[0]["p_NSC"]) == pytest.approx(1)
    other = evaluate(run, split="val")
    assert other.path != first.path
    assert evaluate(run, store=False).path is None


def test_baselines_of_the_run_stand_beside(run: Path, rows: list[Row]) -> None:
    assert evaluate(run).notes[-1].startswith("the run has no baselines")
    data = DataSet("list", Manifest(tuple(rows), Path("/")), [])
    baselines = fit_baselines(data, rows)
    write_json(run / "baselines.json", {**baselines.to_dict(), "val": {}})
    result = evaluate(run)
    expected = baselines.score(data, [row for row in rows if row.split == "test"])
    assert {b.name: pytest.approx(b.accuracy) for b in result.baselines} == {name: s["accuracy"] for name, s in expected.items()}
    write_json(run / "baselines.json", {"schema": 99})
    assert evaluate(run).notes[-1].startswith("baselines: ")


def test_labels_choose_among_the_classes_of_the_run(run: Path, rows: list[Row]) -> None:
    odd = [replace(row, label="star") if row.target == "G0" else replace(row, label=row.label.upper()) for row in rows]
    result = _whole(run, odd)
    assert result.metrics.n_frames == 22
    assert "star" in result.notes[0]
    assert _whole(run, rows, labels=["nsc"]).metrics.recall == pytest.approx(10 / 12)
    with pytest.raises(UsageError, match="nebula"):
        _whole(run, rows, labels=["nebula"])


def test_a_list_without_splits_is_used_whole(run: Path, rows: list[Row], tmp_path: Path) -> None:
    path = _save([replace(row, split="") for row in rows], tmp_path / "list.csv")
    assert evaluate(run, path).metrics.n_frames == 24
    with pytest.raises(DataError, match="no frames in split 'val'"):
        evaluate(run, path, split="val")


def test_a_model_alone_needs_data(run: Path, rows: list[Row], tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (run / "model").rename(alone)
    with pytest.raises(UsageError, match="--data"):
        evaluate(alone)
    result = _whole(alone, rows)
    assert result.path is None
    assert result.seen == ()


def test_evaluation_and_prediction_agree(run: Path, rows: list[Row]) -> None:
    result = _whole(run, rows, batch_size=5)
    predicted = list(zoo.predict(run, [row.path for row in rows], batch_size=5))
    assert [frame.predicted for frame in result.frames] == [row.predicted for row in predicted]
    assert [frame.probabilities for frame in result.frames] == [tuple(row.probabilities.values()) for row in predicted]


def test_nothing_random_happens(run: Path, rows: list[Row], tmp_path: Path) -> None:
    flipping = make_run(tmp_path / "flipping", steps=["overscan", "normalize", "flip", "rotate"])
    before = torch.random.get_rng_state()
    first, second = (_whole(flipping, rows, workers=workers) for workers in (0, 2))
    assert np.array_equal([f.probabilities for f in first.frames], [f.probabilities for f in second.frames])
    assert torch.equal(before, torch.random.get_rng_state())


def test_products_not_trained_on_are_refused_unless_allowed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", products=("raw",))
    data = DataSet("sky", Manifest(tuple(_rows(tmp_path)), tmp_path), [])
    with pytest.raises(DataError, match=r"got product other, the run was trained on raw; --allow-product"):
        evaluate(run, data, store=False)
    assert evaluate(run, data, store=False, allow_product=True).refused == ()
