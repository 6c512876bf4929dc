"""A run whose plugin is gone says what it needs, when it is resumed as when it is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from zoo.errors import PluginError
from zoo.registry import Registry, use_registry
from zoo.training import TrainConfig, train
from zoo.training.run import ENVIRONMENT_NAME, open_run


def test_resumed_run_names_the_plugin_that_it_lacks(configure: Callable[..., TrainConfig]) -> None:
    run = train(configure(train={"epochs": 1, "batch_size": 16, "lr": 0.01, "device": "cpu", "precision": "fp32"}))
    names = json.loads((run.path / ENVIRONMENT_NAME).read_text())["names"]
    assert ("models", "tinynet", "TinyPlugin") in [(name["kind"], name["name"], name["owner"]) for name in names]
    assert ("losses", "cross_entropy", "zoo") in [(name["kind"], name["name"], name["owner"]) for name in names]
    assert open_run(run.path) == run.path
    words = r"run: needs the model 'tinynet' of plugin 'TinyPlugin', which came from a single file"
    with use_registry(Registry.from_plugins([])), pytest.raises(PluginError, match=words):
        train(resume=run.path)
