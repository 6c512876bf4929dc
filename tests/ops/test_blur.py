"""The Gaussian blur against scipy and astropy, its gradients, and its behaviour as a torch op."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from astropy.convolution import convolve

from zoo.errors import UsageError
from zoo.ops import blur
from zoo.ops.blur_reference import gaussian_taps

MODES = ("reflect", "mirror", "nearest", "constant", "wrap")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@pytest.fixture(params=["native", "reference"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the compiled kernels and with pure torch."""
    module = importlib.import_module("zoo.ops.blur_kernels")
    if request.param == "reference":
        monkeypatch.setattr(module, "native", lambda: None)
    elif module.native() is None:
        pytest.skip("zoo._native is not built")
    return str(request.param)


def frames(*shape: int, dtype: torch.dtype = torch.float32, nan: float = 0.0) -> torch.Tensor:
    """Positive pixels with a bright one, a fraction of them NaN; the same ones in every call."""
    generator = torch.Generator().manual_seed(7)
    image = torch.rand(shape, generator=generator, dtype=torch.float64) * 100
    image[..., shape[-2] // 2, shape[-1] // 3] = 1000.0
    if nan:
        image[torch.rand(shape, generator=generator) < nan] = math.nan
    return image.to(dtype)


def scipy_blur(image: torch.Tensor, sigma: Any, **options: Any) -> torch.Tensor:
    return torch.from_numpy(scipy.ndimage.gaussian_filter(image.double().numpy(), sigma, **options))


def assert_near(got: torch.Tensor, want: torch.Tensor, of_peak: float) -> None:
    assert torch.equal(got.isnan().cpu(), want.isnan())
    worst = (got.cpu().double() - want).nan_to_num().abs().max() / want.nan_to_num().abs().max()
    assert worst <= of_peak, f"off by {worst:.2e} of the peak"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 2.7, 16.0, 60.0, (0.0, 3.0), (1.5, 0.0), (0.7, 9.0)], ids=str)
def test_blur_matches_scipy(device: torch.device, kernel: str, mode: str, sigma: Any) -> None:
    image = frames(37, 150)
    want = scipy_blur(image, sigma, mode=mode, cval=5.0)
    assert_near(blur(image.to(device), sigma, mode=mode, cval=5.0), want, 3e-7)
    assert_near(blur(image.double().to(device), sigma, mode=mode, cval=5.0), want, 3e-15)


@pytest.mark.parametrize("truncate", [0.1, 1.0, 2.5, 6.0])
def test_blur_matches_scipy_for_any_truncate(device: torch.device, kernel: str, truncate: float) -> None:
    image = frames(20, 30)
    assert_near(blur(image.to(device), 1.7, truncate=truncate), scipy_blur(image, 1.7, truncate=truncate), 3e-7)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 3)], ids=str)
def test_blur_matches_scipy_on_frames_smaller_than_the_kernel(device: torch.device, kernel: str, mode: str, shape: Any) -> None:
    image = frames(*shape)
    assert_near(blur(image.to(device), 4.0, mode=mode), scipy_blur(image, 4.0, mode=mode), 3e-7)


def test_blur_matches_scipy_on_a_large_frame(device: torch.device, kernel: str) -> None:
    image = frames(300, 2100)  # several blocks of columns and, with two threads, of rows
    assert_near(blur(image.to(device), 2.0), scipy_blur(image, 2.0), 3e-7)


