"""``zoo evaluate --robustness`` and ``zoo stress``: tables, JSON, files and exit codes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from skies import write_sky

from zoo.cli.evaluate import evaluate
from zoo.cli.stress import stress
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.robustness import read_robustness


@pytest.fixture
def listed(make_list: Callable[..., Path]) -> str:
    frames = []
    for number in range(6):
        frames += [("galaxy", f"G{number // 2}", 3000.0 + 100 * number), ("NSC", f"N{number // 2}", 6000.0 + 100 * number)]
    return str(make_list(frames))


def _tables(text: str) -> list[list[dict[str, str]]]:
    blocks = ["\n".join(line for line in block.splitlines() if not line.startswith("#")) for block in text.split("\n\n")]
    return [list(csv.DictReader(block.splitlines(), delimiter="\t")) for block in blocks]


def _zoo(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in arguments])  # type: ignore[arg-type]


def test_evaluate_adds_the_curves(run: Path, listed: str) -> None:
    options = ("--robustness-axes", "sky,blur", "--robustness-levels", "sky=1000,1750,2500", "--robustness-frames", "10")
    result = _zoo(evaluate, run, "--data", listed, *options)
    assert result.exception is None
    losses, curves = _tables(result.stdout)[-2:]
    assert [(row["axis"], row["frames"], row["left out"]) for row in losses] == [("sky", "10", "0"), ("blur", "10", "0")]
    assert 1000 < float(losses[0]["5 points lost at"]) < 1750
    assert losses[1]["note"] == "not within the range: at most 0.0 points are lost (95 %: up to 0.0)"
    assert [row["level"] for row in curves if row["axis"] == "sky"] == ["0", "1000", "1750", "2500"]
    assert curves[0]["note"] == "as it is"
    assert "robustness: 10 frames as they are and at 8 levels of sky, blur: at most 90 passes of the model\n" in result.stderr
    assert "robustness: 10 of 12 frames, a share of every class and target\n" in result.stderr
    assert "robustness: bare Gaussian blur, not a PSF test: a loss of 5 points is not within the range" in result.stderr
    (stored,) = read_robustness(run)
    assert f"written: {stored.path}\n" in result.stderr
    # One more row of tables than without it, and the same ones before.
    plain = _zoo(evaluate, run, "--data", listed)
    assert result.stdout.startswith(plain.stdout)


def test_evaluate_prints_one_json_document(run: Path, listed: str) -> None:
    result = _zoo(evaluate, run, "--data", listed, "--robustness", "--robustness-axes", "psf", "--json")
    document = json.loads(result.stdout)["results"]
    (curve,) = document["robustness"]["curves"]
    assert [point["level"] for point in curve["points"]] == [0.0, 0.114, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2]
    assert curve["marks"] == {"CSST, mean of simulations": 0.114, "CSST, required": 0.15}
    assert document["metrics"]["n_frames"] == 12


def test_axes_are_checked_before_the_evaluation(listed: str) -> None:
    assert isinstance(_zoo(evaluate, "/no/such/run", "--robustness-axes", "psv").exception, UnknownNameError)
    assert isinstance(_zoo(evaluate, "/no/such/run", "--robustness-levels", "psf").exception, UsageError)
    assert isinstance(_zoo(stress, "/no/such/run", listed, "--axes", "psv").exception, UnknownNameError)


def test_stress_prints_where_each_class_changes(run: Path, tmp_path: Path) -> None:
    files = [write_sky(tmp_path / "a.fits", 3000.0, 1), write_sky(tmp_path / "b.fits", 6000.0, 1, INSTRUME="OTHER")]
    result = _zoo(stress, run, *files, "--axes", "psf,sky", "--levels", "sky=1000,2500")
    assert result.exception is None
    one, two = csv.DictReader(result.stdout.splitlines(), delimiter="\t")
    assert (one["predicted"], one["flip_sky"], one["class_sky"], one["flip_psf"], one["left_out"]) == ("galaxy", "2500", "NSC", "", "")
    assert (two["predicted"], two["flip_sky"], two["left_out"]) == ("NSC", "", "psf no-scale")
    assert "at most 10 passes of the model for each frame\n" in result.stderr
    assert "class changes within the levels: psf 0, sky 1 of 2\n" in result.stderr
    assert "psf: cannot be applied to 1 of 2 frames (no-scale 1):\n" in result.stderr


def test_stress_refuses_bad_files_as_rows_and_exits_3(run: Path, tmp_path: Path) -> None:
    good, bad = write_sky(tmp_path / "good.fits", 3000.0, 1), str(tmp_path / "gone.fits")
    result = _zoo(stress, run, bad, good, "--axes", "blur", "--json")
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3
    document = json.loads(result.stdout)
    assert [(row["path"], row["status"], row["code"]) for row in document["results"]] == [
        (bad, "refused", "missing"),
        (str(good), "ok", ""),
    ]
    blur = document["results"][1]["axes"]["blur"]
    assert (blur["levels"], blur["predicted"], blur["flips_at"]) == ([0.5, 1, 2, 4, 8], ["galaxy"] * 5, None)
    assert document["metadata"]["axes"]["blur"]["unit"] == "pixels"
    assert document["summary"] == {"rows": 2, "flipped": {"blur": 0}, "left_out": {}, "refused": {"missing": 1}}
    assert _zoo(stress, run, bad, good, "--axes", "blur", "--allow-bad", "1").exception is None


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_stress_writes_files(run: Path, tmp_path: Path, suffix: str) -> None:
    frame, out = write_sky(tmp_path / "frame.fits", 3000.0, 1), tmp_path / f"out{suffix}"
    result = _zoo(stress, run, frame, "--axes", "sky", "--levels", "sky=2500", "-o", str(out))
    assert (result.exception, result.stdout) == (None, "")
    lines = out.read_text().splitlines()
    (row,) = [json.loads(line) for line in lines] if suffix == ".jsonl" else list(csv.DictReader(lines))
    assert (float(row["flip_sky"]), row["class_sky"], row["predicted"]) == (2500.0, "NSC", "galaxy")
    again = _zoo(stress, run, frame, "--axes", "sky", "-o", str(out))
    assert isinstance(again.exception, UsageError)
    assert "is there already" in str(again.exception)
