"""``--fit``: what is chosen, what is refused, and what happens when memory runs out all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import TinyNet, TinyPlugin
from torch import Tensor, nn

import zoo
from zoo import storage
from zoo.costs import Peak, Settings, hardware
from zoo.errors import InterruptedRunError, MemoryLimitError, SettingsError, UsageError
from zoo.models.directory import load_tensors
from zoo.registry import Registry, use_registry
from zoo.training import Progress, TrainConfig, make_plan, memory, read_metrics, train
from zoo.training.config import TrainSettings
from zoo.training.memory import MemoryPlan, Work, plan_memory
from zoo.training.planning import _check_execution

Configure = Callable[..., TrainConfig]

PLENTY = 10**7
ROOM = {"most": 99}  # frames that `Hungry` takes at once while it trains


class Hungry(TinyNet):
    """Runs out of memory with more frames than there is room for, having changed its statistics."""

    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        if self.training and len(image) > ROOM["most"]:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return logits


class HungryPlugin:
    @staticmethod
    @zoo.hookimpl
    def register_models(register: Callable[..., None]) -> None:
        register("hungry", lambda *, num_classes, in_channels, input_shape: Hungry(num_classes, input_shape, 4), input_shape=(1, 24, 48))


class Search:
    """Stands for `find_settings`: takes the settings as they are, unless a choice has to be other than it is."""

    def __init__(self, **needed: Any) -> None:
        self.needed, self.calls = needed, 0

    def __call__(self, model: str, asked: Settings, limit: int, *, fixed: Collection[str], **aim: Any) -> tuple[Settings, Peak] | None:
        self.calls += 1
        if any(name in fixed and getattr(asked, name) != value for name, value in self.needed.items()):
            return None
        return asked._replace(**self.needed), Peak(PLENTY, {}, "", "forward", ())


@pytest.fixture(autouse=True)
def _hungry(monkeypatch: pytest.MonkeyPatch, _tiny_registry: None) -> Any:
    monkeypatch.setattr(memory, "find_settings", Search())
    monkeypatch.setattr("zoo.training.opening.give_back_freed_memory", lambda: None)
    monkeypatch.setitem(ROOM, "most", 99)
    with use_registry(Registry.from_plugins([HungryPlugin])):
        yield


@pytest.fixture
def hungry(configure: Configure) -> Configure:
    def make(**tables: Any) -> TrainConfig:
        settings = {"fit": "8GB", "epochs": 1, "batch_size": 4, "accumulate": 2, "optimizer": "sgd", **tables.pop("train", {})}
        return configure(model={"name": "hungry"}, train=settings, **tables)

    return make


def weights(run: Path) -> dict[str, Tensor]:
    return load_tensors(run / "model" / "model.safetensors")


def test_train_begins_the_step_again_with_half_the_frames_when_memory_runs_out(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits are those of a run that took the smaller number from the start: statistics and random numbers were put back."""
    monkeypatch.setitem(ROOM, "most", 1)
    notes: list[str] = []

    class Listener(Progress):
        def note(self, text: str) -> None:
            notes.append(text)

    run = train(hungry(output={"path": "out"}), progress=Listener())
    plan = storage.read_json(run.path / "plan.json")
    assert [(entry["step"], entry["micro_batch_before"], entry["micro_batch"]) for entry in plan["history"]] == [(1, 4, 2), (1, 2, 1)]
    assert "can't allocate memory" in plan["history"][0]["reason"]
    assert (plan["micro_batch"], plan["bit_reproducible"], plan["fit"]) == (1, False, "8GB")
    assert [record["micro_batch"] for record in read_metrics(run.path) if record["event"] == "out-of-memory"] == [2, 1]
    assert sum("cannot be repeated bit by bit" in note for note in notes) == 2
    card = zoo.load(run.path).card["training"]
    assert (card["restarts"], card["bit_reproducible"], card["steps"]) == (2, False, 2)

    small = memory.plan_memory

    def plan_small(settings: TrainSettings, work: Work) -> tuple[TrainSettings, MemoryPlan]:
        chosen, planned = small(settings, work)
        planned.micro_batch = 1
        return chosen, planned

    monkeypatch.setattr("zoo.training.planning.plan_memory", plan_small)
    calm = train(hungry(output={"path": "calm"}))
    assert storage.read_json(calm.path / "plan.json")["bit_reproducible"] is True
    assert all(torch.equal(value, weights(calm.path)[name]) for name, value in weights(run.path).items())


