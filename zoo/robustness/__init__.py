"""Robustness: how a model's answers change when frames get worse in physical units, on labelled frames and on any others.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.robustness.axes import AXES as AXES
    from zoo.robustness.axes import choose_axes as choose_axes
    from zoo.robustness.axes import parse_levels as parse_levels
    from zoo.robustness.measure import measure_robustness as measure_robustness
    from zoo.robustness.responses import Stressed as Stressed
    from zoo.robustness.responses import columns as columns
    from zoo.robustness.responses import stress as stress
    from zoo.robustness.result import Crossing as Crossing
    from zoo.robustness.result import Curve as Curve
    from zoo.robustness.result import Point as Point
    from zoo.robustness.result import Robustness as Robustness
    from zoo.robustness.stored import read_robustness as read_robustness

_HOME = {
    "AXES": "axes",
    "Crossing": "result",
    "Curve": "result",
    "Point": "result",
    "Robustness": "result",
    "Stressed": "responses",
    "choose_axes": "axes",
    "columns": "responses",
    "measure_robustness": "measure",
    "parse_levels": "axes",
    "read_robustness": "stored",
    "stress": "responses",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
