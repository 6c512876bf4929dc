"""Reports: what runs are worth, as one HTML file that needs no network, and the figures of it as files.

Names are imported when first used; nothing here imports matplotlib or jinja2 before something is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.reporting.blocks import Cell as Cell
    from zoo.reporting.blocks import Table as Table
    from zoo.reporting.write import check_figures as check_figures
    from zoo.reporting.write import check_report as check_report
    from zoo.reporting.write import write_figures as write_figures
    from zoo.reporting.write import write_report as write_report

_HOME = {
    "Cell": "blocks",
    "Table": "blocks",
    "check_figures": "write",
    "check_report": "write",
    "write_figures": "write",
    "write_report": "write",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
