"""A reproduction of seconds: the tiny network on the tiny sky, and costs that nobody measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from astropy.io import fits
from tiny_training import SIZE, TinyPlugin, write_sky

from zoo.profiling.result import ModelProfile, StepProfile
from zoo.registry import Registry, use_registry
from zoo.reproduction import Network, Recipe, TestSet, work

TRAIN = {"epochs": 2, "batch_size": 4, "lr": 0.01, "precision": "fp32"}


@pytest.fixture(autouse=True)
def _tiny_registry() -> Iterator[None]:
    with use_registry(Registry.from_plugins([TinyPlugin])):
        yield


@pytest.fixture(autouse=True)
def _no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cost starts three processes, to which a plugin of this process is unknown."""

    def estimate(runs: list[Path], *, train: bool = False, **settings: Any) -> SimpleNamespace:
        record = {"input_shape": (1, *SIZE), "parameters": 1000, "macs": 2_000_000, "peak_bytes": 3 * 2**20 if train else 2**20, "note": ""}
        return SimpleNamespace(models=(SimpleNamespace(**record),))

    def profile(runs: list[Path], **settings: Any) -> SimpleNamespace:
        step = StepProfile("infer", "measured", samples_s=(0.002, 0.003, 0.004), warmup=3, steady=True)
        return SimpleNamespace(models=(ModelProfile(str(runs[0]), "tiny", steps=(step,)),))

    monkeypatch.setattr(work, "estimate", estimate)
    monkeypatch.setattr(work, "profile", profile)


@pytest.fixture(scope="session")
def real_sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sky(tmp_path_factory.mktemp("real") / "sky")


@pytest.fixture(scope="session")
def simulated_sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same files, which say that they are simulated."""
    root = write_sky(tmp_path_factory.mktemp("simulated") / "sky")
    for path in root.rglob("*.fits"):
        fits.setval(path, "SIMULATE", value=True)
    return root


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    """Return a function that gives a recipe of two networks and two sets on a folder of frames."""

    def make(sky: Path, **changes: Any) -> Recipe:
        sets = (
            TestSet("test", "test", "test frames"),
            TestSet("blurry", "blurry", "the same, blurred", steps=("overscan", "blur:sigma=1"), per_target=2),
        )
        networks = (
            Network("hrcn", "HR-CelestialNet", "tinynet", SIZE, {"width": 4}, TRAIN, published_as="hrcn"),
            Network("alexnet", "AlexNet", "tinynet", SIZE, {"width": 2}, TRAIN),
        )
        return Recipe(**{"name": "quick", "source": str(sky), "networks": networks, "sets": sets, **changes})

    return make
