"""Batches on their way to a GPU and results on their way back, copied while the model works on another batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.ops import buffers


@dataclass(frozen=True)
class Sent:
    """A batch that is being copied to the device.

    Attributes:
        tensor: there; not to be used before `wait`.
        source: where it comes from, which has to stay as it is meanwhile; kept alive here.
    """

    tensor: Tensor
    source: Tensor
    _copied: Any = None
    _cuda: Any = None

    def wait(self) -> Tensor:
        """Return the batch; what is launched on the device's current stream from now on follows the copy. This thread does not wait."""
        if self._copied is not None:
            current = self._cuda.current_stream(self.tensor.device)
            current.wait_event(self._copied)
            # Its memory belongs to the stream of the copies, which must not give it to the next batch while the model still reads it.
            self.tensor.record_stream(current)
        return self.tensor


@dataclass(frozen=True)
class Fetched:
    """A result that is being copied from the device."""

    _tensor: Tensor
    _copied: Any = None

    def wait(self) -> Tensor:
        """Return the result on the CPU, once it is there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensor


class Shuttle:
    """Carries batches to a device and results back.

    On CUDA batches have a stream of their own: where they lie in pinned memory (``buffers.empty(..., pinned=True)``), one is copied while
    the model works on the batch before. Results are copied behind the work that makes them, and nobody waits for them but `Fetched.wait`.
    On any other device both are ``Tensor.to``, at once.

    Args:
        device: where the model works.
        cuda: what stands for ``torch.cuda``, in tests.
        pin: makes an empty tensor of a shape and dtype in pinned memory.
    """

    def __init__(self, device: torch.device, *, cuda: Any = torch.cuda, pin: Any = None) -> None:
        self.device, self._cuda = device, cuda
        self._pin = pin or (lambda shape, dtype: buffers.empty(shape, dtype, pinned=True))
        self.overlaps = device.type == "cuda"
        self._stream = cuda.Stream(device) if self.overlaps else None

    def send(self, images: Tensor) -> Sent:
        """Begin to copy a batch, of any shape and dtype, to the device."""
        if self._stream is None:
            return Sent(images.to(self.device), images)
        with self._cuda.stream(self._stream):
            moved = images.to(self.device, non_blocking=True)
            return Sent(moved, images, self._stream.record_event(), self._cuda)

    def fetch(self, values: Tensor) -> Fetched:
        """Begin to copy a result, made on the device's current stream, to the CPU."""
        if self._stream is None:
            return Fetched(values.cpu())
        host = self._pin(values.shape, values.dtype)
        host.copy_(values, non_blocking=True)
        return Fetched(host, self._cuda.current_stream(self.device).record_event())
