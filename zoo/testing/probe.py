"""What importing a plugin costs and does, found out in a fresh process: ``python -m zoo.testing.probe``.

The process imports what ``zoo --help`` imports, then the plugin, and compares. With ``preload`` torch and zoo's own modules are there
before, and everything that the plugin refers to is imported too: so the effects are those of the plugin and not of its libraries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from zoo.errors import CheckFailedError
from zoo.registry import KINDS, Registry
from zoo.sources import ENVIRONMENT, find_again
from zoo.testing.effects import differences, snapshot, watching_outside

# Packages that cost more than a command such as `zoo --help` may cost: each takes from a twentieth of a second to several seconds.
HEAVY = frozenset(
    (
        "torch", "torchvision", "torchaudio", "numpy", "scipy", "astropy", "photutils", "pandas", "polars", "pyarrow", "matplotlib", "PIL",
        "cv2", "skimage", "sklearn", "h5py", "tensorflow", "jax", "keras", "transformers", "timm", "lightning", "pytorch_lightning",
        "tensorboard", "numba", "cupy", "rich",
    )
)  # fmt: skip
TIMEOUT_S = 120


@dataclass
class Probe:
    """What a fresh process saw.

    Attributes:
        seconds: importing the plugin and calling its hooks.
        modules: how many modules that imported besides those of zoo's own command line.
        heavy: packages of `HEAVY` among them. command_heavy: likewise, after importing the commands that the plugin registers.
        output: what was printed.
        changes: state of the process that changed. outside: files, programs and connections.
    """

    seconds: float = 0.0
    modules: int = 0
    heavy: list[str] = field(default_factory=list)
    command_heavy: list[str] = field(default_factory=list)
    output: str = ""
    changes: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


def probe(name: str, source: str, *, preload: bool) -> Probe:
    """Import a plugin in a fresh process and say what that did.

    Args:
        name, source: of ``zoo.registry.Plugin``.
        preload: import torch and zoo's own modules before, and what the plugin refers to after it.
    Raises: CheckFailedError: the process did not end within 120 s, or ended before its report.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-probe-") as folder:
        report = Path(folder) / "report.json"
        order = json.dumps({"name": name, "source": source, "preload": preload, "report": str(report)})
        place = Path(folder) / "empty"
        place.mkdir()
        environment = {**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        command = [sys.executable, "-m", "zoo.testing.probe", order]
        try:
            done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise CheckFailedError(f"importing it does not end within {TIMEOUT_S} s") from None
        if not report.exists():
            last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            raise CheckFailedError(f"importing it ended the process with status {done.returncode}: {last}")
        return Probe(**json.loads(report.read_text()))


def _observe(name: str, source: str, *, preload: bool, transcript: Path) -> Probe:
    if preload:
        import numpy  # noqa: F401
        import torch  # noqa: F401

        import zoo.data
        import zoo.frames
        import zoo.models.build
        import zoo.steps  # noqa: F401
    registry, sources = Registry(), find_again(name, source)
    known, before = set(sys.modules), snapshot()
    with _output_to(transcript), watching_outside() as outside:
        started = time.perf_counter()
        for found in sources:
            registry.add_source(found)
        seconds = time.perf_counter() - started
        new = set(sys.modules) - known
        for entry in registry.entries("commands"):
            with suppress(Exception):  # whether a reference leads anywhere is a check of its own
                entry.load()
        with_commands = set(sys.modules) - known
        if preload:
            for kind in KINDS:
                for entry in registry.entries(kind):
                    with suppress(Exception):
                        entry.load()
    output = transcript.read_text(errors="replace").strip()
    changes = differences(before, snapshot())
    return Probe(seconds, len(new), _heavy(new), _heavy(with_commands), output, changes, list(dict.fromkeys(outside)))


def _heavy(modules: set[str]) -> list[str]:
    return sorted(HEAVY & {module.partition(".")[0] for module in modules})


@contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Send what is printed, by C code too, into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for descriptor in (1, 2):
            os.dup2(target, descriptor)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, descriptor)


if __name__ == "__main__":
    _order = json.loads(sys.argv[1])
    _report = Path(_order["report"])
    _seen = _observe(_order["name"], _order["source"], preload=_order["preload"], transcript=_report.with_name("output.txt"))
    _report.write_text(json.dumps(asdict(_seen)))
