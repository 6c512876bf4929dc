"""Curves of robustness: the same frames at every level, changes where physics says so, and nothing left out in silence."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from skies import STEPS, write_sky
from tiny_run import make_run

import zoo
from zoo import storage
from zoo.data import DataSet, Row, find_scene, open_data
from zoo.errors import StorageError, UnknownNameError, UsageError
from zoo.frames import Frame, Observation, read_frame
from zoo.models import LoadedModel, load
from zoo.robustness import AXES, Robustness, choose_axes, measure_robustness, parse_levels, read_robustness
from zoo.robustness.insertion import insert
from zoo.robustness.sampling import pick_frames
from zoo.steps import Pipeline

Make = Callable[..., Path]

GALAXIES = [("galaxy", f"G{number}", 3000.0 + 100 * number) for number in range(6)]
NSCS = [("NSC", f"N{number}", 7000.0 + 100 * number) for number in range(6)]


def read_rows(result: Robustness) -> list[dict[str, str]]:
    """The stored frames."""
    assert result.path is not None
    return list(csv.DictReader((result.path / "frames.csv").read_text().splitlines()))


def test_the_first_point_is_the_evaluation_itself(run: Path, make_list: Make) -> None:
    manifest = make_list([*GALAXIES, *NSCS, ("NSC", "N0", 4000.0), ("galaxy", "G1", 6000.0)])
    evaluation = zoo.evaluate(run, manifest, split="all")
    result = measure_robustness(run, axes=["sky"], levels={"sky": [1.0]}, evaluation=evaluation)
    (curve,) = result.curves
    assert curve.points[0].accuracy == evaluation.intervals["accuracy"]
    assert (curve.points[0].level, curve.points[0].n_changed, curve.points[0].drop.estimate) == (0.0, 0, 0.0)
    assert evaluation.path is not None
    assert result.path == evaluation.run / "robustness" / evaluation.path.name
    rows = read_rows(result)
    as_is = [row for row in rows if row["axis"] == ""]
    # The very probabilities of the evaluation, bit for bit.
    assert [float(row["p_NSC"]) for row in as_is] == [frame.probabilities[1] for frame in evaluation.frames]
    assert Counter((row["axis"], row["level"]) for row in rows) == {("", ""): 14, ("sky", "1.0"): 14}


def test_classes_flip_at_the_level_that_follows_from_the_light(run: Path, make_list: Make) -> None:
    # The model says NSC above 5000 electrons, so a sky of 5000 - x flips a galaxy of x; an exposure of 5000 / x an NSC of x.
    manifest = make_list([*GALAXIES, *NSCS])
    skies = [1400.0, 1450.0, 1550.0, 1650.0, 1750.0, 1850.0, 1950.0, 2050.0]
    result = measure_robustness(
        run, manifest, split="all", axes=["sky", "exposure"], levels={"sky": skies, "exposure": [0.8, 0.7, 0.66]}, store=False
    )
    sky, exposure = result.curves
    assert [point.n_flipped for point in sky.points] == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert [point.accuracy.estimate for point in sky.points] == pytest.approx([1 - n / 12 for n in (0, 0, 0, 1, 2, 3, 4, 5, 6)])
    # 5 points are 0.6 of a frame: between 1450, where none is lost, and 1550, where one of 12 is.
    assert sky.lost5.level == pytest.approx(1450 + 100 * 0.6)
    assert [point.level for point in exposure.points] == [1.0, 0.8, 0.7, 0.66]
    assert [point.n_flipped for point in exposure.points] == [0, 0, 2, 6]
    assert exposure.lost5.level == pytest.approx(0.8 - 0.1 * 0.3)
    for curve in result.curves:
        assert {(point.n_frames, point.n_targets) for point in curve.points} == {(12, 12)}
    assert result.path is None


def test_a_level_that_changes_nothing_says_so(run: Path, make_list: Make) -> None:
    manifest = make_list([*GALAXIES[:2], *NSCS[:2]])
    result = measure_robustness(run, manifest, split="all", axes=["psf"], levels={"psf": [0.05, 0.2]}, store=False)
    # ACS is wider than 0.05 arcseconds by itself, and no frame goes through the model again for it.
    assert [point.n_changed for point in result.curves[0].points] == [0, 0, 4]
    assert result.passes == 4 * 2
    assert result.notes == ("psf: 0.05 arcsec: changes no frame, for all of them are as bad already",)
    assert result.curves[0].marks == {"CSST, mean of simulations": 0.114, "CSST, required": 0.15}


def test_every_axis_degrades_the_same_frames_as_its_step_does_alone(run: Path, make_list: Make) -> None:
    manifest = make_list([*GALAXIES[:2], *NSCS[:2]])
    result = measure_robustness(run, manifest, split="all", batch_size=3, workers=3)
    assert [curve.axis for curve in result.curves] == list(AXES)
    assert [curve.physical for curve in result.curves] == [name != "blur" for name in AXES]
    assert all(len(curve.points) == 1 + len(AXES[curve.axis].levels) and not curve.left_out for curve in result.curves)
    loaded = load(run)
    assert result.path is not None
    for row in read_rows(result):
        if row["axis"]:
            assert float(row["p_NSC"]) == pytest.approx(_chance(loaded, row), abs=1e-6), row


def _chance(loaded: LoadedModel, row: dict[str, str]) -> float:
    """The probability of a frame through the pipeline as a user would write it."""
    axis = AXES[row["axis"]]
    step = f"{axis.step}:{axis.option}={float(row['level']):g}"
    image = Pipeline([STEPS[0], step, STEPS[1]]).run_frame(read_frame(row["path"], 0))
    with torch.inference_mode():
        return float(torch.softmax(loaded.model(image[None]).double(), 1)[0, 1])


def test_the_same_seed_gives_the_same_curves(run: Path, make_list: Make) -> None:
    manifest = make_list([*GALAXIES[:3], *NSCS[:3]])

    def probabilities(workers: int, seed: int) -> list[float]:
        result = measure_robustness(run, manifest, split="all", axes=["readnoise", "cosmics"], workers=workers, seed=seed, store=False)
        return [point.probability for curve in result.curves for point in curve.points]

    assert probabilities(0, 1) == probabilities(3, 1)
    assert probabilities(0, 1) != probabilities(0, 2)


def test_frames_that_cannot_be_degraded_are_named(run: Path, make_list: Make, tmp_path: Path) -> None:
    manifest = make_list([*GALAXIES[:2], *NSCS[:2]])
    odd = write_sky(tmp_path / "odd.fits", 3000.0, 9, INSTRUME="OTHER")
    manifest.write_text(f"{manifest.read_text()}{odd},0,galaxy,odd\n")
    result = measure_robustness(run, manifest, split="all", axes=["psf", "blur", "jitter"])
    for name, count, left_out in (("psf", 4, [(str(odd), "no-scale")]), ("blur", 5, []), ("jitter", 4, [(str(odd), "no-scale")])):
        curve = next(curve for curve in result.curves if curve.axis == name)
        assert {point.n_frames for point in curve.points} == {count}
        assert [(frame.path, frame.code) for frame in curve.left_out] == left_out
    assert any(note.startswith("psf, jitter: 1 of 5 frames left out (no-scale 1): ") for note in result.notes)
    assert result.path is not None
    refused = [row for row in read_rows(result) if row["status"] == "refused"]
    assert [(row["path"], row["axis"], row["code"]) for row in refused] == [(str(odd), "psf", "no-scale"), (str(odd), "jitter", "no-scale")]


def test_an_axis_that_applies_to_no_frame_has_no_points(run: Path, make_list: Make) -> None:
    manifest = make_list([GALAXIES[0], NSCS[0]], BUNIT="COUNTS")
    result = measure_robustness(run, manifest, split="all", axes=["psf", "rebin"], store=False)
    psf, rebin = result.curves
    assert (psf.points, psf.lost5.level, len(psf.left_out)) == ((), None, 2)
    assert psf.left_out[0].code == "no-electrons"
    assert len(rebin.points) == 5


def test_few_frames_have_a_share_of_every_class_and_target() -> None:
    counts = {("galaxy", "G0"): 40, ("galaxy", "G1"): 20, ("NSC", "N0"): 20, ("NSC", "N1"): 10}
    rows = [
        Row(path=f"{target}_{number}.fits", label=label, target=target)
        for (label, target), count in counts.items()
        for number in range(count)
    ]
    picked = pick_frames(rows, 18)
    assert len(set(picked)) == 18
    assert picked == sorted(picked)
    got = Counter((rows[place].label, rows[place].target) for place in picked)
    assert all(abs(got[key] - count / 5) < 1 for key, count in counts.items())
    moved = [Row(path=f"/elsewhere/{row.path}", label=row.label, target=row.target) for row in rows]
    assert pick_frames(moved, 18) == picked
    assert pick_frames(rows, 200) == pick_frames(rows, None) == list(range(90))


def test_a_part_of_the_frames_is_degraded(run: Path, make_list: Make) -> None:
    manifest = make_list([*GALAXIES, *NSCS])
    seen: list[tuple[str, int, int]] = []
    told: list[str] = []
    result = measure_robustness(
        run,
        manifest,
        split="all",
        axes=["blur"],
        frames=4,
        store=False,
        progress=lambda *stage: seen.append(stage),
        notify=told.append,
    )
    (curve,) = result.curves
    assert {(point.n_frames, point.n_targets) for point in curve.points} == {(4, 4)}
    assert (result.n_frames, result.n_available) == (4, 12)
    assert result.notes[0] == "4 of 12 frames, a share of every class and target"
    assert [stage for stage in seen if stage[0] == "degrading"] == [("degrading", done, 4) for done in (1, 2, 3, 4)]
    assert told == ["robustness: 4 frames as they are and at 5 levels of blur: at most 24 passes of the model"]


def test_a_stored_measurement_is_read_back(run: Path, make_list: Make) -> None:
    manifest = make_list([*GALAXIES[:3], *NSCS[:3]])
    assert read_robustness(run) == []
    evaluation = zoo.evaluate(run, manifest, split="all")
    assert evaluation.path is not None
    assert read_robustness(evaluation.path) == []
    result = measure_robustness(run, axes=["sky", "psf"], evaluation=evaluation)
    assert result.path is not None
    for place in (run, evaluation.path, result.path):
        (again,) = read_robustness(place)
        assert storage.finite(again.to_dict()) == storage.finite(result.to_dict())
        assert math.isnan(again.curves[0].points[0].accuracy.lower)  # every frame is right, so there is no interval
    facts = storage.read_json(result.path / "robustness.json")
    assert (facts["schema"], facts["zoo"], facts["points_lost"]) == (1, zoo.__version__, 0.05)
    (result.path / "frames.csv").write_text("changed")
    with pytest.raises(StorageError, match=r"frames\.csv"):
        read_robustness(run)


def test_an_evaluation_without_its_data_is_refused(run: Path, make_list: Make) -> None:
    evaluation = zoo.evaluate(run, make_list([*GALAXIES[:2], *NSCS[:2]]), split="all", store=False)
    with pytest.raises(UsageError, match="whose data are not open"):
        measure_robustness(run, evaluation=replace(evaluation, selection=None))


def test_axes_and_levels_are_checked_before_anything_is_read() -> None:
    assert [axis.name for axis, _ in choose_axes(["sky", "psf"])] == ["psf", "sky"]
    assert choose_axes(["exposure"], parse_levels(["exposure=0.1, 0.5,0.1"]))[0][1] == (0.5, 0.1)
    with pytest.raises(UnknownNameError, match="did you mean 'cosmics'"):
        measure_robustness("/nowhere", axes=["cosmic"])
    for levels, text in (
        ({"psf": [0.0]}, "psf: got the level 0, expected a number above 0"),
        ({"exposure": [2.0]}, "above 0 and below 1"),
        ({"rebin": [2.5]}, "expected a whole number above 1"),
        ({"sky": [math.inf]}, "got the level inf"),
        ({"sky": []}, "got no levels"),
    ):
        with pytest.raises(UsageError, match=text):
            choose_axes(None, levels)
    with pytest.raises(UsageError, match="levels for sky, which is not among the axes psf"):
        choose_axes(["psf"], {"sky": [1.0]})
    for words in (["psf"], ["psf=a"], ["psf=1", "psf=2"]):
        with pytest.raises(UsageError, match="cannot read the levels"):
            parse_levels(words)


def test_steps_are_inserted_behind_electrons_and_before_all_that_changes_pixels() -> None:
    def names(*steps: str, step: str = "sky") -> list[str]:
        return [one["step"] for one in insert(Pipeline(steps), {"step": step}, AXES[step].electrons)]

    assert names("overscan", "resize:factor=2", "normalize", "flip") == ["overscan", "sky", "resize", "normalize", "flip"]
    assert names("overscan", "psf", "normalize") == ["overscan", "psf", "sky", "normalize"]
    assert names("resize:factor=2", "normalize") == ["overscan", "sky", "resize", "normalize"]
    assert names("resize:factor=2", "normalize", step="blur") == ["blur", "resize", "normalize"]


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    options = {"seed": 5, "train": 0, "val": 0, "test": 1, "exposures": 1, "workers": 1}
    return open_data("simulated", root=tmp_path_factory.mktemp("sky"), options=options)


def test_a_run_without_overscan_degrades_no_raw_frames(tmp_path: Path, sky: DataSet) -> None:
    steps = ("resize:height=32,width=64", "normalize", "pad:height=32,width=64")
    run = make_run(tmp_path / "plain", steps=steps, products=("raw",))
    result = measure_robustness(run, sky, axes=["sky", "rebin"], levels={"sky": [9.0], "rebin": [40.0]}, store=False)
    added, rebin = result.curves
    assert {(frame.code, "no 'overscan'" in frame.message) for frame in added.left_out} == {("no-electrons", True)}
    assert (len(added.left_out), rebin.left_out, len(rebin.points)) == (4, (), 2)


def test_simulated_frames_are_exposed_again_and_rendered_once(tmp_path: Path, sky: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "sim", steps=("overscan", "resize:factor=16", "normalize"), products=("raw",))
    rendered = []

    def count(frame: Frame) -> Observation | None:
        rendered.append((frame.info.path, frame.info.hdu))
        return find_scene(frame)

    monkeypatch.setattr("zoo.robustness.sweep.find_scene", count)
    monkeypatch.setattr("zoo.plugins.degrade.observing.find_scene", count)
    levels = {"sky": [100.0, 5000.0], "readnoise": [1.0, 50.0], "exposure": [0.5]}
    result = measure_robustness(run, sky, axes=list(levels), levels=levels)
    assert len(rendered) == len(set(rendered)) == result.n_frames == 4
    assert all(not curve.left_out for curve in result.curves)
    # The light is known, so a read noise below the camera's is a change too.
    assert [point.n_changed for point in result.curves[1].points] == [0, 4, 4]
    monkeypatch.undo()
    assert result.path is not None
    rows = [row for row in read_rows(result) if row["level"] == "5000.0"]
    loaded = load(run)
    for row in rows:
        image = Pipeline(["overscan", "sky:electrons=5000", "resize:factor=16", "normalize"]).run_frame(
            read_frame(row["path"], int(row["hdu"]))
        )
        with torch.inference_mode():
            chance = float(torch.softmax(loaded.model(image[None]).double(), 1)[0, 1])
        assert float(row["p_NSC"]) == pytest.approx(chance, abs=1e-6)
