"""Checks of arguments that the ops on images share."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.ops.borders import BORDERS
from zoo.ops.native import DTYPE_CODES

# Values agree with csrc/blur.hpp.
NAN_TREATMENTS = {"propagate": 0, "interpolate": 1, "fill": 2}


def check_image(image: Tensor) -> None:
    """Refuse what is no tensor ``(..., H, W)`` of a floating-point dtype that the kernels know."""
    if not isinstance(image, Tensor):
        raise UsageError(f"image must be a torch.Tensor, got {type(image).__name__}; call torch.as_tensor(image)")
    if image.dtype not in DTYPE_CODES:
        raise UsageError(f"image must be float32, float64, bfloat16 or float16, got {image.dtype}; call image.float()")
    if image.dim() < 2:
        raise UsageError(f"image must have shape (..., H, W), got {tuple(image.shape)}")


def check_out(image: Tensor, out: Tensor) -> None:
    """Refuse an ``out`` that cannot take the result for ``image``."""
    if not isinstance(out, Tensor):
        raise UsageError(f"out must be a torch.Tensor, got {type(out).__name__}")
    for name in ("shape", "dtype", "device"):
        got, expected = getattr(out, name), getattr(image, name)
        if got != expected:
            raise UsageError(f"out must have the {name} of the image, {expected}, got {got}")
    if any(size > 1 and stride == 0 for size, stride in zip(out.shape, out.stride(), strict=True)):
        raise UsageError("out must not have pixels that share memory, got an expanded tensor; call out.contiguous()")
    check_gradient(image, out)


def check_gradient(*tensors: Tensor | None) -> None:
    """Refuse ``out``, which no gradient goes through, where one of these tensors requires a gradient."""
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        raise UsageError("out cannot be used where a gradient is required; leave it out, or work under torch.no_grad()")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_border_and_nan(mode: str, nan_treatment: str) -> None:
    """Refuse unknown names of borders and treatments of NaN."""
    check_choice("mode", mode, tuple(BORDERS))
    check_choice("nan_treatment", nan_treatment, tuple(NAN_TREATMENTS))


def check_number(name: str, value: float) -> float:
    """Return a number, or refuse what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.SymFloat)):
        raise UsageError(f"{name} must be a number, got {type(value).__name__} {value!r}")
    return value
