"""Evaluation: how good a model is on labelled frames, and what that number is worth.

Names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.evaluation.comparison import Comparison as Comparison
    from zoo.evaluation.comparison import compare as compare
    from zoo.evaluation.intervals import Interval as Interval
    from zoo.evaluation.intervals import accuracy_interval as accuracy_interval
    from zoo.evaluation.measure import evaluate as evaluate
    from zoo.evaluation.metrics import Metrics as Metrics
    from zoo.evaluation.result import Evaluation as Evaluation

_HOME = {
    "Comparison": "comparison",
    "Evaluation": "result",
    "Interval": "intervals",
    "Metrics": "metrics",
    "accuracy_interval": "intervals",
    "compare": "comparison",
    "evaluate": "measure",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
