"""Starting several processes of zoo as a user would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).parent / "processes_plugin.py"
TIMEOUT_S = 100  # a run takes 5 to 20 s; this ends one that hangs


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    """The environment of a run; one thread, as the test itself has when it compares bits."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **variables}


def start(arguments: list[str], *, processes: int = 2, restarts: int = 0, **variables: str) -> subprocess.Popen[str]:
    """Start ``torchrun ... -m zoo ARGUMENTS``, or zoo alone for one process."""
    launcher = [
        *("torch.distributed.run", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"),
        *(f"--master-port={free_port()}", "-m"),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", *(launcher if processes > 1 else []), "zoo", "--plugin", str(PLUGIN), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )


def run(arguments: list[str], *, processes: int = 2, restarts: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """As `start`, and wait for the end."""
    with start(arguments, processes=processes, restarts=restarts, **variables) as process:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)
