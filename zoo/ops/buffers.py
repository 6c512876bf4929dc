"""Large CPU tensors in memory that is used again.

The first touch of fresh memory costs more than most ops: on 2 cores of an AMD EPYC a new 2048x4096 float32 result takes 16 ms of page
faults where normalization takes 3. So memory of tensors that are gone is kept for the next ones of the same size, on huge pages where the
system has them.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import weakref
from collections.abc import Sequence
from queue import Empty, SimpleQueue

import numpy as np
import torch
from torch import Tensor

LEAST_BYTES = 1 << 20
"""Smaller tensors come from torch, whose allocator keeps their memory itself."""

IDLE_BYTES = 512 << 20
"""Most bytes that are kept while no tensor uses them."""

_HUGE_PAGE = 2 << 20

# Free memory by size. Only what is safe inside a finalizer, which may run in the middle of anything: SimpleQueue is, a lock is not.
_idle: dict[int, SimpleQueue[mmap.mmap]] = {}


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32, *, pinned: bool = False) -> Tensor:
    """Return an uninitialised contiguous CPU tensor; its memory comes back here once the last tensor that shares it is gone.

    A tensor like any other, save that it cannot be resized in place. Safe in threads and in forked children.

    Args:
        shape: any. dtype: any.
        pinned: in memory that a GPU can copy from while other work goes on. It comes from torch, which keeps it for later itself, and not
            before the copies from it are done.

    Raises:
        RuntimeError: there is not so much memory, as ``torch.empty`` raises it, or none can be pinned because torch sees no GPU.
    """
    if pinned:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
    count = 1
    for side in shape:
        count *= side
    size = count * dtype.itemsize
    if size < LEAST_BYTES:
        return torch.empty(tuple(shape), dtype=dtype)
    whole = -(-size // _HUGE_PAGE) * _HUGE_PAGE
    try:
        block = _idle.setdefault(whole, SimpleQueue()).get_nowait()
    except Empty:
        try:
            block = _reserve(whole)
        except OSError:
            return torch.empty(tuple(shape), dtype=dtype)
    # The array, which the tensor keeps alive, tells when the memory is free: a mapping has no finalizer of its own.
    array = np.frombuffer(block, dtype=np.uint8, count=size, offset=_start(block))
    weakref.finalize(array, _take_back, whole, block).atexit = False
    return torch.from_numpy(array).view(dtype).view(tuple(shape))


def empty_for(image: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor on the device of ``image``: an `empty` one on CPUs, a fake one beside a fake ``image``."""
    if image.device.type == "cpu" and type(image) is Tensor:
        return empty(shape, dtype)
    return image.new_empty(tuple(shape), dtype=dtype)


def idle_bytes() -> int:
    """Return how much memory waits for its next tensor."""
    return sum(size * blocks.qsize() for size, blocks in list(_idle.items()))


def clear() -> None:
    """Give the memory that waits back to the system."""
    for blocks in list(_idle.values()):
        while not blocks.empty():
            blocks.get_nowait()


def _reserve(size: int) -> mmap.mmap:
    """New memory that holds ``size`` bytes from a multiple of a huge page on. Raises: OSError: there is none."""
    block = mmap.mmap(-1, size + _HUGE_PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _start(block: mmap.mmap) -> int:
    """Offset of the first multiple of a huge page."""
    return -ctypes.addressof(ctypes.c_char.from_buffer(block)) % _HUGE_PAGE


def _take_back(size: int, block: mmap.mmap) -> None:
    """Keep memory whose last tensor is gone, or let it go where enough is kept."""
    if idle_bytes() + size <= IDLE_BYTES:
        _idle[size].put(block)
