"""Operations on frames: each a torch op in the namespace ``zoo`` with a compiled kernel and a pure-torch reference."""

from __future__ import annotations

import importlib

_HOMES = {
    "Encoding": "raw",
    "Region": "raw",
    "decode": "raw",
    "normalize": "normalize",
    "frame_statistics": "normalize",
    "blur": "blur",
    **dict.fromkeys(("Manual", "MinMax", "Percentile", "ZScale", "SigmaClip", "MedianMAD"), "limits"),
    **dict.fromkeys(("Linear", "Sqrt", "Log", "Asinh", "Sinh", "Power"), "stretch"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
