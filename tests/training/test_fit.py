"""The loop: what it learns, writes, refuses; and that a stopped run goes on to the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from zoo.training import Progress, TrainConfig, read_metrics, train

Configure = Callable[..., TrainConfig]


def test_train_learns_and_writes_the_run_directory(configure: Configure) -> None:
    run = train(configure(train={"epochs": 6}))
    names = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert names == {
        "config.toml",
        "environment.json",
        "manifest.csv",
        "metrics.jsonl",
        *(f"model/{name}" for name in ("model.safetensors", "card.json", "SHA256SUMS.json")),
        *(f"checkpoints/best/{name}" for name in ("model.safetensors", "card.json", "SHA256SUMS.json")),
        *(f"checkpoints/last/{name}" for name in ("model.safetensors", "state.safetensors", "state.json", "SHA256SUMS.json")),
    }
    records = read_metrics(run.path)
    assert [record["event"] for record in records].count("epoch") == 6
    assert records[-1]["event"] == "end"
    assert records[-1]["val_accuracy"] >= 0.75
    loaded = zoo.load(run.path)
    assert loaded.labels == ("galaxy", "NSC")
    assert loaded.card["training"]["val_accuracy"] == records[-1]["val_accuracy"]
