"""``torchrun -m zoo train``: the numbers of one process, no frame twice, and no hang when a process stops."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from processes import run
from test_resume import assert_same_bits

from zoo.cli import main
from zoo.errors import DataError, UsageError
from zoo.models.directory import load_tensors
from zoo.training import TrainConfig, make_plan, read_metrics
from zoo.training.distributed import Ranks, take_threads
from zoo.training.launch import Launch

Configure = Callable[..., TrainConfig]

DROPOUT = ("--model", "tinynet", "--ema", "0.9")
EXACT = ("event", "step", "epoch", "lr", "frames", "skipped_steps", "accuracy", "train_accuracy", "val_accuracy", "val_balanced_accuracy")
CLOSE = ("loss", "gradient_norm", "train_loss", "val_loss")


def arguments(sky: Path, output: str, *more: str, epochs: int = 3) -> list[str]:
    plain = ["--no-baselines", "--precision", "fp32", "--device", "cpu", "--batch-size", "6"]
    return ["train", "--data", str(sky), "-o", output, "--epochs", str(epochs), *plain, *more]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, sky: Path) -> Path:
    """A folder with run ``one`` of one process and run ``two`` of two, and what each process read. The loss of the third batch is NaN."""
    folder = tmp_path_factory.mktemp("pair")
    for processes, name in ((1, "one"), (2, "two")):
        steps = ["normalize", f"witness:file={folder / name}.train", f"witness:file={folder / name}.all,training=false", "flip"]
        words = [word for step in steps for word in ("--step", step)]
        words += ["--model", "normed", "--accumulate", "2", "--optimizer", "sgd", "--lr", "0.05", "--class-weights", "balanced"]
        done = run(arguments(sky, str(folder / name), "--loss", "killer", *words), processes=processes, KILL_AT="3", KILL_HOW="nan")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{folder / name}\n"
    return folder


def test_two_processes_train_the_weights_of_one(pair: Path) -> None:
    for file in ("model/model.safetensors", "checkpoints/last/model.safetensors", "checkpoints/last/state.safetensors"):
        one, two = load_tensors(pair / "one" / file), load_tensors(pair / "two" / file)
        assert one.keys() == two.keys()
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-6)  # measured: 1e-8 to 2e-7


def test_two_processes_report_the_metrics_of_one(pair: Path) -> None:
    first, second = (read_metrics(pair / name) for name in ("one", "two"))
    assert [record["event"] for record in first] == ["step", "epoch", "skipped", "epoch", "step", "epoch", "end"]
    assert len(first[2]["frames"]) == 6
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert one.keys() == two.keys()
        assert {key: one[key] for key in EXACT if key in one} == {key: two[key] for key in EXACT if key in two}
        for key in set(CLOSE) & one.keys():
            if one[key] is None:  # the training loss of the epoch whose only step was left out
                assert (key, two[key], one["epoch"]) == ("train_loss", None, 2)
            else:
                assert two[key] == pytest.approx(one[key], rel=1e-5, abs=1e-6)


def test_two_processes_read_each_frame_once(pair: Path) -> None:
    def read(name: str) -> list[list[str]]:
        return [file.read_text().split() for file in sorted(pair.glob(f"{name}.[01]"))]

    (one,) = read("one.train")
    two = read("two.train")
    assert [len(frames) for frames in two] == [18, 18]  # three epochs of two batches of 6, half of each
    assert Counter(two[0] + two[1]) == Counter(one)
    for epoch in range(3):
        seen = two[0][6 * epoch : 6 * epoch + 6] + two[1][6 * epoch : 6 * epoch + 6]
        assert len(set(seen)) == 12
        assert set(seen) == set(one[12 * epoch : 12 * epoch + 12])
    (everything,) = read("one.all")
    first, second = read("two.all")
    assert Counter(first + second) == Counter(everything)  # validation and BatchNorm statistics too


def test_a_run_says_how_many_processes_wrote_it(pair: Path) -> None:
    assert json.loads((pair / "two" / "environment.json").read_text())["machine"]["processes"] == 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, sky: Path) -> Path:
    """An undisturbed run of two processes."""
    path = tmp_path_factory.mktemp("whole") / "run"
    done = run(arguments(sky, str(path), *DROPOUT))
    assert done.returncode == 0, done.stderr
    return path


KILLER = (*DROPOUT, "--loss", "killer")


def test_a_killed_process_is_started_again_and_the_run_ends_with_the_same_bits(whole: Path, sky: Path) -> None:
    done = run(arguments(sky, "run", *KILLER, "--force"), restarts=1, KILL_AT="4", KILL_HOW="SIGKILL")
    assert done.returncode == 0, done.stderr
    assert "resumed   after step 2 of 6" in done.stderr
    assert "exitcode: -9" in done.stderr
    assert_same_bits(whole, Path("run"))


def test_a_restart_finds_the_run_that_it_named_itself(whole: Path, sky: Path) -> None:
    words = arguments(sky, "", *KILLER)
    words[words.index("-o") : words.index("-o") + 2] = []
    done = run(words, restarts=1, KILL_AT="4", KILL_HOW="SIGKILL")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "runs/tinynet-sky-001\n"
    assert [path.name for path in sorted(Path("runs").iterdir())] == ["latest", "tinynet-sky-001"]
    assert_same_bits(whole, Path("runs/latest"))


def test_a_signal_to_one_process_stops_all_and_resume_gives_the_same_bits(whole: Path, sky: Path) -> None:
    done = run(arguments(sky, "run", *KILLER), KILL_AT="3", KILL_HOW="SIGTERM")
    assert done.returncode == 1  # of torchrun, whatever its processes return
    assert done.stderr.count("zoo: stopped: after step 3 of 6") == 1
    assert "exitcode  : 143" in done.stderr, done.stderr
    done = run(["train", "--resume", "run"], KILL_AT="-1")
    assert done.returncode == 0, done.stderr
    assert "resumed   after step 3 of 6" in done.stderr
    assert "last bits" not in done.stderr
    assert_same_bits(whole, Path("run"))


def test_a_signal_to_torchrun_leaves_a_checkpoint(sky: Path) -> None:
    done = run(arguments(sky, "run", *KILLER, epochs=3000), KILL_AT="3", KILL_HOW="parent")
    assert done.returncode == 1
    assert "zoo: stopped: after step" in done.stderr
    assert 3 <= json.loads(Path("run/checkpoints/last/state.json").read_text())["position"]["step"] < 6000


def test_a_process_that_fails_stops_the_others(sky: Path) -> None:
    done = run(arguments(sky, "run", *KILLER), KILL_AT="3", KILL_HOW="raise")
    assert done.returncode == 1
    assert "zoo: error: frame.fits: broken" in done.stderr
    assert "zoo: error: rank 0 has lost the other processes" in done.stderr


def test_what_is_wrong_with_the_data_is_told_once(sky: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(arguments(tmp_path / "empty", "run"))
    assert done.returncode == 1
    assert done.stderr.count("zoo: error: rank 1 stops, for rank 0 failed: ") == 1
    assert not Path("run").exists()


def ranks(size: int) -> Ranks:
    return Ranks(Launch(size=size, local_size=size))


def test_the_batch_size_is_that_of_all_processes(configure: Configure) -> None:
    assert make_plan(configure(), ranks=ranks(2)).batch_size == 4
    with pytest.raises(UsageError, match=r"batch size 4 for 3 processes, expected a multiple of 3"):
        make_plan(configure(), ranks=ranks(3))
    chosen = make_plan(configure(train={"batch_size": None}), ranks=ranks(3))
    assert (chosen.batch_size, chosen.accumulate) == (15, 2)


def test_fewer_frames_than_processes_are_refused(configure: Configure) -> None:
    plan = make_plan(configure(train={"batch_size": 20}), ranks=ranks(5))
    assert plan.batch_size == 15
    assert plan.notes[-1].startswith("batch size 15 instead of 20")
    with pytest.raises(DataError, match=r"got 16 training frames for 17 processes, expected one or more for each"):
        make_plan(configure(train={"batch_size": 17}), ranks=ranks(17))


def test_launch_reads_what_torchrun_sets() -> None:
    assert Launch.from_environment({}) == Launch() == Launch.from_environment({"RANK": "3"})
    common = {"WORLD_SIZE": "4", "RANK": "3", "MASTER_ADDR": "host", "MASTER_PORT": "1"}
    assert Launch.from_environment(common) == Launch(rank=3, size=4, local_rank=3, local_size=4)
    more = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_RUN_ID": "night"}
    assert Launch.from_environment(common | more) == Launch(3, 4, 1, 2, 2, "night")
    assert ":" in Launch.from_environment(common | {"TORCHELASTIC_RUN_ID": "none"}).job
    for wrong, message in (
        ({"MASTER_PORT": ""}, "WORLD_SIZE=4 without MASTER_PORT"),
        ({"RANK": "4"}, "expected a rank from 0 to 3"),
        ({"RANK": "x"}, "RANK is 'x', expected a whole number"),
    ):
        with pytest.raises(UsageError, match=message):
            Launch.from_environment(common | wrong)


def test_a_restart_takes_only_a_run_of_its_own_job(configure: Configure) -> None:
    from zoo.training.run import CONFIG_NAME, ENVIRONMENT_NAME, MANIFEST_NAME, find_run_of_job

    config = configure(output={"path": "run"})
    assert find_run_of_job(config, "mine") == ""
    Path("run").mkdir()
    (Path("run") / ENVIRONMENT_NAME).write_text('{"job": "other"}')
    assert find_run_of_job(config, "mine") == ""
    assert Path("run").is_dir()
    (Path("run") / ENVIRONMENT_NAME).write_text('{"job": "mine"}')
    for name in (CONFIG_NAME, MANIFEST_NAME):
        (Path("run") / name).touch()
    assert find_run_of_job(config, "mine") == "run"
    (Path("run") / MANIFEST_NAME).unlink()  # killed while it was begun
    assert find_run_of_job(config, "mine") == ""
    assert not Path("run").exists()


def test_threads_are_shared_where_torchrun_chose_one(monkeypatch: pytest.MonkeyPatch, torch_threads: Callable[[int], None]) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(9)), raising=False)
    two = Launch(size=2, local_size=2)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert take_threads(two) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert take_threads(Launch()) is None
    assert take_threads(Launch(size=9, local_size=9)) is None
    torch_threads(1)
    assert take_threads(two) == 4 == torch.get_num_threads()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_other_commands_refuse_several_processes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": rank, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "run"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert ("got 2 processes for 'zoo evaluate', which runs in one; start it without torchrun" in said) == (rank == "0")


def test_one_process_exchanges_nothing() -> None:
    alone = Ranks(Launch())
    tensor = torch.ones(2, 3)
    assert alone.gather(tensor, 2) is tensor
    assert alone.highest(int(signal.SIGTERM)) == signal.SIGTERM
    assert alone.first(lambda: 5) == 5
    assert alone.only_first(lambda: "text") == "text"
