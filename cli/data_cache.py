"""``zoo data cache``: what the preprocessed frames on disk take, and how to be rid of them."""

from __future__ import annotations

import click

from zoo.cli.output import emit_json, emit_table, note


@click.group("cache")
def cache() -> None:
    """Show or clear the preprocessed frames that --frame-cache keeps on disk."""


@cache.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """Say where the frames are, how many, and how many bytes they take."""
    from zoo.data.cache import usage

    held = usage()
    if as_json:
        emit_json(held)
    else:
        emit_table(["folder", "frames", "bytes"], [[held.folder, held.entries, held.bytes]])


@cache.command("clear")
def clear() -> None:
    """Remove them all; what a run still needs is computed again."""
    from zoo.data.cache import clear as remove

    before = remove()
    note(f"removed {before.entries} frames, {before.bytes} bytes, from {before.folder}")
