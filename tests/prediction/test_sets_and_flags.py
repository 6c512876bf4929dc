"""Rows with a temperature, sets of classes, other class shares and flags, and what a run without them says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from tiny_run import make_run, tiny_registry, write_frame

import zoo
from zoo.calibration import calibrate, fit_range, softmax
from zoo.cli import main
from zoo.data.condition import measure_condition
from zoo.errors import CheckFailedError, UsageError
from zoo.frames import read_frame
from zoo.models.directory import update_model
from zoo.prediction import predict

LABELS = ("galaxy", "NSC")


def noisy(path: Path, level: float, *, seed: int = 0, **keywords: object) -> Path:
    """A frame of noise about a level, with a fainter middle."""
    pixels = np.random.default_rng(seed).normal(level, 0.02, (32, 64)).astype(np.float32)
    pixels[8:24, 16:48] += 0.1
    hdu = fits.PrimaryHDU(pixels)
    hdu.header.update(keywords)
    hdu.writeto(path)
    return path


def learn(run: Path, folder: Path, targets: int = 20) -> None:
    """Give a run a calibration of ``targets`` targets, of which one is called wrong, and a range of frames of one camera."""
    rng = np.random.default_rng(1)
    truth = np.arange(targets) % 2
    margin = np.where(truth == 1, 1, -1) * rng.uniform(1.0, 4.0, targets)
    margin[0] *= -0.2
    names = [f"T{i}" for i in range(targets)]
    calibration = calibrate(np.stack([-margin, margin], axis=1), truth, names, LABELS, data="mine")
    files = [noisy(folder / f"train{i}.fits", 0.3 + 0.02 * i, seed=i) for i in range(targets)]
    conditions = [measure_condition(read_frame(file)) for file in files]
    found = fit_range(conditions, names, ["ACS/WFC"] * targets)
    assert found is not None
    update_model(run / "model", {"calibration.json": calibration.to_dict(), "range.json": found.to_dict()})


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    with tiny_registry():
        yield make_run(tmp_path / "run", training={"class_shares": {"galaxy": 0.5, "NSC": 0.5}})


@pytest.fixture
def calibrated(run: Path, tmp_path: Path) -> Path:
    learn(run, tmp_path)
    return run


def test_probabilities_have_the_temperature_and_classes_do_not(calibrated: Path, tmp_path: Path) -> None:
    loaded = zoo.load(calibrated)
    assert loaded.temperature != 1
    (row,) = predict(calibrated, [write_frame(tmp_path / "a.fits", 0.4)])
    margin = 8 * (0.4 - 0.5)
    assert list(row.probabilities.values()) == pytest.approx(softmax([-margin, margin], loaded.temperature).tolist(), abs=1e-5)
    assert row.predicted == "galaxy"
    assert row.row(LABELS)["set"] is None


def test_sets_hold_one_class_where_it_is_sure(calibrated: Path, tmp_path: Path) -> None:
    files = [write_frame(tmp_path / f"{level}.fits", level) for level in (0.05, 0.499, 0.95)]
    files.append(tmp_path / "gone.fits")
    rows = list(predict(calibrated, files, abstain=0.95))
    assert [row.row(LABELS)["set"] for row in rows] == ["galaxy", "galaxy|NSC", "NSC", None]
    assert [row.predicted for row in rows] == ["galaxy", "galaxy", "NSC", ""]


def test_sets_of_a_level_that_cannot_be_attained_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="'zoo calibrate "):
        predict(run, [], abstain=0.95)
    learn(run, tmp_path, targets=18)
    with pytest.raises(CheckFailedError, match="got 18"):
        predict(run, [], abstain=0.95)
    with pytest.raises(UsageError, match="level"):
        predict(run, [], abstain=95)


def test_other_class_shares_may_change_the_class(calibrated: Path, tmp_path: Path) -> None:
    file = write_frame(tmp_path / "a.fits", 0.52)
    (plain,), (row,) = predict(calibrated, [file]), predict(calibrated, [file], prior={"galaxy": 0.95, "NSC": 0.05})
    p = plain.probabilities["NSC"]
    assert p > 0.5
    assert row.predicted == "galaxy"
    assert row.probabilities["NSC"] == pytest.approx(0.05 * p / (0.05 * p + 0.95 * (1 - p)))
    with pytest.raises(UsageError, match="add up"):
        predict(calibrated, [file], prior={"galaxy": 0.5, "NSC": 0.1})


def test_a_run_that_does_not_tell_its_class_shares_takes_no_others(tmp_path: Path) -> None:
    with tiny_registry(), pytest.raises(UsageError, match="how common each class was in training"):
        predict(make_run(tmp_path / "run"), [], prior={"galaxy": 0.5, "NSC": 0.5})


def test_rows_carry_their_flags(calibrated: Path, tmp_path: Path) -> None:
    dim = np.random.default_rng(3).normal(0.4, 0.02, (32, 64)).astype(np.float32)
    fits.PrimaryHDU(dim).writeto(tmp_path / "dim.fits")
    holes = dim.copy()
    holes[:24] = np.nan
    fits.PrimaryHDU(holes).writeto(tmp_path / "holes.fits")
    good, faint = noisy(tmp_path / "good.fits", 0.4, seed=99), noisy(tmp_path / "faint.fits", 0.4, seed=98)
    with fits.open(faint, mode="update") as opened:
        opened[0].data *= 0.01
    files = [good, tmp_path / "dim.fits", tmp_path / "holes.fits", faint]
    camera = {"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS", "FLATCORR": "COMPLETE"}
    files.append(noisy(tmp_path / "uvis_flt.fits", 0.4, seed=97, **camera))
    large = np.random.default_rng(4).normal(0.4, 0.02, (64, 128)).astype(np.float32)
    fits.PrimaryHDU(large).writeto(tmp_path / "large.fits")
    rows = list(predict(calibrated, [*files, tmp_path / "large.fits", tmp_path / "gone.fits"], allow_product=True))
    flags = [set(row.flags) for row in rows]
    assert flags[0] == set()
    assert "low-signal" in flags[1]
    assert "mostly-invalid" in flags[2]
    assert flags[3] == {"out-of-range"}
    assert flags[4] == {"other-product", "other-camera"}
    assert "size-adapted" in flags[5]
    assert rows[6].flags == ()
    assert rows[4].row(LABELS)["flags"] == "other-product|other-camera"
    assert list(rows[0].row(LABELS))[-2:] == ["set", "flags"]
    again = list(predict(calibrated, files[:2], thresholds={"low-signal": 0, "out-of-range": 1e9}))
    assert [row.flags for row in again] == [(), ()]
    with pytest.raises(UsageError, match="expected one of low-signal"):
        predict(calibrated, [], thresholds={"clouds": 1.0})


def test_the_command_counts_sets_and_flags(calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(noisy(tmp_path / "good.fits", 0.1, seed=50)), str(noisy(tmp_path / "b.fits", 0.47, seed=51))]
    words = ["predict", str(calibrated), *files, "--abstain", "0.95", "--prior", "NSC=0.3,galaxy=0.7", "--json", "--flag", "low-signal=1e9"]
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    assert stop.value.code == 0
    document = json.loads(out)
    assert document["metadata"]["prior"] == {"galaxy": 0.7, "NSC": 0.3}
    assert document["metadata"]["abstain"] == 0.95
    assert document["summary"]["sets"] == {"galaxy": 1, "galaxy|NSC": 1}
    assert document["summary"]["flagged"] == document["summary"]["flags"]["low-signal"] == 2
    assert "sets of level 0.95, for the classes together, from 20 targets (mine, split val)" in err
    assert "1 of 2 frames decided (column 'set')" in err
    assert "2 frames flagged (column 'flags'): low-signal 2" in err
    with pytest.raises(SystemExit):
        main(["predict", str(calibrated), files[0], "--abstain", "0.95", "--prior", "NSC=0.999999,galaxy=0.000001"])
    err = capsys.readouterr().err
    assert "promise nothing" not in err
    assert "1 of 1 frame decided (column 'set')\n1 decided for another class than 'predicted'" in err


def test_decided_frames_unlike_those_of_the_training_are_counted(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(noisy(tmp_path / "good.fits", 0.1, seed=50))
    with pytest.raises(SystemExit):
        main(["predict", str(calibrated), file, "--abstain", "0.95", "--flag", "out-of-range=1e-9"])
    assert "1 of those decided is other-camera or other-product or out-of-range: sets promise nothing there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--abstain", "0.95"], 5, "this model has none; 'zoo calibrate"),
        (["--abstain", "2"], 5, "this model has none"),
        (["--prior", "galaxy=0.9"], 2, "no share of NSC"),
        (["--prior", "galaxy=0.9,star=0.1"], 2, "got class 'star'"),
        (["--flag", "low-signal"], 2, "expected NAME=NUMBER"),
        (["--flag", "low-signal=-1"], 2, "must be a number >= 0"),
        (["--flag", "saturated=7"], 2, "a share of the pixels and must be at most 1, got 7"),
    ],
)
def test_the_command_refuses(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    file = write_frame(tmp_path / "a.fits", 0.2)
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(run), str(file), *words])
    assert stop.value.code == code
    assert message in capsys.readouterr().err


def test_an_older_run_says_in_a_line_what_it_lacks(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_frame(tmp_path / "a.fits", 0.2)
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(run), str(file)])
    assert stop.value.code == 0
    out, err = capsys.readouterr()
    assert "probabilities are not calibrated: 'zoo calibrate" in err
    assert "flags: what the training frames looked like is not known" in err
    assert out.splitlines()[0].split("\t")[-2:] == ["set", "flags"]
