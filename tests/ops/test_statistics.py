"""Statistics of frames against numpy and astropy: exact order statistics, moments, sigma clipping, z-scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from astropy.stats import SigmaClip as AstropySigmaClip
from astropy.stats import mad_std, sigma_clipped_stats
from astropy.visualization import ZScaleInterval
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from zoo.errors import UsageError
from zoo.ops import Encoding, Region, SigmaClip, ZScale, decode, frame_statistics
from zoo.ops.statistics import MAD_TO_STD, FrameStatistics

QUANTILES = (0.0, 0.01, 0.25, 1 / 3, 0.5, 0.77, 0.99, 0.9999, 1.0)
SHAPES = ((1, 1), (1, 7), (7, 1), (30, 41), (130, 151))  # the last has more pixels than are sorted at once
NATIVE = (
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
)  # fmt: skip


def sky(*shape: int, dtype: torch.dtype = torch.float64, invalid: bool = True) -> torch.Tensor:
    """Noise about 100 with bright pixels and, for floats, NaN and infinities; the same ones in every call."""
    generator = torch.Generator().manual_seed(11)
    image = 40 + 9 * torch.randn(shape, generator=generator, dtype=torch.float64)
    bright = torch.rand(shape, generator=generator) < 0.02
    image[bright] += 70 * torch.rand(int(bright.sum()), generator=generator, dtype=torch.float64)
    image = image.to(dtype)
    if dtype.is_floating_point and invalid and image.numel() > 10:
        image[torch.rand(shape, generator=generator) < 0.05] = math.nan
        image.view(-1)[3:5] = torch.tensor([math.inf, -math.inf])
    return image


def valid_of(image: torch.Tensor, **options: Any) -> np.ndarray[Any, Any]:
    """The valid pixels as numpy would have them."""
    values = decode(image, dtype=torch.float64, **options).cpu().numpy().ravel()
    return values[np.isfinite(values)]


def measure(image: torch.Tensor, *args: Any, **options: Any) -> FrameStatistics:
    return frame_statistics(image, *args, quantiles=QUANTILES, sigma_clip=SigmaClip(), zscale=ZScale(), **options)


def assert_close(got: torch.Tensor, want: Any, scale: float = 1.0) -> None:
    """Within 1e-12, relative to the value or to the scale of the pixels."""
    np.testing.assert_allclose(got.cpu().numpy(), want, rtol=1e-12, atol=1e-12 * scale)


def check(got: FrameStatistics, valid: np.ndarray[Any, Any]) -> None:
    """Compare all figures of one frame with numpy and astropy."""
    assert got.count.item() == valid.size
    scale = float(np.abs(valid).max())
    np.testing.assert_array_equal(got.quantiles.cpu().numpy(), np.quantile(valid, QUANTILES))
    assert (got.min.item(), got.max.item(), got.median.item()) == (valid.min(), valid.max(), np.median(valid))
    assert got.mad.item() == np.median(np.abs(valid - np.median(valid)))
    assert_close(got.mad * MAD_TO_STD, mad_std(valid), scale)
    assert_close(got.mean, valid.mean(), scale)
    assert_close(got.std, valid.std(), scale)
    mean, median, std = sigma_clipped_stats(valid)
    left, low, high = AstropySigmaClip()(valid, masked=False, return_bounds=True)
    assert got.clipped_count.item() == left.size
    assert got.clipped_median.item() == median
    assert_close(torch.stack((got.clipped_mean, got.clipped_std)), (mean, std), scale)
    assert_close(torch.stack((got.clipped_low, got.clipped_high)), (low, high), scale)
    np.testing.assert_allclose(got.zscale.cpu().numpy(), ZScaleInterval().get_limits(valid), rtol=1e-11, atol=1e-11 * scale)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", NATIVE, ids=str)
def test_statistics_match_numpy_and_astropy(device: torch.device, kernel: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    image = sky(*shape, dtype=dtype)
    check(measure(image.to(device)), valid_of(image))


@pytest.mark.parametrize("bitpix", [8, 16, 32, 64, -32, -64])
@pytest.mark.parametrize(("bscale", "bzero"), [(1.0, 0.0), (-0.3, 1000.7)])
def test_statistics_of_raw_bytes_match_numpy_and_astropy(
    device: torch.device, kernel: str, bitpix: int, bscale: float, bzero: float
) -> None:
    names = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
    stored = sky(120, 150, invalid=False).numpy().astype(names[bitpix])
    raw = torch.from_numpy(stored.view(np.uint8).copy())
    encoding = Encoding(bitpix, bscale, bzero, blank=40 if bitpix > 0 else None)
    check(measure(raw.to(device), encoding), valid_of(raw, encoding=encoding))


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.int32, torch.float32], ids=str)
def test_statistics_of_regions_match_numpy_though_biases_are_fractional(device: torch.device, kernel: str, dtype: torch.dtype) -> None:
    image = sky(140, 160, dtype=dtype, invalid=False)
    regions = [Region(2, 3, 130, 70, 0, 0, 10.3, 1.58), Region(2, 80, 130, 65, 0, 70, 10.7, 1.6), Region(134, 5, 4, 135, 130, 0, 9.9, 1.0)]
    check(measure(image.to(device), regions=regions), valid_of(image, regions=regions))


@pytest.mark.parametrize("size", [(20, 30), (150, 150)], ids=str)
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.float64], ids=str)
def test_statistics_of_a_constant_frame_match_numpy(device: torch.device, kernel: str, dtype: torch.dtype, size: tuple[int, int]) -> None:
    image = torch.full(size, 7, dtype=dtype)
    got = measure(image.to(device))
    check(got, valid_of(image))
    assert (got.std.item(), got.mad.item(), got.zscale.tolist()) == (0.0, 0.0, [7.0, 7.0])


@pytest.mark.parametrize("size", [(20, 30), (150, 150)], ids=str)
def test_statistics_of_one_valid_pixel_match_numpy(device: torch.device, kernel: str, size: tuple[int, int]) -> None:
    image = torch.full(size, math.nan)
    image[3, 5] = 2.5
    check(measure(image.to(device)), valid_of(image))


@pytest.mark.parametrize("size", [(3, 3), (0, 4), (150, 150)], ids=str)
def test_statistics_without_a_valid_pixel_are_nan_and_count_0(device: torch.device, kernel: str, size: tuple[int, int]) -> None:
    got = measure(torch.full(size, math.nan, device=device))
    assert (got.count.item(), got.clipped_count.item()) == (0, 0)
    names = (
        "min",
        "max",
        "mean",
        "std",
        "median",
        "mad",
        "quantiles",
        "zscale",
        "clipped_low",
        "clipped_mean",
        "clipped_median",
        "clipped_std",
    )
    assert all(getattr(got, name).isnan().all() for name in names)


def test_statistics_hold_over_many_orders_of_magnitude_as_numpy(device: torch.device, kernel: str) -> None:
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(150, 200, generator=generator, dtype=torch.float64) * 10.0 ** (
        60 * torch.rand(150, 200, generator=generator, dtype=torch.float64) - 30
    )
    got = frame_statistics(image.to(device), quantiles=QUANTILES)
    np.testing.assert_array_equal(got.quantiles.cpu().numpy(), np.quantile(image.numpy(), QUANTILES))
    assert got.mad.item() == np.median(np.abs(image.numpy() - np.median(image.numpy())))


def test_statistics_of_close_values_far_from_zero_match_numpy(device: torch.device, kernel: str) -> None:
    image = 1e9 + torch.rand(150, 200, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    got = measure(image.to(device))
    np.testing.assert_allclose(got.std.item(), image.numpy().std(), rtol=1e-9)  # numpy's own mean is known to 1e-16 of 1e9
    np.testing.assert_array_equal(got.quantiles.cpu().numpy(), np.quantile(image.numpy(), QUANTILES))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 10, 99, 100, 101, 999, 1000, 1001, 2000, 2999, 25000])
def test_zscale_matches_astropy_for_every_sample_size(device: torch.device, kernel: str, count: int) -> None:
    image = sky(1, count)
    for parameters in ({}, {"n_samples": 300, "contrast": 0.5}, {"krej": 1.5, "max_iterations": 8, "max_reject": 0.2, "contrast": 0.0}):
        got = frame_statistics(image.to(device), quantiles=(), zscale=ZScale(**parameters)).zscale
        want = ZScaleInterval(**parameters).get_limits(image.numpy())
        np.testing.assert_allclose(got.cpu().numpy(), want, rtol=1e-11)


@pytest.mark.parametrize(("sigma", "maxiters"), [(3.0, 1), (2.0, 50), (1.0, 5), (0.2, 5), (0.2, 1)])
def test_sigma_clipping_matches_astropy_for_every_parameter(device: torch.device, kernel: str, sigma: float, maxiters: int) -> None:
    for image in (sky(20, 30), sky(150, 150), torch.tensor([[-1.0, 1.0]], dtype=torch.float64)):
        got = frame_statistics(image.to(device), quantiles=(), sigma_clip=SigmaClip(sigma, maxiters))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NaN are left out; a frame may be clipped to nothing
            left, low, high = AstropySigmaClip(sigma, maxiters=maxiters)(image.numpy(), masked=False, return_bounds=True)
        assert got.clipped_count.item() == left.size
        np.testing.assert_allclose([got.clipped_low.item(), got.clipped_high.item()], [low, high], rtol=1e-12)
        if left.size:
            assert got.clipped_median.item() == np.median(left)
            np.testing.assert_allclose([got.clipped_mean.item(), got.clipped_std.item()], [left.mean(), left.std()], rtol=1e-12)
        else:
            assert got.clipped_median.isnan()


VALUES = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf])


# the fixture is the same for all examples; few of them, because each runs astropy
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_statistics_match_numpy_on_any_frame(kernel: str, data: st.DataObject) -> None:
    few = data.draw(st_numpy.arrays(np.float32, st.integers(1, 60), elements=VALUES))
    repeated = data.draw(st.booleans())  # enough pixels for the histograms
    image = torch.from_numpy(np.resize(few, (120, 150) if repeated else (1, few.size)).astype(data.draw(st.sampled_from(["f4", "f8"]))))
    valid = valid_of(image)
    got = frame_statistics(image, quantiles=QUANTILES, sigma_clip=SigmaClip())
    assert got.count.item() == valid.size
    if valid.size == 0:
        return
    scale = float(np.abs(valid).max())
    np.testing.assert_array_equal(got.quantiles.numpy(), np.quantile(valid, QUANTILES))
    assert got.median.item() == np.median(valid)
    assert got.mad.item() == np.median(np.abs(valid - np.median(valid)))
    assert_close(torch.stack((got.mean, got.std)), (valid.mean(), valid.std()), scale)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_statistics_of_integers_match_numpy_on_any_frame(kernel: str, data: st.DataObject) -> None:
    few = data.draw(st_numpy.arrays(np.int16, st.integers(1, 60)))
    image = torch.from_numpy(np.resize(few, (120, 150)))
    bias, gain = data.draw(st.floats(-100, 100)), data.draw(st.floats(0.1, 10))
    regions = [Region(0, 0, 120, 70, bias=bias, gain=gain), Region(0, 70, 120, 80, 0, 70, bias=-bias / 3)]
    valid = valid_of(image, regions=regions)
    got = frame_statistics(image, regions=regions, quantiles=QUANTILES)
    np.testing.assert_array_equal(got.quantiles.numpy(), np.quantile(valid, QUANTILES))
    assert got.mad.item() == np.median(np.abs(valid - np.median(valid)))
    assert_close(torch.stack((got.mean, got.std)), (valid.mean(), valid.std()), float(np.abs(valid).max()))


def test_statistics_are_per_frame_or_of_the_batch(device: torch.device, kernel: str) -> None:
    images = torch.stack((sky(20, 30), 2 * sky(20, 30), torch.full((20, 30), math.nan, dtype=torch.float64))).reshape(3, 1, 20, 30)
    each = measure(images.to(device))
    assert each.count.shape == (3, 1)
    assert (each.quantiles.shape, each.zscale.shape) == ((3, 1, len(QUANTILES)), (3, 1, 2))
    for i in range(2):
        np.testing.assert_array_equal(each.quantiles[i, 0].cpu().numpy(), np.quantile(valid_of(images[i]), QUANTILES))
    assert each.count[2].item() == 0
    check(measure(images.to(device), per="batch"), valid_of(images))


def test_statistics_leave_saturated_pixels_out_when_told(device: torch.device, kernel: str) -> None:
    image = torch.arange(200.0, device=device).reshape(1, 200)
    assert frame_statistics(image, saturation=150.0).count.item() == 200
    assert frame_statistics(image, saturation=150.0, saturated="invalid").max.item() == 149.0


def test_statistics_take_images_without_frames(kernel: str) -> None:
    assert frame_statistics(torch.empty(0, 3, 4)).count.shape == (0,)
    assert frame_statistics(torch.empty(0, 3, 4), per="batch").count.item() == 0


def test_statistics_take_any_strides(kernel: str) -> None:
    image = sky(150, 300)
    for view in (image.T, image[::2, 1::3], image.expand(2, 150, 300)):
        got, want = measure(view), measure(view.contiguous())
        assert all(torch.equal(getattr(got, name), getattr(want, name)) for name in ("count", "mean", "quantiles", "zscale"))


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.float64], ids=str)
def test_statistics_do_not_depend_on_threads(torch_threads: Callable[[int], None], dtype: torch.dtype) -> None:
    image = sky(3, 700, 200, dtype=dtype, invalid=False)
    torch_threads(1)
    one = measure(image)
    torch_threads(3)
    many = measure(image)
    assert all(torch.equal(getattr(one, name), getattr(many, name)) for name in vars(one))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frame_statistics(torch.zeros(2, 2), quantiles=(1.5,)), r"quantiles must lie in \[0, 1\]"),
        (lambda: frame_statistics(torch.zeros(2, 2), quantiles=(math.nan,)), r"quantiles must lie in \[0, 1\]"),
        (lambda: frame_statistics(torch.zeros(2, 2), per="row"), "per must be 'frame' or 'batch'"),  # type: ignore[arg-type]
        (lambda: frame_statistics(torch.zeros(2, 2, dtype=torch.complex64)), "8 to 64 bits"),
    ],
)
def test_statistics_refuse_wrong_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_statistics_pass_opcheck(kernel: str) -> None:
    image = sky(2, 12, 15, invalid=False)
    # every figure is asked for: opcheck compares with ==, and those left out are NaN
    arguments = (image, 0, 1.0, 0.0, None, [], [], None, "keep", [0.1, 0.9], 63, [3.0, 5.0], [1000.0, 0.25, 0.5, 5.0, 2.5, 5.0], False)
    torch.library.opcheck(torch.ops.zoo.frame_statistics.default, arguments)
    torch.library.opcheck(torch.ops.zoo.frame_statistics.out, arguments, {"out": torch.empty(2, 17, dtype=torch.float64)})


def test_statistics_compile_without_graph_breaks() -> None:
    image = sky(12, 15, invalid=False)

    def spread(pixels: torch.Tensor) -> torch.Tensor:
        got = frame_statistics(pixels, quantiles=(0.1, 0.9), sigma_clip=SigmaClip())
        return (got.quantiles[..., 1] - got.quantiles[..., 0]) / got.clipped_std

    assert torch.equal(torch.compile(spread, fullgraph=True, backend="aot_eager")(image), spread(image))
