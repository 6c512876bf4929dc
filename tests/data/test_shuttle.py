"""Copies to and from a device: the order of what is asked of CUDA, seen by a stand-in, and the same results on every device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from zoo.data.shuttle import Shuttle
from zoo.ops import buffers


class Recorder:
    """Stands for torch.cuda, its streams, events and tensors; writes down what is asked of it, and on which stream."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current = "main"

    def Stream(self, device: Any) -> Stream:  # noqa: N802 - the name of torch
        return Stream(self, "side")

    def current_stream(self, device: Any) -> Stream:
        return Stream(self, self.current)

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream.name
        yield
        self.current = before


class Stream:
    def __init__(self, cuda: Recorder, name: str) -> None:
        self.cuda, self.name = cuda, name

    def record_event(self) -> Event:
        self.cuda.log.append(f"event on {self.name}")
        return Event(self.cuda, self.name)

    def wait_event(self, event: Event) -> None:
        self.cuda.log.append(f"{self.name} waits for {event.stream}")


class Event:
    def __init__(self, cuda: Recorder, stream: str) -> None:
        self.cuda, self.stream = cuda, stream

    def synchronize(self) -> None:
        self.cuda.log.append(f"host waits for {self.stream}")


class Images:
    """Stands for a tensor."""

    shape, dtype, device = (2, 3), torch.float64, torch.device("cuda")

    def __init__(self, cuda: Recorder) -> None:
        self.cuda = cuda

    def to(self, device: torch.device, *, non_blocking: bool) -> Images:
        self.cuda.log.append(f"copy to {device.type} on {self.cuda.current}, non_blocking={non_blocking}")
        return Images(self.cuda)

    def record_stream(self, stream: Stream) -> None:
        self.cuda.log.append(f"memory in use on {stream.name}")

    def copy_(self, source: Images, *, non_blocking: bool) -> None:
        self.cuda.log.append(f"copy back on {self.cuda.current}, non_blocking={non_blocking}")


def recorded() -> tuple[Recorder, Shuttle]:
    cuda = Recorder()
    return cuda, Shuttle(torch.device("cuda"), cuda=cuda, pin=lambda shape, dtype: Images(cuda))


def test_a_batch_is_copied_beside_the_model_which_waits_for_it() -> None:
    cuda, shuttle = recorded()
    sent = shuttle.send(Images(cuda))  # type: ignore[arg-type]
    assert cuda.log == ["copy to cuda on side, non_blocking=True", "event on side"]
    cuda.log.clear()
    assert sent.wait() is sent.tensor
    assert cuda.log == ["main waits for side", "memory in use on main"]
    assert shuttle.overlaps


def test_a_result_is_copied_behind_the_model_and_the_host_waits_only_when_asked() -> None:
    cuda, shuttle = recorded()
    fetched = shuttle.fetch(Images(cuda))  # type: ignore[arg-type]
    assert cuda.log == ["copy back on main, non_blocking=True", "event on main"]
    cuda.log.clear()
    fetched.wait()
    assert cuda.log == ["host waits for main"]


def test_on_the_cpu_nothing_is_copied() -> None:
    shuttle, images = Shuttle(torch.device("cpu")), torch.rand(2, 3)
    assert shuttle.send(images).wait() is images
    assert shuttle.fetch(images).wait() is images
    assert not shuttle.overlaps


def test_a_round_trip_changes_nothing(device: torch.device) -> None:
    shuttle = Shuttle(device)
    for seed in range(3):
        images = buffers.empty((2, 1, 64, 128), pinned=device.type == "cuda").copy_(torch.rand(2, 1, 64, 128))
        there = shuttle.send(images).wait()
        assert there.device.type == device.type
        assert torch.equal(shuttle.fetch(there * 2 + seed).wait(), images * 2 + seed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_memory_cannot_be_pinned_without_a_gpu() -> None:
    with pytest.raises(RuntimeError):
        buffers.empty((4,), pinned=True)


@pytest.mark.needs_cuda
def test_pinned_batches_are_pinned() -> None:
    assert buffers.empty((4, 1, 64, 128), pinned=True).is_pinned()
