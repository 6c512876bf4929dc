"""Convolution with a small image against scipy and astropy, its gradients, and its behaviour as a torch op."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from astropy.convolution import Kernel1D, Moffat2DKernel
from astropy.convolution import convolve as astropy_convolve

from zoo.errors import UsageError
from zoo.ops import blur, convolve
from zoo.ops.blur_reference import gaussian_taps
from zoo.ops.borders import border_indices, border_runs
from zoo.ops.convolve_reference import tile_pixels

MODES = ("reflect", "mirror", "nearest", "constant", "wrap")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
ASTROPY_BOUNDARY = {"constant": "fill", "nearest": "extend", "wrap": "wrap"}
no_interpolation_warning = pytest.mark.filterwarnings(
    "ignore:nan_treatment='interpolate', however, NaN values detected:astropy.utils.exceptions.AstropyUserWarning"
)


@pytest.fixture(params=["native", "reference", "fft"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The method to pass, run with the compiled kernel or with pure torch."""
    module = importlib.import_module("zoo.ops.convolve")
    if request.param == "native" and module.native() is None:
        pytest.skip("zoo._native is not built")
    if request.param != "native":
        monkeypatch.setattr(module, "native", lambda: None)
    return "fft" if request.param == "fft" else "direct"


def frames(*shape: int, dtype: torch.dtype = torch.float32, nan: float = 0.0) -> torch.Tensor:
    """Positive pixels with a bright one, a fraction of them NaN; the same ones in every call."""
    generator = torch.Generator().manual_seed(7)
    image = torch.rand(shape, generator=generator, dtype=torch.float64) * 100
    image[..., shape[-2] // 2, shape[-1] // 3] = 1000.0
    if nan:
        image[torch.rand(shape, generator=generator) < nan] = math.nan
    return image.to(dtype)


def lopsided(height: int, width: int) -> np.ndarray:
    """A kernel without any symmetry."""
    return np.random.default_rng(3).random((height, width)) + 0.1


def scipy_convolution(image: torch.Tensor, kernel: np.ndarray, **options: Any) -> torch.Tensor:
    return torch.from_numpy(scipy.ndimage.convolve(image.double().numpy(), kernel / kernel.sum(), **options))


def assert_near(got: torch.Tensor, want: torch.Tensor, of_peak: float) -> None:
    assert torch.equal(got.isnan().cpu(), want.isnan())
    worst = (got.cpu().double() - want).nan_to_num().abs().max() / want.nan_to_num().abs().max()
    assert worst <= of_peak, f"off by {worst:.2e} of the peak"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 1), (1, 9), (7, 13), (35, 37)], ids=str)
def test_convolve_matches_scipy(device: torch.device, way: str, mode: str, size: tuple[int, int]) -> None:
    image, kernel = frames(37, 150), lopsided(*size)
    want = scipy_convolution(image, kernel, mode=mode, cval=5.0)
    # A mean over 1295 pixels with a bright one among them: worst measured 3.6e-7 by direct sums, 6e-7 by FFT.
    tolerance = 8e-7 if size == (35, 37) else 5e-7
    assert_near(convolve(image.to(device), kernel, mode=mode, cval=5.0, method=way), want, tolerance)
    assert_near(convolve(image.double().to(device), kernel, mode=mode, cval=5.0, method=way), want, 1e-8 * tolerance)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 3)], ids=str)
def test_convolve_matches_scipy_on_frames_smaller_than_the_kernel(device: torch.device, way: str, mode: str, shape: Any) -> None:
    image, kernel = frames(*shape), lopsided(9, 11)
    extended = [border_indices(n, size, mode) for n, size in zip((4, 5), shape, strict=True)]
    plane = image.double()[extended[0].clamp(min=0)][:, extended[1].clamp(min=0)]
    plane[extended[0] < 0], plane[:, extended[1] < 0] = 0.0, 0.0
    want = scipy_convolution(plane, kernel, mode="constant")[4:-4, 5:-5]  # scipy itself is wrong for mirror and one pixel
    assert_near(convolve(image.to(device), kernel, mode=mode, method=way), want, 3e-7)


def test_convolve_matches_scipy_over_several_tiles_and_blocks(device: torch.device, way: str) -> None:
    image, kernel = frames(2, 300, 2100), lopsided(21, 25)
    want = torch.stack([scipy_convolution(frame, kernel, mode="mirror") for frame in image])
    assert_near(convolve(image.to(device), kernel, mode="mirror", method=way), want, 6e-7)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("preserve_nan", [False, True])
