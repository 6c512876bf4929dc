"""What the ``zoo data`` commands share: opening a source, and counting what is in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.data import DataSet, Row


def open_source(source: str, root: Path | None, labels: str | None, target_regex: str | None, options: tuple[str, ...]) -> DataSet:
    """Open a source with its missing files kept and no split made."""
    from zoo.data import open_data
    from zoo.settings import parse_assignments

    classes = [label.strip() for label in labels.split(",")] if labels else None
    with report_ready(f"reading {source}") as report:
        return open_data(
            source,
            root=root,
            labels=classes,
            target_regex=target_regex,
            options=parse_assignments(options),
            split=False,
            missing="keep",
            progress=report,
        )


@contextlib.contextmanager
def report_ready(description: str) -> Iterator[Callable[[int, int], None]]:
    """Progress that starts with the first report, which says how much there is."""
    from zoo.cli.output import progress

    with contextlib.ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        before = 0

        def report(ready: int, total: int) -> None:
            nonlocal advance, before
            if advance is None:
                advance = stack.enter_context(progress(description, total, unit="files"))
            advance(ready - before)
            before = ready

        yield report


def facts(rows: tuple[Row, ...] | list[Row]) -> dict[str, int]:
    """Frames, exposures (files) and targets."""
    return {
        "frames": len(rows),
        "exposures": len({row.path or row.rootname for row in rows}),
        "targets": len({row.target for row in rows}),
    }
