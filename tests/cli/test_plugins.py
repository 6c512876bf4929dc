"""zoo plugins list, check and new, as a user types them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.cli import main
from zoo.registry import Registry, use_registry

LOSS = """import zoo

@zoo.hookimpl
def register_losses(register):
    register("clipped", "{name}:build", summary="clipped cross-entropy", licence="{licence}")

def build(*, class_weights):
    from torch import nn
    return nn.CrossEntropyLoss(class_weights)
"""


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with use_registry(Registry.from_plugins([])):
        yield


def test_help_names_the_three_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plugins", "--help") == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.strip().splitlines()] == ["check", "list", "new"]


def test_check_prints_a_row_a_check_and_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clipped_good.py"
    path.write_text(LOSS.format(name="clipped_good", licence="MIT"))
    assert run("plugins", "check", str(path)) == 0
    captured = capsys.readouterr()
    rows = [line.split("\t") for line in captured.out.splitlines()]
    assert rows[0] == ["status", "subject", "check", "got", "how to mend it"]
    assert ["passed", "loss 'clipped'", "entry-licence", "MIT", ""] in rows
    assert {row[0] for row in rows[1:]} == {"passed", "skipped"}
    assert all(row[3] for row in rows if row[0] == "skipped")
    assert "19 checks: 17 passed, 0 failed, 2 skipped" in captured.err


def test_option_whose_default_is_text_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clipped_text.py"
    text = LOSS.format(name="clipped_text", licence="MIT").replace("summary=", "options={'at': zoo.Option(int, '16', 'where')}, summary=")
    path.write_text(text)
    assert run("plugins", "check", str(path)) == 6
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    words = "register_losses: 'clipped': the default of option at must be int, got '16', which is str"
    assert [row[2:4] for row in rows if row[0] == "failed"] == [["plugin-registers", words]]


def test_failed_check_exits_with_5_and_says_how_to_mend_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clipped_bare.py"
    path.write_text(LOSS.format(name="clipped_bare", licence=""))
    assert run("plugins", "check", str(path), "--only", "entry", "--json") == 5
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    (fault,) = [result for result in document["results"] if result["status"] == "failed"]
    assert fault["check"] == "entry-licence"
    assert fault["remedy"].startswith("register it with licence=")
    assert {result["check"].partition("-")[0] for result in document["results"]} == {"entry"}
    assert "1 of 5 checks of" in captured.err


def test_plugin_that_cannot_be_loaded_exits_with_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clipped_broken.py"
    path.write_text("import no_such_module\n")
    assert run("plugins", "check", str(path)) == 6
    captured = capsys.readouterr()
    assert "failed\tplugin 'clipped_broken'\tplugin-imports\tModuleNotFoundError: No module named 'no_such_module'" in captured.out
    assert "cannot be loaded: ModuleNotFoundError" in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hrnc"], "unknown plugin or name 'hrnc'; did you mean 'hrcn'"),
        (["hrcn", "--only", "modle"], "unknown check 'modle'"),
        ([], "say what to check"),
    ],
)
def test_bad_words_exit_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plugins", "check", *words) == 2
    assert message in capsys.readouterr().err


def test_list_of_checks_needs_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plugins", "check", "--list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert {"check": "model-gradients", "for": "models", "holds": "Every parameter receives a finite gradient."} in rows


def test_new_prints_what_was_written_and_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plugins", "new", "deepsky", "--dir", str(tmp_path), "--loss") == 0
    lines = capsys.readouterr().out.splitlines()
    folder = tmp_path / "zoo-deepsky"
    assert str(folder / "zoo_deepsky" / "loss.py") in lines
    assert lines[-4:] == [f"  cd {folder}", "  pip install --no-build-isolation -e .", "  zoo plugins check deepsky", "  python -m pytest"]
    assert run("plugins", "new", "deepsky", "--dir", str(tmp_path)) == 2
    assert "something is here already" in capsys.readouterr().err
    assert run("plugins", "new", "hrcn", "--dir", str(tmp_path), "--json") == 2
    assert "the model 'hrcn' is registered by zoo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["zoo-deepsky"]