@pytest.mark.parametrize("mode", ["reflect", "wrap"])
@pytest.mark.parametrize("sigma", [0.5, 2.0, 20.0])
def test_blur_conserves_the_total(device: torch.device, kernel: str, mode: str, sigma: float) -> None:
    image = frames(64, 200).to(device)
    total = blur(image, sigma, mode=mode).double().sum().item()
    assert total == pytest.approx(image.double().sum().item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_taps_sum_to_one(dtype: torch.dtype) -> None:
    taps, radii = gaussian_taps(torch.tensor([[0.4, 33.0], [0.0, 1.0]], dtype=torch.float64), 4.0, dtype)
    assert radii.tolist() == [[2, 132], [0, 4]]
    sums = 2.0 * taps.double().sum(-1) - taps[..., 0].double()
    torch.testing.assert_close(sums, torch.ones(2, 2, dtype=torch.float64), rtol=0, atol=1e-7 if dtype == torch.float32 else 1e-15)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blur_with_sigma_zero_is_the_identity(device: torch.device, kernel: str, dtype: torch.dtype) -> None:
    if dtype.itemsize == 2:  # every bit pattern
        image = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype).reshape(256, 256).to(device)
    else:
        image = frames(9, 40, dtype=dtype, nan=0.1).to(device)
        image[0, 0], image[1, 1], image[2, 2] = math.inf, -math.inf, torch.finfo(dtype).tiny / 4
    result = blur(image, 0.0)
    assert torch.equal(result.isnan(), image.isnan())
    assert torch.equal(result.nan_to_num(7.0), image.nan_to_num(7.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_blur_of_short_floats_rounds_the_float32_result_once(device: torch.device, kernel: str, dtype: torch.dtype) -> None:
    exponents = torch.linspace(-26, 15.9, 64 * 64).reshape(64, 64)  # from subnormal results to the largest float16
    image = (torch.exp2(exponents) * (1 + torch.rand(64, 64))).to(dtype).to(device)
    want = blur(image.float(), (0.6, 0.0), truncate=2.0).to(dtype)
    assert torch.equal(blur(image, (0.6, 0.0), truncate=2.0), want)


ASTROPY_BOUNDARY = {"constant": "fill", "nearest": "extend", "wrap": "wrap"}


def astropy_blur(image: torch.Tensor, sigma: float, mode: str, cval: float, **options: Any) -> torch.Tensor:
    taps, _ = gaussian_taps(torch.tensor([[sigma]], dtype=torch.float64), 4.0, torch.float64)
    line = np.concatenate([taps[0, 0].numpy()[:0:-1], taps[0, 0].numpy()])
    options = {"boundary": ASTROPY_BOUNDARY[mode], "fill_value": cval, **options}
    return torch.from_numpy(convolve(image.double().numpy(), np.outer(line, line), normalize_kernel=False, **options))


@pytest.mark.parametrize("mode", ASTROPY_BOUNDARY)
@pytest.mark.parametrize("sigma", [0.5, 1.3, 3.0])
@pytest.mark.parametrize("preserve_nan", [False, True])
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.97])
@pytest.mark.filterwarnings("ignore:nan_treatment='interpolate', however, NaN values detected:astropy.utils.exceptions.AstropyUserWarning")
def test_blur_interpolates_nan_as_astropy(
    device: torch.device, kernel: str, mode: str, sigma: float, preserve_nan: bool, fraction: float
) -> None:
    image = frames(40, 50, nan=fraction)
    want = astropy_blur(image, sigma, mode, 3.0, nan_treatment="interpolate", preserve_nan=preserve_nan)
    options: Any = {"mode": mode, "cval": 3.0, "nan_treatment": "interpolate", "preserve_nan": preserve_nan}
    # A quotient of two rounded sums: worst measured 2.9e-7, by the pure-torch kernel.
    assert_near(blur(image.to(device), sigma, **options), want, 4e-7)
    assert_near(blur(image.double().to(device), sigma, **options), want, 3e-15)


@pytest.mark.parametrize("mode", ASTROPY_BOUNDARY)
@pytest.mark.parametrize("preserve_nan", [False, True])
def test_blur_fills_nan_as_astropy(device: torch.device, kernel: str, mode: str, preserve_nan: bool) -> None:
    image = frames(40, 50, nan=0.2)
    want = astropy_blur(image, 1.3, mode, 6.0, nan_treatment="fill", preserve_nan=preserve_nan)
    got = blur(image.to(device), 1.3, mode=mode, cval=6.0, nan_treatment="fill", fill_value=6.0, preserve_nan=preserve_nan)
    assert_near(got, want, 3e-7)


def test_blur_fill_value_and_cval_are_independent(device: torch.device, kernel: str) -> None:
    image = frames(20, 20, nan=0.2)
    want = scipy_blur(image.nan_to_num(-4.0), 1.0, mode="constant", cval=9.0)
    assert_near(blur(image.to(device), 1.0, mode="constant", cval=9.0, nan_treatment="fill", fill_value=-4.0), want, 3e-7)


def test_blur_propagates_nan_within_the_kernel_only(device: torch.device, kernel: str) -> None:
    image = frames(30, 30).to(device)
    image[12, 20] = math.nan
    expected = torch.zeros(30, 30, dtype=torch.bool)
    expected[12 - 4 : 12 + 5, 20 - 4 : 20 + 5] = True
    assert torch.equal(blur(image, 1.0).isnan().cpu(), expected)


