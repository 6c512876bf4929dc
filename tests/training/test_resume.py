"""A stopped run goes on to the same bits as one that never stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo import storage
from zoo.errors import DataError, InterruptedRunError, StorageError, UsageError
from zoo.models.directory import load_tensors
from zoo.training import Progress, TrainConfig, read_metrics, train

Configure = Callable[..., TrainConfig]


class StopAfter(Progress):
    """Sends this process a signal after some steps or epochs."""

    def __init__(self, *, steps: int = 0, epochs: int = 0, number: int = signal.SIGINT) -> None:
        self.steps, self.epochs, self.number = steps, epochs, number
        self.notes: list[str] = []
        self.begun = ""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, steps_done: int, steps: int) -> None:
        self.begun = f"{steps_done}/{steps}"

    def step(self, record: Mapping[str, Any]) -> None:
        if record["step"] == self.steps:
            os.kill(os.getpid(), self.number)

    def skipped(self, record: Mapping[str, Any], description: str) -> None:
        self.step(record)

    def epoch(self, record: Mapping[str, Any]) -> None:
        if record["epoch"] == self.epochs:
            os.kill(os.getpid(), self.number)


def all_tensors(run: Path) -> dict[str, torch.Tensor]:
    files = ("model/model.safetensors", "checkpoints/last/model.safetensors", "checkpoints/last/state.safetensors")
    tensors = {f"{file}:{name}": tensor for file in files for name, tensor in load_tensors(run / file).items()}
    return tensors | {f"best:{name}": tensor for name, tensor in load_tensors(run / "checkpoints/best/model.safetensors").items()}


def assert_same_bits(first: Path, second: Path) -> None:
    left, right = all_tensors(first), all_tensors(second)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    timeless = [
        [{k: v for k, v in r.items() if k not in ("elapsed_s", "frames_per_s", "memory_bytes")} for r in read_metrics(run)]
        for run in (first, second)
    ]
    assert timeless[0] == timeless[1]


SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"epochs": 3},
    "sgd-bf16": {"epochs": 3, "optimizer": "sgd", "precision": "bf16", "batch_size": 3, "accumulate": 2},
    "best": {"epochs": 3, "keep": "best"},
    "average": {"epochs": 3, "ema": 0.9, "keep": "best", "loss": "focal", "loss_options": {"gamma": 1.5}},
    "step-patience": {"epochs": 6, "schedule": "step", "milestones": [1, 2], "patience": 1, "lr": 0.5, "class_weights": "balanced"},
    "fp16": {"epochs": 3, "precision": "fp16", "ema": 0.5, "batch_size": 3, "accumulate": 2},
}
AUGMENTED = [{"step": "overscan"}, {"step": "normalize"}, {"step": "flip"}, {"step": "rotate"}]


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Keys of [train] that differ between the runs that are compared."""
    return SETTINGS[request.param]


def test_resume_gives_the_same_bits(configure: Configure, settings: dict[str, Any]) -> None:
    whole = train(configure(output={"path": "whole"}, train=settings, pipeline=AUGMENTED))
    with pytest.raises(InterruptedRunError, match=r"after step 2 of \d+; 'zoo train --resume .*parts' goes on") as stop:
        train(configure(output={"path": "parts"}, train=settings, pipeline=AUGMENTED), progress=StopAfter(steps=2))
    assert stop.value.exit_code == 130
    second = StopAfter(steps=5, number=signal.SIGTERM)
    with pytest.raises(InterruptedRunError) as stop:
        train(resume="parts", progress=second)
    assert stop.value.exit_code == 143
    assert second.begun.startswith("2/")
    assert second.notes == []
    assert_same_bits(whole.path, train(resume="parts").path)