@pytest.mark.parametrize("mode", ASTROPY_BOUNDARY)
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.9])
@no_interpolation_warning
def test_convolve_interpolates_nan_as_astropy(
    device: torch.device, way: str, mode: str, preserve_nan: bool, normalize: bool, fraction: float
) -> None:
    image, kernel = frames(40, 50, nan=fraction), lopsided(5, 7)
    options: Any = {"nan_treatment": "interpolate", "preserve_nan": preserve_nan}
    boundary = {"boundary": ASTROPY_BOUNDARY[mode], "fill_value": 3.0, "normalize_kernel": normalize}
    want = torch.from_numpy(astropy_convolve(image.double().numpy(), kernel, **boundary, **options))
    options.update(mode=mode, cval=3.0, normalize=normalize, method=way)
    assert_near(convolve(image.to(device), kernel, **options), want, 4e-7)
    assert_near(convolve(image.double().to(device), kernel, **options), want, 1e-12 if way == "fft" else 3e-15)


@pytest.mark.parametrize("preserve_nan", [False, True])
def test_convolve_fills_nan_as_astropy(device: torch.device, way: str, preserve_nan: bool) -> None:
    image, kernel = frames(40, 50, nan=0.2), Moffat2DKernel(1.5, 2.5, x_size=13, y_size=13)
    want = astropy_convolve(
        image.double().numpy(), kernel, boundary="fill", fill_value=6.0, nan_treatment="fill", preserve_nan=preserve_nan
    )
    options: Any = {"mode": "constant", "cval": 6.0, "fill_value": 6.0, "nan_treatment": "fill", "preserve_nan": preserve_nan}
    assert_near(convolve(image.to(device), kernel, method=way, **options), torch.from_numpy(want), 3e-7)


def test_convolve_with_a_negative_kernel_interpolates_as_astropy(device: torch.device, way: str) -> None:
    image = frames(30, 30, nan=0.05)
    kernel = np.array([[0.0, -0.1, 0.0], [-0.1, 1.6, -0.1], [0.0, -0.1, 0.0]])
    want = astropy_convolve(image.double().numpy(), kernel, boundary="extend", nan_treatment="interpolate", preserve_nan=True)
    got = convolve(image.to(device), kernel, mode="nearest", nan_treatment="interpolate", preserve_nan=True, method=way)
    assert_near(got, torch.from_numpy(want), 4e-7)


def test_convolve_turns_a_point_into_the_kernel(device: torch.device, way: str) -> None:
    kernel = lopsided(5, 7)
    point = torch.zeros(1, 11, 13, device=device)
    point[0, 5, 6] = 1.0
    got = convolve(point, kernel, normalize=False, method=way)[0, 3:8, 3:10].cpu()
    torch.testing.assert_close(got, torch.from_numpy(kernel).float(), rtol=0, atol=3e-7)


def test_convolve_with_a_gaussian_is_the_blur(device: torch.device, way: str) -> None:
    line = gaussian_taps(torch.tensor([[1.2]], dtype=torch.float64), 4.0, torch.float64)[0][0, 0]
    line = torch.cat([line.flip(0)[:-1], line])
    image = frames(3, 40, 60, nan=0.03)
    want = blur(image.double(), 1.2, nan_treatment="interpolate")
    assert_near(convolve(image.to(device), torch.outer(line, line), nan_treatment="interpolate", method=way), want, 4e-7)


def test_convolve_takes_kernels_of_any_kind(device: torch.device) -> None:
    image, moffat = frames(20, 20).to(device), Moffat2DKernel(2.0, 3.0, x_size=9, y_size=9)
    want = convolve(image, np.array(moffat.array))
    frozen = moffat.array.copy()
    frozen.flags.writeable = False
    for kernel in (moffat, frozen, frozen.astype(">f8"), frozen.tolist(), torch.from_numpy(np.array(frozen))):
        assert torch.equal(convolve(image, kernel), want)
    assert_near(convolve(image, frozen.astype(np.float32)), want.double().cpu(), 3e-7)


def test_convolve_keeps_a_kernel_that_sums_to_nothing(device: torch.device, way: str) -> None:
    edges = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    image = frames(20, 20, nan=0.1)
    want = torch.from_numpy(scipy.ndimage.convolve(image.double().nan_to_num(0.0).numpy(), edges.astype(float)))
    assert_near(convolve(image.to(device), edges, normalize=False, nan_treatment="fill", method=way), want, 3e-7)


