"""The guide for plugin authors does what it says: its files are written and its commands run, in order; the checks are those that exist."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo import registry as registry_module
from zoo.cli import main
from zoo.registry import Registry, use_registry
from zoo.testing import list_checks

DOCS = Path(__file__).resolve().parent.parent / "docs"
_BLOCK = re.compile(r'^```(python|console)(?: title="([\w.]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


@pytest.fixture
def fresh_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, and the plugins of a process that has just begun; what the test imports goes away with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_PLUGINS", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = registry_module._registry, dict(registry_module._configuration)
    registry_module._registry = None
    yield tmp_path
    registry_module._registry = before[0]
    registry_module._configuration.clear()
    registry_module._configuration.update(before[1])
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "") or "").startswith(str(tmp_path) + os.sep):
            del sys.modules[name]


def test_every_block_of_the_guide_runs(fresh_process: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = 0
    for language, title, body in _BLOCK.findall((DOCS / "plugins.md").read_text()):
        if language == "python":
            Path(title).write_text(body)
            continue
        for line in body.splitlines():
            words = shlex.split(line.removeprefix("$ "))
            assert words[0] == "zoo"
            with pytest.raises(SystemExit) as stop:
                main(words[1:])
            assert not stop.value.code, f"{line}\n{capsys.readouterr()}"
            commands += 1
    assert commands >= 12
    assert (fresh_process / "run" / "model" / "card.json").is_file()
    assert "val_accuracy" in (fresh_process / "all" / "last.txt").read_text()
    files = [Path(name) for name in ("mystep.py", "myloss.py")]
    with use_registry(Registry.load(entry_points=False, files=files)):
        tests: dict[str, object] = {}
        exec(compile(Path("test_mynet.py").read_text(), "test_mynet.py", "exec"), tests)
        ran = [function() for name, function in tests.items() if name.startswith("test_") and callable(function)]
    assert len(ran) == 2


def test_full_check_of_the_single_file_finds_what_the_guide_says(fresh_process: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = {title: body for _, title, body in _BLOCK.findall((DOCS / "plugins.md").read_text()) if title}
    Path("mynet.py").write_text(blocks["mynet.py"])
    with pytest.raises(SystemExit) as stop:
        main(["plugins", "check", "./mynet.py", "--only", "model"])
    assert stop.value.code == 5
    assert "1 of 26 checks of ./mynet.py failed: model-pickle" in capsys.readouterr().err


def test_page_of_checks_is_that_of_the_code() -> None:
    rows = [f"| `{check.id}` | {check.holds} | {check.remedy} |" for _, check in list_checks()]
    assert [line for line in (DOCS / "checks.md").read_text().splitlines() if line.startswith("| `")] == rows


def test_guide_is_short_enough_to_read() -> None:
    assert len((DOCS / "plugins.md").read_text().splitlines()) < 300
