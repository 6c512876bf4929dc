"""What a run records of a plugin, and what it says when the plugin is gone."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import zoo
from zoo.errors import PluginError
from zoo.origin import describe_origin, find_origin
from zoo.registry import Registry


def registry_with(*, source: str = "object", distribution: str = "", version: str = "") -> Registry:
    plugin = ModuleType("deep")

    @zoo.hookimpl
    def register_models(register: Callable[..., None]) -> None:
        register("deepnet", "deep.net:build", input_shape=(1, 8, 8))

    plugin.register_models = register_models  # type: ignore[attr-defined]
    registry = Registry.from_plugins([])
    registry.add(plugin, name="deep", source=source, distribution=distribution, version=version)
    return registry


EMPTY = Registry.from_plugins([])


@pytest.mark.parametrize(
    ("direct_url", "words"),
    [
        (None, "zoo-deep==1.4"),
        ({"url": "https://example.org/zoo_deep-1.4.whl", "archive_info": {}}, "https://example.org/zoo_deep-1.4.whl"),
        ({"url": "file:///home/me/zoo-deep", "dir_info": {}}, "/home/me/zoo-deep"),
        ({"url": "file:///home/me/zoo-deep", "dir_info": {"editable": True}}, "-e /home/me/zoo-deep"),
        (
            {"url": "https://example.org/deep.git", "vcs_info": {"vcs": "git", "commit_id": "abc123", "requested_revision": "main"}},
            "git+https://example.org/deep.git@abc123",
        ),
        (
            {"url": "https://example.org/deep.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}, "subdirectory": "python"},
            '"zoo-deep @ git+https://example.org/deep.git@abc123#subdirectory=python"',
        ),
    ],
    ids=["index", "archive", "folder", "editable", "repository", "subdirectory"],
)
def test_hint_is_what_pip_was_given(direct_url: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = None if direct_url is None else json.dumps(direct_url)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    registry = registry_with(source="deep", distribution="zoo-deep", version="1.4")
    origin = describe_origin(registry.get("models", "deepnet"), registry)
    assert origin["install"] == f"pip install {words}"
    with pytest.raises(PluginError) as caught:
        find_origin("models", origin, where="runs/1/model", registry=EMPTY)
    assert str(caught.value).startswith(
        "runs/1/model: needs the model 'deepnet' of plugin 'deep' from distribution zoo-deep 1.4, which is not"
    )
    assert f"run 'pip install {words}'" in str(caught.value)


def test_single_file_is_named_with_its_path(tmp_path: Path) -> None:
    registry = registry_with(source=str(tmp_path / "deep.py"))
    origin = describe_origin(registry.get("models", "deepnet"), registry)
    with pytest.raises(PluginError, match=f"came from a single file; pass it with 'zoo --plugin {tmp_path}/deep.py"):
        find_origin("models", origin, where="run", registry=EMPTY)


def test_package_folder_is_named_with_its_path_and_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "my deep"
    registry = registry_with(source=str(folder), distribution="zoo-deep", version="1.4")
    origin = describe_origin(registry.get("models", "deepnet"), registry)
    with pytest.raises(PluginError) as caught:
        find_origin("models", origin, where="run", registry=EMPTY)
    assert str(caught.value).endswith(f"pass its folder before the command, as in 'zoo --plugin '{folder}' plugins list'")
    with pytest.raises(PluginError, match=r"does not register it; run 'zoo --plugin .* plugins list'"):
        find_origin("models", {**origin, "name": "oldnet"}, where="run", registry=registry)


def test_failed_plugin_is_named_with_its_cause() -> None:
    origin = describe_origin(registry_with().get("models", "deepnet"), registry_with())
    broken = Registry.from_plugins([])
    broken.add(ModuleType("deep"), name="deep", source="deep")
    with pytest.raises(PluginError, match="failed to load: it has no function marked"):
        find_origin("models", origin, where="run", registry=broken)


def test_plugin_that_dropped_the_name_is_not_called_absent() -> None:
    registry = registry_with(source="deep", distribution="zoo-deep", version="1.4")
    origin = {**describe_origin(registry.get("models", "deepnet"), registry), "name": "oldnet"}
    with pytest.raises(PluginError, match=r"loaded but does not register it; run 'pip install zoo-deep==1.4'"):
        find_origin("models", origin, where="run", registry=registry)


def test_builtin_names_the_version_of_zoo_and_is_found_again() -> None:
    entry = EMPTY.get("models", "hrcn")
    origin = describe_origin(entry, EMPTY)
    assert origin["install"] == f"pip install celestial-zoo=={zoo.__version__}"
    assert find_origin("models", origin, where="run", registry=EMPTY) is entry


def test_record_of_an_older_zoo_gives_the_version() -> None:
    origin = {"name": "deepnet", "owner": "deep", "distribution": "zoo-deep", "version": "1.4"}
    with pytest.raises(PluginError, match=r"run 'pip install zoo-deep==1.4'"):
        find_origin("models", origin, where="run", registry=EMPTY)
