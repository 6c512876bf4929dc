"""Memory of this process and of the machine, in bytes, as the operating system and the CUDA allocator count it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

USABLE_SHARE = 0.85  # of the free memory; the rest is for what no bound knows of

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)

_PROC = Path("/proc/self")
_CGROUPS = Path("/sys/fs/cgroup")


def resident_bytes() -> int:
    """Return the resident set of this process now; where the system does not tell (not Linux), its highest so far."""
    return _status("VmRSS") or _highest()


def peak_resident_bytes() -> int:
    """Return the highest resident set of this process since its start, or since `reset_peak`."""
    return _status("VmHWM") or _highest()


def private_bytes() -> int | None:
    """Return the writable private memory of this process, touched or not, which is what ``RLIMIT_DATA`` limits; ``None`` outside Linux."""
    return _status("VmData") or None


def limit_private(size: int) -> None:
    """Let the `private_bytes` of this process never exceed ``size`` bytes again."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def reset_peak() -> bool:
    """Make `peak_resident_bytes` begin anew; returns whether the system can do that (Linux)."""
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def trim_heap() -> None:
    """Give the free pages of the heap back to the system (glibc), so that what comes next is not hidden in them."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def keep_heap() -> None:
    """Let the heap keep what is freed from now on (glibc).

    What a step frees and takes again then costs no page faults, whose time differs by 10 % from process to process.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        adjust = ctypes.CDLL(None).mallopt
        adjust(_MMAP_MAX, 0)
        adjust(_TRIM_THRESHOLD, -1)


def available_bytes() -> int | None:
    """Return how much a new process can take without swapping: what the machine has left, or its control group if that is less.

    ``None`` where the system does not tell (not Linux).
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    left = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    left += _left_in_control_groups()
    return max(0, min(left)) if left else None


def free_on(device: torch.device) -> int | None:
    """Return the free memory where a model on ``device`` lives: the GPU's as its driver counts it, else `available_bytes`."""
    if device.type != "cuda":
        return available_bytes()
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def die_first() -> None:
    """Offer this process to the kernel when memory runs out, before any other (Linux): it is the one that can be spared."""
    try:
        (_PROC / "oom_score_adj").write_text("1000")
    except OSError:
        return


def _left_in_control_groups() -> Iterator[int]:
    """Limit minus use of the control groups around this process, versions 1 and 2; file pages that can be dropped count as free."""
    try:
        lines = (_PROC / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used, cache = _CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used, cache = _CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        for folder in (root / path.lstrip("/"), root):  # inside a container the path may be that of the host
            try:
                most, taken = (folder / limit).read_text().strip(), int((folder / used).read_text())
                counts = dict(entry.split() for entry in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):
                continue
            if most != "max":
                yield int(most) - taken + int(counts.get(cache, 0))
            break


def _status(field: str) -> int:
    """A size of ``/proc/self/status``; 0 where there is none."""
    try:
        lines = (_PROC / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def _highest() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes
