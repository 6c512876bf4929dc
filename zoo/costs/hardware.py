"""Known GPUs and budgets of memory: what is written on the box, and how much of it the tensors of a model can have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zoo.errors import UnknownNameError, UsageError

# Memory in GB as NVIDIA's data sheets of these products state it, www.nvidia.com. It is taken as 10^9 bytes. Drivers report about N x 2^30,
# less what error correction takes (up to a sixteenth), so this is what is there at least.
GPUS_GB = {
    "t4": 16, "v100-16gb": 16, "v100-32gb": 32, "a10": 24, "a30": 24, "a40": 48, "a100-40gb": 40, "a100-80gb": 80, "l4": 24, "l40s": 48,
    "h100": 80, "h100-nvl": 94, "h200": 141, "rtx3090": 24, "rtx4070": 12, "rtx4080": 16, "rtx4090": 24, "rtx5080": 16, "rtx5090": 32,
    "rtxa6000": 48, "rtx6000ada": 48,
}  # fmt: skip

CONTEXT_BYTES = 850 << 20  # the driver's context, CUDA libraries and their workspaces, on the device before the first tensor
WASTE = 1.10  # an allocator holds up to this multiple of what it has given out, workspaces of kernels included

# Resident set of a process on the CPU after all imports, before its model: zoo train on the simulated sky had 315 MiB.
PROCESS_BYTES = (300 << 20, 350 << 20)

# By how much it grows beyond the tensors: code that oneDNN generates, thread stacks, and what malloc keeps. About the least and the most
# of benchmarks/results/estimate.json.
RESIDENT_EXTRA_BYTES = {"infer": (3 << 20, 11 << 20), "train": (8 << 20, 21 << 20)}

FITS, PERHAPS, TOO_LARGE = "fits", "perhaps", "too-large"

_UNITS = {"MB": 10**6, "MIB": 2**20, "GB": 10**9, "GIB": 2**30, "TB": 10**12, "TIB": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kMGT]i?B)", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """Memory that a model may use.

    Attributes:
        name: as it was asked for: ``24GB``, ``rtx4090``.
        capacity_bytes: what the device has.
    """

    name: str
    capacity_bytes: int


def usable_bytes(capacity: int, *, device: str = "cuda", train: bool = False, imported: bool = False) -> tuple[int, int]:
    """Return what is left for tensors: with the whole allowance for what else takes memory, and with the least; the truth lies between.

    Args:
        capacity: bytes of the device; on the CPU those that the process may take.
        device: ``cuda`` or ``cpu``.
        train: a training step instead of an inference.
        imported: on the CPU ``capacity`` is what the process may grow by once everything is imported, so that the imports do not count.
    """
    if device == "cuda":
        left = max(0, capacity - CONTEXT_BYTES)
        return int(left / WASTE), left
    process = (0, 0) if imported else PROCESS_BYTES
    least, most = (start + extra for start, extra in zip(process, RESIDENT_EXTRA_BYTES[_mode(train)], strict=True))
    return max(0, capacity - most), max(0, capacity - least)


def needed_bytes(peak: int, *, device: str = "cuda", train: bool = False) -> tuple[int, int]:
    """Return the memory that there must be for this peak of tensors: with the least that else takes memory, and with all of it."""
    if device == "cuda":
        return peak + CONTEXT_BYTES, int(peak * WASTE) + CONTEXT_BYTES
    least, most = (process + extra for process, extra in zip(PROCESS_BYTES, RESIDENT_EXTRA_BYTES[_mode(train)], strict=True))
    return peak + least, peak + most


def _mode(train: bool) -> str:
    return "train" if train else "infer"


def verdict(peak: int, usable: tuple[int, int]) -> str:
    """Return ``fits``, ``perhaps`` or ``too-large``: how a peak of tensors stands to the least and most that is left for them."""
    least, most = usable
    return FITS if peak <= least else PERHAPS if peak <= most else TOO_LARGE


def parse_budgets(words: str | Iterable[str]) -> tuple[Budget, ...]:
    """Read ``"8GB,24GiB,rtx4090"``, or several such texts; GB is 10^9 bytes and GiB 2^30.

    Raises:
        UsageError: not a size above 0. UnknownNameError: no known GPU.
    """
    texts = [words] if isinstance(words, str) else list(words)
    return tuple(_parse(word.strip()) for text in texts for word in text.split(","))


def _parse(word: str) -> Budget:
    found = _SIZE.fullmatch(word)
    if found and found[2].upper() in _UNITS:
        size = int(float(found[1]) * _UNITS[found[2].upper()])
        if size > 0:
            return Budget(word, size)
    elif word and not word[0].isdigit():
        name = word.lower().replace(" ", "").removeprefix("nvidia")
        if name not in GPUS_GB:
            raise UnknownNameError("GPU", word, GPUS_GB, remedy=f"Known: {', '.join(GPUS_GB)}; or give a size, such as 24GB.")
        return Budget(name, GPUS_GB[name] * 10**9)
    raise UsageError(f"memory is a size above 0 with its unit, such as 8GB or 24GiB, or a GPU, such as rtx4090; got {word!r}")
