"""What models and ops cost on this machine: parameters, MACs, memory, time; each measured in a process of its own.

Names are imported when first used; nothing here imports torch in the process that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.profiling.against import Comparison as Comparison
    from zoo.profiling.against import compare_profiles as compare_profiles
    from zoo.profiling.against import read_base as read_base
    from zoo.profiling.bound import MemoryBound as MemoryBound
    from zoo.profiling.bound import memory_bound as memory_bound
    from zoo.profiling.estimation import BudgetFit as BudgetFit
    from zoo.profiling.estimation import Estimate as Estimate
    from zoo.profiling.estimation import ModelEstimate as ModelEstimate
    from zoo.profiling.estimation import Remedy as Remedy
    from zoo.profiling.figures import LayerProfile as LayerProfile
    from zoo.profiling.figures import PathProfile as PathProfile
    from zoo.profiling.figures import Throughput as Throughput
    from zoo.profiling.paper import PAPER_MODELS as PAPER_MODELS
    from zoo.profiling.paper import PaperRow as PaperRow
    from zoo.profiling.paper import paper_rows as paper_rows
    from zoo.profiling.plot import check_plot as check_plot
    from zoo.profiling.plot import draw_profile as draw_profile
    from zoo.profiling.result import ModelProfile as ModelProfile
    from zoo.profiling.result import OpProfile as OpProfile
    from zoo.profiling.result import Profile as Profile
    from zoo.profiling.result import StepProfile as StepProfile
    from zoo.profiling.session import profile as profile

_HOME = {
    "BudgetFit": "estimation",
    "Comparison": "against",
    "Estimate": "estimation",
    "LayerProfile": "figures",
    "MemoryBound": "bound",
    "ModelEstimate": "estimation",
    "ModelProfile": "result",
    "OpProfile": "result",
    "PAPER_MODELS": "paper",
    "PaperRow": "paper",
    "PathProfile": "figures",
    "Profile": "result",
    "Remedy": "estimation",
    "StepProfile": "result",
    "Throughput": "figures",
    "check_plot": "plot",
    "compare_profiles": "against",
    "draw_profile": "plot",
    "memory_bound": "bound",
    "paper_rows": "paper",
    "profile": "session",
    "read_base": "against",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
