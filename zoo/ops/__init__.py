"""Operations on frames: each a torch op in the namespace ``zoo`` with a compiled kernel and a pure-torch reference.

The names below are functions and classes; ``blur``, ``convolve``, ``normalize`` and ``stem`` are also the modules that define them, found
by ``import_module("zoo.ops.blur")``.
"""

from zoo.ops.blur import blur
from zoo.ops.convolve import convolve
from zoo.ops.limits import Manual, MedianMAD, MinMax, Percentile, SigmaClip, ZScale
from zoo.ops.normalize import frame_statistics, normalize
from zoo.ops.raw import Encoding, Region, decode
from zoo.ops.stem import stem
from zoo.ops.stretch import Asinh, Linear, Log, Power, Sinh, Sqrt

__all__ = [
    "Asinh",
    "Encoding",
    "Linear",
    "Log",
    "Manual",
    "MedianMAD",
    "MinMax",
    "Percentile",
    "Power",
    "Region",
    "SigmaClip",
    "Sinh",
    "Sqrt",
    "ZScale",
    "blur",
    "convolve",
    "decode",
    "frame_statistics",
    "normalize",
    "stem",
]
