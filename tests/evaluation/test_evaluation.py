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
    assert set(result.groups) == {"target", "instrument", "filter"}
    for groups in result.groups.values():
        assert sum(group.n_frames for group in groups) == 24
        assert sum(group.n_frames * group.accuracy for group in groups) == pytest.approx(21)
    assert {group.name: group.accuracy for group in result.groups["target"]}["N1"] == 0.5
    assert [group.labels for group in result.groups["instrument"]] == ["NSC galaxy"] * 2


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
    lines = list(csv.DictReader((first.path / "frames.csv").read_text().splitlines()))
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
