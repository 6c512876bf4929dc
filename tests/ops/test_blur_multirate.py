"""The blur at two rates beside the ideal Gaussian, which a kernel of nine sigma is to float64."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch

from zoo.errors import UsageError
from zoo.ops import blur

MODES = ("reflect", "mirror", "nearest", "constant", "wrap")


@pytest.fixture(params=["native", "reference"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the compiled kernels and with pure torch."""
    module = importlib.import_module("zoo.ops.blur_multirate")
    if request.param == "reference":
        monkeypatch.setattr(module, "native", lambda: None)
    elif module.native() is None:
        pytest.skip("zoo._native is not built")
    return str(request.param)


def frames(*shape: int, dtype: torch.dtype = torch.float64, nan: float = 0.0) -> torch.Tensor:
    """Pixels from 0 to 100, a fraction of them NaN; the same ones in every call."""
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(shape, generator=generator, dtype=torch.float64) * 100
    if nan:
        image[torch.rand(shape, generator=generator) < nan] = math.nan
    return image.to(dtype)


def ideal(image: torch.Tensor, sigma: Any, **options: Any) -> torch.Tensor:
    return blur(image.double(), sigma, truncate=9.0, **options)


def worst(got: torch.Tensor, want: torch.Tensor) -> float:
    """The largest error, in units of the range of the pixels."""
    assert torch.equal(got.isnan(), want.isnan())
    return ((got.double() - want).nan_to_num().abs().max() / 100).item()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sigma", [8.0, 16.0, (33.0, 9.5), (0.0, 20.0), (12.0, 0.7)], ids=str)
def test_multirate_is_the_ideal_gaussian(device: torch.device, kernel: str, mode: str, sigma: Any) -> None:
    image = frames(2, 67, 150).to(device)
    want = ideal(image, sigma, mode=mode, cval=7.0)
    assert worst(blur(image, sigma, mode=mode, cval=7.0, method="multirate"), want) <= 4e-8
    assert worst(blur(image.float(), sigma, mode=mode, cval=7.0, method="multirate"), want) <= 3e-7


@pytest.mark.parametrize(("sigma", "most"), [(8.0, 2e-9), (15.9, 2e-9), (16.0, 3.5e-8), (32.0, 6e-8), (64.0, 6e-8), (300.0, 6e-8)])
def test_multirate_gives_no_wave_what_a_gaussian_does_not(sigma: float, most: float) -> None:
    axis = importlib.import_module("zoo.ops.blur_multirate")._axis(sigma)
    place = torch.arange(len(axis.taps), dtype=torch.float64) - (len(axis.taps) - 1) / 2
    distance = torch.arange(1, len(axis.coarse_taps), dtype=torch.float64)
    frequency = torch.linspace(0, 0.5, 1001, dtype=torch.float64)

    def filtered(f: torch.Tensor) -> torch.Tensor:
        return torch.cos(2 * math.pi * torch.outer(f, place)) @ axis.taps

    coarse = torch.cos(2 * math.pi * torch.outer(frequency * axis.step, distance)) @ axis.coarse_taps[1:] * 2 + axis.coarse_taps[0]
    kept = filtered(frequency) * coarse
    wanted = torch.exp(-2 * (math.pi * sigma * frequency) ** 2)
    error = (kept * filtered(frequency) - wanted).abs() + sum(
        (kept * filtered(frequency + m / axis.step)).abs() for m in range(1, axis.step)
    )
    assert error.max() <= most


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (5, 64)], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_multirate_holds_on_frames_smaller_than_the_kernel(device: torch.device, kernel: str, mode: str, shape: Any) -> None:
    image = frames(*shape).to(device)
    assert worst(blur(image, 16.0, mode=mode, method="multirate"), ideal(image, 16.0, mode=mode)) <= 4e-8


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("cval", [2.0, math.nan])
def test_multirate_interpolates_nan(device: torch.device, kernel: str, mode: str, cval: float) -> None:
    image = frames(60, 90, nan=0.2).to(device)
    options: Any = {"mode": mode, "cval": cval, "nan_treatment": "interpolate", "preserve_nan": True}
    want = ideal(image, 9.0, **options)
    assert worst(blur(image, 9.0, method="multirate", **options), want) <= 1e-7
    assert worst(blur(image.float(), 9.0, method="multirate", **options), want) <= 1e-6
    options = {"nan_treatment": "fill", "fill_value": 30.0}
    assert worst(blur(image, 9.0, method="multirate", **options), ideal(image, 9.0, **options)) <= 4e-8


def test_multirate_gives_nan_far_from_valid_pixels(device: torch.device, kernel: str) -> None:
    image = torch.full((8, 400), math.nan, device=device)
    image[:, :40] = 3.0
    got = blur(image, 16.0, nan_treatment="interpolate", method="multirate")
    torch.testing.assert_close(got[:, :60], torch.full((8, 60), 3.0, device=device), rtol=1e-5, atol=0)
    assert got[:, 150:].isnan().all()


def test_multirate_takes_one_sigma_per_frame_and_any_strides(device: torch.device, kernel: str) -> None:
    image = frames(3, 40, 70, dtype=torch.float32).to(device).mT
    sigmas = torch.tensor([[8.0, 20.0], [16.0, 16.0], [0.0, 9.0]])
    out = torch.empty(3, 40, 70, device=device).mT
    assert blur(image, sigmas, method="multirate", out=out) is out
    for frame, sigma, result in zip(image, sigmas.tolist(), out, strict=True):
        assert torch.equal(result, blur(frame, (sigma[0], sigma[1]), method="multirate"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_multirate_of_short_floats_rounds_the_float32_result_once(device: torch.device, dtype: torch.dtype) -> None:
    image = frames(30, 150, dtype=dtype).to(device)
    want = blur(image.float(), 16.0, method="multirate").to(dtype)
    torch.testing.assert_close(blur(image, 16.0, method="multirate"), want, rtol=torch.finfo(dtype).eps, atol=0)


def test_multirate_gives_the_same_bits_for_any_thread_count(torch_threads: Any) -> None:
    image = frames(2, 310, 611, dtype=torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch_threads(threads)
        results.append(blur(image, 16.0, method="multirate"))
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("mode", MODES)
def test_multirate_has_the_gradients_of_the_ideal_gaussian(device: torch.device, mode: str) -> None:
    weights = frames(2, 12, 30).to(device)
    gradients = []
    for options in ({"method": "multirate"}, {"truncate": 6.0}):
        image, sigma = frames(2, 12, 30).to(device).requires_grad_(), torch.tensor([9.0, 16.0], requires_grad=True, dtype=torch.float64)
        loss = (blur(image, sigma, mode=mode, **options) * weights).sum()
        gradients.append(torch.autograd.grad(loss, (image, sigma)))
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-5)


def test_multirate_passes_opcheck(device: torch.device) -> None:
    arguments = (torch.tensor([[9.0, 16.0]], dtype=torch.float64), "reflect", 0.0, 4.0, "propagate", 0.0, False, "multirate")
    image = frames(2, 6, 20).to(device)
    torch.library.opcheck(torch.ops.zoo.blur.default, (image.requires_grad_(), *arguments))


def test_multirate_is_a_method_among_two() -> None:
    with pytest.raises(UsageError, match="method must be one of direct, multirate, got 'fast'"):
        blur(torch.zeros(4, 4), 16.0, method="fast")
