"""A checkpoint is the old one or the new one, whatever happens while it is written, and a damaged one is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from test_resume import StopAfter, assert_same_bits

from zoo import storage
from zoo.cli import main
from zoo.errors import InterruptedRunError, StorageError
from zoo.training import Plan, TrainConfig, make_plan, train
from zoo.training.checkpoint import load_checkpoint, save_checkpoint
from zoo.training.opening import _build_state
from zoo.training.optimizer import optimizer_tensors
from zoo.training.progress import Progress
from zoo.training.state import Position, TrainingState

Configure = Callable[..., TrainConfig]

# Everything that changes the file system passes one of these, but for the writing itself, which `die_at` adds.
EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree", "os.scandir"})


def make_state(plan: Plan, *, step: int) -> TrainingState:
    """A state with weights and optimizer slots of its own."""
    state, _ = _build_state(plan, Progress())
    state.position = Position(step=step)
    generator = torch.Generator().manual_seed(step)
    for parameter in state.model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    state.optimizer.step()
    return state


def die_at(number: int, work: Callable[[], Any]) -> tuple[int, bool]:
    """Do ``work`` in a child that kills itself with SIGKILL at its ``number``-th access to the file system.

    Returns: the events that it came to, and whether it was killed.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def reach(event: str, arguments: tuple[Any, ...] = ()) -> None:
            nonlocal count
            if event in EVENTS:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sync, save, write = os.fsync, safetensors.torch.save_file, Path.write_bytes

        def halfway(whole: Callable[[], Any], path: Path, data: bytes) -> None:
            reach("open")
            write(path, data[: len(data) // 2])
            reach("open")
            whole()
            reach("open")

        os.fsync = lambda descriptor: (reach("open"), sync(descriptor), reach("open"))[1]
        safetensors.torch.save_file = lambda tensors, path, metadata=None: halfway(
            lambda: save(tensors, path, metadata), Path(path), safetensors.torch.save(tensors)
        )
        Path.write_bytes = lambda path, data: halfway(lambda: write(path, data), path, data)  # type: ignore[assignment,return-value,method-assign]
        sys.addaudithook(reach)
        status = 1
        try:
            work()
            status = 0
        finally:
            os.write(writer, str(count).encode())
            os._exit(status)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as stream:
        told = stream.read()
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.WEXITSTATUS(status) == 0
    return int(told or number), killed


def tensors_of(state: TrainingState) -> dict[str, torch.Tensor]:
    return {**state.model.state_dict(), **optimizer_tensors(state.optimizer)}


def assert_holds(folder: Path, plan: Plan, *states: TrainingState) -> int:
    """The checkpoint is one of ``states``, to the last bit; return its step."""
    loaded = make_state(plan, step=0)
    load_checkpoint(folder, loaded)
    (same,) = [state for state in states if state.position.step == loaded.position.step]
    left, right = tensors_of(loaded), tensors_of(same)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    return loaded.position.step


@pytest.mark.parametrize("beside", ["nothing", "leftovers"])
def test_a_kill_at_any_access_leaves_the_old_or_the_new_checkpoint(configure: Configure, tmp_path: Path, beside: str) -> None:
    plan = make_plan(configure())
    old, new = make_state(plan, step=1), make_state(plan, step=2)
    last = tmp_path / "last"
    held: list[int] = []
    number = 1
    while True:
        shutil.rmtree(last, ignore_errors=True)
        save_checkpoint(last, old, {})
        if beside == "leftovers":  # of a save that was killed before
            shutil.copytree(last, tmp_path / f"{storage.TEMPORARY_PREFIX}last.old")
            (tmp_path / f"{storage.TEMPORARY_PREFIX}last.new").mkdir()
        _, killed = die_at(number, lambda: save_checkpoint(last, new, {}))
        held.append(assert_holds(last, plan, old, new))
        save_checkpoint(last, old, {})  # and the next one is written over what was left
        assert assert_holds(last, plan, old) == 1
        assert [path.name for path in tmp_path.glob(f"{storage.TEMPORARY_PREFIX}*")] == []
        if not killed:
            break
        number += 1
    assert number > 50  # two safetensors files, a JSON file and the seal, each opened, written, synced and renamed
    assert held == sorted(held)
    assert {1, 2} == set(held)


def test_a_kill_at_any_access_of_the_first_checkpoint_leaves_none_or_all(configure: Configure, tmp_path: Path) -> None:
    plan = make_plan(configure())
    new = make_state(plan, step=2)
    last = tmp_path / "checkpoints" / "last"
    found: list[bool] = []
    killed = True
    while killed:
        shutil.rmtree(last.parent, ignore_errors=True)
        _, killed = die_at(len(found) + 1, lambda: save_checkpoint(last, new, {}))
        found.append(storage.recover_directory(last))
        if found[-1]:
            assert assert_holds(last, plan, new) == 2
    assert found == sorted(found)
    assert found[0] is False
    assert found[-1] is True


def test_a_run_killed_between_the_renames_goes_on_to_the_same_bits(configure: Configure) -> None:
    whole = train(configure(output={"path": "whole"}))
    with pytest.raises(InterruptedRunError):
        train(configure(output={"path": "parts"}), progress=StopAfter(steps=3))
    folder = Path("parts/checkpoints")
    (folder / "last").rename(folder / f"{storage.TEMPORARY_PREFIX}last.new")
    shutil.copytree(whole.last, folder / f"{storage.TEMPORARY_PREFIX}last.old")
    assert_same_bits(whole.path, train(resume="parts").path)


class FullDisk:
    """Lets every write fail from some moment on, as a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, of: str) -> None:
        self.full = False
        save, write = safetensors.torch.save_file, Path.write_bytes

        def save_file(tensors: Any, path: Path, metadata: Any = None) -> None:
            if self.full and of == "tensors":
                raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
            save(tensors, path, metadata)

        def write_bytes(path: Path, data: bytes) -> int:
            if self.full and of == "json":
                write(path, data[:5])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(path, data)

        monkeypatch.setattr(safetensors.torch, "save_file", save_file)
        monkeypatch.setattr(Path, "write_bytes", write_bytes)


class FillAfter(Progress):
    """Fills the disk after some epochs."""

    def __init__(self, disk: FullDisk, *, epochs: int) -> None:
        self.disk, self.epochs = disk, epochs

    def epoch(self, record: Any) -> None:
        self.disk.full = record["epoch"] >= self.epochs


@pytest.mark.parametrize("of", ["tensors", "json"])
def test_a_full_disk_leaves_the_checkpoint_before_it(configure: Configure, monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    whole = train(configure(output={"path": "whole"}, train={"epochs": 3}))
    disk = FullDisk(monkeypatch, of=of)
    with pytest.raises(StorageError) as stop:
        train(configure(output={"path": "parts"}, train={"epochs": 3}), progress=FillAfter(disk, epochs=2))
    assert stop.value.exit_code == 3
    message = str(stop.value)
    assert "cannot be written: No space left on device: it needs " in message
    assert " are free in parts" in message
    disk.full = False
    storage.verify_directory("parts/checkpoints/last")
    assert json.loads(Path("parts/checkpoints/last/state.json").read_text())["position"]["epoch"] == 1
    assert_same_bits(whole.path, train(resume="parts").path)


def test_a_full_disk_names_file_need_and_room(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(configure())
    last = tmp_path / "run" / "checkpoints" / "last"
    disk = FullDisk(monkeypatch, of="tensors")
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: replace_free(free, 123_400))
    disk.full = True
    with pytest.raises(StorageError, match=r"model\.safetensors: .* it needs \d+ bytes, and 123\.4 kB are free .*; there is no checkpoint"):
        save_checkpoint(last, make_state(plan, step=1), {})
    disk.full = False
    save_checkpoint(last, make_state(plan, step=1), {})
    disk.full = True
    with pytest.raises(StorageError, match=r"make room there; the checkpoint before it is intact: 'zoo train --resume .*run' goes on"):
        save_checkpoint(last, make_state(plan, step=2), {})


def replace_free(usage: Any, free: int) -> Any:
    return usage._replace(free=free)


def test_a_full_disk_stops_the_metrics_with_a_clear_error(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.training.metrics import MetricsLog

    Path("run").mkdir()
    with MetricsLog(Path("run")) as log:
        log.append({"event": "step"})

        class Full:
            def write(self, data: bytes) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def close(self) -> None:
                stream.close()

        stream, log._stream = log._stream, Full()  # type: ignore[assignment]
        with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be written: No space left on device: it needs 18 bytes"):
            log.append({"event": "step"})


def test_a_flipped_bit_in_any_file_is_refused(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InterruptedRunError):
        train(configure(), progress=StopAfter(steps=6))
    last = Path("run/checkpoints/last")
    names = sorted(path.name for path in last.iterdir())
    assert names == ["SHA256SUMS.json", "model.safetensors", "state.json", "state.safetensors"]
    for name in names:
        file = last / name
        sound = file.read_bytes()
        for place in (0, len(sound) // 2, len(sound) - 3):
            damaged = bytearray(sound)
            damaged[place] ^= 4
            file.write_bytes(damaged)
            with pytest.raises(StorageError) as refused:
                train(resume="run")
            message = str(refused.value)
            assert str(last) in message
            assert "the run cannot go on from it. run/checkpoints/best is sound: 'zoo evaluate run/checkpoints/best' measures" in message
            if name != "SHA256SUMS.json":
                assert f"{name}: SHA-256 is {storage.sha256(file)[:12]}..., expected " in message
        file.write_bytes(sound)
    best = Path("run/checkpoints/best/model.safetensors")
    best.write_bytes(best.read_bytes()[:-1])
    (last / "state.json").write_bytes(b"{}")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", "run"])
    assert ended.value.code == 3
    assert "expected " in (told := capsys.readouterr().err)
    assert "the run cannot go on from it; start again with --force" in told
