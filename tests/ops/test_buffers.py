"""Memory of large results that is used again."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from zoo.ops import buffers, decode, normalize

SHAPE = (3, 512, 1024)  # 6 MiB of float32


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    gc.collect()
    buffers.clear()
    yield
    gc.collect()
    buffers.clear()


def test_memory_comes_back_when_the_last_tensor_that_shares_it_is_gone() -> None:
    image = buffers.empty(SHAPE)
    address, row = image.data_ptr(), image[1, 7]
    assert (image.shape, image.dtype, image.is_contiguous(), address % (2 << 20)) == (SHAPE, torch.float32, True, 0)
    del image
    assert buffers.idle_bytes() == 0
    row.fill_(3.0)
    other = buffers.empty(SHAPE)
    assert other.data_ptr() != address
    del row
    assert buffers.idle_bytes() == 6 << 20
    assert buffers.empty((6 << 20,), torch.uint8).data_ptr() == address


def test_small_tensors_come_from_torch() -> None:
    tensor = buffers.empty((10, 10), torch.bfloat16)
    assert (tensor.shape, tensor.dtype) == ((10, 10), torch.bfloat16)
    assert buffers.empty((0, 5)).shape == (0, 5)
    del tensor
    assert buffers.idle_bytes() == 0


def test_no_more_than_a_limit_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "IDLE_BYTES", 13 << 20)
    held = [buffers.empty(SHAPE) for _ in range(4)]
    assert len({tensor.data_ptr() for tensor in held}) == 4
    held.clear()
    assert buffers.idle_bytes() == 12 << 20
    buffers.clear()
    assert buffers.idle_bytes() == 0


def test_without_memory_the_error_is_that_of_torch() -> None:
    with pytest.raises(RuntimeError, match="allocate memory"):
        buffers.empty((1 << 60,), torch.uint8)


def test_threads_never_share_memory() -> None:
    wrong: list[int] = []

    def work(value: int) -> None:
        for _ in range(50):
            mine = buffers.empty((1 << 20,), torch.uint8).fill_(value)
            if not bool((mine == value).all()):
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert buffers.idle_bytes() <= 4 * 2 * (2 << 20)  # a thread asks for the next before it drops the last


def test_results_of_ops_use_the_memory_of_earlier_ones() -> None:
    image = torch.rand(SHAPE)
    first = normalize(image)
    address = first.data_ptr()
    del first
    assert decode(image).data_ptr() == address


def test_fake_results_take_no_memory() -> None:
    with FakeTensorMode():
        assert normalize(torch.empty(SHAPE)).shape == SHAPE
    assert buffers.idle_bytes() == 0
