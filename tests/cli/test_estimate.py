"""``zoo estimate``: tables, JSON, exit codes, and what its help imports."""

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

from zoo.cli import estimate as module
from zoo.cli.estimate import estimate
from zoo.costs.hardware import needed_bytes, parse_budgets
from zoo.errors import MemoryLimitError, ZooError
from zoo.profiling import BudgetFit, Estimate, ModelEstimate, Remedy
from zoo.profiling.capacity import fit_rate

ODD_NETS = Path(__file__).parent.parent / "profiling" / "odd_nets.py"
GIB = 1 << 30
COMMAND = "zoo train --model hrcn --batch-size 2 --accumulate 4 --precision bf16 --optimizer adamw"
REMEDY = Remedy(2, 4, "bf16", "adamw", True, False, 5 * GIB, "bf16, stream, 4 x batch 2", COMMAND)
SMALL, LARGE = parse_budgets("8GB,h200")
USABLE = (6 * GIB, 7 * GIB)
PARTS = {"weights": GIB, "gradients": GIB, "optimizer": 2 * GIB, "saved": 20 * GIB, "transient": 9 * GIB, "input": 0}
MODEL = ModelEstimate(
    "hrcn[padding=same]", "hrcn[padding=same]", input_shape=(1, 64, 128), parameters=97_048_130, macs=177_944_134_784,
    peak_bytes=33 * GIB, parts=PARTS, phase="backward", layer="block1", holders=(("block1", 20 * GIB), ("", GIB)),
    needed_bytes=needed_bytes(33 * GIB), fits=(BudgetFit(SMALL, USABLE, "too-large", 0, REMEDY), BudgetFit(LARGE, USABLE, "fits", 30)),
)  # fmt: skip
ASKED = {
    "mode": "train", "batch": 8, "precision": "fp32", "optimizer": "adamw", "device": "cuda", "memory": ["8GB", "h200"],
    "ema": False, "stream": True, "recompute": False, "rate": None,
}  # fmt: skip
BROKEN = ModelEstimate("broken", "broken", "crashed", "killed by SIGABRT", 6)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Makes ``zoo estimate`` print ``given["result"]``; what it asked for is in ``given["asked"]``."""
    held: dict[str, Any] = {"result": Estimate((MODEL,), {"torch": "2.13.0", "asked": ASKED})}

    def compute(models: object, **arguments: object) -> Estimate:
        held["asked"] = {"models": models, **arguments}
        result: Estimate = held["result"]
        return result

    monkeypatch.setattr("zoo.profiling.estimate.estimate", compute)
    return held


def _zoo(*arguments: str) -> Result:
    return CliRunner().invoke(estimate, list(arguments))


def _tables(text: str) -> list[list[dict[str, str]]]:
    blocks = ["\n".join(line for line in block.splitlines() if not line.startswith("#")) for block in text.split("\n\n")]
    return [list(csv.DictReader(block.splitlines(), delimiter="\t")) for block in blocks]


def test_redirected_tables_hold_raw_numbers(given: dict[str, Any]) -> None:
    result = _zoo("hrcn", "--train", "--batch", "8", "--memory", "8GB,h200")
    assert result.exception is None
    assert result.stdout.startswith("# training step, adamw, stream, fp32, batch 8, cuda\n")
    (model,), (small, large) = _tables(result.stdout)
    assert (model["model"], model["frame"], model["peak_bytes"]) == ("hrcn[padding=same]", "1x64x128", str(33 * GIB))
    assert sum(int(model[f"{part}_bytes"]) for part in PARTS) == 33 * GIB
    assert (model["layer"], model["resident_least_bytes"]) == ("block1", "")
    assert (small["verdict"], small["largest_batch"], small["command"]) == ("too-large", "0", COMMAND)
    assert (large["memory"], large["verdict"], large["largest_batch"], large["command"]) == ("h200", "fits", "30", "")


def test_terminal_tables_have_units_and_commands_to_paste(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "stdout_is_terminal", lambda: True)
    given["result"] = Estimate((MODEL, BROKEN), given["result"].metadata)
    text = _zoo("hrcn").stdout
    assert "33.0 GiB" in text
    assert "33.8 - 37.1 GiB" in text
    assert "hrcn[padding=same]: the peak is in backward of block1; held by block1 20.0 GiB, no layer 1.00 GiB" in text
    assert f"hrcn[padding=same] in 8GB: {COMMAND}" in text
    assert "bf16, stream, 4 x batch 2: 5.00 GiB" in text
    assert "broken: killed by SIGABRT" in text


def test_arguments_reach_the_library(given: dict[str, Any]) -> None:
    _zoo("a", "b", "--train", "--batch", "4", "--precision", "bf16", "--optimizer", "sgd", "--memory", "8GB", "--memory", "l4",
         "--device", "cpu", "--threads", "3", "--input-shape", "64x128", "--ema", "--recompute")  # fmt: skip
    asked = given["asked"]
    asked.pop("progress")
    assert asked == {
        "models": ("a", "b"), "train": True, "batch": 4, "precision": "bf16", "optimizer": "sgd", "device": "cpu", "ema": True,
        "stream": False, "recompute": True, "threads": 3, "memory": ("8GB", "l4"), "input_shape": (1, 64, 128), "options": {},
        "rate": None, "deadline": None, "hardware": (), "measured": None,
    }  # fmt: skip
    _zoo("a", "--model-option", "width=4")
    assert (given["asked"]["train"], given["asked"]["options"]) == (False, {"width": "4"})


def test_json_follows_the_schema(given: dict[str, Any]) -> None:
    document = json.loads(_zoo("hrcn", "--json").stdout)
    assert document["schema"] == 1
    assert document["metadata"]["asked"] == ASKED
    (model,) = document["results"]["models"]
    assert (model["peak_bytes"], model["parts"], model["complete"]) == (33 * GIB, PARTS, True)
    assert model["holders"] == [{"layer": "block1", "bytes": 20 * GIB}, {"layer": "", "bytes": GIB}]
    assert model["fits"][0]["remedy"]["command"] == COMMAND
    assert model["fits"][1]["usable_bytes"] == list(USABLE)


def test_what_keeps_up_has_a_table_of_its_own(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    guess = fit_rate("h200", "predicted", (50.0, 400.0), 100.0, batch=1, deadline_s=None)
    slow = fit_rate("cpu", "measured", (5.0, 5.0), 1.0, batch=2, deadline_s=1.0)
    given["result"] = Estimate((replace(MODEL, rates=(guess, slow)),), {"asked": {**ASKED, "rate": "100/s"}})
    _, _, table = _tables(_zoo("hrcn").stdout)
    assert [(row["hardware"], row["basis"], row["devices_most"], row["verdict"]) for row in table] == [
        ("h200", "predicted", "2", "perhaps"),
        ("cpu", "measured", "1", "too-slow"),
    ]
    assert table[1]["latency_s_least"] == "1.4"
    monkeypatch.setattr(module, "stdout_is_terminal", lambda: True)
    text = _zoo("hrcn").stdout
    assert "50 - 400" in text
    assert "predicted: from peak figures" in text


def test_nothing_that_fits_is_exit_code_4_with_the_way_out(given: dict[str, Any]) -> None:
    given["result"] = Estimate((replace(MODEL, fits=MODEL.fits[:1]),), given["result"].metadata)
    result = _zoo("hrcn")
    assert isinstance(result.exception, MemoryLimitError)
    assert result.exception.exit_code == 4
    assert COMMAND in str(result.exception)
    given["result"] = Estimate((replace(MODEL, fits=(BudgetFit(SMALL, USABLE, "too-large", 0),)),), given["result"].metadata)
    assert "--input-shape" in str(_zoo("hrcn").exception)
    given["result"] = Estimate((replace(MODEL, fits=(BudgetFit(SMALL, USABLE, "perhaps", 0),)),), given["result"].metadata)
    assert _zoo("hrcn").exception is None


def test_a_model_that_fails_has_the_last_word(given: dict[str, Any]) -> None:
    given["result"] = Estimate((MODEL, BROKEN), given["result"].metadata)
    result = _zoo("hrcn", "broken")
    assert isinstance(result.exception, ZooError)
    assert (result.exception.exit_code, str(result.exception)) == (6, "1 of 2 estimates failed: killed by SIGABRT")


def test_model_of_a_plugin_file_from_the_command_line() -> None:
    words = ["--plugin", str(ODD_NETS), "estimate", "dense", "--train", "--memory", "900MB"]
    result = subprocess.run([sys.executable, "-m", "zoo", *words], capture_output=True, text=True, check=False)
    assert result.returncode == 4
    (_,), (fit,) = _tables(result.stdout.removeprefix("a plugin may print to stdout\n"))
    assert (fit["verdict"], fit["largest_batch"], fit["remedy"]) == ("too-large", "0", "")
    assert "nothing fits as asked" in result.stderr


def test_help_imports_no_torch() -> None:
    code = "import sys; from zoo.cli import cli; cli(['estimate', '--help'], standalone_mode=False); assert 'torch' not in sys.modules"
    assert "--memory" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
