"""``zoo train``: where its settings come from, what goes to which stream, exit codes, resuming, other people's models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_training import TinyPlugin, write_sky

from zoo.cli import main
from zoo.registry import Registry, use_registry
from zoo.storage import read_json
from zoo.training import TrainConfig, read_metrics

SHORT = ["--model", "tinynet", "--epochs", "1", "--batch-size", "4", "--device", "cpu", "--no-baselines"]


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sky(tmp_path_factory.mktemp("data") / "sky")


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with use_registry(Registry.from_plugins([TinyPlugin])):
        yield


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["train", *words])
    return int(stop.value.code or 0)


def test_train_prints_the_run_and_nothing_else_on_stdout(sky: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SHORT, "--data", str(sky)) == 0
    captured = capsys.readouterr()
    assert captured.out == "runs/tinynet-sky-001\n"
    lines = captured.err.splitlines()
    subjects = [line.split()[0] for line in lines]
    assert [subject for subject in subjects if subject != "note"] == [
        "data", "train", "val", "test", "frames", "model", "training", "run", "epoch", "kept", "run",
    ]  # fmt: skip
    scores = read_json(Path("runs/tinynet-sky-001/model/card.json"))["training"]
    assert f"kept      weights of the last step  val loss {scores['val_loss']:.3f} accuracy {scores['val_accuracy']:.1%}" in lines
    assert lines[-1] == "run runs/tinynet-sky-001; next: zoo evaluate runs/tinynet-sky-001"
    assert "\x1b" not in captured.err


def test_train_shows_baselines_and_json(sky: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SHORT[:-1], "--data", str(sky), "--json", "-o", "mine") == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["results"]["run"] == "mine"
    assert document["results"]["model"] == "tinynet"
    assert document["results"]["steps"] == 4
    assert "val_accuracy" in document["results"]
    assert "baselines larger class 50.0%, metadata " in captured.err


def test_settings_of_the_command_line_beat_environment_file_and_defaults(
    sky: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("zoo.toml").write_text(
        '[model]\nname = "tinynet"\n[train]\nepochs = 5\nbatch_size = 5\nlr = 0.5\n[[pipeline]]\nstep = "normalize"\nupper = 98.0\n'
    )
    monkeypatch.setenv("ZOO_BATCH_SIZE", "8")
    monkeypatch.setenv("ZOO_EPOCHS", "4")
    assert run("--epochs", "1", "--data", str(sky), "--no-baselines", "-o", "a") == 0
    assert capsys.readouterr().err.splitlines()[0].endswith("zoo.toml")
    config = TrainConfig.read(Path("a/config.toml"))
    assert (config.train.epochs, config.train.batch_size, config.train.lr, config.train.seed) == (1, 8, 0.5, 0)
    assert [step["step"] for step in config.pipeline] == ["normalize"]
    assert config.pipeline[0]["upper"] == 98.0


def test_config_of_a_run_repeats_it(sky: Path) -> None:
    assert run(*SHORT, "--data", str(sky), "-o", "a", "--model-option", "width=6") == 0
    assert run("--config", "a/config.toml", "-o", "b") == 0
    first, second = TrainConfig.read(Path("a/config.toml")), TrainConfig.read(Path("b/config.toml"))
    assert first.with_changes(output={"path": Path("b")}) == second
    losses = [[record.get("loss") for record in read_metrics(Path(name))] for name in ("a", "b")]
    assert losses[0] == losses[1]


def test_steps_of_the_command_line_make_the_pipeline(sky: Path) -> None:
    assert (
        run(
            *SHORT,
            "--data",
            str(sky),
            "-o",
            "a",
            "--step",
            "resize:factor=2",
            "--step",
            "normalize:limits=minmax",
            "--step",
            "flip:vertical=no",
        )
        == 0
    )
    pipeline = TrainConfig.read(Path("a/config.toml")).pipeline
    assert [step["step"] for step in pipeline] == ["resize", "normalize", "flip"]
    assert pipeline[2] == {"step": "flip", "horizontal": True, "vertical": False}
    assert run(*SHORT, "--data", str(sky), "-o", "b", "--pipeline", "a/config.toml") == 0
    assert TrainConfig.read(Path("b/config.toml")).pipeline == pipeline


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--model", "tinyent"], 2, "did you mean 'tinynet'"),
        (["--model-option", "width"], 2, "expected KEY=VALUE, got 'width'"),
        (["--model-option", "width=wide"], 2, "option width must be int, got 'wide'"),
        (["--data", "nowhere/at/all"], 3, "nowhere/at/all"),
        (["--data", "simulatd"], 2, "did you mean 'simulated'"),
        (["--epochs", "0"], 2, "train.epochs must be >= 1"),
        (["--step", "normalise"], 2, "did you mean 'normalize'"),
        (["--step", "normalize", "--pipeline", "x.toml"], 2, "pass one of the two"),
        (["--config", "absent.toml"], 2, "no such file"),
        (["--resume", "nothing"], 3, "no such run"),
        (["--resume", "nothing", "--epochs", "3"], 2, "--resume together with --epochs"),
        (["--device", "tpu"], 2, "device must be auto, cpu, cuda or cuda:N"),
        (["--loss", "focal", "--loss-option", "gamma=-1"], 2, "focal: option gamma must be >= 0, got -1.0"),
        (["--loss-option", "gamma=2"], 2, "cross_entropy has: label_smoothing"),
        (["--milestones", "3"], 2, "need train.schedule = 'step'"),
        (["--freeze-until", "haed"], 2, "did you mean 'head'"),
        (["--pretrained", "imagenet"], 2, "No weights are registered for tinynet"),
        (["--logger", "tensorbord"], 2, "did you mean 'tensorboard'"),
        (["--optimizer", "lion"], 2, "'lion' is not one of 'adamw', 'sgd'"),
    ],
)
def test_train_says_what_is_wrong(words: list[str], code: int, message: str, sky: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [] if "--resume" in words else ["--model", "tinynet", "--data", str(sky), "--no-baselines"]
    assert run(*base, *words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_train_refuses_unknown_keys_and_variables(sky: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_text("[train]\nbatchsize = 3\n")
    assert run("--config", "bad.toml") == 2
    assert "bad.toml: [train]: unknown key 'batchsize'; did you mean 'batch_size'" in capsys.readouterr().err
    monkeypatch.setenv("ZOO_BACH_SIZE", "3")
    assert run("--data", str(sky)) == 2
    assert "did you mean 'ZOO_BATCH_SIZE'" in capsys.readouterr().err


def test_flags_reach_the_configuration(sky: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--epochs",
        "2",
        "--schedule",
        "step",
        "--milestones",
        "1",
        "--gamma",
        "0.5",
        "--ema",
        "0.9",
        "--patience",
        "3",
        "--keep",
        "best",
    ]
    words += [
        "--loss",
        "focal",
        "--loss-option",
        "gamma=1.5",
        "--precision",
        "fp16",
        "--logger",
        "csv",
        "--logger",
        "jsonl:path=flat.jsonl",
    ]
    assert run(*SHORT, "--data", str(sky), *words, "-o", "a") == 0
    err = capsys.readouterr().err
    assert "adamw lr 0.001 times 0.5 after epochs 1, average of the weights with decay 0.9, patience 3, fp16 on cpu" in err
    train = TrainConfig.read(Path("a/config.toml")).train
    assert (train.milestones, train.gamma, train.ema, train.patience, train.keep) == ((1,), 0.5, 0.9, 3, "best")
    assert (train.loss, train.loss_options, train.precision) == ("focal", {"gamma": 1.5}, "fp16")
    assert len((Path("a") / "flat.jsonl").read_text().splitlines()) == len(read_metrics(Path("a")))
    assert run(*SHORT, "--data", str(sky), "--pretrained", "a", "--freeze-until", "norm", "-o", "b") == 0
    err = capsys.readouterr().err
    assert "weights   pretrained " in err
    assert "of them trained (frozen until norm)" in err
    assert TrainConfig.read(Path("b/config.toml")).model.pretrained == str(Path("a").resolve())


def test_train_names_the_frames_of_steps_that_are_left_out(sky: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SHORT, "--data", str(sky), "--loss", "nan", "-o", "a") == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    skipped = [line for line in captured.err.splitlines() if line.startswith("skipped ")]
    assert [line.split(":")[0] for line in skipped] == ["skipped   step 1", "skipped   step 2", "skipped   step 3"]
    assert ".fits" in skipped[0]
    assert "zoo: error: 3 optimizer steps in a row were left out" in captured.err
    assert "Traceback" not in captured.err


def test_existing_run_needs_force(sky: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SHORT, "--data", str(sky), "-o", "a"]
    assert run(*words) == 0
    assert run(*words) == 2
    assert "replace it with --force" in capsys.readouterr().err
    assert run(*words, "--force") == 0


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from tiny_training import TinyPlugin
from zoo.cli import main
from zoo.registry import Registry, use_registry

with use_registry(Registry.from_plugins([TinyPlugin])):
    main(sys.argv[2:])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_resume_finishes(sky: Path, tmp_path: Path, number: int, code: int) -> None:
    script = tmp_path / "zoo.run.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(Path(__file__).parent.parent), "train"]
    words = ["--model", "tinynet", "--epochs", "2000", "--data", str(sky), "--no-baselines", "--workers", "0", "--device", "cpu"]
    child = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert child.stderr is not None
    told = []
    for line in child.stderr:
        told.append(line)
        if line.startswith("epoch"):
            child.send_signal(number)
            break
    out, rest = child.communicate()
    assert child.returncode == code
    assert out == ""
    assert "zoo: stopped: after step" in rest
    assert "zoo train --resume runs/tinynet-sky-001" in rest
    config = Path("runs/tinynet-sky-001/config.toml")
    config.write_text(config.read_text().replace("epochs = 2000", "epochs = 1"))  # so that the rest takes no time
    assert run("--resume") == 0
    assert Path("runs/latest/model/card.json").is_file()


def test_ctrl_c_during_the_baselines_says_how_to_go_on(
    sky: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_arguments: object, **_options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("zoo.training.opening.fit_baselines", stop)
        assert run(*SHORT[:-1], "--data", str(sky)) == 130
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == "zoo: stopped: while the baselines were fitted; 'zoo train --resume runs/tinynet-sky-001' goes on from there"
    assert run("--resume", "runs/tinynet-sky-001") == 0
    assert Path("runs/tinynet-sky-001/model/card.json").is_file()


def test_terminal_shows_a_bar_and_keeps_stdout_clean(
    sky: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("zoo.cli.output.stderr_is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    assert run(*SHORT, "--data", str(sky)) == 0
    captured = capsys.readouterr()
    assert captured.out == "runs/tinynet-sky-001\n"
    for words in ("epoch 1/1", "frames/s", "GiB", "eta", "BatchNorm statistics", "preparing data", "kept      weights of the last step"):
        assert words in captured.err


def test_interval_lines_carry_what_the_bar_shows(sky: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("zoo.cli.output.LOG_INTERVAL_S", 0.0)
    assert run(*SHORT, "--data", str(sky)) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert len(lines) == 4
    for words in ("1/4", "epoch 1/1", "loss ", "accuracy ", "frames/s", "GiB", "eta 0:00:0"):
        assert words in lines[0]
