"""What a launcher such as ``torchrun`` tells each process that it starts. Needs no torch."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from zoo.errors import UsageError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together; by default it is alone.

    Attributes:
        rank, size: its number, from 0, among all ``size`` processes; rank 0 writes and prints.
        local_rank, local_size: likewise among those of this machine.
        restarts: how often the launcher started the processes again because one had failed.
        job: what stays the same over these restarts; empty for a process that was started by hand.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0
    job: str = ""

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Launch:
        """Read the variables of ``torchrun``; without ``WORLD_SIZE`` and ``RANK`` the process is alone.

        Raises:
            UsageError: a variable is missing, or is no number.
        """
        if "WORLD_SIZE" not in environment or "RANK" not in environment:
            return cls()
        missing = [name for name in NEEDED if not environment.get(name)]
        if missing:
            raise UsageError(
                f"got WORLD_SIZE={environment['WORLD_SIZE']} without {', '.join(missing)}; start with torchrun, which sets all of them"
            )
        size, rank = _number(environment, "WORLD_SIZE", 1), _number(environment, "RANK", 0)
        if not 0 <= rank < size:
            raise UsageError(f"got RANK={rank} with WORLD_SIZE={size}, expected a rank from 0 to {size - 1}")
        # A single-node torchrun calls every job "none"; its own process is what its workers have in common over restarts.
        job = environment.get("TORCHELASTIC_RUN_ID", "")
        return cls(
            rank=rank,
            size=size,
            local_rank=_number(environment, "LOCAL_RANK", rank),
            local_size=_number(environment, "LOCAL_WORLD_SIZE", size),
            restarts=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
            job=f"{socket.gethostname()}:{os.getppid()}" if job == "none" else job,
        )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    try:
        return int(text)
    except ValueError as err:
        raise UsageError(f"the environment variable {name} is {text!r}, expected a whole number; torchrun sets it") from err
