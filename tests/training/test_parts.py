"""The parts of training one by one: optimizer, schedule, BatchNorm statistics, devices, signals, run directories, metrics."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from zoo.errors import StorageError, UsageError
from zoo.training import TrainConfig, cpu_has_bf16, find_device, find_precision, read_metrics
from zoo.training.config import TrainSettings
from zoo.training.interrupt import Interrupt
from zoo.training.metrics import MetricsLog
from zoo.training.norm import has_running_statistics, measure_norm_statistics
from zoo.training.optimizer import make_optimizer, optimizer_tensors, rate_at, restore_optimizer, set_rate
from zoo.training.run import create_run, machine_facts, open_run


def small_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        image = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(number))
        model(image).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    settings = TrainSettings(lr=1.0, warmup=0.2)
    rates = [rate_at(step, 10, settings) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.5)
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.05
    assert [rate_at(step, 4, TrainSettings(lr=2.0, warmup=0.0, schedule="constant")) for step in range(4)] == [2.0] * 4


@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("total", [1, 2, 5])
def test_rate_is_positive_and_at_most_its_peak(total: int, warmup: float) -> None:
    assert all(0 < rate_at(step, total, TrainSettings(lr=1.0, warmup=warmup)) <= 1.0 for step in range(total))


def test_make_optimizer_decays_kernels_and_matrices_only() -> None:
    groups = make_optimizer(small_model(), TrainSettings(weight_decay=0.3)).param_groups
    assert [(group["weight_decay"], group["names"]) for group in groups] == [
        (0.3, ["0.weight", "4.weight"]),
        (0.0, ["0.bias", "1.weight", "1.bias", "4.bias"]),
    ]


def test_make_optimizer_slows_wide_layers_of_adamw_down() -> None:
    model = nn.Sequential(nn.Conv2d(1, 512, 3), nn.Flatten(), nn.Linear(512, 2))
    for name, wide in (("adamw", 0.05), ("sgd", 0.1)):
        optimizer = make_optimizer(model, TrainSettings(optimizer=name))
        set_rate(optimizer, 0.1)
        rates = {key: group["lr"] for group in optimizer.param_groups for key in group["names"]}
        assert rates == pytest.approx({"0.weight": 0.1, "0.bias": 0.1, "2.weight": wide, "2.bias": 0.1})


def test_make_optimizer_leaves_frozen_parameters_out() -> None:
    model = small_model()
    model[0].requires_grad_(False)
    names = [name for group in make_optimizer(model, TrainSettings()).param_groups for name in group["names"]]
    assert sorted(names) == ["1.bias", "1.weight", "4.bias", "4.weight"]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_restore_optimizer_goes_on_with_the_same_bits(name: str, memory_format: torch.memory_format) -> None:
    settings = TrainSettings(optimizer=name, lr=0.01)
    model = small_model().to(memory_format=memory_format)
    optimizer = make_optimizer(model, settings)
    take_steps(model, optimizer, 3)
    saved = {key: tensor.detach().clone().contiguous() for key, tensor in optimizer_tensors(optimizer).items()}
    twin = small_model().to(memory_format=memory_format)
    twin.load_state_dict(model.state_dict())
    other = make_optimizer(twin, settings)
    restore_optimizer(other, saved)
    take_steps(model, optimizer, 3)
    take_steps(twin, other, 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert set(saved) >= {f"optimizer/0.weight/{'exp_avg' if name == 'adamw' else 'momentum_buffer'}"}


def test_restore_optimizer_refuses_the_state_of_another_model() -> None:
    with pytest.raises(StorageError, match=r"optimizer state of 'head\.weight'"):
        restore_optimizer(make_optimizer(small_model(), TrainSettings()), {"optimizer/head.weight/exp_avg": torch.zeros(1)})


def test_measure_norm_statistics_are_plain_averages_over_batches() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    model[0].running_mean.fill_(77.0)
    batches = [torch.randn(5, 3, 4, 4) * 2 + shift for shift in (0.0, 1.0, 5.0)]
    model.train()
    model[1].eval()
    seen: list[torch.Tensor] = []
    assert measure_norm_statistics(model, batches, lambda batch: seen.append(model(batch)) or seen[-1]) == 3
    torch.testing.assert_close(model[0].running_mean, torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(0))
    torch.testing.assert_close(model[0].running_var, torch.stack([b.var(dim=(0, 2, 3)) for b in batches]).mean(0))
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert model[0].momentum == 0.1
    assert all(not (output == 0).any() for output in seen)  # dropout was off


def test_measure_norm_statistics_without_batches_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    model[0].running_mean.fill_(7.0)
    assert measure_norm_statistics(model, [], model) == 0
    assert model[0].running_mean.tolist() == [7.0] * 3
    assert has_running_statistics(model)
    assert not has_running_statistics(nn.Sequential(nn.GroupNorm(1, 3), nn.BatchNorm2d(3, track_running_stats=False)))


def test_find_device_names_what_is_not_there() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("tpu", "cuda:99"):
        with pytest.raises(UsageError, match=name):
            find_device(name)


def test_find_precision_follows_the_hardware() -> None:
    cpu = torch.device("cpu")
    assert find_precision("auto", cpu) == ("bf16" if cpu_has_bf16() else "fp32")
    assert [find_precision(name, cpu) for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    if Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text()
        assert cpu_has_bf16() == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_interrupt_notes_the_first_signal_and_lets_the_second_act() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert interrupt.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_does_nothing_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    handlers: list[object] = []

    def work() -> None:
        with Interrupt():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_create_run_counts_up_and_moves_the_link() -> None:
    paths = [create_run(TrainConfig(), model="hrcn", data=name) for name in ("simulated", "simulated", "simulated:full", "my data")]
    assert [str(path) for path in paths] == [
        "runs/hrcn-simulated-001",
        "runs/hrcn-simulated-002",
        "runs/hrcn-simulated-full-001",
        "runs/hrcn-my-data-001",
    ]
    assert Path("runs/latest").readlink() == Path("hrcn-my-data-001")
    Path("runs/hrcn-simulated-007").mkdir()
    assert create_run(TrainConfig(), model="hrcn", data="simulated").name == "hrcn-simulated-008"


def test_create_run_links_runs_in_the_folder_alone(tmp_path: Path) -> None:
    make: Callable[[str], TrainConfig] = lambda path: TrainConfig.from_mapping({"output": {"path": path}})  # noqa: E731
    create_run(make(str(tmp_path / "elsewhere" / "a")), model="m", data="d")
    assert not Path("runs").exists()
    create_run(make("runs/mine"), model="m", data="d")
    assert Path("runs/latest").readlink() == Path("mine")


def test_create_run_never_removes_what_is_no_run() -> None:
    config = TrainConfig.from_mapping({"output": {"path": "thesis", "force": True}})
    Path("thesis").mkdir()
    assert create_run(config, model="m", data="d") == Path("thesis")  # an empty folder is welcome
    Path("thesis/chapter.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty and no run"):
        create_run(config, model="m", data="d")
    Path("file").write_text("x")
    with pytest.raises(UsageError, match="got a file"):
        create_run(TrainConfig.from_mapping({"output": {"path": "file", "force": True}}), model="m", data="d")
    assert Path("thesis/chapter.tex").exists()


def test_open_run_accepts_the_run_and_its_model_folder(tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "config.toml").write_text("")
    assert open_run(tmp_path / "run") == open_run(tmp_path / "run" / "model") == tmp_path / "run"


def test_machine_facts_name_what_the_bits_depend_on() -> None:
    facts = machine_facts(torch.device("cpu"), "fp32")
    assert set(facts) == {"torch", "device", "precision", "threads", "processes", "cpu", "kernels"}
    json.dumps(facts)


def test_metrics_log_cuts_back_and_tells_loggers_again(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, loggers=["csv"]) as log:
        log.append({"event": "step", "loss": 1.0})
        size = log.sync()
        log.append({"event": "step", "loss": float("nan")})
    assert [record["loss"] for record in read_metrics(tmp_path)] == [1.0, None]
    with MetricsLog(tmp_path, loggers=["csv"], keep_bytes=size) as log:
        log.append({"event": "epoch", "val_loss": 0.5})
    assert (tmp_path / "metrics.csv").read_text() == "event,loss,val_loss\nstep,1.0,\nepoch,,0.5\n"
    with pytest.raises(StorageError, match="the file was changed"):
        MetricsLog(tmp_path, keep_bytes=10_000)
