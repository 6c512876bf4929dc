"""Evaluation: how good a model is on labelled frames, and what that number is worth.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.evaluation.comparison import Comparison as Comparison
    from zoo.evaluation.comparison import compare as compare
    from zoo.evaluation.measure import evaluate as evaluate
    from zoo.evaluation.metrics import Metrics as Metrics
    from zoo.evaluation.result import Evaluation as Evaluation
    from zoo.evaluation.result import ShortcutScore as ShortcutScore
    from zoo.intervals import Interval as Interval
    from zoo.intervals import accuracy_interval as accuracy_interval

_HOME = {
    "Comparison": "comparison",
    "Evaluation": "result",
    "Interval": "score_intervals",
    "Metrics": "metrics",
    "ShortcutScore": "result",
    "accuracy_interval": "score_intervals",
    "compare": "comparison",
    "evaluate": "measure",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
