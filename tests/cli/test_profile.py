"""``zoo profile``: tables, JSON, notes, exit codes, and what its help imports."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from zoo import profiling
from zoo.cli import profile_tables as tables
from zoo.cli.profile import profile
from zoo.errors import CheckFailedError, MemoryLimitError, UsageError, ZooError
from zoo.profiling import Comparison, LayerProfile, ModelProfile, OpProfile, PathProfile, Profile, StepProfile, Throughput
from zoo.profiling.figures import PARTS

ODD_NETS = Path(__file__).parent.parent / "profiling" / "odd_nets.py"
MACHINE = {"processor": "EPYC", "threads": 2, "torch": "2.13.0", "asked": {"precision": "fp32", "batches": (1,), "budget_s": 30.0}}

FAST = StepProfile(
    "infer",
    "measured",
    bound_bytes=2000,
    peak_bytes=3 << 30,
    expected_bytes=3 * 10**9,
    expected_resident_bytes=(31 * 10**8, 33 * 10**8),
    host_peak_bytes=13 << 28,
    samples_s=tuple(0.5 + 0.001 * i for i in range(100)),
    warmup=20,
    steady=True,
)
COLD = StepProfile("train", "measured", bound_bytes=5000, peak_bytes=5 << 30, samples_s=(16.25,), warmup=0)
SKIPPED = StepProfile("train", "skipped", "needs at least 12.3 GiB, 85 % of the free memory is 9.69 GiB", bound_bytes=9)
BROKEN = StepProfile("infer", "crashed", "killed by SIGSEGV", exit_code=6)
MODEL = ModelProfile("hrcn[padding=same]", "hrcn[padding=same]", (1, 64, 128), 1, 97_048_130, 177_944_134_784, 388_220_008, (FAST, COLD))
OP = OpProfile(
    "blur", "float32", (2048, 4096), median_s=0.0042, iqr_s=0.0001, runs=50, copy_s=0.002, copies=2.1, reference_s=0.42,
    reference_runs=3, speedup=100.0, difference=1.7e-7, library="scipy", library_s=0.15, library_runs=2, library_difference=6e-8,
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
    assert (infer["peak_bytes"], infer["p50_s"], infer["p90_s"], infer["p99_s"]) == (str(3 << 30), "0.5495", "0.589", "")
    assert float(infer["p50_lower_s"]) < 0.5495 < float(infer["p50_upper_s"])
    assert (train["p50_s"], train["p50_lower_s"], train["samples"]) == ("16.25", "", "1")
    assert train["note"] == "a single run, without warm-up, took the budget"
    assert (op["op"], op["copies"], op["speedup"], op["reference_iqr_s"]) == ("blur", "2.1", "100", "")


def test_terminal_table_has_units(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[tuple[list[str], list[list[str]], list[str]]] = []
    monkeypatch.setattr(tables, "stdout_is_terminal", lambda: True)
    monkeypatch.setattr(
        tables, "emit_table", lambda columns, rows, title="", notes=(): printed.append((list(columns), list(rows), list(notes)))
    )
    given["result"] = Profile((MODEL, replace(MODEL, model="vgg19", steps=(SKIPPED,))), (OP,), MACHINE)
    assert _zoo("hrcn").exception is None
    (columns, rows, notes), (memory_columns, memory, _), (_, (op,), _) = printed
    infer, train, skipped = ([cell.strip() for cell in row] for row in rows)
    assert infer == [
        "hrcn[padding=same]", "1x64x128", "97.0 M", "178 G", "370 MiB", "inference", "3.00 GiB", "550 ms", "539 - 560 ms", "589 ms",
        "n/a (N=100)", "100",
    ]  # fmt: skip
    assert train[:6] == ["", "", "", "", "", "training"]
    assert train[6:] == ["5.00 GiB", "16.2 s", "n/a (N=1)", "n/a (N=1)", "n/a (N=1)", "1"]
    assert skipped[5:8] == ["training", "-", "skipped"]
    assert len(columns) == len(infer)
    assert len(memory_columns) == len(memory[0])
    assert [cell.strip() for cell in memory[0]] == [
        "hrcn[padding=same]", "inference", "1", "2.79 GiB", "n/a", "n/a", "n/a", "2.89 - 3.07 GiB", "3.00 GiB", "3.25 GiB",
    ]  # fmt: skip
    assert notes == [
        "hrcn[padding=same] training: a single run, without warm-up, took the budget",
        "vgg19 training: needs at least 12.3 GiB, 85 % of the free memory is 9.69 GiB",
    ]
    assert [cell.strip() for cell in op] == [
        "blur", "float32", "2048x4096", "4.20 ms", "100 us", "2.00 ms", "2.10 x", "420 ms", "100 x", "1.7e-07", "scipy 150 ms", "6.0e-08",
        "50",
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
    words = "hrcn --op blur --mode train --batch 2:8 --frames none --layers --plain --input-shape 64x128 --precision bf16 --threads 1"
    words += " --fit-min --device cpu --budget 2m"
    assert _zoo(*words.split(), "--model-option", "padding=same").exception is None
    asked = given["asked"]
    del asked["progress"]
    assert asked == {
        "models": ("hrcn",), "ops": ("blur",), "mode": "train", "batch": "2:8", "frames": "none", "layers": True, "plain": True,
        "fit_min": True, "input_shape": (1, 64, 128), "precision": "bf16", "threads": 1,
        "device": "cpu", "budget": "2m", "options": {"padding": "same"},
    }  # fmt: skip


PATH = PathProfile(
    "measured",
    source="night1",
    parts_s={**dict.fromkeys(PARTS, 0.001), "decode": 0.0, "condition": 0.0, "model": 0.093},
    whole_s=0.1,
    samples_s=(0.1,) * 9,
    watched=9,
)
SWEEP = tuple(Throughput("infer", batch, windows=(rate,) * 3, peak_bytes=batch << 20) for batch, rate in ((1, 5.0), (2, 9.6), (4, 10.0)))
LAYERS = (
    LayerProfile("conv1", "Conv2d", 9216, (16, 8, 8), 4096, 4096, 0.003, 5),
    LayerProfile("norm1", "BatchNorm2d", 0, (16, 8, 8), 4096, 0),
)


def test_what_else_was_measured_is_a_table_each(given: dict[str, Any]) -> None:
    given["result"] = Profile((replace(MODEL, path=PATH, throughput=SWEEP, layers=LAYERS),), (), MACHINE)
    result = _zoo("hrcn", "--batch", "1:4")
    assert result.exception is None
    _, (path,), sweep, layers = _tables(result.stdout)
    assert (path["source"], path["end_to_end_p50_s"], path["model_s"], path["decode_s"]) == ("night1", "0.1", "0.093", "0")
    assert (path["covered"], path["adds_up"]) == ("0.98", "yes")
    assert [(row["batch"], row["frames_per_s"], row["knee"]) for row in sweep] == [("1", "5", "no"), ("2", "9.6", "yes"), ("4", "10", "no")]
    assert [(row["layer"], row["macs"], row["time_s"]) for row in layers] == [("conv1", "9216", "0.003"), ("norm1", "0", "")]


def test_terminal_tables_of_path_throughput_and_layers(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[tuple[list[str], list[list[str]], list[str]]] = []
    monkeypatch.setattr(tables, "stdout_is_terminal", lambda: True)
    monkeypatch.setattr(tables, "emit_table", lambda columns, rows, title="", notes=(): printed.append((columns, list(rows), list(notes))))
    given["result"] = Profile((replace(MODEL, path=PATH, throughput=SWEEP, layers=LAYERS),), (), MACHINE)
    assert _zoo("hrcn", "--batch", "1:4").exception is None
    *_, (path_columns, (path,), notes), (_, sweep, _), (_, layers, _) = printed
    assert dict(zip(path_columns, path, strict=True))["parts / whole"].strip() == "98.0 %"
    assert notes == ["hrcn[padding=same]: decoding is one pass with normalizing, in which it is counted"]
    assert [row[-1].strip() for row in sweep] == ["", "knee", ""]
    assert [row[-2].strip() for row in layers] == ["3.00 ms", "merged"]


def test_parts_that_do_not_add_up_are_loud(given: dict[str, Any]) -> None:
    given["result"] = Profile((replace(MODEL, path=replace(PATH, whole_s=0.11)),), (), MACHINE)
    result = _zoo("hrcn", "--json")
    assert isinstance(result.exception, CheckFailedError)
    assert json.loads(result.stdout)["results"]["models"][0]["path"]["adds_up"] is False
    assert "warning: hrcn[padding=same]: the parts add up to 89.1 % of the way" in result.stderr


def test_a_slower_step_ends_with_5(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    base.write_text("{}")
    monkeypatch.setattr(profiling, "read_base", lambda path: {}, raising=False)
    found = (Comparison("hrcn", "infer", "slower", 1.1, 1.05, 1.15, "wall", 40, 40),)
    monkeypatch.setattr(profiling, "compare_profiles", lambda base, result: found, raising=False)
    result = _zoo("hrcn", "--against", str(base))
    assert isinstance(result.exception, CheckFailedError)
    assert (result.exception.exit_code, str(result.exception)) == (5, "hrcn infer: slower, 1.100 times the base")
    assert [row["verdict"] for row in _tables(result.stdout)[1]] == ["slower"]


def test_paper_table_marks_every_figure(given: dict[str, Any]) -> None:
    measured = replace(MODEL, model="hrcn", label="hrcn", steps=(FAST,))
    other = replace(
        MODEL, model="vgg19", label="vgg19", macs=10 * 177_944_134_784, steps=(replace(SKIPPED, mode="infer", expected_bytes=7),)
    )
    given["result"] = Profile((measured, other), (), MACHINE)
    result = _zoo("--table", "paper")
    assert result.exception is None
    assert given["asked"]["models"] == profiling.PAPER_MODELS
    assert given["asked"]["mode"] == "infer"
    hrcn, vgg = _tables(result.stdout)[0]
    assert (hrcn["network"], hrcn["published_ms"], hrcn["published_hardware"]) == ("HR-CelestialNet", "116.5", "hardware not published")
    assert (hrcn["time_s"], hrcn["time_kind"], hrcn["memory_kind"]) == ("0.5495", "measured", "measured")
    assert (vgg["network"], vgg["published_ms"], vgg["published_hardware"]) == ("VGGNet (depth not published)", "", "not published")
    assert (vgg["time_s"], vgg["time_kind"], vgg["memory_bytes"], vgg["memory_kind"]) == ("5.495", "estimated", "7", "estimated")


def test_plot_is_refused_before_anything_is_measured(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = _zoo("hrcn", "--plot", str(tmp_path / "cost.png"))
    assert isinstance(result.exception, UsageError)
    assert "expected .svg" in str(result.exception)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = _zoo("hrcn", "--plot", str(tmp_path / "cost.svg"))
    assert isinstance(result.exception, UsageError)
    assert "pip install 'celestial-zoo[report]'" in str(result.exception)
    assert "asked" not in given


def test_plot_holds_what_was_measured(given: dict[str, Any], tmp_path: Path) -> None:
    given["result"] = Profile((replace(MODEL, path=PATH, throughput=SWEEP),), (), MACHINE)
    drawn = [tmp_path / name for name in ("one.svg", "two.svg")]
    for path in drawn:
        assert _zoo("hrcn", "--plot", str(path)).exception is None
    assert drawn[0].read_bytes() == drawn[1].read_bytes()
    text = drawn[0].read_text()
    assert text.startswith("<?xml")
    assert all(f">{words}<" in text for words in ("from FITS file to class", "throughput; dotted: the knee"))


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
        "--frames",
        "none",
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
