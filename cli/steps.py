"""``zoo steps``: the preprocessing steps that a pipeline is made of."""

from __future__ import annotations

import click

from zoo.registry import get_registry


@click.group()
def steps() -> None:
    """List and show preprocessing steps."""


@steps.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_steps(as_json: bool) -> None:
    """List steps: name, owner, scope (one frame, or a batch), summary."""
    from zoo.cli.output import emit_json, emit_table

    registry = get_registry()
    columns = ["name", "owner", "scope", "summary"]
    rows = [[registry.public_name(entry), entry.owner, entry.metadata["scope"], entry.summary] for entry in registry.entries("steps")]
    if as_json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        emit_table(columns, rows)


@steps.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_step(name: str, as_json: bool) -> None:
    """Show one step: units, scope, options, and how it is written on the command line."""
    from zoo.cli.output import emit_json, emit_table
    from zoo.entries import describe_options

    entry = get_registry().get("steps", name)
    step = entry.load()(**entry.parse_options({}))
    facts = {
        "name": entry.name,
        "owner": entry.owner,
        "scope": entry.metadata["scope"],
        "takes": step.unit_in,
        "gives": step.unit_out,
        "random": step.random,
        "summary": entry.summary,
        "reference": entry.reference,
        "licence": entry.licence,
        "example": f"--step {name}" + (":" + ",".join(f"{k}={o.default}" for k, o in entry.options.items()) if entry.options else ""),
    }
    options = describe_options(entry)
    if as_json:
        emit_json({**facts, "options": options})
        return
    emit_table(["fact", "value"], [[key, value] for key, value in facts.items()])
    if options:
        click.echo()
        emit_table(["option", "type", "default", "choices", "help"], [list(option.values()) for option in options])
