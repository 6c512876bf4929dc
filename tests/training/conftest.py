"""What every test of training needs: the tiny sky, the tiny network, an empty working folder, and a configuration of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_training import TinyPlugin, write_sky

from zoo.registry import Registry, use_registry
from zoo.training import TrainConfig


@pytest.fixture(autouse=True)
def _tiny_registry() -> Iterator[None]:
    with use_registry(Registry.from_plugins([TinyPlugin])):
        yield


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sky(tmp_path_factory.mktemp("data") / "sky")


@pytest.fixture
def configure(sky: Path) -> Callable[..., TrainConfig]:
    """Return a function that makes a configuration; keyword ``table={...}`` changes keys of a table."""

    def make(**tables: Any) -> TrainConfig:
        base: dict[str, Any] = {
            "model": {"name": "tinynet"},
            "data": {"source": str(sky), "baselines": False},
            "train": {"epochs": 2, "batch_size": 4, "lr": 0.01, "device": "cpu", "precision": "fp32"},
            "output": {"path": "run"},
        }
        for name, changes in tables.items():
            base[name] = {**base.get(name, {}), **changes} if isinstance(changes, dict) else changes
        return TrainConfig.from_mapping(base)

    return make