def test_blur_of_nan_only_is_nan(device: torch.device, kernel: str) -> None:
    image = torch.full((6, 9), math.nan, device=device)
    assert blur(image, 1.0, nan_treatment="interpolate").isnan().all()


def test_blur_with_nan_outside_renormalises_at_the_border(device: torch.device, kernel: str) -> None:
    flat = torch.full((20, 25), 3.0, device=device)
    got = blur(flat, 2.0, mode="constant", cval=math.nan, nan_treatment="interpolate")
    torch.testing.assert_close(got, flat, rtol=3e-7, atol=0)
    assert blur(flat, 2.0, mode="constant", cval=math.nan)[0].isnan().all()


def test_blur_takes_one_sigma_or_pair_per_frame(device: torch.device, kernel: str) -> None:
    image = frames(3, 1, 40, 33, nan=0.05).to(device)
    pairs = torch.tensor([[0.5, 2.0], [0.0, 0.0], [6.0, 1.0]])
    got = blur(image, pairs, nan_treatment="interpolate")
    for frame, pair, result in zip(image, pairs.tolist(), got, strict=True):
        torch.testing.assert_close(result, blur(frame, (pair[0], pair[1]), nan_treatment="interpolate"), rtol=0, atol=0, equal_nan=True)
    for shape in ((3,), (3, 1)):
        assert torch.equal(blur(image.nan_to_num(), torch.ones(shape)), blur(image.nan_to_num(), 1.0))
    assert torch.equal(blur(image[0, 0].nan_to_num(), torch.tensor(2.0)), blur(image[0, 0].nan_to_num(), 2.0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nan_treatment", ["propagate", "interpolate", "fill"])
@pytest.mark.parametrize("sigma", [0.8, (2.5, 0.0)], ids=str)
def test_blur_gradient_is_the_transposed_blur(device: torch.device, mode: str, nan_treatment: str, sigma: Any) -> None:
    image = frames(5, 6, dtype=torch.float64, nan=0.0 if nan_treatment == "propagate" else 0.3).to(device)
    valid = ~image.isnan()
    values = image[valid].clone().requires_grad_()

    def function(pixels: torch.Tensor) -> torch.Tensor:
        whole = torch.full_like(image, math.nan).masked_scatter(valid, pixels)
        options: Any = {"mode": mode, "cval": 2.0, "nan_treatment": nan_treatment, "fill_value": 1.0}
        return blur(whole, sigma, preserve_nan=nan_treatment == "fill", **options).nan_to_num()

    assert torch.autograd.gradcheck(function, (values,))


@pytest.mark.parametrize("mode", MODES)
def test_blur_gradient_holds_for_one_sigma_per_frame(device: torch.device, mode: str) -> None:
    image = frames(2, 4, 5, dtype=torch.float64).to(device).requires_grad_()
    sigma = torch.tensor([[0.7, 3.0], [1.5, 0.0]])
    assert torch.autograd.gradcheck(lambda x: blur(x, sigma, mode=mode), (image,))
    assert torch.autograd.gradgradcheck(lambda x: blur(x, sigma, mode=mode) ** 2, (image,))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 5)], ids=str)
def test_blur_gradient_holds_on_narrow_frames(device: torch.device, mode: str, shape: Any) -> None:
    image = frames(*shape, dtype=torch.float64).to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: blur(x, 2.0, mode=mode), (image,))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nan_treatment", ["propagate", "interpolate", "fill"])
def test_blur_gradient_by_sigma(device: torch.device, mode: str, nan_treatment: str) -> None:
    image = frames(2, 5, 6, dtype=torch.float64, nan=0.0 if nan_treatment == "propagate" else 0.3).to(device)
    sigma = torch.tensor([[0.7, 1.45], [2.2, 0.85]], dtype=torch.float64, requires_grad=True)  # no radius changes near them
    options: Any = {"mode": mode, "cval": 2.0, "nan_treatment": nan_treatment, "fill_value": 1.0, "preserve_nan": nan_treatment == "fill"}
    assert torch.autograd.gradcheck(lambda s: blur(image, s, **options).nan_to_num(), (sigma,))


@pytest.mark.parametrize("mode", MODES)
def test_blur_has_second_gradients_by_sigma_and_image(device: torch.device, mode: str) -> None:
    image = (frames(3, 4, dtype=torch.float64) / 100).to(device).requires_grad_()
    sigma = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, s: blur(x, s, mode=mode), (image, sigma))


