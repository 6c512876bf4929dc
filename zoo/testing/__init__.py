"""The conformance kit for plugin authors: the checks that zoo's own models and steps pass.

Put ``check_model("tinynet")``, or ``check_plugin("tinynet")`` for all that a plugin registers, into a test of the plugin. Each raises
:class:`zoo.errors.CheckFailedError` with what was got, what was expected, and how to mend it. ``zoo plugins check`` prints the same checks
as a table.

Names are imported when first used, because a probe of this package runs in a process that must not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.testing.api import check_command as check_command
    from zoo.testing.api import check_dataset as check_dataset
    from zoo.testing.api import check_logger as check_logger
    from zoo.testing.api import check_loss as check_loss
    from zoo.testing.api import check_model as check_model
    from zoo.testing.api import check_plugin as check_plugin
    from zoo.testing.api import check_step as check_step
    from zoo.testing.check import Check as Check
    from zoo.testing.check import Result as Result
    from zoo.testing.samples import make_frame as make_frame
    from zoo.testing.targets import Target as Target
    from zoo.testing.targets import examine as examine
    from zoo.testing.targets import find_target as find_target
    from zoo.testing.targets import list_checks as list_checks

_HOME = {
    "Check": "check",
    "Result": "check",
    "Target": "targets",
    "check_command": "api",
    "check_dataset": "api",
    "check_logger": "api",
    "check_loss": "api",
    "check_model": "api",
    "check_plugin": "api",
    "check_step": "api",
    "examine": "targets",
    "find_target": "targets",
    "list_checks": "targets",
    "make_frame": "samples",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
