"""``zoo data audit``: tables, JSON, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from audit_lists import draw_rows
from click.testing import CliRunner, Result

from zoo.auditing.leaks import RELATIONS
from zoo.cli import main
from zoo.cli.data import data
from zoo.data import Manifest, Row
from zoo.errors import CheckFailedError


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(data, ["audit", *(str(word) for word in words)])


def write(path: Path, rows: list[Row]) -> Path:
    Manifest(tuple(rows), path.parent).write_csv(path)
    return path


def test_a_clean_list_exits_with_0(tmp_path: Path) -> None:
    result = invoke(write(tmp_path / "clean.csv", draw_rows()))
    assert result.exit_code == 0
    assert result.stdout.startswith("# 144 frames of 24 targets, 0 of them read\nlevel\tkind\tfinding\n")
    tables = [line for line in result.stdout.splitlines() if line.startswith("# ")]
    assert {"# shortcuts", "# balance"} <= set(tables)
    assert "# leakage" not in tables  # one list without splits has nothing to share
    assert "missing" in result.stderr


def test_a_leak_exits_with_5_after_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = draw_rows(split=True)
    rows.append(replace(rows[0], path="copy_raw.fits", split="test"))
    path = write(tmp_path / "leaky.csv", rows)
    result = invoke(path)
    assert isinstance(result.exception, CheckFailedError)
    assert "leaky.csv:train\tleaky.csv:test\texposure\t1\t2\t1\t" in result.stdout
    with pytest.raises(SystemExit) as ended:
        main(["data", "audit", str(path)])
    assert ended.value.code == 5
    shown = capsys.readouterr()
    assert "zoo: error: 1 alarm in leaky.csv" in shown.err
    assert "alarm\tleak\tleaky.csv:train and leaky.csv:test share 1 frame" in shown.out


def test_json_holds_the_whole_audit(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.csv", rows) for name, rows in (("one", draw_rows()[:72]), ("two", draw_rows()[72:]))]
    shown = json.loads(invoke(*paths, "--json", "--no-pixels", "--medians").stdout)
    assert shown["schema"] == 1
    results = shown["results"]
    assert results["lists"] == ["one.csv", "two.csv"]
    assert {leak["relation"] for leak in results["leakage"]["leaks"]} == set(RELATIONS)
    instrument = next(one for one in results["shortcuts"] if one["name"] == "instrument")
    assert instrument["outside"]["n_targets"] == 12
    assert 0 <= instrument["p_adjusted"] <= 1
    assert results["offsets"][0]["source"] == "median of its frames"


def test_the_published_lists_print_their_figures(real_data: Path) -> None:
    lcid = real_data / "lcid"
    result = invoke(lcid / "LCID_test.csv", lcid / "blurry_validation.csv")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert ["LCID_test.csv", "majority", "53.42", "66.67"] in [line[:4] for line in lines]
    assert ["LCID_test.csv", "instrument", "79.37", "68.53", "79.37"] in [line[:5] for line in lines]
    assert ["LCID_test.csv", "blurry_validation.csv", "exposure", "0", "0", "0"] in [line[:6] for line in lines]
    assert ["LCID_test.csv", "NSC", "743", "400", "7"] in [line[:5] for line in lines]
    assert "LCID_test.csv: instrument alone is right for 79.37% of the frames" in result.stdout


def test_targets_give_offsets(tmp_path: Path) -> None:
    rows = draw_rows(targets=4)
    path = write(tmp_path / "list.csv", rows)
    centres = tmp_path / "centres.csv"
    centres.write_text(f"target,ra,dec\nT0,{rows[0].ra},{rows[0].dec + 0.2}\n")
    result = invoke(path, "--targets", centres)
    assert "list.csv\tT0\ttable\t6\t11.7\t12\t6\t6" in result.stdout
    assert "6 of 6 frames (100.0%) lie more than 4 arcmin away" in result.stdout
