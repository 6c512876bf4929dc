"""``zoo profile``: tables, JSON, notes, exit codes, and what its help imports."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from zoo import profiling
from zoo.cli import profile as module
from zoo.cli.profile import profile
from zoo.errors import MemoryLimitError, ZooError
from zoo.profiling import ModelProfile, OpProfile, Profile, StepProfile

ODD_NETS = Path(__file__).parent.parent / "profiling" / "odd_nets.py"
MACHINE = {"processor": "EPYC", "threads": 2, "torch": "2.13.0", "asked": {"precision": "fp32", "batch": 1, "budget_s": 30.0}}

FAST = StepProfile(
    "infer", "measured", bound_bytes=2000, peak_bytes=3 << 30, samples_s=tuple(0.5 + 0.001 * i for i in range(100)), warmup=20, steady=True
)
COLD = StepProfile("train", "measured", bound_bytes=5000, peak_bytes=5 << 30, samples_s=(16.25,), warmup=0)
SKIPPED = StepProfile("train", "skipped", "needs at least 12.3 GiB, 85 % of the free memory is 9.69 GiB", bound_bytes=9)
BROKEN = StepProfile("infer", "crashed", "killed by SIGSEGV", exit_code=6)
MODEL = ModelProfile("hrcn[padding=same]", "hrcn[padding=same]", (1, 64, 128), 1, 97_048_130, 177_944_134_784, 388_220_008, (FAST, COLD))
OP = OpProfile(
    "blur", "float32", (2048, 4096), median_s=0.0042, iqr_s=0.0001, runs=50, copy_s=0.002, copies=2.1, reference_s=0.42,
    reference_runs=3, speedup=100.0, difference=1.7e-7,
)  # fmt: skip


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Makes ``zoo profile`` print ``given["result"]``; what it asked for is in ``given["asked"]``."""
    held: dict[str, Any] = {"result": Profile((MODEL,), (OP,), MACHINE)}

    def measure(models: object, **arguments: object) -> Profile:
        held["asked"] = {"models": models, **arguments}
        result: Profile = held["result"]
        return result

    monkeypatch.setattr(profiling, "profile", measure, raising=False)
    return held


def _zoo(*arguments: str) -> Result:
    return CliRunner().invoke(profile, list(arguments))


def _tables(text: str) -> list[list[dict[str, str]]]:
    blocks = ["\n".join(line for line in block.splitlines() if not line.startswith("#")) for block in text.split("\n\n")]
    return [list(csv.DictReader(block.splitlines(), delimiter="\t")) for block in blocks]


def test_redirected_tables_hold_raw_numbers(given: dict[str, Any]) -> None:
    result = _zoo("hrcn", "--op", "blur")
    assert result.exception is None
    assert result.stdout.startswith("# fp32, batch 1, at most 30 s per model and step; EPYC, 2 threads, torch 2.13.0\n")
    (infer, train), (op,) = _tables(result.stdout)
    assert (infer["model"], infer["frame"], infer["parameters"], infer["step"]) == ("hrcn[padding=same]", "1x64x128", "97048130", "infer")
    assert (infer["peak_bytes"], infer["p50_s"], infer["p90_s"], infer["p99_s"]) == (str(3 << 30), "0.5495", "0.589", "n/a (N=100)")
    assert float(infer["p50_lower_s"]) < 0.5495 < float(infer["p50_upper_s"])
    assert (train["p50_s"], train["p50_lower_s"], train["samples"]) == ("16.25", "n/a (N=1)", "1")
    assert train["note"] == "a single run, without warm-up, took the budget"
    assert (op["op"], op["copies"], op["speedup"], op["reference_iqr_s"]) == ("blur", "2.1", "100", "")


