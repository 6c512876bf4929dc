"""What code does to its process besides its work: state that it changed, files that it wrote, programs that it started.

Imports neither torch nor numpy: their state is looked at where something else has imported them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

# Events of Python's audit hooks that change something outside the process.
_OUTSIDE = {
    "os.mkdir": "made the folder {0}",
    "os.remove": "removed {0}",
    "os.rename": "renamed {0}",
    "os.rmdir": "removed the folder {0}",
    "os.symlink": "made the link {1}",
    "os.system": "ran {0}",
    "os.fork": "forked",
    "os.posix_spawn": "started {0}",
    "subprocess.Popen": "started {0}",
    "socket.connect": "connected to {1}",
    "socket.getaddrinfo": "looked up {0}",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def snapshot(*, weights_may_be_drawn: bool = False) -> dict[str, Any]:
    """Return the state of the process that importing or building must leave alone.

    Args:
        weights_may_be_drawn: leave torch's random numbers out, from which a builder draws its weights.
    """
    facts: dict[str, Any] = {
        "the working directory": os.getcwd(),  # noqa: PTH109  # plain text, to be compared and put back
        "os.environ": dict(os.environ),
        "sys.path": list(sys.path),
        "the seed of random": random.getstate(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "signal handlers": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "the root logger": (logging.root.level, len(logging.root.handlers)),
        "sys.stdout and sys.stderr": (id(sys.stdout), id(sys.stderr)),
        # Only what hides everything: libraries add narrow filters of their own when they are imported.
        "warnings (all are ignored)": ("ignore", None, Warning, None, 0) in warnings.filters,
    }
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if numpy is not None:
        _, keys, position, *_rest = numpy.random.get_state()
        facts["the seed of numpy.random"] = (bytes(keys), position)
        facts["numpy.seterr"] = dict(numpy.geterr())
    if torch is not None:
        facts |= {
            "torch.set_default_dtype": torch.get_default_dtype(),
            "torch.set_default_device": str(torch.get_default_device()),
            "torch.set_num_threads": torch.get_num_threads(),
            "torch.set_grad_enabled": torch.is_grad_enabled(),
            "torch.use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "torch.set_float32_matmul_precision": torch.get_float32_matmul_precision(),
            "torch.backends.cudnn.benchmark": torch.backends.cudnn.benchmark,
            "torch.autograd.set_detect_anomaly": torch.is_anomaly_enabled(),
        }
        if not weights_may_be_drawn:
            facts["the seed of torch"] = bytes(torch.get_rng_state().numpy())
    return facts


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what changed between two snapshots, in words; state that only the second one has is no change."""
    changes = []
    for name, value in before.items():
        if after[name] == value:
            continue
        if isinstance(value, (str, int, tuple)) and len(repr((value, after[name]))) < 100:
            changes.append(f"{name}: {value!r} became {after[name]!r}")
        elif isinstance(value, dict):
            keys = [str(key) for key in {**value, **after[name]} if value.get(key) != after[name].get(key)]
            changes.append(f"{name}: {', '.join(sorted(keys)[:5])}")
        else:
            changes.append(name)
    return changes


@contextlib.contextmanager
def preserved_state() -> Iterator[None]:
    """Put back what a builder may have changed, so that one fault is reported once; torch's random numbers too."""
    import numpy
    import torch

    before = snapshot()
    numpy_state, torch_state = numpy.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        os.chdir(before["the working directory"])
        if dict(os.environ) != before["os.environ"]:
            os.environ.clear()
            os.environ.update(before["os.environ"])
        random.setstate(before["the seed of random"])
        numpy.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        torch.set_default_dtype(before["torch.set_default_dtype"])
        torch.set_num_threads(before["torch.set_num_threads"])
        torch.set_grad_enabled(before["torch.set_grad_enabled"])
        torch.set_float32_matmul_precision(before["torch.set_float32_matmul_precision"])
        torch.use_deterministic_algorithms(before["torch.use_deterministic_algorithms"])
        torch.backends.cudnn.benchmark = before["torch.backends.cudnn.benchmark"]


@contextlib.contextmanager
def watching_outside() -> Iterator[list[str]]:
    """Yield a list that collects what happens to files, programs and the network inside the block, as Python's audit hooks tell.

    A hook cannot be taken away again: for processes that end soon.
    """
    events: list[str] = []
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not active:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else isinstance(flags, int) and bool(flags & _WRITING)
            if writes and str(path) != os.devnull:
                events.append(f"wrote {path}")
        elif event in _OUTSIDE:
            events.append(_OUTSIDE[event].format(*arguments))

    sys.addaudithook(hook)
    try:
        yield events
    finally:
        active = False
