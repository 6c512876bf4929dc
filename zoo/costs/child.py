"""The process in which one model is measured or followed: ``python -m zoo.costs.child``.

It reads a job as one line of JSON from stdin: ``plugins`` to load first, and ``work``, a reference such as
``zoo.profiling.work:measure_step`` to the function that gets the job. It writes events as lines of JSON to what was its stdout; whatever
else is printed goes to stderr. It ends when stdin is closed, so it does not outlive the process that asked, whatever ended that.
"""

from __future__ import annotations

import json
import os
import pkgutil
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from zoo.costs.memory import die_first
from zoo.costs.process import FAILED, OUT_OF_MEMORY
from zoo.errors import MemoryLimitError, PluginError, ZooError
from zoo.registry import Registry, use_registry
from zoo.sources import find_again
from zoo.storage import finite

# The words of torch's CPU allocator, which raises a plain RuntimeError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


def main() -> None:
    """Do one job and leave; the exit code says nothing, the last event does."""
    channel = _take_stdout()
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    die_first()

    def tell(event: str, **facts: Any) -> None:
        channel.write(json.dumps(finite({"event": event, **facts})) + "\n")
        channel.flush()

    tell("result", **_do(job, tell))
    sys.stderr.flush()
    os._exit(0)  # plugins may have left threads or exit handlers that hang


def _do(job: dict[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """Do the job; errors become a result."""
    try:
        with use_registry(_load_plugins(job["plugins"])):
            result: dict[str, Any] = pkgutil.resolve_name(job["work"])(job, tell)
            return result
    except ZooError as error:
        return {"status": FAILED, "note": str(error), "exit_code": error.exit_code}
    except MemoryError as error:
        return _no_memory(str(error) or "the interpreter got no memory")
    except Exception as error:
        text = str(error).strip().splitlines() or [""]
        if type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _NO_MEMORY):
            return _no_memory(text[0])
        return {"status": FAILED, "note": f"{type(error).__name__}: {text[0]}", "exit_code": PluginError.exit_code}


def _no_memory(cause: str) -> dict[str, Any]:
    return {"status": OUT_OF_MEMORY, "note": f"out of memory: {cause}", "exit_code": MemoryLimitError.exit_code}


def _load_plugins(plugins: list[list[str]]) -> Registry:
    """Load what the asking process has loaded, by name and source."""
    registry = Registry.from_plugins([])
    for name, text in plugins:
        for source in find_again(name, text):
            registry.add_source(source)
    return registry


def _take_stdout() -> TextIO:
    """Return a stream to the asking process, and send what others print to stderr."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return channel


def _leave_with_parent() -> None:
    """End the process once the other end of stdin is closed."""
    while sys.stdin.readline():
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
