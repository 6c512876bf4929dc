"""What a run folder holds about one evaluation; every part but the evaluation itself may be absent."""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.errors import StorageError
from zoo.evaluation.stored import FRAMES_NAME, RESULT_NAME, SCHEMA
from zoo.explaining import Explanation, read_explanation
from zoo.intervals import Interval
from zoo.models.places import model_hash
from zoo.reporting.blocks import read_interval
from zoo.robustness.result import Robustness

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """One evaluation with what its run holds beside it.

    Attributes:
        folder: ``evaluations/NAME`` of the run. run: the run's folder. title: how the run is called on the page.
        facts: `evaluation.json`. frames: the lines of `frames.csv`.
        card, environment: of the model and of its training. config: `config.toml` as it stands; empty where there is none.
        weights: SHA-256 of the weights that the run has now; changed: whether these are others than those that were evaluated.
        training: the last events of `metrics.jsonl` by their kind, and the largest memory of a step as ``peak_bytes``.
        robustness, explanation: what was stored of them; ``None`` where nothing was.
    """

    folder: Path
    run: Path
    title: str
    facts: Record
    frames: Sequence[Mapping[str, str]] = field(repr=False)
    card: Record = field(repr=False)
    environment: Record = field(repr=False)
    config: str = field(repr=False)
    weights: str
    changed: bool
    training: Record = field(repr=False)
    robustness: Robustness | None = field(repr=False)
    explanation: Explanation | None = field(repr=False)

    @property
    def labels(self) -> list[str]:
        """The classes, by index."""
        return list(self.facts["labels"])

    @property
    def scored(self) -> list[Mapping[str, str]]:
        """The frames that could be scored."""
        return [frame for frame in self.frames if frame["status"] == "ok"]

    @property
    def positive(self) -> str:
        """The class whose scores precision and recall are, where there are two."""
        return self.labels[1]

    @property
    def of(self) -> str:
        """The data and the split in words."""
        return f"{self.facts['data']}, split {self.facts['split']}"

    def interval(self, name: str) -> Interval | None:
        """The interval of a score."""
        return read_interval(self.facts["intervals"].get(name))

    def settings(self) -> dict[str, Any]:
        """`config.toml` as values; empty where it cannot be read."""
        try:
            return tomllib.loads(self.config)
        except tomllib.TOMLDecodeError:
            return {}


def read_source(folder: str | os.PathLike[str]) -> Source:
    """Read a folder below ``evaluations/`` of a run, and what the run holds beside it.

    Raises:
        StorageError: it is no such folder, a sealed file was changed, or it has a layout that this zoo does not know.
    """
    path = Path(folder).resolve()
    if not (path / RESULT_NAME).is_file():
        raise StorageError(f"{path}: got no {RESULT_NAME}, expected a folder below evaluations/ of a run; run 'zoo evaluate' first")
    facts = _sealed(path, RESULT_NAME)
    if facts is None or facts.get("schema") != SCHEMA:
        raise StorageError(f"{path / RESULT_NAME}: got an unknown layout, expected schema {SCHEMA}; a newer zoo may have written it")
    run = path.parent.parent
    seal = run / "model" / storage.SEAL_NAME
    sums = storage.read_json(seal)["files"] if seal.is_file() else {}
    now = model_hash(seal.parent) if seal.is_file() else ""
    degraded, explained = _sealed(run / "robustness" / path.name, "robustness.json"), run / "explanations" / path.name
    text = (path / FRAMES_NAME).read_text(encoding="utf-8")
    return Source(
        folder=path,
        run=run,
        title=run.name,
        facts=facts,
        frames=list(csv.DictReader(io.StringIO(text, newline=""))),
        card=_plain(run / "model" / "card.json") or {},
        environment=_plain(run / "environment.json") or {},
        config=(run / "config.toml").read_text(encoding="utf-8") if (run / "config.toml").is_file() else "",
        weights=str(sums.get("model.safetensors", "")),
        changed=now != facts["model_sha256"],
        training=_training(run / "metrics.jsonl"),
        robustness=Robustness.from_dict(degraded) if degraded else None,
        explanation=read_explanation(explained) if (explained / "explanation.json").is_file() else None,
    )


def _sealed(folder: Path, name: str) -> dict[str, Any] | None:
    """Return a JSON file of a sealed folder; ``None`` where the folder is absent."""
    if not (folder / name).is_file():
        return None
    storage.verify_directory(folder)
    return _plain(folder / name)


def _plain(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    value = storage.read_json(path)
    if not isinstance(value, dict):
        raise StorageError(f"{path}: got {type(value).__name__}, expected a JSON object; it is damaged or was not written by zoo")
    return value


def _training(path: Path) -> dict[str, Any]:
    """Return the last event of each kind, and the largest memory of a step."""
    if not path.is_file():
        return {}
    events: dict[str, Any] = {}
    peak = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:  # a crash may cut the last line
            continue
        events[event.get("event", "")] = event
        peak = max(peak, event.get("memory_bytes") or 0)
    return {**events, "peak_bytes": peak} if peak else events


def titled(source: Source, title: str) -> Source:
    """Return the same source under another name."""
    return replace(source, title=title)
