"""The ``zoo`` command line: one file per command, imported when that command runs.

This module imports neither torch, numpy, astropy nor rich, so that ``zoo --help`` and shell completion answer at once.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

import zoo
from zoo.errors import CheckFailedError, InterruptedRunError, PluginError, StorageError, UnknownNameError, UsageError, ZooError
from zoo.registry import configure, get_registry, loaded_registry

COMMANDS = {
    "train": ("zoo.cli.train:train", "Train a model and write a run directory."),
    "evaluate": ("zoo.cli.evaluate:evaluate", "Measure a run on labelled frames."),
    "calibrate": ("zoo.cli.calibrate:calibrate", "Fit the temperature of a run anew and store it with the model."),
    "compare": ("zoo.cli.compare:compare", "Compare runs on the frames that each was evaluated on."),
    "predict": ("zoo.cli.predict:predict", "Classify FITS files: class and probability of every frame."),
    "reproduce": ("zoo.cli.reproduce:reproduce", "Train and evaluate the networks of a paper and print its tables with our values."),
    "stress": ("zoo.cli.stress:stress", "Make frames worse until their class changes, and say where it does."),
    "profile": (
        "zoo.cli.profile:profile",
        "Measure what models and ops cost on this machine: memory, latency, throughput, and where the time of a frame goes.",
    ),
    "estimate": ("zoo.cli.estimate:estimate", "Say what memory models need and whether it fits, without running them."),
    "data": ("zoo.cli.data:data", "List, show, simulate, split, audit and fetch data sets."),
    "models": ("zoo.cli.models:models", "List and show architectures."),
    "steps": ("zoo.cli.steps:steps", "List and show preprocessing steps."),
    "plugins": ("zoo.cli.plugins:plugins", "List and check plugins, or write a new one."),
    "doctor": ("zoo.cli.doctor:doctor", "Report kernels, devices, versions and plugin failures, with remedies."),
}

# What a full disk or a broken device answers to a write. Files are written by zoo.storage, which raises StorageError for these.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# Errors that every one of several processes that share a training comes to; the first one tells them.
KNOWN_TO_ALL = (InterruptedRunError, UsageError, UnknownNameError, CheckFailedError)


class _ReaderGoneError(Exception):
    """Nobody reads the output any more, as in ``zoo ... | head``."""


@contextlib.contextmanager
def _naming_a_closed_pipe() -> Iterator[None]:
    """Turn BrokenPipeError into an error that click does not know; for its own it ends the program with 1."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


class _LazyGroup(click.Group):
    """A group that knows the help of its commands without importing them."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _naming_a_closed_pipe():  # --help and --version print here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _naming_a_closed_pipe():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(name for name in _plugin_commands() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
            return getattr(importlib.import_module(module_name), attribute)  # type: ignore[no-any-return]
        entry = _plugin_commands().get(cmd_name)
        if entry is None:
            return None
        loaded = entry.load()
        if not isinstance(loaded, click.Command):
            raise PluginError(f"command {cmd_name!r} of plugin {entry.owner!r} is {type(loaded).__name__}, expected a click.Command")
        return loaded

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])
        plugins = {name: entry for name, entry in _plugin_commands().items() if name not in COMMANDS}
        if plugins:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, f"{entry.metadata['help']} ({entry.owner})") for name, entry in plugins.items()])


def _plugin_commands() -> dict[str, Any]:
    registry = get_registry()
    return {registry.public_name(entry): entry for entry in registry.entries("commands")}


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"zoo {zoo.__version__}")
        ctx.exit()


def _configure_plugins(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Runs for ``--plugin`` and for ``--safe``, both eager, so that ``--help`` already lists the commands of a plugin file."""
    switches = ctx.ensure_object(dict)
    switches[parameter.name] = value
    configure(files=[Path(path) for path in switches.get("plugin_files", ())], safe=switches.get("safe", False))
    return value


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--plugin",
    "plugin_files",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_configure_plugins,
    metavar="PATH",
    help="Load a Python file, or the folder of a package, as a plugin; may be repeated.",
)
@click.option("--safe", is_flag=True, is_eager=True, expose_value=False, callback=_configure_plugins, help="Load no third-party plugins.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version.")
def cli() -> None:
    """Classify high-resolution Hubble and CSST frames as galaxy or NSC (nebula / star cluster).

    \b
      zoo train --model hrcn              train on the embedded simulated sky
      zoo evaluate runs/latest            measure it on targets never trained on
      zoo predict runs/latest *.fits      classify files
    """
    _refuse_several_processes(click.get_current_context().invoked_subcommand)


def _refuse_several_processes(command: str | None) -> None:
    """Training alone shares its work; of any other command ``torchrun`` would run several that write the same files."""
    size = os.environ.get("WORLD_SIZE", "1") if "TORCHELASTIC_RUN_ID" in os.environ else "1"
    if command in COMMANDS and command != "train" and size != "1":
        raise UsageError(f"got {size} processes for 'zoo {command}', which runs in one; start it without torchrun")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 usage, 3 data, 4 memory, 5 a check failed, 6 plugin, 130/143 interrupted, 1 unexpected."""
    words = sys.argv[1:] if arguments is None else arguments
    code = _run(words)
    with contextlib.suppress(OSError):  # nobody reads stderr
        _report_plugin_failures(words)
    sys.exit(code)


def _run(words: list[str]) -> int:
    debug = "--debug" in words
    try:
        code = cli.main(args=words, prog_name="zoo", standalone_mode=False)
        sys.stdout.flush()  # at the exit of the interpreter it would be too late for an error
        return code if isinstance(code, int) else 0
    except click.Abort:
        click.echo("zoo: interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ZooError as error:
        if debug:
            traceback.print_exc()
        if not isinstance(error, KNOWN_TO_ALL) or "WORLD_SIZE" not in os.environ or os.environ.get("RANK", "0") == "0":
            click.echo(f"zoo: {'stopped' if isinstance(error, InterruptedRunError) else 'error'}: {error}", err=True)
        return error.exit_code
    except (_ReaderGoneError, BrokenPipeError):
        _discard(sys.stdout, sys.stderr)
        return 141
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename is None:
            _discard(sys.stdout)
            click.echo(f"zoo: error: standard output cannot be written: {error.strerror}; what was printed is not whole", err=True)
            return StorageError.exit_code
        click.echo(f"zoo: unexpected {type(error).__name__}: {error}; 'zoo --debug ...' shows where", err=True)
        return 1


def _discard(*streams: TextIO) -> None:
    """Send what is left in the buffers of these streams nowhere, so that the exit of the interpreter does not fail on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def _report_plugin_failures(words: list[str]) -> None:
    """One line a failure, except where the command just showed them."""
    registry = loaded_registry()
    if registry is None or {"plugins", "doctor"} & set(words):
        return
    for failure in registry.failures:
        click.echo(f"zoo: plugin {failure.plugin!r}: {failure.cause} (see 'zoo plugins')", err=True)
