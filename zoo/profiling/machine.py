"""The circumstances of a measurement."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# What changes the heap or the number of threads from outside, and so the figures.
VARIABLES = (
    "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_WAIT_POLICY", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA", "ZOO_SIMD", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE",
)  # fmt: skip


def processor_name() -> str:
    """Return the model of the CPU as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores(seconds: float = 0.3) -> float | None:
    """Return how many of the usable cores others keep busy, on average over ``seconds``; ``None`` where nobody tells (not Linux)."""
    before = _busy_ticks()
    if before is None:
        return None
    start = time.perf_counter()
    time.sleep(seconds)
    after = _busy_ticks()
    return None if after is None else (after - before) / (os.sysconf("SC_CLK_TCK") * (time.perf_counter() - start))


def _busy_ticks() -> int | None:
    """Ticks since boot in which a usable core was neither idle nor waiting for a disk."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = [[int(word) for word in line.split()[1:9]] for line in lines if line.split()[0] in names]
    return sum(sum(row) - row[3] - row[4] for row in ticks) if ticks else None


def clocks() -> dict[str, float]:
    """Return the clock of the fastest core now as ``cpu_mhz``, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    rates = [float(line.split(":", 1)[1]) for line in lines if line.startswith("cpu MHz")]
    return {"cpu_mhz": max(rates)} if rates else {}


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return versions, processor, device, threads, load and the environment that a figure depends on.

    Call it before the work, which raises the load.
    """
    import torch

    import zoo
    from zoo.training.run import machine_facts, source_commit

    facts = machine_facts(device, "fp32")
    del facts["precision"]
    if device.type == "cuda":
        facts["driver_memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
        facts["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        facts["tf32"] = {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}
    return {
        "zoo": zoo.__version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "cores": usable_cores(),
        **clocks(),
        **facts,
        "load_average_before": os.getloadavg()[0],
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
