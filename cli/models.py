"""``zoo models``: the architectures that ``--model`` accepts."""

from __future__ import annotations

import click

from zoo.registry import get_registry


@click.group()
def models() -> None:
    """List and show architectures."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List architectures by family: name, owner, family, parameters, summary; with --json also input and reference.

    The parameters are those for one channel, two classes and the default options, as the architecture states them.
    """
    from zoo.cli.output import emit_json, emit_table

    registry = get_registry()
    rows = [
        {
            "name": registry.public_name(entry),
            "owner": entry.owner,
            "family": entry.metadata["family"],
            "parameters": entry.metadata["parameters"] or None,
            "summary": entry.summary,
            "input": "x".join(map(str, entry.metadata["input_shape"])),
            "reference": entry.reference,
        }
        for entry in sorted(registry.entries("models"), key=lambda entry: (entry.metadata["family"], entry.metadata["parameters"]))
    ]
    if as_json:
        emit_json(rows)
    else:
        columns = ["name", "owner", "family", "parameters", "summary"]
        emit_table(columns, [[row[column] for column in columns] for row in rows])


@models.command("show")
@click.argument("name")
@click.option("--model-option", "model_options", multiple=True, metavar="KEY=VALUE", help="Build it with this option; may be repeated.")
@click.option("--size", metavar="HxW", help="Build it for frames of this size instead of the size it was designed for.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_model(name: str, model_options: tuple[str, ...], size: str | None, as_json: bool) -> None:
    """Show one architecture: paper, licence, parameters, MACs of one frame, options, published weights.

    NAME may have options with it, as 'hrcn[padding=same]'.
    """
    from zoo.cli.output import emit_json, emit_table
    from zoo.models import describe_model
    from zoo.settings import parse_assignments, parse_size

    facts = describe_model(name, options=parse_assignments(model_options), size=parse_size(size) if size else None)
    if as_json:
        emit_json(facts)
        return
    tables = [facts.pop("options"), facts.pop("weights")]
    emit_table(["fact", "value"], [[key, f"{value:,}" if isinstance(value, int) else value] for key, value in facts.items() if value != ""])
    for rows in filter(None, tables):
        click.echo()
        emit_table(list(rows[0]), [list(row.values()) for row in rows])
