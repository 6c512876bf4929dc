"""``zoo plugins``: what is loaded, what it registers, what failed and why."""

from __future__ import annotations

import click

from zoo.registry import KINDS, get_registry


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List plugins, what they register, and what failed."""
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