def test_blur_gradient_by_sigma_with_nan_outside(device: torch.device) -> None:
    image = frames(5, 6, dtype=torch.float64).to(device)
    sigma = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    options: Any = {"mode": "constant", "cval": math.nan, "nan_treatment": "interpolate"}
    assert torch.autograd.gradcheck(lambda s: blur(image, s, **options), (sigma,))


def test_blur_gradient_by_sigma_of_float32_leads_to_the_truth(device: torch.device) -> None:
    image = frames(2, 48, 64).to(device)
    goal = blur(image, 2.3)
    sigma = torch.tensor(1.6, requires_grad=True)
    optimizer = torch.optim.LBFGS([sigma], max_iter=20)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (blur(image, sigma) - goal).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert sigma.item() == pytest.approx(2.3, abs=0.02)
    still = torch.tensor([0.0, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(blur(image, still).sum(), still)
    assert gradient[0] == 0.0


def test_blur_gradient_of_short_floats_has_their_dtype(device: torch.device) -> None:
    image = frames(8, 8, dtype=torch.bfloat16).to(device).requires_grad_()
    (gradient,) = torch.autograd.grad(blur(image, 1.0, mode="wrap").sum(), image)
    torch.testing.assert_close(gradient, torch.ones_like(image))


@pytest.mark.parametrize("nan_treatment", ["propagate", "interpolate"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blur_passes_opcheck(device: torch.device, dtype: torch.dtype, nan_treatment: str) -> None:
    sigma = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    arguments = (sigma, "nearest", 0.0, 4.0, nan_treatment, 0.0, False, "direct")
    image = frames(2, 6, 7, dtype=dtype, nan=0.1 if nan_treatment == "interpolate" else 0.0).to(device)
    torch.library.opcheck(torch.ops.zoo.blur.default, (image.requires_grad_(), *arguments))
    torch.library.opcheck(torch.ops.zoo.blur.out, (image.detach(), *arguments), {"out": torch.empty_like(image).detach()})


def test_blur_derivative_passes_opcheck(device: torch.device) -> None:
    image, sigma = frames(2, 6, 7).to(device), torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    torch.library.opcheck(torch.ops.zoo.blur_derivative.default, (image, sigma.requires_grad_(), 1, 0, "nearest", 4.0))


@pytest.mark.parametrize("mode", MODES)
def test_blur_compiles_without_a_graph_break(device: torch.device, mode: str) -> None:
    image = frames(2, 9, 11).to(device)
    weights = torch.rand(2, 9, 11, device=device)

    def function(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return (blur(x * 2.0, sigma, mode=mode) * weights).sum()

    results = []
    for run in (function, torch.compile(function, fullgraph=True, backend="aot_eager")):
        leaf, sigma = image.clone().requires_grad_(), torch.tensor([1.0, 0.5], requires_grad=True)
        value = run(leaf, sigma)
        results.append((value.detach(), *torch.autograd.grad(value, (leaf, sigma))))
    torch.testing.assert_close(results[1], results[0])


def test_blur_with_out_compiles_without_a_graph_break(device: torch.device) -> None:
    def function(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return blur(x, 1.5, out=out) + 1.0

    image, out = frames(9, 11).to(device), torch.empty(9, 11, device=device)
    got = torch.compile(function, fullgraph=True, backend="aot_eager")(image, out)
    assert torch.equal(out, blur(image, 1.5))
    assert torch.equal(got, out + 1.0)


def test_blur_takes_any_strides_and_leaves_the_image_alone(device: torch.device, kernel: str) -> None:
    big = frames(3, 40, 60, nan=0.02).to(device)
    for image in (big.mT, big[:, ::2, 5:], big[..., ::3].transpose(0, 1), big[:1].expand(4, 40, 60)):
        before = image.clone()
        want = blur(image.contiguous(), 1.2, nan_treatment="interpolate")
        out = torch.empty(image.shape[::-1], device=device).permute(2, 1, 0)
        returned = blur(image, 1.2, nan_treatment="interpolate", out=out)
        assert returned is out
        torch.testing.assert_close(out, want, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(blur(image, 1.2, nan_treatment="interpolate"), want, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(image, before, rtol=0, atol=0, equal_nan=True)


def test_blur_writes_to_out_only_inside_it(device: torch.device) -> None:
    buffer = torch.full((3, 12, 70), -1.0, device=device)
    image = frames(12, 70).to(device)
    blur(image, 1.0, out=buffer[1])
    assert torch.equal(buffer[1], blur(image, 1.0))
    assert (buffer[[0, 2]] == -1.0).all()


@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6), (2, 5, 0), (0, 0)], ids=str)
def test_blur_of_nothing_is_nothing(device: torch.device, shape: Any) -> None:
    image = torch.empty(shape, device=device, requires_grad=True)
    result = blur(image, 1.0, mode="nearest")
    assert result.shape == shape
    (gradient,) = torch.autograd.grad(result.sum(), image)
    assert gradient.shape == shape


@pytest.mark.parametrize("nan", [0.0, 0.01])
def test_blur_gives_the_same_bits_for_any_thread_count(torch_threads: Any, nan: float) -> None:
    image = frames(2, 310, 1311, nan=nan)  # cut into blocks of rows that are no multiple of the rows summed together
    results = []
    for threads in (1, 2, 3, 8):
        torch_threads(threads)
        results.append(blur(image, 2.0, nan_treatment="interpolate").view(torch.int32))
    assert all(torch.equal(result, results[0]) for result in results)


def test_blur_gives_the_same_bits_alone_and_in_a_batch(device: torch.device) -> None:
    batch = frames(4, 1, 70, 130).to(device)
    assert torch.equal(blur(batch, 3.0)[2], blur(batch[2], 3.0))


IMAGE = torch.zeros(2, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((4, 4))}, r"image must be a torch.Tensor, got ndarray"),
        ({"image": torch.zeros(4, 4, dtype=torch.int16)}, r"got torch.int16; call image.float\(\)"),
        ({"image": torch.zeros(4)}, r"image must have shape \(\.\.\., H, W\), got \(4,\)"),
        ({"sigma": -1.0}, r"sigma must be finite and >= 0 pixels, got -1.0"),
        ({"sigma": math.nan}, r"sigma must be finite"),
        ({"sigma": (1.0, math.inf)}, r"sigma must be finite"),
        ({"sigma": (1.0, 2.0, 3.0)}, r"a pair \(vertical, horizontal\) or a tensor, got 3 values"),
        ({"sigma": "1"}, r"sigma must be a number, got str"),
        ({"sigma": None}, r"sigma must be a number, got NoneType"),
        ({"sigma": True}, r"sigma must be a number, got bool"),
        ({"sigma": 1e6}, r"sigma \* truncate below 65536 pixels"),
        ({"sigma": torch.ones(3)}, r"sigma must have shape \(2,\) or \(2, 2\)"),
        ({"sigma": torch.tensor([1.0, -2.0])}, r"sigma must be >= 0"),
        ({"sigma": torch.tensor([1.0, math.nan])}, r"sigma must be >= 0"),
        ({"sigma": torch.ones(2, dtype=torch.int64)}, r"call sigma.float\(\)"),
        ({"sigma": torch.ones(2, device="meta")}, r"call sigma.cpu\(\)"),
        ({"mode": "mirrored"}, r"mode must be one of reflect, mirror, nearest, constant, wrap, got 'mirrored'"),
        ({"nan_treatment": "ignore"}, r"nan_treatment must be one of propagate, interpolate, fill, got 'ignore'"),
        ({"truncate": 0.0}, r"truncate must be a finite number > 0"),
        ({"truncate": math.nan}, r"truncate must be a finite number > 0"),
        ({"cval": "0"}, r"cval must be a number, got str"),
        ({"fill_value": None}, r"fill_value must be a number, got NoneType"),
        ({"out": np.zeros((2, 4, 4))}, r"out must be a torch.Tensor, got ndarray"),
        ({"out": torch.zeros(4, 4)}, r"out must have the shape of the image"),
        ({"out": torch.zeros(2, 4, 4, dtype=torch.float64)}, r"out must have the dtype of the image"),
        ({"out": torch.zeros(2, 4, 4, device="meta")}, r"out must have the device of the image"),
        ({"out": IMAGE}, r"out must not share memory with the image"),
        ({"out": torch.zeros(4).expand(2, 4, 4)}, r"out must not have pixels that share memory"),
        ({"image": torch.zeros(2, 4, 4, requires_grad=True), "out": IMAGE}, r"out cannot be used where a gradient is required"),
    ],
)
def test_blur_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        blur(**{"image": IMAGE, "sigma": 1.0, **arguments})
