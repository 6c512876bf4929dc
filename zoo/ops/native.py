"""The compiled kernels: whether they are there, what they can do, and why not when they are absent."""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import TypedDict

import torch

from zoo.errors import PluginError, SettingsError

# Numbers agree with csrc/scalar_types.hpp.
DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}

# Written by setup.py when ZOO_BUILD_EXT=auto and the build failed.
_FAILURE_NOTE = Path(__file__).resolve().parent.parent / "_native_failure.txt"


class Backend(TypedDict):
    """Facts about the compiled kernels, as ``zoo doctor`` prints them."""

    extension: str | None  # path of the extension module
    reason: str  # why there is no extension, or no CUDA device; empty when nothing is missing
    simd: str  # "avx512", "avx2", "plain", or "" without the extension
    openmp: bool
    cuda_compiled: bool
    cuda_archs: list[str]  # such as ["75", "90", "90+PTX"]
    cuda_devices: int  # devices that the compiled CUDA kernels can use


@functools.cache
def _load() -> tuple[ModuleType | None, str]:
    """The extension, or None and the reason."""
    try:
        return importlib.import_module("zoo._native"), ""
    except ImportError as error:
        if _FAILURE_NOTE.is_file():
            return None, _FAILURE_NOTE.read_text(encoding="utf-8").strip()
        return None, f"zoo._native cannot be imported ({error}); reinstall with ZOO_BUILD_EXT=1 to see why"


def native() -> ModuleType | None:
    """Return the module ``zoo._native``, or ``None`` when it was not built: then the pure-torch kernels run.

    Raises:
        PluginError: (an ``ImportError``) there is no extension and ``ZOO_REQUIRE_EXT=1``.
        SettingsError: ``ZOO_REQUIRE_EXT`` or ``ZOO_SIMD`` has a value that it cannot have.
    """
    _check_settings()
    module, reason = _load()
    if module is None and os.environ.get("ZOO_REQUIRE_EXT") == "1":
        raise PluginError(f"ZOO_REQUIRE_EXT=1, but there are no compiled kernels: {reason}")
    return module


@functools.cache
def _check_settings() -> None:
    """Refuse what the extension, which reads ZOO_SIMD itself, would ignore."""
    for name, choices in {"ZOO_REQUIRE_EXT": ("0", "1"), "ZOO_SIMD": ("plain", "avx2", "avx512")}.items():
        value = os.environ.get(name)
        if value and value not in choices:
            raise SettingsError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


@functools.cache
def cuda_usable() -> bool:
    """Whether the compiled CUDA kernels can run here: compiled in, a driver new enough, and at least one device."""
    module = native()
    return module is not None and module.cuda_devices()[0] > 0


def backend() -> Backend:
    """Return what the compiled kernels are and can do here. Never fails for want of a compiler, a driver or a device.

    Raises:
        SettingsError: ``ZOO_REQUIRE_EXT`` or ``ZOO_SIMD`` has a value that it cannot have.
    """
    _check_settings()
    module, reason = _load()
    if module is None:
        return Backend(extension=None, reason=reason, simd="", openmp=False, cuda_compiled=False, cuda_archs=[], cuda_devices=0)
    archs = [arch for arch in module.cuda_archs().split(",") if arch]
    count, why = module.cuda_devices()
    return Backend(
        extension=module.__file__,
        reason=why,
        simd=module.simd(),
        openmp=module.openmp(),
        cuda_compiled=bool(archs),
        cuda_archs=archs,
        cuda_devices=count,
    )
