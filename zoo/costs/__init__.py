"""What a model costs, found in a process of its own: the memory of a step without running it, and what makes it fit.

Names are imported when first used; nothing here imports torch in the process that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.costs.hardware import usable_bytes as usable_bytes
    from zoo.costs.predict import find_settings as find_settings
    from zoo.costs.predict import predict_peaks as predict_peaks
    from zoo.costs.settings import Settings as Settings
    from zoo.costs.tape import Peak as Peak

_HOME = {"Peak": "tape", "Settings": "settings", "find_settings": "predict", "predict_peaks": "predict", "usable_bytes": "hardware"}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
