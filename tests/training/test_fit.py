"""The loop: what it learns, writes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import storage
from zoo.errors import DataError, InputShapeError, MemoryLimitError, UnknownNameError, UsageError
from zoo.models.directory import load_tensors
from zoo.training import Progress, TrainConfig, read_metrics, train

Configure = Callable[..., TrainConfig]


class Listener(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.events: list[str] = []
        self.kept: Mapping[str, Any] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def plan(self, plan: Any, run: Path) -> None:
        self.lines = plan.describe()

    def baselines(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        self.events.append(f"scores of {', '.join(scores)}")

    def begin(self, steps_done: int, steps: int) -> None:
        self.events.append(f"begin {steps_done}/{steps}")

    def step(self, record: Mapping[str, Any]) -> None:
        self.events.append("step")

    def epoch(self, record: Mapping[str, Any]) -> None:
        self.events.append("epoch")

    def finished(self, record: Mapping[str, Any]) -> None:
        self.kept = record

    @contextmanager
    def stage(self, description: str, total: int, *, unit: str = "frames") -> Iterator[Callable[[int], None]]:
        counts: list[int] = []
        yield counts.append
        self.events.append(f"{description} {sum(counts)}/{total}")


def test_train_learns_and_writes_the_run_directory(configure: Configure) -> None:
    run = train(configure(train={"epochs": 6}))
    names = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    model = ("model.safetensors", "card.json", "SHA256SUMS.json")
    assert names == {
        "config.toml",
        "environment.json",
        "manifest.csv",
        "metrics.jsonl",
        *(f"model/{name}" for name in (*model, "calibration.json")),
        *(f"checkpoints/best/{name}" for name in model),
        *(f"checkpoints/last/{name}" for name in ("model.safetensors", "state.safetensors", "state.json", "SHA256SUMS.json")),
    }
    records = read_metrics(run.path)
    assert [record["event"] for record in records].count("epoch") == 6
    assert records[-1]["event"] == "end"
    assert records[-1]["val_accuracy"] >= 0.75
    loaded = zoo.load(run.path)
    assert loaded.labels == ("galaxy", "NSC")
    assert loaded.card["training"]["val_accuracy"] == records[-1]["val_accuracy"] == run.summary["val_accuracy"]


def test_train_tells_what_it_does(configure: Configure, sky: Path) -> None:
    listener = Listener()
    train(configure(data={"baselines": True}), progress=listener)
    told = dict(listener.lines)
    assert [subject for subject in told if subject != "note"] == ["data", "train", "val", "test", "frames", "model", "training"]
    assert told["data"] == f"{sky.name} ({sky}), classes galaxy, NSC"
    assert told["train"] == "16 frames: galaxy 8 of 2 targets, NSC 8 of 2 targets"
    assert told["frames"].startswith("24x48 after overscan | ")
    assert told["model"].startswith("tinynet, ")
    assert told["training"] == "steps 8, epochs 2, batch 4, adamw lr 0.01, fp32 on cpu, seed 0"
    epoch = ["step"] * 4 + ["epoch"]
    assert listener.events == [
        "baselines 24/24",
        "scores of metadata, thumbnail, statistics",
        "begin 0/8",
        *epoch,
        *epoch,
        "BatchNorm statistics 16/16",
        "range of the training frames 16/16",
    ]


def test_train_records_every_step(configure: Configure) -> None:
    run = train(configure())
    steps = [record for record in read_metrics(run.path) if record["event"] == "step"]
    assert [record["step"] for record in steps] == list(range(1, 9))
    assert set(steps[0]) == {
        "event", "step", "epoch", "lr", "loss", "accuracy", "gradient_norm", "frames_per_s", "elapsed_s", "memory_bytes",
    }  # fmt: skip
    assert steps[-1]["lr"] < steps[1]["lr"]
    assert all(record["gradient_norm"] > 0 and record["memory_bytes"] > 2**20 for record in steps)


def test_train_is_repeatable_and_depends_on_the_seed(configure: Configure) -> None:
    def weights(path: str, **train_keys: Any) -> dict[str, torch.Tensor]:
        return load_tensors(train(configure(output={"path": path}, train=train_keys)).model / "model.safetensors")

    first, again, other = weights("a"), weights("b", workers=0), weights("c", seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_train_leaves_the_global_random_numbers_alone(configure: Configure) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(configure())
    assert torch.equal(torch.rand(1), expected)


def test_train_accumulates_the_mean_of_a_group(configure: Configure) -> None:
    run = train(configure(train={"batch_size": 3, "accumulate": 2, "clip_norm": 0.0}))
    steps = [record for record in read_metrics(run.path) if record["event"] == "step"]
    assert len(steps) == 6  # 16 frames: 5 batches of 3 in groups of 2, 2 and 1, twice


def test_train_with_accumulation_equals_one_large_batch(configure: Configure) -> None:
    plain = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "epochs": 1, "clip_norm": 0.0, "warmup": 0.0}
    one = train(configure(model={"name": "plain"}, output={"path": "a"}, train={**plain, "batch_size": 4}))
    two = train(configure(model={"name": "plain"}, output={"path": "b"}, train={**plain, "batch_size": 2, "accumulate": 2}))
    first, second = (load_tensors(run.model / "model.safetensors") for run in (one, two))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_train_saves_float32_weights_in_any_precision(configure: Configure, precision: str) -> None:
    run = train(configure(train={"precision": precision}))
    assert {tensor.dtype for tensor in load_tensors(run.model / "model.safetensors").values()} == {torch.float32, torch.int64}
    assert zoo.load(run.path).card["training"]["precision"] == precision


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_train_lowers_the_loss_with_each_optimizer(configure: Configure, optimizer: str) -> None:
    run = train(configure(train={"optimizer": optimizer, "lr": 0.01, "epochs": 6}))
    losses = [record["train_loss"] for record in read_metrics(run.path) if record["event"] == "epoch"]
    assert losses[-1] < 0.8 * losses[0]


def test_train_keeps_the_best_or_the_last_weights(configure: Configure) -> None:
    listener = Listener()
    best = train(configure(output={"path": "best"}, train={"keep": "best", "epochs": 4}), progress=listener)
    kept, source = load_tensors(best.model / "model.safetensors"), load_tensors(best.best / "model.safetensors")
    assert torch.equal(kept["head.weight"], source["head.weight"])
    assert not torch.equal(kept["norm.running_mean"], source["norm.running_mean"])
    assert listener.kept["kept"] == "best"
    assert listener.kept["val_loss"] == best.summary["val_loss"]
    last = train(configure(output={"path": "last"}, train={"keep": "last", "epochs": 4}), progress=listener)
    assert (listener.kept["kept"], listener.kept["epoch"], listener.kept["val_loss"]) == ("last", 4, last.summary["val_loss"])
    kept, source = load_tensors(last.model / "model.safetensors"), load_tensors(last.last / "model.safetensors")
    assert torch.equal(kept["head.weight"], source["head.weight"])


def test_train_replays_nothing_to_a_logger_that_fails(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.plugins import loggers

    def fail(self: object, record: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(loggers.CsvLogger, "log", fail)
    listener = Listener()
    train(configure(output={"loggers": ["csv"]}), progress=listener)
    assert listener.notes == ["logger 'csv' failed and gets no more records: OSError: disk full"]


def test_train_says_when_a_batch_does_not_fit(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: object, **options: object) -> torch.Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr("torch.nn.Conv2d.forward", no_memory)
    with pytest.raises(MemoryLimitError, match=r"a batch of 4 frames .* use a smaller --batch-size"):
        train(configure())


def test_train_never_replaces_a_run_without_force(configure: Configure) -> None:
    run = train(configure())
    before = storage.sha256(run.model / "model.safetensors")
    with pytest.raises(UsageError, match=r"a run is here already; continue it with --resume run"):
        train(configure(train={"seed": 5}))
    with pytest.raises(UsageError, match=r"a run is here already"):  # before the data, which are not there, are asked for
        train(configure(data={"source": "no-such-folder/list.csv"}))
    assert storage.sha256(run.model / "model.safetensors") == before
    train(configure(train={"seed": 5}, output={"force": True}))
    assert storage.sha256(run.model / "model.safetensors") != before


def test_train_leaves_nothing_behind_when_the_plan_fails(configure: Configure) -> None:
    for changes, error in (
        ({"model": {"name": "tinyent"}}, UnknownNameError),
        ({"model": {"options": {"widht": 3}}}, UnknownNameError),
        ({"train": {"loss": "hinge"}}, UnknownNameError),
        ({"output": {"loggers": ["tensorbord"]}}, UnknownNameError),
        ({"train": {"device": "tpu"}}, UsageError),
        ({"pipeline": [{"step": "normalise"}]}, UnknownNameError),
        ({"data": {"labels": ["galaxy", "QSO"]}}, DataError),
    ):
        with pytest.raises(error):
            train(configure(**changes))
    assert list(Path().iterdir()) == []


def test_train_chooses_the_variant_of_hrcn_and_says_so(configure: Configure) -> None:
    from zoo.training import make_plan

    plan = make_plan(configure(model={"name": "hrcn"}))
    assert plan.label == "hrcn[padding=same]"
    assert plan.config.model.options == {"padding": "same"}
    assert plan.notes == ("hrcn in its published layout does not take 24x48, so padding=same is set: a variant, not the published network",)
    with pytest.raises(InputShapeError, match="padding=same"):
        make_plan(configure(model={"name": "hrcn", "options": {"padding": "valid"}}))


def test_train_uses_one_batch_when_there_are_fewer_frames(configure: Configure) -> None:
    listener = Listener()
    run = train(configure(train={"batch_size": 100, "epochs": 1}), progress=listener)
    assert ("note", "batch size 16 instead of 100: there are no more training frames") in listener.lines
    assert read_metrics(run.path)[0]["step"] == 1


def test_train_weighs_classes_in_balance(configure: Configure, sky: Path, tmp_path: Path) -> None:
    from zoo.data import open_data
    from zoo.training import make_plan

    manifest = open_data(str(sky)).manifest
    kept = [row for row in manifest.rows if row.split != "train" or row.label == "galaxy" or row.path.endswith("_0.fits")]
    manifest.with_rows(kept).write_csv(tmp_path / "list.csv")
    plan = make_plan(configure(data={"source": str(tmp_path / "list.csv")}, train={"class_weights": "balanced"}))
    weights = plan.class_weights()
    assert weights is not None
    assert weights.tolist() == pytest.approx([10 / (2 * 8), 10 / (2 * 2)])
    assert make_plan(configure()).class_weights() is None


def test_train_refuses_mixed_products_without_leave(configure: Configure, sky: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from zoo.data import open_data
    from zoo.training import make_plan

    manifest = open_data(str(sky)).manifest
    rows = [replace(row, product="raw" if number % 2 else "flt") for number, row in enumerate(manifest.rows)]
    manifest.with_rows(rows).write_csv(tmp_path / "list.csv")
    with pytest.raises(DataError, match=r"products flt \(8\), raw \(8\), expected one; .*--allow-product"):
        make_plan(configure(data={"source": str(tmp_path / "list.csv")}))
    assert make_plan(configure(data={"source": str(tmp_path / "list.csv"), "allow_product": True})).products == ("flt", "raw")


def test_train_without_validation_frames_keeps_the_last_weights(configure: Configure, sky: Path, tmp_path: Path) -> None:
    from zoo.data import open_data

    manifest = open_data(str(sky)).manifest
    manifest.with_rows(row for row in manifest.rows if row.split != "val").write_csv(tmp_path / "list.csv")
    listener = Listener()
    run = train(configure(data={"source": str(tmp_path / "list.csv")}, train={"keep": "best"}), progress=listener)
    assert ("note", "there are no validation frames; the last weights become the model") in listener.lines
    assert zoo.load(run.path).card["training"]["kept"] == "last"
    assert not run.best.exists()


def test_train_records_what_the_bits_depend_on(configure: Configure) -> None:
    run = train(configure())
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["machine"]["torch"] == torch.__version__
    assert environment["machine"]["threads"] == torch.get_num_threads()
    assert environment["seed"] == 0
    assert TrainConfig.read(run.path / "config.toml").pipeline[-1]["step"] == "flip"
    assert (run.path / "manifest.csv").read_text().startswith("path,hdu,label,target")


@pytest.mark.parametrize(
    ("shape", "train_keys", "expected"),
    [
        ((1, 256, 512), {}, (16, 1)),
        ((1, 24, 48), {}, (16, 1)),
        ((1, 512, 1024), {}, (4, 4)),
        ((1, 2048, 4096), {}, (1, 16)),
        ((1, 2048, 4096), {"batch_size": 3}, (3, 1)),
        ((1, 2048, 4096), {"accumulate": 2}, (1, 2)),
    ],
)
def test_train_chooses_batches_by_the_size_of_a_frame(
    shape: tuple[int, int, int], train_keys: dict[str, int], expected: tuple[int, int]
) -> None:
    from zoo.training.planning import _choose_batch

    assert _choose_batch(TrainConfig.from_mapping({"train": train_keys}), shape) == expected
