"""Saving and loading model directories: equal tensors, sealed files, absent plugins named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import LevelPlugin, make_run, tiny_registry
from torch import nn

import zoo
from zoo import storage
from zoo.errors import PluginError, StorageError
from zoo.models import resolve_run
from zoo.models.directory import load_tensors, make_card, save_model, save_tensors
from zoo.registry import Failure, Registry, get_registry, use_registry
from zoo.steps import Pipeline


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with tiny_registry():
        yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", config="[model]\n", training={"epochs": 3, "val_loss": float("nan")})


def test_load_gives_back_what_was_saved(run: Path) -> None:
    loaded = zoo.load(run)
    assert not loaded.model.training
    assert loaded.labels == ("galaxy", "NSC")
    assert loaded.input_shape == (1, 32, 64)
    assert loaded.name == "level"
    assert loaded.path == run / "model"
    assert loaded.run == run
    assert str(loaded.pipeline).startswith("overscan | normalize")
    assert loaded.card["training"] == {"epochs": 3, "val_loss": None}
    assert loaded.card["zoo"] == zoo.__version__
    image = torch.rand(2, 1, 32, 64)
    assert torch.equal(loaded.model(image), zoo.create_model("level", input_shape=(1, 32, 64))(image))


def test_load_accepts_the_model_directory_alone(run: Path, tmp_path: Path) -> None:
    assert zoo.load(run / "model").run == run
    moved = (run / "model").rename(tmp_path / "elsewhere")
    assert zoo.load(moved).run is None


def test_load_leaves_the_global_random_numbers_alone(run: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    zoo.load(run)
    assert torch.equal(torch.rand(1), expected)


def test_latest_means_the_link_in_runs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    run.rename(tmp_path / "runs" / "level-001")
    (tmp_path / "runs" / "latest").symlink_to("level-001")
    assert resolve_run("latest") == (tmp_path / "runs" / "level-001" / "model").resolve()


def test_resolve_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such run"):
        resolve_run(tmp_path / "absent")
    with pytest.raises(StorageError, match=r"without card\.json"):
        resolve_run(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(StorageError, match=r"its training has not ended.*zoo train --resume"):
        resolve_run(tmp_path)
    (tmp_path / "checkpoints" / "best").mkdir(parents=True)
    (tmp_path / "checkpoints" / "best" / "card.json").write_text("{}")
    with pytest.raises(StorageError, match=r"or use .*best"):
        resolve_run(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "card.json"])
def test_load_names_a_changed_file(run: Path, name: str) -> None:
    file = run / "model" / name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(StorageError, match=rf"{name}: SHA-256"):
        zoo.load(run)


def test_load_refuses_a_newer_schema(run: Path) -> None:
    card = json.loads((run / "model" / "card.json").read_text())
    storage.write_json(run / "model" / "card.json", {**card, "schema": 99})
    storage.seal_directory(run / "model")
    with pytest.raises(StorageError, match="expected schema 1"):
        zoo.load(run)


def test_load_refuses_weights_of_another_architecture(run: Path) -> None:
    save_tensors(run / "model" / "model.safetensors", {"other": torch.zeros(1)})
    storage.seal_directory(run / "model")
    with pytest.raises(StorageError, match="does not fit the architecture"):
        zoo.load(run)


def test_load_names_the_distribution_of_an_absent_plugin(run: Path) -> None:
    card = json.loads((run / "model" / "card.json").read_text())
    card["model"] |= {"distribution": "zoo-level", "version": "1.4"}
    storage.write_json(run / "model" / "card.json", card)
    storage.seal_directory(run / "model")
    with (
        use_registry(Registry.from_plugins([])),
        pytest.raises(PluginError, match=r"distribution zoo-level 1\.4.*pip install zoo-level==1\.4"),
    ):
        zoo.load(run)


def test_load_names_the_file_or_the_failure_of_a_plugin(run: Path) -> None:
    with use_registry(Registry.from_plugins([])) as registry:
        with pytest.raises(PluginError, match=r"plugin 'LevelPlugin', which came from a single file; pass it with 'zoo --plugin FILE"):
            zoo.load(run)
        registry.failures.append(Failure("LevelPlugin", "level.py", "NameError: nn", NameError("nn")))
        with pytest.raises(PluginError, match="failed to load: NameError: nn"):
            zoo.load(run)


def test_load_names_the_plugin_of_an_absent_step(run: Path) -> None:
    card = json.loads((run / "model" / "card.json").read_text())
    card["steps"].append({"name": "destripe", "owner": "stripes", "distribution": "zoo-stripes", "version": "2.0"})
    storage.write_json(run / "model" / "card.json", card)
    storage.seal_directory(run / "model")
    with pytest.raises(PluginError, match=r"needs the step 'destripe' of plugin 'stripes' from distribution zoo-stripes 2\.0"):
        zoo.load(run)


def test_card_names_zoo_itself_for_what_it_ships() -> None:
    entry = get_registry().get("models", "hrcn")
    card = make_card(
        entry,
        {"padding": "same"},
        input_shape=(1, 256, 512),
        labels=("galaxy", "NSC"),
        pipeline=Pipeline(["normalize"]),
        domain="simulated",
        products=("raw",),
        training={},
    )
    assert card["model"]["label"] == "hrcn[padding=same]"
    assert (card["model"]["distribution"], card["model"]["version"]) == ("celestial-zoo", zoo.__version__)
    assert [step["name"] for step in card["steps"]] == ["normalize"]


def test_save_model_replaces_a_whole_folder(run: Path) -> None:
    card = json.loads((run / "model" / "card.json").read_text())
    (run / "model" / "stale").write_text("x")
    save_model(run / "model", zoo.create_model("level", input_shape=(1, 32, 64)), card)
    assert sorted(file.name for file in (run / "model").iterdir()) == ["SHA256SUMS.json", "card.json", "model.safetensors"]
    zoo.load(run)


def test_save_tensors_keeps_tied_and_strided_tensors(tmp_path: Path) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    save_tensors(tmp_path / "a", {"a": weight, "b": weight, "c": weight.T, "d": weight[1:]})
    loaded = load_tensors(tmp_path / "a")
    assert torch.equal(loaded["a"], weight)
    assert torch.equal(loaded["b"], weight)
    assert torch.equal(loaded["c"], weight.T)
    assert torch.equal(loaded["d"], weight[1:])


def test_save_model_refuses_states_that_are_no_tensors(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def get_extra_state(self) -> Any:
            return {"a": 1}

        def set_extra_state(self, state: Any) -> None:
            pass

    with pytest.raises(PluginError, match="'_extra_state' is dict, expected a tensor"):
        save_model(tmp_path / "m", Odd(), {})
    assert list(tmp_path.iterdir()) == []


def test_load_tensors_names_a_file_that_is_no_safetensors(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x80\x04pickle")
    with pytest.raises(StorageError, match="cannot be read as safetensors"):
        load_tensors(tmp_path / "a")


def test_create_model_names_what_is_wrong() -> None:
    from zoo.errors import InputShapeError, UnknownNameError, UsageError

    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: zoo.create_model("hrnc"), UnknownNameError, "did you mean 'hrcn'"),
        (lambda: zoo.create_model("hrcn", paddin="same"), UnknownNameError, "did you mean 'padding'"),
        (lambda: zoo.create_model("hrcn", padding="full"), UsageError, "must be one of valid, same"),
        (lambda: zoo.create_model("hrcn", input_shape=(1, 256, 512)), InputShapeError, "set padding=same"),
        (lambda: zoo.create_model("level", num_classes=0), UsageError, "must be >= 1"),
        (lambda: zoo.create_model("level", in_channels=3, input_shape=(1, 8, 8)), InputShapeError, "in_channels is 3"),
        (lambda: zoo.create_model("level", input_shape=(8, 8)), InputShapeError, "three positive integers"),  # type: ignore[arg-type]
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


def test_create_model_takes_the_registered_size_by_default() -> None:
    with torch.device("meta"):
        model = zoo.create_model("hrcn", in_channels=3)
    assert model.input_shape == (3, 2048, 4096)
    assert "level" in zoo.list_models()


def test_create_model_refuses_a_builder_that_gives_no_module() -> None:
    class Plugin(LevelPlugin):
        @zoo.hookimpl
        def register_models(self, register: Callable[..., None]) -> None:
            register("odd", lambda **arguments: 3, input_shape=(1, 8, 8))

    with (
        use_registry(Registry.from_plugins([Plugin()])),
        pytest.raises(PluginError, match=r"build returned int, expected a torch\.nn\.Module"),
    ):
        zoo.create_model("odd")


def test_weights_are_as_readable_as_the_card(tmp_path: Path) -> None:
    with tiny_registry():
        run = make_run(tmp_path / "run")
    modes = {path.stat().st_mode & 0o777 for path in (run / "model").iterdir()}
    assert len(modes) == 1
