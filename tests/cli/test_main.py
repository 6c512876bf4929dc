"""The command line as a whole: start-up cost, help, exit codes, plugin commands, one line for each failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import zoo
from zoo.cli import COMMANDS, cli, main
from zoo.errors import CheckFailedError, DataError, FrameError, InterruptedRunError, MemoryLimitError, PluginError, UsageError, ZooError
from zoo.registry import Registry, use_registry


def run(*words: str) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


def plugin_with(**commands: click.Command) -> ModuleType:
    module = ModuleType("extra")

    def register_commands(register: Callable[..., None]) -> None:
        for name, command in commands.items():
            register(name, lambda: None, help=f"Runs {name}.") if command is None else register(name, command, help=f"Runs {name}.")

    module.register_commands = zoo.hookimpl(register_commands)  # type: ignore[attr-defined]
    return module


def raising(error: BaseException) -> click.Command:
    @click.command()
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def registry() -> Iterator[Registry]:
    with use_registry(Registry.from_plugins([])) as fresh:
        yield fresh


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["plugins", "--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom zoo.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'astropy', 'rich', 'safetensors'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys, os\nos.environ.update(_ZOO_COMPLETE='bash_complete', COMP_WORDS='zoo mo', COMP_CWORD='1')\nfrom zoo.cli import main\n"
        "try:\n    main([])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'astropy', 'rich'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "models" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_help_of_its_table(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ZooError("x"), 1),
        (ValueError("x"), 1),
        (UsageError("x"), 2),
        (DataError("x"), 3),
        (FrameError("truncated", path="a.fits", got="1", expected="2"), 3),
        (MemoryLimitError("x"), 4),
        (CheckFailedError("x"), 5),
        (PluginError("x"), 6),
        (InterruptedRunError("saved", signal_number=2), 130),
        (InterruptedRunError("saved", signal_number=15), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_code_of_each_error(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with use_registry(Registry.from_plugins([plugin_with(fail=raising(error))])):
        assert run("fail") == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.strip()


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with use_registry(Registry.from_plugins([plugin_with(fail=raising(DataError("gone")))])):
        assert run("--debug", "fail") == 3
    assert "Traceback" in capsys.readouterr().err


def test_unknown_command_suggests_the_nearest(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trian") == 2
    assert "No such command 'trian'. Did you mean 'train'?" in capsys.readouterr().err


def test_plugin_command_runs_and_stands_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def hello() -> None:
        click.echo("clear skies")

    with use_registry(Registry.from_plugins([plugin_with(hello=hello)])):
        assert run("hello") == 0
        assert capsys.readouterr().out == "clear skies\n"
        assert run("--help") == 0
        assert "Runs hello. (extra)" in capsys.readouterr().out


def test_plugin_command_that_is_no_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with use_registry(Registry.from_plugins([plugin_with(odd=None)])):  # type: ignore[arg-type]
        assert run("odd") == 6
    assert "expected a click.Command" in capsys.readouterr().err


def test_builtin_command_cannot_be_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    with use_registry(Registry.from_plugins([plugin_with(steps=raising(DataError("hijacked")))])):
        assert run("steps", "list") == 0
    assert "overscan" in capsys.readouterr().out


def test_failed_plugin_is_one_line_on_stderr_and_a_row_in_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    with use_registry(Registry.from_plugins([ModuleType("idle")])):
        assert run("models", "list") == 0
        captured = capsys.readouterr()
        assert "hrcn" in captured.out
        assert [line for line in captured.err.splitlines() if "idle" in line] == captured.err.splitlines()
        assert len(captured.err.splitlines()) == 1
        assert run("plugins", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [(row["plugin"], row["status"]) for row in rows] == [("zoo", "loaded"), ("idle", "failed")]
    assert "no function marked" in rows[1]["cause"]


def test_lists_are_tsv_when_redirected(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("steps", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["name", "owner", "scope", "summary"]
    assert {line.split("\t")[0] for line in lines[1:]} == set(registry.names("steps"))


def test_steps_show_gives_units_and_options(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("steps", "show", "blur", "--json") == 0
    facts = json.loads(capsys.readouterr().out)["results"]
    assert facts["takes"] == "physical"
    assert {option["option"] for option in facts["options"]} == {"sigma", "mode", "truncate"}


def test_models_show_counts_the_published_network(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "show", "hrcn", "--json") == 0
    facts = json.loads(capsys.readouterr().out)["results"]
    assert facts["parameters"] == 97_048_130
    assert facts["macs"] == 177_944_134_784


def test_plugin_file_switch_loads_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import zoo\n@zoo.hookimpl\ndef register_losses(register):\n    register('mine', 'mine:loss')\n")
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "--plugin", str(path), "plugins", "list"], check=True, capture_output=True, text=True
    )
    assert "mine" in done.stdout


def test_doctor_reports_without_errors(
    registry: Registry, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    assert run("doctor", "--json") == 0
    findings = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)["results"]}
    assert {"zoo", "torch", "compiled kernels", "threads", "cache", "plugin zoo"} <= set(findings)
    assert all(finding["remedy"] for finding in findings.values() if finding["status"] in ("warning", "error"))


def test_doctor_names_a_failed_plugin_and_an_unknown_variable(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("ZOO_BATCHSIZE", "4")
    with use_registry(Registry.from_plugins([ModuleType("idle")])):
        assert run("doctor", "--json") == 5
    findings = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)["results"]}
    assert findings["plugin idle"]["status"] == "warning"
    assert "ZOO_BATCH_SIZE" in findings["settings"]["value"]


@pytest.mark.parametrize("words", [["models", "list"], ["models", "list", "--json"], ["--help"], ["steps", "--help"]])
@pytest.mark.parametrize("together", [False, True], ids=["stdout", "both"])
def test_a_closed_pipe_ends_in_silence(words: list[str], together: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        errors = writer if together else subprocess.PIPE
        ended = subprocess.run([sys.executable, "-m", "zoo", *words], stdout=writer, stderr=errors, text=True, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr or "") == (141, "")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["models", "list"], ["--version"]])
def test_output_onto_a_full_disk_is_one_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([sys.executable, "-m", "zoo", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 3
    line = "zoo: error: standard output cannot be written: No space left on device; what was printed is not whole"
    assert ended.stderr.splitlines() == [line]
