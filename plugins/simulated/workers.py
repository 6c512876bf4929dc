"""Rendering by several processes.

The processes are started as ``python -m zoo.plugins.simulated.workers`` and take their tasks as lines of JSON. Those of ``multiprocessing``
import the caller's main module again, which fails in a script without a guard, in ``python -c`` and on standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from zoo.errors import StorageError, UsageError, ZooError
from zoo.plugins.simulated.recipe import Recipe, exposures_by_path, render_target

Progress = Callable[[int, int], None]
"""Called with the number of exposures that are ready, and of all."""


def render(recipe: Recipe, folder: Path, *, workers: int = 2, progress: Progress | None = None) -> None:
    """Render the exposures of a recipe whose files are not in ``folder``.

    Every exposure depends on the seed, its target and its number alone, so any number of processes gives the same bits, and a rendering
    that was stopped goes on where it was.

    Args:
        recipe: the data set.
        folder: where its files lie.
        workers: processes; 1 renders in this one.
        progress: called in one thread at a time, first with what is there already.

    Raises:
        UsageError: ``workers`` is below 1. StorageError: a file cannot be written, or a process ended early.
    """
    if workers < 1:
        raise UsageError(f"simulated: workers is {workers}, expected 1 or more")
    plan = exposures_by_path(recipe)
    missing: dict[int, list[str]] = {}
    for path, exposure in plan.items():
        if not (folder / path).is_file():
            missing.setdefault(exposure.target.index, []).append(path)
    if not missing:
        return
    ready, lock = len(plan) - sum(map(len, missing.values())), threading.Lock()

    def report(more: int) -> None:
        nonlocal ready
        with lock:
            ready += more
            if progress is not None:
                progress(ready, len(plan))

    report(0)
    if workers == 1 or len(missing) == 1:
        for paths in missing.values():
            report(render_target(recipe, folder, paths))
        return
    _render_apart(recipe, folder, list(missing.values()), workers, report)


def _render_apart(recipe: Recipe, folder: Path, targets: list[list[str]], workers: int, report: Callable[[int], None]) -> None:
    """Hand the targets to processes, one at a time to whichever is free."""
    tasks = deque({"recipe": asdict(recipe), "folder": str(folder.absolute()), "paths": paths} for paths in targets)
    # The processes find zoo where this one found it, and share the cores without threads of their own.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "zoo.plugins.simulated.workers"]

    def serve(process: subprocess.Popen[str]) -> None:
        while True:
            try:
                task = tasks.popleft()
            except IndexError:
                return
            try:
                report(_ask(process, task))
            except BaseException:
                tasks.clear()
                raise

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment))
            for _ in range(min(workers, len(targets)))
        ]
        try:
            for future in [pool.submit(serve, process) for process in processes]:
                future.result()
        finally:
            tasks.clear()


def _ask(process: subprocess.Popen[str], task: Mapping[str, object]) -> int:
    """Have a process render one target; returns the number of exposures that it wrote."""
    if process.stdin is None or process.stdout is None:
        raise StorageError("a rendering process has no pipes")
    answer = ""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    if not answer:
        raise StorageError(f"a rendering process ended early (exit status {process.wait()}), expected an answer; try the option workers=1")
    result = json.loads(answer)
    if "error" in result:
        raise StorageError(result["error"])
    return int(result["written"])


def main() -> None:
    """Render one target per line of standard input, and answer each with a line."""
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        for line in sys.stdin:
            task = json.loads(line)
            answer: dict[str, object]
            try:
                answer = {"written": render_target(Recipe(**task["recipe"]), Path(task["folder"]), task["paths"])}
            except ZooError as err:
                answer = {"error": str(err)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
