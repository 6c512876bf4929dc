"""Comparing runs: the right evaluations, the right frames, figures of a hand count, and a verdict that claims no more than they do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_run import make_run, tiny_registry, write_frame

import zoo
from zoo.errors import DataError, StorageError, UsageError
from zoo.evaluation import Evaluation, metrics
from zoo.evaluation.result import FrameResult
from zoo.models import save_model
from zoo.storage import SEAL_NAME, TEMPORARY_PREFIX

LABELS = ("galaxy", "NSC")
STEPS = {  # threshold of the mean level -> steps
    0.5: ("overscan", "normalize:limits=manual,lower=0,upper=1,stretch=linear"),
    0.65: ("overscan", "normalize:limits=manual,lower=0.15,upper=1.15,stretch=linear"),
}


def evaluation(name: str, rights: Mapping[str, str], *, refused: Sequence[str] = (), **changes: object) -> Evaluation:
    """An evaluation of galaxies: target -> one character a frame, ``+`` right, ``-`` wrong; files in ``refused`` were refused."""
    frames = []
    for target, outcomes in rights.items():
        for number, outcome in enumerate(outcomes):
            path = f"/data/{name}/{target}_{number}.fits"
            base = FrameResult(
                path=path, hdu=0, plane=None, rootname="", target=target, label="galaxy", instrument="", filter="", product="", exptime=1.0
            )
            if Path(path).name in refused:
                frames.append(replace(base, status="refused", code="not-fits", message="no"))
            else:
                chances = (0.9, 0.1) if outcome == "+" else (0.2, 0.8)
                frames.append(replace(base, predicted=LABELS[int(np.argmax(chances))], probabilities=chances))
    ok = [frame for frame in frames if frame.status == "ok"]
    scores = metrics.score([0] * len(ok), [frame.probabilities for frame in ok], [frame.target for frame in ok], LABELS)
    made = Evaluation(
        run=Path(name),
        model="level",
        domain="files",
        data="list.csv",
        split="test",
        data_domain="files",
        labels=LABELS,
        metrics=scores,
        intervals={},
        groups={},
        baselines=[],
        shortcuts=[],
        seen=(),
        accuracy_new=None,
        frames=tuple(frames),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


GOOD = {f"T{i}": "++++" for i in range(8)}
POOR = {f"T{i}": "+--+" if i < 7 else "+---" for i in range(8)}


def test_two_runs_give_the_figures_of_a_hand_count() -> None:
    result = zoo.compare([evaluation("poor", POOR), evaluation("good", GOOD)])
    assert (result.data, result.split, result.n_frames, result.n_targets, result.n_left_out) == ("list.csv", "test", 32, 8, 0)
    assert [run.name for run in result.standings] == ["good", "poor"]
    assert [run.rank for run in result.standings] == [1, 2]
    assert result.standings[1].accuracy.estimate == 15 / 32
    (pair,) = result.pairs
    assert (pair.first, pair.second, pair.only_first, pair.only_second) == ("good", "poor", 17, 0)
    assert pair.difference.estimate == 17 / 32
    assert pair.difference.lower < 17 / 32 < pair.difference.upper
    assert pair.p_value == pair.p_adjusted == pair.p_smallest == 2 / 2**8
    assert pair.mcnemar_p == 2 / 2**17
    assert pair.distinct
    assert result.verdict.startswith("good is more accurate than poor: +0.5312, 95 % interval +0.")
    assert result.verdict.endswith("p = 0.00781 over 8 targets.")


def test_few_targets_cannot_tell_however_large_the_difference() -> None:
    good, poor = ({f"T{i}": outcome * 9 for i in range(4)} for outcome in "+-")
    result = zoo.compare([evaluation("good", good), evaluation("poor", poor)])
    assert [run.rank for run in result.standings] == [1, 1]
    assert "cannot be told apart: +1.0000, 95 % interval n/a" in result.verdict
    assert result.verdict.endswith("they differ on too few targets for p to fall below 0.125.")
    assert result.pairs[0].mcnemar_p < 1e-9


def test_one_target_is_enough_for_figures_and_for_no_verdict() -> None:
    result = zoo.compare([evaluation("a", {"T": "+++-"}), evaluation("b", {"T": "+-+-"})])
    assert result.pairs[0].difference.reason == "fewer than 2 targets"
    assert result.pairs[0].p_value == 1.0
    assert "over 1 target;" in result.verdict


def test_equal_runs_are_told_to_be_equal() -> None:
    one = evaluation("a", GOOD | {"T0": "+--+"})
    same = zoo.compare([one, evaluation("b", GOOD | {"T0": "+--+"})])
    assert same.verdict == "a and b call every frame alike: there is nothing to tell them apart."
    namesake = zoo.compare([one, replace(one)])
    assert [run.name for run in namesake.standings] == ["a", "a (2)"]
    assert namesake.pairs[0].p_value == namesake.pairs[0].mcnemar_p == 1.0
    with pytest.raises(UsageError, match=r"got one run 2 times \(a, a\), expected at least two different runs"):
        zoo.compare([one, one])


def test_runs_wrong_on_the_same_frames_need_not_call_them_alike() -> None:
    one = evaluation("a", {"T0": "++-", "T1": "+++"}, labels=("galaxy", "NSC", "star"))
    frames = tuple(replace(frame, predicted="star" if frame.predicted == "NSC" else frame.predicted) for frame in one.frames)
    result = zoo.compare([one, replace(one, run=Path("b"), frames=frames)])
    assert result.verdict == "a and b are right on the same frames: there is nothing to tell them apart."


def test_several_runs_are_ranked_with_ties_and_corrected_together() -> None:
    near = GOOD | {"T0": "+++-"}
    result = zoo.compare([evaluation("poor", POOR), evaluation("near", near), evaluation("good", GOOD), evaluation("poor2", POOR)])
    assert [(run.rank, run.name) for run in result.standings] == [(1, "good"), (1, "near"), (3, "poor"), (3, "poor2")]
    assert len(result.pairs) == 6
    p_values = [pair.p_value for pair in result.pairs]
    assert min(p_values) == 2 / 2**8
    assert min(pair.p_adjusted for pair in result.pairs) == pytest.approx(6 * 2 / 2**8)
    assert all(pair.p_adjusted >= pair.p_value for pair in result.pairs)
    assert result.standings[0].behind is None
    assert [run.behind.estimate for run in result.standings if run.behind] == [1 / 32, 17 / 32, 17 / 32]
    assert result.verdict == "good is more accurate than poor and poor2, and cannot be told apart from near."
    alike = zoo.compare([evaluation("good", GOOD), evaluation("near", near), evaluation("nearer", near)])
    assert alike.verdict == "None of the other 2 runs can be told apart from good, which has the highest accuracy."


def test_different_frames_are_refused_unless_the_common_ones_are_asked_for() -> None:
    one, two = evaluation("a", GOOD), evaluation("b", POOR, refused=["T0_0.fits", "T0_1.fits"])
    with pytest.raises(DataError, match=r"30 are common, 2 are not \(b lacks 2: not-fits 2\); --common compares"):
        zoo.compare([one, two])
    result = zoo.compare([one, two], common=True)
    assert (result.n_frames, result.n_targets, result.n_left_out) == (30, 8, 2)
    assert result.standings[0].accuracy.estimate == 1.0
    assert result.pairs[0].only_first == 16


def test_lists_that_differ_are_refused_unless_the_common_frames_are_asked_for() -> None:
    one, two = evaluation("a", GOOD), evaluation("b", {**POOR, "T9": "--"})
    with pytest.raises(DataError, match=r"32 are common, 2 are not \(a lacks 2: not in its list 2\)"):
        zoo.compare([one, two])
    assert zoo.compare([one, two], common=True).n_frames == 32
    with pytest.raises(DataError, match="no frame was scored by each"):
        zoo.compare([one, evaluation("c", {"X": "++"})], common=True)


def test_a_frame_of_two_labels_is_refused() -> None:
    one = evaluation("a", GOOD)
    frames = (replace(one.frames[0], label="NSC"), *one.frames[1:])
    with pytest.raises(DataError, match=r"T0_0.fits, HDU 0: is 'galaxy' for a and 'NSC' for b"):
        zoo.compare([one, replace(one, run=Path("b"), frames=frames)])


def test_files_of_one_name_in_two_folders_stay_apart() -> None:
    one = evaluation("a", {"T0": "+-", "T1": "++"})
    frames = tuple(replace(frame, path=f"/{number}/same.fits", target="T") for number, frame in enumerate(one.frames))
    result = zoo.compare([replace(one, frames=frames), replace(one, run=Path("b"), frames=frames[::-1])])
    assert (result.n_frames, result.pairs[0].only_first) == (4, 0)


def test_a_frame_that_is_listed_twice_counts_twice() -> None:
    one = evaluation("a", {"T0": "+-"})
    assert zoo.compare([replace(one, frames=one.frames * 2) for _ in range(2)]).n_frames == 4


def test_targets_of_a_training_classes_and_arithmetic_are_not_kept_quiet() -> None:
    one = evaluation("a", GOOD, seen=("T1", "T2", "elsewhere"))
    two = evaluation("b", GOOD, labels=("galaxy", "NSC", "star"))
    result = zoo.compare([one, two])
    assert result.standings[0].seen == ("T1", "T2")
    assert result.notes == ("the runs know different classes: a galaxy, NSC; b galaxy, NSC, star",)
    few = [evaluation(name, {f"T{i}": "+-" for i in range(7)}) for name in ("a", "b")]
    assert zoo.compare(few).notes == ("fewer than 8 targets: galaxy 7; what is said of such a class may change with one more target",)


def test_one_run_is_refused() -> None:
    with pytest.raises(UsageError, match="got 1 run, expected at least two"):
        zoo.compare([evaluation("a", GOOD)])


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Path]]:
    """Two runs with other thresholds, and a list of 12 frames, one of which lies between the thresholds."""
    with tiny_registry():
        lines = ["path,hdu,label,target,split"]
        for label, level in (("galaxy", 0.3), ("NSC", 0.8)):
            for number in range(6):
                odd = 0.6 if (label, number) == ("galaxy", 0) else level
                path = write_frame(tmp_path / "frames" / f"{label}{number}.fits", odd)
                lines.append(f"{path},0,{label},{label}{number // 2},{'test' if number < 4 else 'val'}")
        (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
        folders = []
        for name, steps in zip(("low", "high"), STEPS.values(), strict=True):
            folders.append(make_run(tmp_path / name, steps=steps, config='[data]\nsource = "/gone/list.csv"\n'))
            zoo.evaluate(folders[-1], tmp_path / "list.csv")
        yield folders


def test_stored_evaluations_are_read_and_nothing_is_run(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.models.directory.load_tensors_into", None)
    result = zoo.compare(runs)
    assert [(run.name, run.accuracy.estimate) for run in result.standings] == [("high", 1.0), ("low", 7 / 8)]
    assert (result.pairs[0].only_first, result.pairs[0].only_second) == (1, 0)
    best = result.standings[0]
    assert best.path is not None
    assert best.path.parent == runs[1] / "evaluations"
    assert best.parameters == 0  # the model of these runs has none
    assert best.time_s is not None
    assert best.time_s > 0


def test_an_evaluation_folder_names_itself(runs: list[Path]) -> None:
    (folder,) = (runs[0] / "evaluations").iterdir()
    assert zoo.compare([folder, runs[1]]).pairs[0].only_first == 1


def test_a_run_without_the_evaluation_names_the_command(runs: list[Path], tmp_path: Path) -> None:
    third = make_run(tmp_path / "third")
    with pytest.raises(DataError, match=rf"{third}: got no stored evaluation, expected one; run 'zoo evaluate {third}'"):
        zoo.compare([*runs, third])
    zoo.evaluate(third, tmp_path / "list.csv", split="val")
    command = rf"has list.csv, split val \(4 frames\); run 'zoo evaluate {third} --data list.csv --split test'"
    with pytest.raises(DataError, match=command):
        zoo.compare([*runs, third])
    with pytest.raises(DataError, match=r"got no stored evaluation of split train, expected one; it has list\.csv, split test"):
        zoo.compare(runs, split="train")


def test_several_shared_evaluations_must_be_chosen_from(runs: list[Path], tmp_path: Path) -> None:
    for run in runs:
        zoo.evaluate(run, tmp_path / "list.csv", split="val")
    with pytest.raises(UsageError, match=r"several evaluations: list\.csv, split test; list\.csv, split val; choose with --data"):
        zoo.compare(runs)
    assert zoo.compare(runs, split="val").n_frames == 4
    assert zoo.compare(runs, data="list.csv", split="test").n_frames == 8


def test_the_newest_evaluation_in_fp32_is_taken(runs: list[Path], tmp_path: Path) -> None:
    zoo.evaluate(runs[0], tmp_path / "list.csv", precision="bf16")
    result = zoo.compare(runs)
    assert [run.precision for run in result.standings] == ["fp32", "fp32"]
    assert result.notes[0].startswith(f"{runs[0]} holds 2 evaluations of list.csv, split test; this is ")


def test_evaluations_of_older_weights_do_not_count(runs: list[Path]) -> None:
    model = zoo.load(runs[0])
    save_model(runs[0] / "model", model.model, {**model.card, "domain": "other"})
    with pytest.raises(DataError, match=r"are of other weights than its model has now; run 'zoo evaluate .*low'"):
        zoo.compare(runs)


def test_an_evaluation_whose_writing_was_cut_off_does_not_count(runs: list[Path]) -> None:
    (folder,) = (runs[0] / "evaluations").iterdir()
    shutil.copytree(folder, folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}.new"))
    (folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}.new") / SEAL_NAME).unlink()
    assert zoo.compare(runs).n_frames == 8


def test_a_changed_file_is_refused(runs: list[Path]) -> None:
    (path,) = (runs[0] / "evaluations").glob("*/frames.csv")
    path.write_text(path.read_text().replace("NSC", "galaxy"))
    with pytest.raises(StorageError, match="the file was changed or damaged"):
        zoo.compare(runs)
