"""Plugins from files and folders that nobody installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zoo.errors import PluginError
from zoo.registry import Registry
from zoo.sources import find_again

PLUGIN_FILE = """
import zoo

@zoo.hookimpl
def register_models(register):
    register("filenet", build, input_shape=(1, 8, 8))

def build(num_classes, in_channels, input_shape):
    raise SystemError
"""


def test_plugin_file_is_loaded_without_packaging(tmp_path: Path) -> None:
    path = tmp_path / "filenet_file.py"
    path.write_text(PLUGIN_FILE)
    registry = Registry.load(entry_points=False, files=[path])
    assert registry.get("models", "filenet").owner == "filenet_file"


def test_plugin_file_may_refer_to_itself_and_shadows_nothing(tmp_path: Path) -> None:
    for name in ("selfnet", "json"):
        path = tmp_path / f"{name}.py"
        path.write_text(PLUGIN_FILE.replace(" build,", f" '{name}:build',"))
        registry = Registry.load(entry_points=False, files=[path])
        assert registry.failures == []
        if name == "selfnet":
            assert registry.get("models", "filenet").load().__module__ == "selfnet"
        else:
            assert hasattr(sys.modules["json"], "loads")


def test_plugin_file_with_an_error_is_a_failure_and_leaves_no_module(tmp_path: Path) -> None:
    path = tmp_path / "mynet.py"
    path.write_text("1/0")
    before = set(sys.modules)
    registry = Registry.load(entry_points=False, files=[path])
    assert registry.failures[0].cause == "ZeroDivisionError: division by zero"
    assert set(sys.modules) == before


def test_plugin_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="no such file"):
        Registry.load(entry_points=False, files=[tmp_path / "none.py"])


def write_package(folder: Path, module: str, source: str, *, points: str = "") -> Path:
    """A package folder that nobody installed; its modules lie in ``src``."""
    (folder / "src" / module).mkdir(parents=True)
    (folder / "src" / module / "__init__.py").write_text(source)
    table = points or f"[project.entry-points.zoo]\n{module} = '{module}'\n"
    (folder / "pyproject.toml").write_text(f"[project]\nname = 'zoo-{module}'\nversion = '0.3'\n{table}")
    return folder


@pytest.fixture
def clean_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a folder puts on ``sys.path`` goes away with the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("clean_path")
def test_package_folder_is_loaded_without_installation(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "p", "foldernet", PLUGIN_FILE.replace(" build,", " 'foldernet:build',"))
    registry = Registry.load(entry_points=False, files=[folder])
    assert registry.failures == []
    entry = registry.get("models", "filenet")
    assert (entry.owner, entry.distribution, entry.version) == ("foldernet", "zoo-foldernet", "0.3")
    assert entry.load().__module__ == "foldernet"
    again = Registry.from_plugins([], builtin=False)
    for source in find_again("foldernet", registry.plugins[-1].source):
        again.add_source(source)
    assert again.names("models") == ["filenet"]


@pytest.mark.usefixtures("clean_path")
def test_folder_that_is_no_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"got a folder without pyproject.toml"):
        Registry.load(entry_points=False, files=[tmp_path])
    folder = write_package(tmp_path / "p", "pointless", "", points="[tool.other]\n")
    with pytest.raises(PluginError, match=r"got no table \[project.entry-points.zoo\]"):
        Registry.load(entry_points=False, files=[folder])
    (folder / "pyproject.toml").write_text("[project")
    with pytest.raises(PluginError, match=r"pyproject.toml: cannot be read"):
        Registry.load(entry_points=False, files=[folder])
