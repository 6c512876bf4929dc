"""A fixed piece of work that is timed in turn with what is measured, so that a slow hour of the machine can be told from slower code."""

from __future__ import annotations

import torch

from zoo.profiling.samples import Lap
from zoo.profiling.sampling import Clock

# Side of the matrices and float32 values of the copy: some 10 ms of work on one core, and some 3 ms on a large GPU.
SIZES = {"cpu": (640, 1 << 22), "cuda": (4096, 1 << 28)}


class Calibration:
    """A matrix product, which is bound by arithmetic, and a copy, which is bound by memory: what networks are made of.

    Both write into memory that exists, so what the heap does is none of its time. It runs on the threads of torch, as the model does, so
    that what disturbs one of them disturbs the other. Its tensors are made before those of the model and are in no figure of its memory.

    Args:
        device: where it runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._clock = Clock(device)
        side, length = SIZES[device.type]
        self._left, self._right, self._product = (torch.ones(side, side, device=device) for _ in range(3))
        self._source, self._target = (torch.zeros(length, device=device) for _ in range(2))
        for _ in range(3):
            self._run()

    def __call__(self) -> Lap:
        """Do the work once and return its times."""
        return self._clock(self._run)

    def _run(self) -> None:
        torch.mm(self._left, self._right, out=self._product)
        self._target.copy_(self._source)
