"""hrcn on real FITS, through the command line: trained on a folder of genuine files, and asked about three genuine HST raws.

What it says about so few files is no result; that every file gets its row, and every step its place, is.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REAL = Path(os.environ.get("ZOO_REAL_DATA", "")) / "real"
pytestmark = pytest.mark.skipif("ZOO_REAL_DATA" not in os.environ, reason="ZOO_REAL_DATA names no folder with real/")

GALAXIES = ("M51", "M88", "M99", "NGC4298", "NGC4302", "NGC4307")
NSCS = ("M1", "M42", "NGC104")


def zoo(*words: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "zoo", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == expect, f"zoo {' '.join(words)} returned {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of symbolic links; the names of the classes in other case than ours."""
    root = tmp_path_factory.mktemp("real")
    for label, targets in (("Galaxy", GALAXIES), ("nsc", NSCS)):
        (root / "sky" / label).mkdir(parents=True)
        for path in sorted((REAL / label.lower()).glob("*.fits")):
            if path.name.split("_")[0] in targets:
                (root / "sky" / label / path.name).symlink_to(path)
    return root


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    words = ["--model", "hrcn", "--data", "sky", "--step", "overscan", "--step", "resize:height=64,width=128", "--step", "normalize"]
    words += ["--step", "pad:height=64,width=128", "--step", "flip", "--epochs", "2", "--batch-size", "8", "--allow-product"]
    done = zoo("train", *words, "--output", "run", cwd=folder)
    assert "targets from file name" in done.stderr
    assert "TARGNAME" in done.stderr
    assert "padding=same" in done.stderr
    assert done.stdout == "run\n"
    return folder / "run"


def test_products_are_not_mixed_unasked(folder: Path) -> None:
    done = zoo("train", "--data", "sky", "--output", "mixed", cwd=folder, expect=3)
    assert "--allow-product" in done.stderr
    assert not (folder / "mixed").exists()


def test_hrcn_trains_on_real_files_split_by_target(run: Path) -> None:
    card = json.loads((run / "model" / "card.json").read_text())
    assert card["labels"] == ["galaxy", "NSC"]
    assert card["input_shape"] == [1, 64, 128]
    assert card["model"]["options"] == {"padding": "same"}
    assert card["domain"] == "files"
    with (run / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    splits = {target: {row["split"] for row in rows if row["target"] == target} for target in {row["target"] for row in rows}}
    assert all(len(found) == 1 for found in splits.values())
    assert {"NGC104", "M42", "M51"} <= set(splits)
    losses = [
        json.loads(line)["train_loss"]
        for line in (run / "metrics.jsonl").read_text().splitlines()
        if '"epoch"' in line and "train_loss" in line
    ]
    assert len(losses) == 2
    assert all(0 < loss < 20 for loss in losses)


def test_genuine_hst_raws_are_predicted(run: Path) -> None:
    raws = sorted((REAL / "nsc").glob("*raw.fits"))
    assert len(raws) == 3
    rows = json.loads(zoo("predict", str(run), *map(str, raws), "--json", cwd=run.parent).stdout)["results"]
    assert [row["path"] for row in rows] == [str(path) for path in raws]
    for row in rows:
        assert (row["status"], row["instrument"], row["product"]) == ("ok", "ACS/HRC", "raw")
        assert (row["height"], row["width"]) == (1024, 1024)
        assert row["p_galaxy"] + row["p_NSC"] == pytest.approx(1, abs=1e-6)


def test_every_real_file_gets_a_row_and_none_stops_the_rest(run: Path) -> None:
    done = zoo("predict", str(run), *(str(path) for path in sorted(REAL.rglob("*")) if path.is_file()), "--json", cwd=run.parent, expect=3)
    rows = json.loads(done.stdout)["results"]
    assert {row["path"] for row in rows} == {str(path) for path in REAL.rglob("*") if path.is_file()}
    refused = {row["path"]: row["code"] for row in rows if row["status"] == "refused"}
    assert all(refused[row["path"]] == "not-fits" for row in rows if row["path"].endswith((".jpg", ".png")))
    assert all(code for code in refused.values())
    assert all(row["predicted"] in ("galaxy", "NSC") for row in rows if row["status"] == "ok")


def test_a_real_run_claims_nothing_about_the_simulator(run: Path) -> None:
    done = zoo("evaluate", str(run), cwd=run.parent)
    assert "simulator" not in done.stderr + done.stdout
    assert "accuracy" in done.stdout
