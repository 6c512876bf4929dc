"""What models and ops cost on this machine: parameters, MACs, memory, time; each measured in a process of its own.

Names are imported when first used; nothing here imports torch in the process that asks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.profiling.bound import MemoryBound as MemoryBound
    from zoo.profiling.bound import memory_bound as memory_bound
    from zoo.profiling.result import ModelProfile as ModelProfile
    from zoo.profiling.result import OpProfile as OpProfile
    from zoo.profiling.result import Profile as Profile
    from zoo.profiling.result import StepProfile as StepProfile
    from zoo.profiling.session import profile as profile

_HOME = {
    "MemoryBound": "bound",
    "ModelProfile": "result",
    "OpProfile": "result",
    "Profile": "result",
    "StepProfile": "result",
    "memory_bound": "bound",
    "profile": "session",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