def test_convolve_by_fft_spoils_what_is_under_the_kernel_only(device: torch.device) -> None:
    image, kernel = frames(30, 40).to(device), lopsided(5, 7)
    image[12, 20], image[3, 3] = math.nan, math.inf
    spoilt = torch.zeros(30, 40, dtype=torch.bool)
    spoilt[10:15, 17:24], spoilt[1:6, 0:7] = True, True
    got = convolve(image, kernel, method="fft")
    assert torch.equal(got.isnan().cpu(), spoilt)
    torch.testing.assert_close(got[~spoilt], convolve(image, kernel, method="direct")[~spoilt], rtol=1e-6, atol=1e-4)
    assert convolve(frames(9, 9).to(device), kernel, mode="constant", cval=math.inf, method="fft")[0].isnan().all()


def test_convolve_by_itself_keeps_infinities(device: torch.device) -> None:
    image = torch.ones(150, 150, device=device)
    image[70, 70] = math.inf
    kernel = np.ones((61, 61))
    assert tile_pixels(150, 150, torch.from_numpy(kernel)) * 6 < 150**2 * kernel.size * 0.056  # an FFT would be faster
    got = convolve(image, kernel)
    assert got[70, 70] == math.inf
    assert not got.isnan().any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_convolve_of_short_floats_rounds_the_float32_result_once(device: torch.device, way: str, dtype: torch.dtype) -> None:
    image, kernel = frames(2, 20, 30, dtype=dtype).to(device), lopsided(3, 5)
    assert torch.equal(convolve(image, kernel, method=way), convolve(image.float(), kernel, method=way).to(dtype))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("radius", "size"), [(2, 5), (5, 5), (13, 4), (3, 1), (4, 2)])
def test_runs_of_a_border_are_its_positions(mode: str, radius: int, size: int) -> None:
    positions = torch.full((size + 2 * radius,), -1)
    for first, length, pixel, step in border_runs(radius, size, mode):
        positions[first + radius : first + radius + length] = pixel + step * torch.arange(length)
    assert torch.equal(positions, border_indices(radius, size, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nan_treatment", ["propagate", "interpolate", "fill"])
def test_convolve_gradient_is_the_transposed_convolution(device: torch.device, mode: str, nan_treatment: str) -> None:
    image = frames(5, 6, dtype=torch.float64, nan=0.0 if nan_treatment == "propagate" else 0.3).to(device)
    valid = ~image.isnan()
    values = image[valid].clone().requires_grad_()

    def function(pixels: torch.Tensor) -> torch.Tensor:
        whole = torch.full_like(image, math.nan).masked_scatter(valid, pixels)
        options: Any = {"mode": mode, "cval": 2.0, "nan_treatment": nan_treatment, "fill_value": 1.0}
        normalize, preserve_nan = nan_treatment == "fill", nan_treatment == "fill"
        return convolve(whole, lopsided(3, 5), normalize=normalize, preserve_nan=preserve_nan, **options).nan_to_num()

    assert torch.autograd.gradcheck(function, (values,))


def test_convolve_gradient_by_fft_is_that_of_direct_sums(device: torch.device) -> None:
    gradients = []
    for method in ("direct", "fft"):
        image = frames(2, 9, 12, dtype=torch.float64, nan=0.2).to(device).requires_grad_()
        result = convolve(image, lopsided(5, 7), nan_treatment="interpolate", method=method)
        gradients.append(torch.autograd.grad((result**2).nansum(), image)[0])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3)], ids=str)
def test_convolve_has_second_gradients_also_on_narrow_frames(device: torch.device, mode: str, shape: Any) -> None:
    image = frames(*shape, dtype=torch.float64).to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: convolve(x, lopsided(5, 7), mode=mode), (image,))
    assert torch.autograd.gradgradcheck(lambda x: (convolve(x, lopsided(5, 7), mode=mode) / 100) ** 2, (image,))


@pytest.mark.parametrize(("dtype", "method"), [*((dtype, "auto") for dtype in DTYPES), (torch.float32, "fft")], ids=str)
def test_convolve_passes_opcheck(device: torch.device, dtype: torch.dtype, method: str) -> None:
    arguments = (torch.from_numpy(lopsided(3, 3)), "nearest", 0.0, True, "interpolate", 0.0, False, method)
    image = frames(2, 6, 7, dtype=dtype, nan=0.1).to(device)
    torch.library.opcheck(torch.ops.zoo.convolve.default, (image.requires_grad_(), *arguments))
    torch.library.opcheck(torch.ops.zoo.convolve.out, (image.detach(), *arguments), {"out": torch.empty_like(image).detach()})


