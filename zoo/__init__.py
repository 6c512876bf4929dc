"""zoo: a plugin-based model zoo for high-resolution Hubble and CSST frames.

``import zoo`` is light: every name below is imported when it is first used (PEP 562), so a plugin module that only registers names, and
``zoo --help``, load neither torch, numpy nor astropy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo import data, errors, frames, ops, steps, storage
    from zoo import testing as testing
    from zoo.auditing import audit
    from zoo.data.dataset import DataSet
    from zoo.entries import Option
    from zoo.errors import ZooError
    from zoo.evaluation import compare, evaluate
    from zoo.frames import Frame, read_frames
    from zoo.hookspecs import hookimpl
    from zoo.models import create_model, list_models, load
    from zoo.prediction import predict
    from zoo.profiling import profile
    from zoo.profiling.estimate import estimate
    from zoo.steps import Pipeline
    from zoo.training import TrainConfig, train

_EXPORTS = {
    "hookimpl": "zoo.hookspecs",
    "Option": "zoo.entries",
    "ZooError": "zoo.errors",
    "list_models": "zoo.models",
    "create_model": "zoo.models",
    "load": "zoo.models",
    "Frame": "zoo.frames",
    "read_frames": "zoo.frames",
    "Pipeline": "zoo.steps",
    "DataSet": "zoo.data.dataset",
    "TrainConfig": "zoo.training",
    "train": "zoo.training",
    "evaluate": "zoo.evaluation",
    "compare": "zoo.evaluation",
    "audit": "zoo.auditing",
    "predict": "zoo.prediction",
    "profile": "zoo.profiling",
    "estimate": "zoo.profiling.estimate",
}
_MODULES = ("data", "errors", "frames", "ops", "steps", "storage", "testing")

__all__ = [
    "DataSet",
    "Frame",
    "Option",
    "Pipeline",
    "TrainConfig",
    "ZooError",
    "__version__",
    "audit",
    "compare",
    "create_model",
    "data",
    "errors",
    "estimate",
    "evaluate",
    "frames",
    "hookimpl",
    "list_models",
    "load",
    "ops",
    "predict",
    "profile",
    "read_frames",
    "steps",
    "storage",
    "testing",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"zoo.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("celestial-zoo")
    else:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