def test_train_keeps_the_gradient_of_the_step_when_it_is_cut(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a network in which no frame sees another, parts of a batch add up to the batch, unequal ones too."""
    config = configure(model={"name": "plain"}, train={"epochs": 1, "fit": "8GB", "batch_size": 4, "optimizer": "sgd"})
    with use_registry(Registry.from_plugins([TinyPlugin])):
        whole = train(config)
        plan = memory.plan_memory
        monkeypatch.setattr("zoo.training.planning.plan_memory", lambda *given: _with_micro_batch(plan(*given), 3))
        cut = train(config.with_changes(output={"path": Path("cut")}))
    for name, value in weights(whole.path).items():
        torch.testing.assert_close(weights(cut.path)[name], value, rtol=1e-5, atol=1e-7)


def _with_micro_batch(planned: tuple[TrainSettings, MemoryPlan], frames: int) -> tuple[TrainSettings, MemoryPlan]:
    planned[1].micro_batch = frames
    return planned


def test_train_ends_when_not_even_one_frame_fits(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROOM, "most", 0)
    with pytest.raises(MemoryLimitError, match="does not fit into the memory of cpu"):
        train(hungry())


def test_train_restarts_no_step_without_a_plan(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROOM, "most", 1)
    with pytest.raises(MemoryLimitError, match="let --fit auto choose"):
        train(hungry(train={"fit": None}))


def test_resume_keeps_the_plan(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(precision="bf16")
    monkeypatch.setattr(memory, "find_settings", search)

    class Stopper(Progress):
        def step(self, record: Any) -> None:
            plan = storage.read_json(Path("run/plan.json"))
            assert plan["predicted_bytes"] == PLENTY
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        train(hungry(train={"precision": "auto"}), progress=Stopper())
    settings = TrainConfig.read(Path("run/config.toml")).train
    assert (settings.fit, settings.precision, settings.stream, settings.recompute) == ("8GB", "bf16", False, False)
    before = MemoryPlan.read(Path("run"))
    run = train(resume="run")
    assert search.calls == 1
    assert MemoryPlan.read(run.path) == before
    assert zoo.load(run.path).card["training"]["precision"] == "bf16"


def test_plan_cuts_the_batch_and_says_what_batchnorm_sees(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_settings", Search(batch=2, accumulate=8, optimizer="sgd"))
    plan = make_plan(hungry(train={"batch_size": None, "accumulate": None, "optimizer": None, "lr": None}))
    assert (plan.batch_size, plan.accumulate, plan.config.train.batch_size) == (2, 8, 2)
    assert (plan.config.train.optimizer, plan.config.train.lr) == ("sgd", 0.01)
    told = dict(plan.describe())["memory"]
    assert told == (
        "fit 8GB: fp32, sgd, batch 2 x 8; a step takes 0.01 GB, 7.98 GB are free for it; "
        "BatchNorm sees 2 instead of 16 frames, a step still has 16"
    )


def test_plan_names_the_choice_that_does_not_fit_and_what_would(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_settings", Search(optimizer="sgd", stream=True))
    with pytest.raises(MemoryLimitError) as caught:
        make_plan(hungry(train={"optimizer": "adamw", "precision": "fp32"}))
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "hungry at 24x48 with --optimizer adamw does not fit into 8GB (7.98 GB for its tensors); "
        "--optimizer sgd --precision fp32 --batch-size 4 --accumulate 2 --stream takes 0.01 GB"
    )


def test_plan_says_how_much_is_needed_at_least(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_settings", lambda *asked, **aim: None)
    monkeypatch.setattr(memory, "predict_peaks", lambda *asked, **aim: (Peak(9 * 10**9, {}, "", "forward", ()),))
    with pytest.raises(MemoryLimitError, match=r"does not fit into 8GB .* takes 9\.00 GB; use smaller frames"):
        make_plan(hungry())


def test_plan_leaves_room_for_what_a_checkpoint_copies(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hardware.RESIDENT_EXTRA_BYTES, "train", (0, 0))
    plan = make_plan(hungry(train={"optimizer": None, "workers": 0}))
    saving = 4 * plan.parameters
    reading = 4 * 24 * 48 * (memory.PREFETCH * 4 + 2)
    limit = reading + 4 * saving  # weights, momentum and a copy of one of them; AdamW would take five times the weights
    assert make_plan(hungry(train={"optimizer": None, "workers": 0, "fit": f"{limit / 1000}kB"})).config.train.optimizer == "sgd"


def test_auto_takes_what_is_free(hungry: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_on", lambda device: 10**10)
    planned = make_plan(hungry(train={"fit": "auto"})).memory
    assert planned is not None
    assert 8.4e9 < planned.limit_bytes < 8.5e9
    monkeypatch.setattr(memory, "free_on", lambda device: None)
    with pytest.raises(UsageError, match="give an amount, such as --fit 8GB"):
        make_plan(hungry(train={"fit": "auto"}))


@pytest.mark.parametrize("fit", ["lots", "0", "off"])
def test_config_refuses_what_is_no_amount_of_memory(fit: str) -> None:
    with pytest.raises(SettingsError, match=f"auto or an amount of memory such as 8GB, got '{fit}'"):
        TrainSettings(fit=fit)


class Deciding(nn.Module):
    """Cannot be traced."""

    def forward(self, image: Tensor) -> Tensor:
        return image if image.shape[0] > 0 else image + 1


def test_what_has_no_effect_on_a_network_is_told_and_a_plan_for_several_processes_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten())
    notes = _check_execution(network, TrainSettings(stream=True, recompute=True), 1)
    assert [note.split()[0] for note in notes] == ["--stream", "--recompute"]
    assert _check_execution(zoo.create_model("resnet18"), TrainSettings(stream=True, recompute=True), 2) == []
    (note,) = _check_execution(Deciding(), TrainSettings(), 1)
    assert note.startswith("validation runs the network as it is, slower and in more memory than it could: it cannot be traced: TraceError")
    with pytest.raises(UsageError, match="got --fit 8GB for 2 processes, expected a single one"):
        _check_execution(network, TrainSettings(fit="8GB"), 2)


def test_a_real_network_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streaming and recomputing are chosen by the predicted peak, in a process of its own."""
    monkeypatch.undo()
    work = Work("resnet18", {}, 2, None, (1, 512, 1024), (512, 1024), 11_170_754, 11_170_754, torch.device("cpu"), "fp32", 1, 16)
    with use_registry(Registry.from_plugins([])):
        settings, planned = plan_memory(TrainSettings(fit="320MB", precision="fp32", workers=1, optimizer="sgd"), work)
    assert settings.stream
    assert planned.predicted_bytes <= planned.limit_bytes
