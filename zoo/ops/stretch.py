"""How pixels between the limits are spread over [0, 1]: the stretches of :func:`zoo.ops.normalize`.

Formulas and parameters are those of ``astropy.visualization``. Each maps 0 to 0 and 1 to 1. Outside [0, 1], which needs ``clip=False``, the
same formula goes on; where it has no real value the pixel is treated as invalid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UsageError


def _positive(name: str, a: float) -> None:
    """Refuse a parameter that is not a positive number, or whose reciprocal is no float32."""
    if not math.isfinite(a) or a <= 0.0:
        raise UsageError(f"the parameter a of {name} must be finite and > 0, got {a}")
    if not 1e-30 <= a <= 1e30:
        raise UsageError(f"the parameter a of {name} must lie between 1e-30 and 1e30, got {a}")


@dataclass(frozen=True)
class Linear:
    """``t``."""


@dataclass(frozen=True)
class Sqrt:
    """``sqrt(t)``."""


@dataclass(frozen=True)
class Log:
    """``log(a t + 1) / log(a + 1)``.

    Raises:
        UsageError: unless ``a`` lies between 1e-30 and 1e30.
    """

    a: float = 1000.0

    def __post_init__(self) -> None:
        _positive("Log", self.a)


@dataclass(frozen=True)
class Asinh:
    """``asinh(t / a) / asinh(1 / a)``: linear below ``a``, logarithmic above.

    Raises:
        UsageError: unless ``a`` lies between 1e-30 and 1e30.
    """

    a: float = 0.1

    def __post_init__(self) -> None:
        _positive("Asinh", self.a)


@dataclass(frozen=True)
class Sinh:
    """``sinh(t / a) / sinh(1 / a)``.

    Raises:
        UsageError: unless ``a`` lies between 1e-30 and 1e30.
    """

    a: float = 1.0 / 3.0

    def __post_init__(self) -> None:
        _positive("Sinh", self.a)


@dataclass(frozen=True)
class Power:
    """``t ** a``.

    Raises:
        UsageError: unless ``a`` lies between 1e-30 and 1e30.
    """

    a: float

    def __post_init__(self) -> None:
        _positive("Power", self.a)


Stretch = Linear | Sqrt | Log | Asinh | Sinh | Power


def stretch_arguments(stretch: Stretch) -> tuple[str, float]:
    """Name and parameter of a stretch, as an op's schema holds them."""
    if isinstance(stretch, Linear):
        return "linear", 1.0
    if isinstance(stretch, Sqrt):
        return "sqrt", 1.0
    if isinstance(stretch, Log):
        return "log", float(stretch.a)
    if isinstance(stretch, Asinh):
        return "asinh", float(stretch.a)
    if isinstance(stretch, Sinh):
        return "sinh", float(stretch.a)
    if isinstance(stretch, Power):
        return "power", float(stretch.a)
    raise UsageError(f"stretch must be a Linear, Sqrt, Log, Asinh, Sinh or Power, got {stretch!r}")


def reference_stretch(t: Tensor, name: str, a: float) -> Tensor:
    """The stretch ``name`` of float64 ``t``, NaN where it has no real value."""
    if name == "linear":
        return t
    if name == "sqrt":
        return t.sqrt()
    if name == "log":
        return torch.log1p(t * a) / math.log1p(a)
    if name == "asinh":
        return torch.asinh(t / a) / math.asinh(1.0 / a)
    if name == "sinh":
        # sinh(t/a) / sinh(1/a) overflows for a < 0.0014, its quotient of exponentials does not
        m = t.abs()
        return torch.sign(t) * torch.exp((m - 1.0) / a) * (torch.expm1(-2.0 * m / a) / math.expm1(-2.0 / a))
    return t.pow(a)
