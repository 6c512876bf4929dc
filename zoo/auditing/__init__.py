"""Audits of data: what leaks between lists and splits, and what gives the class away without a look at the sky.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.auditing.balance import Balance as Balance
    from zoo.auditing.centres import Offset as Offset
    from zoo.auditing.centres import read_centres as read_centres
    from zoo.auditing.leaks import Conflict as Conflict
    from zoo.auditing.leaks import Leak as Leak
    from zoo.auditing.report import Audit as Audit
    from zoo.auditing.report import Finding as Finding
    from zoo.auditing.run import audit as audit
    from zoo.auditing.shortcuts import Shortcut as Shortcut

_HOME = {
    "Audit": "report",
    "Balance": "balance",
    "Conflict": "leaks",
    "Finding": "report",
    "Leak": "leaks",
    "Offset": "centres",
    "Shortcut": "shortcuts",
    "audit": "run",
    "read_centres": "centres",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
