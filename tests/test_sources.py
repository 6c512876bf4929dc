"""Plugins from files and folders that nobody installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zoo.errors import PluginError
from zoo.registry import Registry
from zoo.sources import find_again
from zoo.testing import find_target

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


@pytest.mark.usefixtures("clean_path")
def test_path_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_package(tmp_path / "p", "wholenet", PLUGIN_FILE)
    (tmp_path / "wholefile.py").write_text(PLUGIN_FILE.replace("filenet", "wholefile"))
    monkeypatch.chdir(folder)
    registry = Registry.load(entry_points=False, files=[Path("src/.."), Path("../wholefile.py")])
    assert [plugin.source for plugin in registry.plugins[1:]] == [str(folder), str(tmp_path / "wholefile.py")]
    assert [plugin.name for plugin in find_target("src/..", registry).plugins] == ["wholenet"]


def install_twin(site: Path, module: str, source: str) -> None:
    """An installed distribution with a plugin of the same module as a package folder has."""
    (site / module).mkdir(parents=True)
    (site / module / "__init__.py").write_text(source)
    (site / module / "part.py").write_text("PLACE = 'installed'\n")
    facts = site / f"zoo_{module}-0.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: zoo-{module}\nVersion: 0.2\n")
    (facts / "entry_points.txt").write_text(f"[zoo]\n{module} = {module}\n")


@pytest.mark.usefixtures("clean_path")
@pytest.mark.parametrize("twin_fails", [False, True])
def test_folder_is_checked_and_not_its_installed_twin(tmp_path: Path, twin_fails: bool) -> None:
    module = f"twinnet{int(twin_fails)}"
    source = f"from {module}.part import PLACE\n" + PLUGIN_FILE.replace(" build,", f" '{module}:build', summary=PLACE,")
    folder = write_package(tmp_path / "p", module, source)
    (folder / "src" / module / "part.py").write_text("PLACE = 'folder'\n")
    install_twin(tmp_path / "site", module, source + ("1/0\n" if twin_fails else ""))
    sys.path.insert(0, str(tmp_path / "site"))
    installed = Registry.load(only=[module])
    assert bool(installed.failures) is twin_fails
    assert Path(sys.modules[f"{module}.part"].__file__ or "").is_relative_to(tmp_path / "site")
    sys.path.append(str(folder / "src"))  # there already, but behind the twin
    target = find_target(str(folder), installed)
    assert target.causes == ()
    (entry,) = target.entries
    assert entry.summary == "folder"
    assert Path(entry.load().__code__.co_filename).is_relative_to(folder)


@pytest.mark.usefixtures("clean_path")
def test_folder_whose_module_is_another_one_is_refused(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "p", "csv", PLUGIN_FILE)
    (failure,) = Registry.load(entry_points=False, files=[folder]).failures
    assert "got the module 'csv' of " in failure.cause
    assert f"expected one below {folder}" in failure.cause
