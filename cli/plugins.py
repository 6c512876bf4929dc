"""``zoo plugins``: what is loaded and what failed; whether a plugin keeps the contract; a new one."""

from __future__ import annotations

import click

from zoo.registry import KINDS, get_registry


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List and check plugins, or write a new one."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_plugins, as_json=as_json)


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_plugins(as_json: bool) -> None:
    """List every plugin, loaded or failed.

    A failed plugin stands with its cause. One with a clash is loaded as well: the name that another holds is reached as 'owner:name'.
    """
    from zoo.cli.output import emit_json, emit_table

    registry = get_registry()
    columns = ["plugin", "status", "distribution", "registers", "source", "cause"]
    rows = []
    for plugin in registry.plugins:
        names = [registry.public_name(entry) for kind in KINDS for entry in registry.entries(kind) if entry.owner == plugin.name]
        rows.append([plugin.name, "loaded", f"{plugin.distribution} {plugin.version}".strip(), ", ".join(names), plugin.source, ""])
    for failure in registry.failures:
        rows.append([failure.plugin, "clash" if failure.loaded else "failed", failure.distribution, "", failure.source, failure.cause])
    if as_json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        emit_table(columns, rows)


@plugins.command("check")
@click.argument("target", metavar="NAME|PATH", required=False)
@click.option(
    "--only", multiple=True, metavar="CHECK", help="Run this check, or all whose name begins so ('model', 'step'); may be repeated."
)
@click.option("--build-data", is_flag=True, help="Build data sets too, in a temporary folder; they may fetch files.")
@click.option("--list", "list_only", is_flag=True, help="List the checks and run none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_plugins(target: str | None, only: tuple[str, ...], build_data: bool, list_only: bool, as_json: bool) -> None:
    """Check that a plugin keeps the contract: what was got, and how to mend it.

    NAME is a plugin, its distribution, 'builtin', or any registered name; PATH is a Python file or a package folder that is not installed.
    Exits with 5 when a check fails, and with 6 when the plugin cannot be loaded.
    """
    from zoo.cli.output import RowStream, emit_json, emit_table, note
    from zoo.errors import CheckFailedError, PluginError
    from zoo.testing import examine, find_target, list_checks
    from zoo.testing.targets import check_ids

    if list_only:
        listed = [[check.id, kind, check.holds] for kind, check in list_checks()]
        if as_json:
            emit_json([dict(zip(["check", "for", "holds"], row, strict=True)) for row in listed])
        else:
            emit_table(["check", "for", "holds"], listed)
        return
    if target is None:
        raise click.UsageError("say what to check: a plugin, a registered name, 'builtin', or a path; --list shows the checks")
    found = find_target(target, get_registry())
    results = []
    stream = None if as_json else RowStream(["status", "subject", "check", "got", "how to mend it"], [8, 22, 22, 40, 0])
    for result in examine(found, only=check_ids(only), build_data=build_data):
        results.append(result)
        if stream is not None:
            stream.write([result.status, result.subject, result.check, result.got, result.remedy])
    if as_json:
        emit_json(results, target=target)
    counts = {status: sum(result.status == status for result in results) for status in ("passed", "failed", "skipped")}
    note(f"{len(results)} checks: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if not found.loaded:
        raise PluginError(f"{target} cannot be loaded: {'; '.join(found.causes)}")
    if counts["failed"]:
        names = dict.fromkeys(result.check for result in results if result.status == "failed")
        raise CheckFailedError(f"{counts['failed']} of {len(results)} checks of {target} failed: {', '.join(names)}")


@plugins.command("new")
@click.argument("name")
@click.option("--dir", "folder", default=".", metavar="PATH", help="Folder that the package is written into. [default: here]")
@click.option("--model", "kinds", flag_value="models", multiple=True, help="With an architecture.")
@click.option("--step", "kinds", flag_value="steps", multiple=True, help="With a preprocessing step.")
@click.option("--dataset", "kinds", flag_value="datasets", multiple=True, help="With a data set.")
@click.option("--loss", "kinds", flag_value="losses", multiple=True, help="With a loss.")
@click.option("--logger", "kinds", flag_value="loggers", multiple=True, help="With a logger.")
@click.option("--command", "kinds", flag_value="commands", multiple=True, help="With a command.")
@click.option("--licence", default="BSD-3-Clause", metavar="SPDX", help="Licence of your code. [default: BSD-3-Clause]")
@click.option("--author", default="", metavar="NAME", help="Who holds the copyright. [default: the authors of the package]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new_plugin(name: str, folder: str, kinds: tuple[str, ...], licence: str, author: str, as_json: bool) -> None:
    """Write a package that installs, registers what it is asked for, and passes its own test.

    NAME is that of the distribution; 'deepsky' and 'zoo-deepsky' both give zoo-deepsky. Without a switch it has an architecture and a step.
    """
    from pathlib import Path

    from zoo.cli import COMMANDS
    from zoo.cli.output import emit_json
    from zoo.scaffold import write_plugin

    package = write_plugin(name, Path(folder), kinds=kinds, licence=licence, author=author, taken=get_registry(), reserved=COMMANDS)
    if as_json:
        emit_json({"folder": package.folder, "files": package.files, "next": package.commands}, name=package.distribution)
        return
    for file in package.files:
        click.echo(package.folder / file)
    click.echo("\nnext:")
    for command in package.commands:
        click.echo(f"  {command}")
