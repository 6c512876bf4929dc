"""Tensors of more than 2^31 elements, where a 32-bit index wraps: each op on a single frame of one or two bytes per pixel.

On the CPU inputs lie in fresh memory of the pool: zeros that were never written take none, and a result in bfloat16 takes 4 GiB on huge
pages. The stem is left out, since a convolution of so large an image takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from zoo.costs.memory import available_bytes, free_on
from zoo.ops import Encoding, Linear, Region, blur, buffers, decode, frame_statistics, normalize

SHAPE = HEIGHT, WIDTH = (1 << 15) + 1, 1 << 16  # 2^31 + 2^16 pixels
MARKS = [0, 1 << 14, HEIGHT - 2, HEIGHT - 1]  # rows that are not zero; the last one lies beyond 2^31

pytestmark = pytest.mark.full_size


@pytest.fixture(autouse=True)
def _room(device: torch.device) -> Iterator[None]:
    buffers.clear()  # or memory that was written would come again
    for name, free in (("the machine", available_bytes()), (device.type, free_on(device))):
        if free is not None and free < 10 << 30:
            pytest.skip(f"needs 10 GiB of memory, {name} has {free >> 20} MiB free")
    yield
    buffers.clear()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def empty(device: torch.device, dtype: torch.dtype) -> Tensor:
    return buffers.empty(SHAPE, dtype) if device.type == "cpu" else torch.zeros(SHAPE, dtype=dtype, device=device)


def marked(device: torch.device, dtype: torch.dtype) -> Tensor:
    image = empty(device, dtype)
    for number, row in enumerate(MARKS):
        image[row] = (torch.arange(WIDTH, device=device) % 61 + number).to(dtype)
    return image


def test_decode_normalize_and_statistics(device: torch.device) -> None:
    image, encoding = marked(device, torch.uint8), Encoding(8)
    found = frame_statistics(image, encoding, quantiles=(0.0, 0.5, 1.0))
    assert (found.count.item(), found.quantiles.tolist()) == (HEIGHT * WIDTH, [0, 0, 63])
    assert found.mean.item() == pytest.approx(image[MARKS].sum().item() / (HEIGHT * WIDTH), rel=1e-12)
    out = empty(device, torch.bfloat16)
    decode(image, encoding, out=out)
    assert torch.equal(out[MARKS], image[MARKS].to(out.dtype))
    limits = torch.tensor([0.0, 256.0], dtype=torch.float64, device=device)
    normalize(image, encoding, limits=limits, stretch=Linear(), out=out)
    assert torch.equal(out[MARKS] * 256, image[MARKS].to(out.dtype))
    out[MARKS] = 0
    assert [value.item() for value in out.view(torch.int16).aminmax()] == [0, 0]


def test_bytes_of_longer_pixels(device: torch.device) -> None:
    image, encoding = marked(device, torch.uint8), Encoding(16)
    found = frame_statistics(image, encoding, quantiles=(0.0, 1.0))
    last = image[-1].view(-1, 2).double()  # the largest values
    assert (found.count.item(), found.max.item()) == (image.numel() // 2, (256 * last[:, 0] + last[:, 1]).max().item())
    corner = decode(image, encoding, regions=[Region(HEIGHT - 3, WIDTH // 2 - 100, 3, 100)])
    assert torch.equal(corner[2].double(), (256 * last[:, 0] + last[:, 1])[-100:])
    assert torch.equal(corner[0], torch.zeros_like(corner[0]))


def test_blur(device: torch.device) -> None:
    image = marked(device, torch.bfloat16)
    out = blur(image, 0.5, out=empty(device, torch.bfloat16))
    start, end = blur(image[:9], 0.5), blur(image[-9:], 0.5)
    assert torch.equal(out[:4], start[:4])
    assert torch.equal(out[-4:], end[-4:])
    assert out[-4:].count_nonzero() > 2 * WIDTH
    middle = blur(image[MARKS[1] - 9 : MARKS[1] + 10], 0.5)
    assert torch.equal(out[MARKS[1] - 4 : MARKS[1] + 5], middle[5:14])
    assert out[4096:8192].count_nonzero() == 0
