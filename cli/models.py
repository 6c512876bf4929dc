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
    """List architectures: name, owner, the input it was designed for, summary, reference."""
    from zoo.cli.output import emit_json, emit_table

    registry = get_registry()
    columns = ["name", "owner", "input", "summary", "reference"]
    rows = [
        [registry.public_name(entry), entry.owner, "x".join(map(str, entry.metadata["input_shape"])), entry.summary, entry.reference]
        for entry in registry.entries("models")
    ]
    if as_json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        emit_table(columns, rows)


@models.command("show")
@click.argument("name")
@click.option("--model-option", "model_options", multiple=True, metavar="KEY=VALUE", help="Build it with this option; may be repeated.")
@click.option("--size", metavar="HxW", help="Build it for frames of this size instead of the size it was designed for.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_model(name: str, model_options: tuple[str, ...], size: str | None, as_json: bool) -> None:
    """Show one architecture: origin, options, parameters and MACs of one frame."""
    from zoo.cli.output import emit_json, emit_table
    from zoo.models import describe_model
    from zoo.settings import parse_assignments, parse_size

    facts = describe_model(name, options=parse_assignments(model_options), size=parse_size(size) if size else None)
    if as_json:
        emit_json(facts)
        return
    options = facts.pop("options")
    emit_table(["fact", "value"], [[key, f"{value:,}" if isinstance(value, int) else value] for key, value in facts.items()])
    if options:
        click.echo()
        emit_table(["option", "type", "default", "choices", "help"], [list(option.values()) for option in options])