def test_terminal_table_has_units(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[tuple[list[str], list[list[str]], list[str]]] = []
    monkeypatch.setattr(module, "stdout_is_terminal", lambda: True)
    monkeypatch.setattr(
        module, "emit_table", lambda columns, rows, title="", notes=(): printed.append((list(columns), list(rows), list(notes)))
    )
    given["result"] = Profile((MODEL, replace(MODEL, model="vgg19", steps=(SKIPPED,))), (OP,), MACHINE)
    assert _zoo("hrcn").exception is None
    (columns, rows, notes), (_, (op,), _) = printed
    infer, train, skipped = ([cell.strip() for cell in row] for row in rows)
    assert infer == [
        "hrcn[padding=same]", "1x64x128", "97.0 M", "178 G", "370 MiB", "inference", "3.00 GiB", "550 ms", "539 - 560 ms", "589 ms",
        "n/a (N=100)", "100",
    ]  # fmt: skip
    assert train[:6] == ["", "", "", "", "", "training"]
    assert train[6:] == ["5.00 GiB", "16.2 s", "n/a (N=1)", "n/a (N=1)", "n/a (N=1)", "1"]
    assert skipped[5:8] == ["training", "-", "skipped"]
    assert len(columns) == len(infer)
    assert notes == [
        "hrcn[padding=same] training: a single run, without warm-up, took the budget",
        "vgg19 training: needs at least 12.3 GiB, 85 % of the free memory is 9.69 GiB",
    ]
    assert [cell.strip() for cell in op] == [
        "blur", "float32", "2048x4096", "4.20 ms", "100 us", "2.10 x", "420 ms", "100 x", "1.7e-07", "50",
    ]  # fmt: skip


def test_json_holds_samples_and_circumstances(given: dict[str, Any]) -> None:
    document = json.loads(_zoo("hrcn", "--json").stdout)
    assert document["schema"] == 1
    assert document["metadata"]["processor"] == "EPYC"
    steps = document["results"]["models"][0]["steps"]
    assert len(steps[0]["samples_s"]) == 100
    assert steps[0]["p99"] == {"value_s": None, "lower_s": None, "upper_s": None, "samples": 100}
    assert document["results"]["ops"][0]["copies"] == 2.1


def test_options_reach_the_library(given: dict[str, Any]) -> None:
    words = "hrcn --op blur --mode train --batch 2 --input-shape 64x128 --precision bf16 --threads 1 --device cpu --budget 2m"
    assert _zoo(*words.split(), "--model-option", "padding=same").exception is None
    asked = given["asked"]
    del asked["progress"]
    assert asked == {
        "models": ("hrcn",), "ops": ("blur",), "mode": "train", "batch": 2, "input_shape": (1, 64, 128), "precision": "bf16", "threads": 1,
        "device": "cpu", "budget": "2m", "options": {"padding": "same"},
    }  # fmt: skip


def test_a_crash_is_printed_with_the_rest_and_sets_the_exit_code(given: dict[str, Any]) -> None:
    given["result"] = Profile((replace(MODEL, steps=(BROKEN, COLD)),), (), MACHINE)
    result = _zoo("hrcn")
    assert isinstance(result.exception, ZooError)
    assert result.exception.exit_code == 6
    assert str(result.exception) == "1 of 2 measurements failed: killed by SIGSEGV"
    assert [row["status"] for row in _tables(result.stdout)[0]] == ["crashed", "measured"]


def test_skipped_is_an_error_only_where_nothing_was_measured(given: dict[str, Any]) -> None:
    given["result"] = Profile((replace(MODEL, steps=(FAST, SKIPPED)),), (), MACHINE)
    assert _zoo("hrcn").exception is None
    given["result"] = Profile((replace(MODEL, steps=(SKIPPED,)),), (), MACHINE)
    result = _zoo("hrcn")
    assert isinstance(result.exception, MemoryLimitError)
    assert "needs at least 12.3 GiB" in str(result.exception)
    assert _tables(result.stdout)[0][0]["status"] == "skipped"


def test_whole_command_with_a_plugin_file_and_a_crash_beside_it() -> None:
    words = [
        "--plugin",
        str(ODD_NETS),
        "profile",
        "quiet",
        "quiet[crash=yes]",
        "--mode",
        "infer",
        "--input-shape",
        "16x16",
        "--budget",
        "2s",
    ]
    done = subprocess.run([sys.executable, "-m", "zoo", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    lines = done.stdout.splitlines()
    assert lines[0] == "a plugin may print to stdout"  # in the asking process, whose stdout is its own affair
    assert [row["status"] for row in _tables("\n".join(lines[1:]))[0]] == ["measured", "crashed"]
    assert "quiet: inference" in done.stderr
    assert "zoo: error: 1 of 2 measurements failed: killed by SIGABRT" in done.stderr


def test_help_and_bad_arguments_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom zoo.cli import main\n"
        "for words in (['profile', '--help'], ['profile', 'hrnc'], ['profile', 'hrcn', '--budget', 'soon']):\n"
        "    try:\n        main(words)\n    except SystemExit:\n        pass\n"
        "heavy = {'torch', 'numpy', 'astropy', 'rich'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "zoo profile hrcn alexnet resnet18 --budget 30s" in done.stdout
    assert "did you mean 'hrcn'" in done.stderr
