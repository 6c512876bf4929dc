"""Starting the child of one job, listening to it, and saying how it ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from zoo.costs.text import say_seconds
from zoo.errors import MemoryLimitError, PluginError

MEASURED, TOO_SLOW, OUT_OF_MEMORY, CRASHED, FAILED = "measured", "too-slow", "out-of-memory", "crashed", "failed"  # how a job ended

START_LIMIT_S = 300.0  # imports, and building or loading the model
_CHILD = (sys.executable, "-P", "-m", "zoo.costs.child")

Listener = Callable[[Mapping[str, Any]], None]


def run_job(job: Mapping[str, Any], *, limit_s: float = START_LIMIT_S, listen: Listener = lambda _: None) -> dict[str, Any]:
    """Do a job in a fresh process and return its result.

    Args:
        job: as `zoo.costs.child` reads it.
        limit_s: how long it may take once it says ``running``, in seconds; then it is ended.
        listen: gets every event but the result; by default nobody does.

    Returns: the result, which has ``status``, ``note`` and ``exit_code`` in any case, and nothing else where the process ended without one.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            _CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "PYTHONPATH": _import_path()}
        )
        try:
            result = _converse(process, job, limit_s, listen)
            if result is None:
                process.wait()
                result = _how_it_ended(process.returncode, errors)
            return {"note": "", "exit_code": 0, **result}
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def _converse(process: subprocess.Popen[bytes], job: Mapping[str, Any], limit_s: float, listen: Listener) -> dict[str, Any] | None:
    """Send the job and take events until the result; ``None`` when the process ends without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    deadline, running, rest = time.monotonic() + START_LIMIT_S, False, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return _too_slow(limit_s) if running else _stuck()
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                return None
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event.pop("event") == "result":
                    return dict(event)
                if event.get("stage") == "running":
                    deadline, running = time.monotonic() + limit_s, True
                listen(event)


def _too_slow(limit_s: float) -> dict[str, Any]:
    return {"status": TOO_SLOW, "note": f"more than {say_seconds(limit_s)}: it was ended then; raise --budget"}


def _stuck() -> dict[str, Any]:
    note = f"it was not ready after {say_seconds(START_LIMIT_S)}: its import or its construction hangs"
    return {"status": FAILED, "note": note, "exit_code": PluginError.exit_code}


def _how_it_ended(code: int, errors: IO[bytes]) -> dict[str, Any]:
    """A result for a process that gave none."""
    if code == -signal.SIGKILL:
        note = "killed by SIGKILL, as the kernel does when memory runs out; try a smaller --input-shape or --batch"
        return {"status": OUT_OF_MEMORY, "note": note, "exit_code": MemoryLimitError.exit_code}
    if code < 0:
        ending = f"killed by {signal.Signals(-code).name}"
    else:
        ending = f"left with exit code {code} before its result"
    errors.seek(0)
    said = [line.strip() for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    return {"status": CRASHED, "note": f"{ending}{': ' + said[-1] if said else ''}", "exit_code": PluginError.exit_code}


def _import_path() -> str:
    """The child imports what this process would, in the same order."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100  # "" means the working directory