def test_resume_gives_the_same_bits_with_everything_at_once(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaged weights, a step schedule, patience, fp16 whose scale still falls, skipped steps, pretrained weights, a frozen layer."""
    from torch.amp.grad_scaler import GradScaler

    make = GradScaler.__init__
    monkeypatch.setattr(GradScaler, "__init__", lambda self, *a, **k: make(self, *a, init_scale=2.0**20, **k))
    train(configure(output={"path": "start"}, train={"epochs": 1, "seed": 9}))
    keys = {
        "epochs": 5,
        "ema": 0.9,
        "schedule": "step",
        "patience": 2,
        "precision": "fp16",
        "batch_size": 3,
        "accumulate": 2,
        "keep": "best",
    }
    tables: dict[str, Any] = {"train": keys, "pipeline": AUGMENTED, "model": {"pretrained": "start", "freeze_until": "norm"}}
    whole = train(configure(output={"path": "whole"}, **tables))
    with pytest.raises(InterruptedRunError):
        train(configure(output={"path": "parts"}, **tables), progress=StopAfter(steps=2))
    shutil.rmtree("start")  # a checkpoint needs no weights from elsewhere
    state = json.loads(Path("parts/checkpoints/last/state.json").read_text())
    assert state["position"]["skipped"] > 0
    for step in (4, 8):
        with pytest.raises(InterruptedRunError):
            train(resume="parts", progress=StopAfter(steps=step))
    assert_same_bits(whole.path, train(resume="parts").path)
    cards = [json.loads((path / "model" / "card.json").read_text()) for path in (whole.path, Path("parts"))]
    for card in cards:
        del card["training"]["elapsed_s"]
    assert cards[0] == cards[1]


def test_resume_after_patience_ended_finishes_the_run(configure: Configure) -> None:
    keys = {"epochs": 40, "patience": 1, "lr": 0.5, "warmup": 0.0, "schedule": "constant"}
    whole = train(configure(output={"path": "whole"}, train=keys))
    last = whole.summary["epochs"]
    assert last < 40
    with pytest.raises(InterruptedRunError):
        train(configure(output={"path": "parts"}, train=keys), progress=StopAfter(epochs=last))
    listener = StopAfter()
    assert_same_bits(whole.path, train(resume="parts", progress=listener).path)
    assert [note for note in listener.notes if note.startswith(f"stopped after epoch {last}")]


def test_resume_takes_a_run_of_an_earlier_version(configure: Configure) -> None:
    """Its configuration and its checkpoint lack the keys of later ones."""
    whole = train(configure(output={"path": "whole"}))
    with pytest.raises(InterruptedRunError):
        train(configure(output={"path": "parts"}), progress=StopAfter(steps=3))
    old = ("pretrained", "freeze_until", "milestones", "gamma", "ema", "patience", "loss_options", "label_smoothing", "geometry")
    config = Path("parts/config.toml")
    kept = [line for line in config.read_text().splitlines() if not line.startswith((*old, "[train.loss_options]"))]
    config.write_text("\n".join(kept) + "\n")
    folder = Path("parts/checkpoints/last")
    state = json.loads((folder / "state.json").read_text())
    del state["scaler"], state["position"]["skipped"], state["position"]["skipped_in_a_row"]
    storage.write_json(folder / "state.json", state)
    storage.seal_directory(folder)
    environment = json.loads(Path("parts/environment.json").read_text())
    del environment["pretrained"]
    storage.write_json("parts/environment.json", environment)
    assert_same_bits(whole.path, train(resume="parts").path)


def test_resume_after_an_epoch_gives_the_same_bits(configure: Configure) -> None:
    whole = train(configure(output={"path": "whole"}))
    with pytest.raises(InterruptedRunError):
        train(configure(output={"path": "parts"}), progress=StopAfter(epochs=1))
    assert_same_bits(whole.path, train(resume="parts").path)


def test_resume_after_the_last_epoch_finishes_the_run(configure: Configure) -> None:
    whole = train(configure(output={"path": "whole"}))
    with pytest.raises(InterruptedRunError):
        train(configure(output={"path": "parts"}), progress=StopAfter(epochs=2))
    assert_same_bits(whole.path, train(resume="parts").path)


def test_resume_after_a_kill_cuts_the_metrics_back(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(BaseException):
        pass

    class Kill(Progress):
        def step(self, record: Mapping[str, Any]) -> None:
            if record["step"] == 6:
                raise KilledError

    whole = train(configure(output={"path": "whole", "loggers": ["csv"]}))
    with pytest.raises(KilledError):
        train(configure(output={"path": "parts", "loggers": ["csv"]}), progress=Kill())
    with (Path("parts") / "metrics.jsonl").open("a") as stream:
        stream.write('{"event": "st')
    assert [record["step"] for record in read_metrics(Path("parts"))] == [1, 2, 3, 4, 4, 5, 6]
    resumed = train(resume="parts")
    assert_same_bits(whole.path, resumed.path)
    lines = [(run.path / "metrics.csv").read_text().splitlines() for run in (whole, resumed)]
    assert len(lines[0]) == len(lines[1]) == 1 + len(read_metrics(whole.path))


def test_resume_starts_anew_when_killed_before_the_first_checkpoint(configure: Configure) -> None:
    class KilledError(BaseException):
        pass

    class Kill(Progress):
        def step(self, record: Mapping[str, Any]) -> None:
            raise KilledError

    whole = train(configure(output={"path": "whole"}))
    with pytest.raises(KilledError):
        train(configure(output={"path": "parts"}), progress=Kill())
    assert_same_bits(whole.path, train(resume="parts").path)


def test_resume_takes_checkpoints_between_epochs(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.training import fit

    saved: list[int] = []
    save = fit.save_checkpoint
    monkeypatch.setattr(fit, "CHECKPOINT_INTERVAL_S", 0.0)
    monkeypatch.setattr(fit, "save_checkpoint", lambda *a: (saved.append(a[1].position.step), save(*a)))
    train(configure(train={"epochs": 1}))
    assert saved == [1, 2, 3, 4, 4]


def test_resume_means_latest_without_a_name(configure: Configure) -> None:
    with pytest.raises(InterruptedRunError):
        train(configure(output={"path": None}), progress=StopAfter(steps=1))
    assert train(resume="latest").path.name.startswith("tinynet-")


def test_resume_works_from_another_folder(configure: Configure, monkeypatch: pytest.MonkeyPatch, sky: Path, tmp_path: Path) -> None:
    monkeypatch.chdir(sky.parent)
    with pytest.raises(InterruptedRunError):
        train(configure(data={"source": sky.name}, output={"path": str(tmp_path / "run")}), progress=StopAfter(steps=1))
    monkeypatch.chdir(tmp_path)
    assert train(resume=tmp_path / "run").summary["steps"] == 8


def test_resume_refuses_what_cannot_go_on(configure: Configure, sky: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such run"):
        train(resume="nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"without config\.toml"):
        train(resume=tmp_path / "folder")
    run = train(configure())
    with pytest.raises(UsageError, match="this run is finished"):
        train(resume=run.path)
    with pytest.raises(UsageError, match="pass one of the two"):
        train(configure(), resume=run.path)


def test_resume_refuses_changed_data_and_damaged_checkpoints(configure: Configure, sky: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sky, copy)
    with pytest.raises(InterruptedRunError):
        train(configure(data={"source": str(copy)}), progress=StopAfter(steps=1))
    (copy / "galaxy" / "galaxy0_0.fits").rename(copy / "galaxy" / "other_0.fits")
    with pytest.raises(DataError, match="changed since the run began"):
        train(resume="run")
    (copy / "galaxy" / "other_0.fits").rename(copy / "galaxy" / "galaxy0_0.fits")
    state = Path("run/checkpoints/last/state.safetensors")
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    with pytest.raises(StorageError, match=r"state\.safetensors: SHA-256"):
        train(resume="run")


def test_resume_notes_another_machine(configure: Configure) -> None:
    with pytest.raises(InterruptedRunError):
        train(configure(), progress=StopAfter(steps=1))
    folder = Path("run/checkpoints/last")
    state = json.loads((folder / "state.json").read_text())
    state["machine"]["threads"] = 77
    storage.write_json(folder / "state.json", state)
    storage.seal_directory(folder)
    listener = StopAfter()
    train(resume="run", progress=listener)
    assert listener.notes == [f"threads was 77 and is {torch.get_num_threads()}: the last bits of the weights will differ"]


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from tiny_training import TinyPlugin
from zoo.errors import InterruptedRunError
from zoo.registry import Registry, use_registry
from zoo.training import Progress, TrainConfig, train
from pathlib import Path

class Tell(Progress):
    def step(self, record):
        print(record["step"], flush=True)

with use_registry(Registry.from_plugins([TinyPlugin])):
    try:
        if sys.argv[2] == "resume":
            train(resume=sys.argv[3])
        else:
            train(TrainConfig.read(Path(sys.argv[3])), progress=Tell())
    except InterruptedRunError as err:
        sys.exit(err.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_resume_in_another_process_gives_the_same_bits(configure: Configure, tmp_path: Path, number: int, code: int) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    here = str(Path(__file__).parent.parent)
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    whole = train(configure(output={"path": "whole"}, train={"epochs": 5}))
    (tmp_path / "config.toml").write_text(configure(output={"path": "parts"}, train={"epochs": 5}).to_toml())
    child = subprocess.Popen(
        [sys.executable, str(script), here, "begin", str(tmp_path / "config.toml")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "6":
            child.send_signal(number)
            break
    child.stdout.read()
    child.stdout.close()
    assert child.wait() == code
    assert not Path("parts/model").exists()
    subprocess.run([sys.executable, str(script), here, "resume", "parts"], check=True, env=environment)
    assert_same_bits(whole.path, Path("parts"))
