"""What models and ops cost on this machine: parameters, MACs, memory, time; each measured in a process of its own.

Names are imported when first used; nothing here imports torch in the process that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.profiling.bound import MemoryBound as MemoryBound
    from zoo.profiling.bound import memory_bound as memory_bound
    from zoo.profiling.estimation import BudgetFit as BudgetFit
    from zoo.profiling.estimation import Estimate as Estimate
    from zoo.profiling.estimation import ModelEstimate as ModelEstimate
    from zoo.profiling.estimation import Remedy as Remedy
    from zoo.profiling.result import ModelProfile as ModelProfile
    from zoo.profiling.result import OpProfile as OpProfile
    from zoo.profiling.result import Profile as Profile
    from zoo.profiling.result import StepProfile as StepProfile
    from zoo.profiling.session import profile as profile

_HOME = {
    "BudgetFit": "estimation",
    "Estimate": "estimation",
    "MemoryBound": "bound",
    "ModelEstimate": "estimation",
    "ModelProfile": "result",
    "OpProfile": "result",
    "Profile": "result",
    "Remedy": "estimation",
    "StepProfile": "result",
    "memory_bound": "bound",
    "profile": "session",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
