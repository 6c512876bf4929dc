"""Training: configuration, the loop, checkpoints and run directories.

Names are imported when first used, so that ``zoo train --help`` needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.training.config import TrainConfig as TrainConfig
    from zoo.training.config import environment_variables as environment_variables
    from zoo.training.device import cpu_has_bf16 as cpu_has_bf16
    from zoo.training.device import find_device as find_device
    from zoo.training.device import find_precision as find_precision
    from zoo.training.fit import train as train
    from zoo.training.metrics import read_metrics as read_metrics
    from zoo.training.plan import Plan as Plan
    from zoo.training.planning import make_plan as make_plan
    from zoo.training.progress import Progress as Progress
    from zoo.training.run import Run as Run

_HOME = {
    "Plan": "plan",
    "Progress": "progress",
    "Run": "run",
    "TrainConfig": "config",
    "cpu_has_bf16": "device",
    "environment_variables": "config",
    "find_device": "device",
    "find_precision": "device",
    "make_plan": "planning",
    "read_metrics": "metrics",
    "train": "fit",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
