"""Is this installation as fast and as whole as it could be? One finding a fact, each with what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from zoo.entries import KINDS
from zoo.errors import SettingsError, ZooError
from zoo.registry import get_registry
from zoo.settings import read_environment

Status = Literal["ok", "note", "warning", "error"]

_DEPENDENCIES = ("torch", "numpy", "scipy", "astropy", "safetensors", "click", "rich", "pluggy")
_FREE_DISK_BYTES = 5 * 10**9  # the default simulated set and a few runs of hrcn


@dataclass(frozen=True)
class Finding:
    """One fact: ``note`` is worth knowing, ``warning`` costs speed or a plugin, ``error`` stops work."""

    subject: str
    status: Status
    value: str
    remedy: str = ""


def diagnose(*, environment_variables: dict[str, str] | None = None) -> list[Finding]:
    """Look at versions, kernels, devices, threads, folders, settings and plugins; changes nothing.

    Args:
        environment_variables: ``ZOO_<KEY>`` variables that are settings, mapped to their keys; others are reported as unknown.
    """
    return [
        *_versions(),
        *_kernels(),
        *_devices(),
        *_threads(),
        *_folders(),
        *_settings(environment_variables),
        *_plugins(),
    ]


def _versions() -> Iterator[Finding]:
    yield Finding("zoo", "ok", importlib.metadata.version("celestial-zoo"))
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Finding("system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    for name in _DEPENDENCIES:
        yield Finding(name, "ok", importlib.metadata.version(name))


def _kernels() -> Iterator[Finding]:
    from zoo.ops.native import backend

    facts = backend()
    if not facts["extension"]:
        remedy = "the ops run on torch alone, several times slower; install g++ and reinstall with ZOO_BUILD_EXT=1 to see why it is absent"
        yield Finding("compiled kernels", "warning", f"absent: {facts['reason']}", remedy)
        return
    yield Finding("compiled kernels", "ok", str(facts["extension"]))
    yield Finding("SIMD level", "ok", f"{facts['simd']} (ZOO_SIMD={os.environ.get('ZOO_SIMD') or 'unset'})")
    openmp = bool(facts["openmp"])
    remedy = "" if openmp else "kernels use one thread; reinstall with a compiler that has OpenMP"
    yield Finding("OpenMP", "ok" if openmp else "warning", "yes" if openmp else "no", remedy)
    if facts["cuda_compiled"]:
        yield Finding("CUDA kernels", "ok", f"compiled for {', '.join(facts['cuda_archs'])}; {facts['cuda_devices']} usable devices")
    else:
        yield Finding("CUDA kernels", "note", "not compiled", _cuda_remedy())


def _cuda_remedy() -> str:
    import torch

    if not torch.cuda.is_available():
        return ""
    return "CUDA tensors run through torch; install nvcc and reinstall with ZOO_CUDA=1"


def _devices() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        value = f"none (torch was built {f'for CUDA {built}' if built else 'without CUDA'})"
        yield Finding("CUDA devices", "note", value, "" if built else "for a GPU install a CUDA build of torch")
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        size = f"{facts.total_memory / 2**30:.1f} GiB"
        yield Finding(f"CUDA device {index}", "ok", f"{facts.name}, {size}, compute capability {facts.major}.{facts.minor}")
    from zoo.training import cpu_has_bf16

    fast = cpu_has_bf16()
    yield Finding(
        "bf16 on the CPU", "ok" if fast else "note", "in hardware; --precision auto uses it" if fast else "no; --precision auto is fp32"
    )


def _threads() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    value = f"{threads} for torch and the kernels, {cores} cores (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS') or 'unset'})"
    if threads > cores:
        yield Finding("threads", "warning", value, f"more threads than cores; set OMP_NUM_THREADS={cores}")
    else:
        yield Finding("threads", "ok", value)


def _folders() -> Iterator[Finding]:
    from zoo.storage import cache_root

    root = cache_root()
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding("cache", "error", f"{root} cannot be written", "set ZOO_CACHE to a folder of your own")
        return
    free = shutil.disk_usage(nearest).free
    few = free < _FREE_DISK_BYTES
    remedy = "make room, or set ZOO_CACHE to a folder on another disk" if few else ""
    yield Finding("cache", "warning" if few else "ok", f"{root} ({free / 1e9:.1f} GB free)", remedy)


def _settings(known: dict[str, str] | None) -> Iterator[Finding]:
    if known is None:
        return
    try:
        found = read_environment(known)
    except SettingsError as error:
        yield Finding("settings", "error", str(error))
        return
    if found:
        yield Finding("settings", "note", "from the environment: " + ", ".join(f"{key}={value}" for key, value in sorted(found.items())))


def _plugins() -> Iterator[Finding]:
    try:
        registry = get_registry()
    except ZooError as error:
        yield Finding("plugins", "error", str(error), "unset ZOO_STRICT_PLUGINS or mend the plugin")
        return
    for plugin in registry.plugins:
        counted = ", ".join(f"{kind} {plugin.counts[kind]}" for kind in KINDS if plugin.counts.get(kind))
        release = f"{plugin.distribution} {plugin.version}".strip()
        yield Finding(f"plugin {plugin.name}", "ok", f"{release + ': ' if release else ''}{counted or 'registers nothing'}")
    for failure in registry.failures:
        package = failure.distribution.partition(" ")[0]
        remedy = "mend it or " + (f"'pip uninstall {package}'" if package else "take it away") + "; --safe or ZOO_PLUGINS leaves it out"
        if failure.loaded:
            remedy = "its other names work; write the owner before this one"
        yield Finding(f"plugin {failure.plugin}", "warning", f"{failure.source}: {failure.cause}", remedy)