@pytest.mark.parametrize("mode", MODES)
def test_convolve_compiles_without_a_graph_break(device: torch.device, mode: str) -> None:
    image, kernel = frames(2, 9, 11).to(device), torch.from_numpy(lopsided(5, 3))

    def function(x: torch.Tensor) -> torch.Tensor:
        return (convolve(x * 2.0, kernel, mode=mode) ** 2).sum()

    results = []
    for run in (function, torch.compile(function, fullgraph=True, backend="aot_eager")):
        leaf = image.clone().requires_grad_()
        value = run(leaf)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    torch.testing.assert_close(results[1], results[0])


def test_convolve_takes_any_strides_and_leaves_the_image_alone(device: torch.device, way: str) -> None:
    big, kernel = frames(3, 40, 60, nan=0.02).to(device), lopsided(5, 3)
    for image in (big.mT, big[:, ::2, 5:], big[..., ::3].transpose(0, 1), big[:1].expand(4, 40, 60)):
        before = image.clone()
        want = convolve(image.contiguous(), kernel, nan_treatment="interpolate", method=way)
        out = torch.empty(image.shape[::-1], device=device).permute(2, 1, 0)
        assert convolve(image, kernel, nan_treatment="interpolate", method=way, out=out) is out
        torch.testing.assert_close(out, want, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(image, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6), (2, 5, 0), (0, 0)], ids=str)
def test_convolve_of_nothing_is_nothing(device: torch.device, shape: Any) -> None:
    image = torch.empty(shape, device=device, requires_grad=True)
    result = convolve(image, lopsided(3, 3), mode="wrap")
    assert result.shape == shape
    assert torch.autograd.grad(result.sum(), image)[0].shape == shape


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_convolve_gives_the_same_bits_for_any_thread_count(torch_threads: Any, method: str) -> None:
    image, kernel = frames(2, 310, 611, nan=0.01), lopsided(7, 5)
    results = []
    for threads in (1, 2, 3):
        torch_threads(threads)
        results.append(convolve(image, kernel, nan_treatment="interpolate", method=method).view(torch.int32))
    assert all(torch.equal(result, results[0]) for result in results)


IMAGE = torch.zeros(2, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((4, 4))}, r"image must be a torch.Tensor, got ndarray"),
        ({"kernel": np.ones((2, 3))}, r"kernel must have shape \(h, w\) with odd sizes.*got \(2, 3\)"),
        ({"kernel": np.ones(3)}, r"got \(3,\)"),
        ({"kernel": np.ones((0, 3))}, r"got \(0, 3\)"),
        ({"kernel": Kernel1D(array=np.ones(3))}, r"got \(3,\)"),
        ({"kernel": "psf.fits"}, r"kernel must be an array of real numbers, a tensor or a Kernel2D, got str"),
        ({"kernel": None}, r"kernel must be an array of real numbers"),
        ({"kernel": np.ones((3, 3), complex)}, r"kernel must be an array of real numbers"),
        ({"kernel": torch.ones(3, 3, dtype=torch.complex64)}, r"kernel must hold real numbers, got torch.complex64"),
        ({"kernel": torch.ones(3, 3, device="meta")}, r"call kernel.cpu\(\)"),
        ({"kernel": torch.ones(3, 3, requires_grad=True)}, r"kernel cannot require a gradient"),
        ({"kernel": np.full((3, 3), math.nan)}, r"kernel must be finite"),
        ({"kernel": [[1.0, 0.0, -1.0]]}, r"sum that it can be divided by, got 0; pass normalize=False"),
        ({"kernel": [[1.0, 0.0, -1.0]], "normalize": False, "nan_treatment": "interpolate"}, r"pass nan_treatment='fill'"),
        ({"mode": "mirrored"}, r"mode must be one of reflect, mirror, nearest, constant, wrap, got 'mirrored'"),
        ({"nan_treatment": "ignore"}, r"nan_treatment must be one of propagate, interpolate, fill, got 'ignore'"),
        ({"method": "FFT"}, r"method must be one of auto, direct, fft, got 'FFT'"),
        ({"cval": "0"}, r"cval must be a number, got str"),
        ({"fill_value": None}, r"fill_value must be a number, got NoneType"),
        ({"out": torch.zeros(4, 4)}, r"out must have the shape of the image"),
        ({"out": IMAGE}, r"out must not share memory with the image"),
        ({"image": torch.zeros(2, 4, 4, requires_grad=True), "out": IMAGE}, r"out cannot be used where a gradient is required"),
    ],
)
def test_convolve_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convolve(**{"image": IMAGE, "kernel": np.ones((3, 3)), **arguments})
