"""Where to train and in which precision."""

from __future__ import annotations

import torch

from zoo.errors import UsageError, ZooError


def find_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device; ``auto`` is CUDA where there is one.

    Raises:
        UsageError: unknown, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from err
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices; 'zoo doctor' says why")
    return device


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere bf16 is slower than fp32."""
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.10
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    facts = torch.cpu.get_capabilities()
    return bool(facts.get("avx512_bf16") or facts.get("amx_bf16"))


def find_precision(name: str, device: torch.device) -> str:
    """Turn ``auto`` into ``bf16`` where the hardware has it, else into ``fp32``; ``fp32``, ``bf16`` and ``fp16`` stay."""
    if name != "auto":
        return name
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_has_bf16()
    return "bf16" if fast else "fp32"


def memory_bytes(device: torch.device) -> int:
    """Return the highest memory so far in bytes: of this process on the CPU, of torch's tensors on a GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: ``torch.OutOfMemoryError`` on a GPU, a plain RuntimeError of torch or a MemoryError on a CPU."""
    if isinstance(error, ZooError):
        return False
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
