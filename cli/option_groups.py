"""Options that commands share, and a command whose ``--help`` shows its options in groups, each under a title."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click


class GroupedCommand(click.Command):
    """Shows the options in the order in which they are declared, cut into groups.

    Args:
        groups: title of each group -> name of the parameter that it begins with.
    """

    def __init__(self, *arguments: Any, groups: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._titles = {first: title for title, first in groups.items()}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per group; click calls this."""
        sections: list[tuple[str, list[tuple[str, str]]]] = [("Options", [])]
        for parameter in self.get_params(ctx):
            if parameter.name in self._titles:
                sections.append((self._titles[parameter.name], []))
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[-1][1].append(record)
        for title, rows in sections:
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the ``zoo data`` commands that say how a source is read."""
    options = (
        click.option("--root", type=click.Path(path_type=Path), help="Folder with the files of a manifest, or of a registered data set."),
        click.option("--labels", metavar="A,B", help="Classes in index order.  [default: galaxy,NSC]"),
        click.option("--target-regex", metavar="REGEX", help="Class folders: what names the target in a file's path."),
        click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of a registered data set; may be repeated."),
    )
    for option in reversed(options):
        function = option(function)
    return function
