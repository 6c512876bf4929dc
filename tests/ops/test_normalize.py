"""The fused normalization against astropy's intervals and stretches, its policies, and its behaviour as a torch op."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy import visualization
from astropy.io import fits
from astropy.stats import mad_std, sigma_clipped_stats

from zoo.errors import InputShapeError, UsageError
from zoo.ops import (
    Asinh,
    Encoding,
    Linear,
    Log,
    Manual,
    MedianMAD,
    MinMax,
    Percentile,
    Power,
    Region,
    SigmaClip,
    Sinh,
    Sqrt,
    ZScale,
    decode,
    normalize,
)  # fmt: skip

STRETCHES = {
    "linear": (Linear(), visualization.LinearStretch()),
    "sqrt": (Sqrt(), visualization.SqrtStretch()),
    "log": (Log(), visualization.LogStretch()),
    "log-gentle": (Log(0.1), visualization.LogStretch(0.1)),
    "log-steep": (Log(1e6), visualization.LogStretch(1e6)),
    "asinh": (Asinh(), visualization.AsinhStretch()),
    "asinh-gentle": (Asinh(1.0), visualization.AsinhStretch(1.0)),
    "asinh-steep": (Asinh(1e-4), visualization.AsinhStretch(1e-4)),
    "sinh": (Sinh(), visualization.SinhStretch()),
    "sinh-steep": (Sinh(0.02), visualization.SinhStretch(0.02)),
    "power": (Power(2.0), visualization.PowerStretch(2.0)),
    "power-odd": (Power(3.0), visualization.PowerStretch(3.0)),
    "power-root": (Power(0.4), visualization.PowerStretch(0.4)),
    "power-steep": (Power(7.5), visualization.PowerStretch(7.5)),
}
LIMITS = {
    "manual": Manual(80.0, 300.0),
    "minmax": MinMax(),
    "percentile": Percentile(2.0, 98.5),
    "zscale": ZScale(),
    "sigmaclip": SigmaClip(3.0, 5, 2.0, 9.0),
    "mad": MedianMAD(2.0, 9.0),
}


def limits_of(name: str, valid: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The limits that numpy and astropy find for the entries of LIMITS."""
    if name == "manual":
        return 80.0, 300.0
    if name == "minmax":
        return visualization.MinMaxInterval().get_limits(valid)  # type: ignore[no-any-return]
    if name == "percentile":
        return visualization.AsymmetricPercentileInterval(2.0, 98.5).get_limits(valid)  # type: ignore[no-any-return]
    if name == "zscale":
        return visualization.ZScaleInterval().get_limits(valid)  # type: ignore[no-any-return]
    if name == "sigmaclip":
        _, median, std = sigma_clipped_stats(valid)
        return median - 2.0 * std, median + 9.0 * std
    return np.median(valid) - 2.0 * mad_std(valid), np.median(valid) + 9.0 * mad_std(valid)


def frame(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Sky, bright pixels and, for floats, invalid ones; the same in every call."""
    generator = torch.Generator().manual_seed(21)
    image = 100 + 7 * torch.randn(shape, generator=generator, dtype=torch.float64)
    image += 900 * torch.rand(shape, generator=generator, dtype=torch.float64) ** 30
    image = image.to(dtype)
    if dtype.is_floating_point:
        image[torch.rand(shape, generator=generator) < 0.03] = math.nan
        image.view(-1)[5] = math.inf
    return image


def valid_of(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values[np.isfinite(values)]


def astropy_normalize(values: np.ndarray[Any, Any], limits: tuple[float, float], stretch: Any, clip: bool = True) -> np.ndarray[Any, Any]:
    """astropy's interval and stretch on float64 pixels; NaN stay."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")
        place = visualization.ManualInterval(*limits)(values, clip=clip)
        return np.asarray(stretch(place, clip=clip))


def assert_near(got: torch.Tensor, want: np.ndarray[Any, Any], tolerance: float = 2.5e-7) -> None:
    """Absolute error, for values of order one."""
    np.testing.assert_allclose(got.cpu().double().numpy(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", STRETCHES)
def test_stretch_matches_astropy(device: torch.device, kernel: str, name: str) -> None:
    stretch, other = STRETCHES[name]
    t = torch.cat((torch.linspace(0, 1, 20001, dtype=torch.float64), 10.0 ** torch.linspace(-30, 0, 2000, dtype=torch.float64)))
    got = normalize(t[None].to(device), limits=Manual(0, 1), stretch=stretch)
    # sinh(t / a) multiplies the rounding of t to float32 by up to 1 / a
    assert_near(got[0], other(t.numpy()), 2e-6 if name == "sinh-steep" else 2.5e-7)
    assert (got[0, 0].item(), got[0, 20000].item()) == (0.0, 1.0)


@pytest.mark.parametrize("name", STRETCHES)
def test_stretch_without_clip_matches_astropy(device: torch.device, kernel: str, name: str) -> None:
    stretch, other = STRETCHES[name]
    t = torch.linspace(-2.0, 3.0, 5001, dtype=torch.float64)
    if name == "sinh-steep":
        t = t / 3  # astropy overflows
    got = normalize(t[None].to(device), limits=Manual(0, 1), stretch=stretch, clip=False, invalid="nan")[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        want = other(t.numpy(), clip=False)
    near_pole = np.abs(1.0 + getattr(stretch, "a", 1.0) * t.numpy()) < 1e-3 if name.startswith("log") else np.zeros(5001, dtype=bool)
    # values leave the order of one: the tolerance is relative there, and the steep ones amplify the rounding of t
    np.testing.assert_allclose(got.cpu().double().numpy()[~near_pole], want[~near_pole], rtol=6e-6, atol=5e-7)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.float16, torch.float32, torch.float64], ids=str)
def test_limits_match_astropy(device: torch.device, kernel: str, dtype: torch.dtype, name: str) -> None:
    image = frame(140, 130, dtype=dtype)
    valid = valid_of(image.double().numpy())
    found = torch.empty(2, dtype=torch.float64, device=device)
    got = normalize(image.to(device), limits=LIMITS[name], limits_out=found, invalid="nan")
    want = limits_of(name, valid)
    np.testing.assert_allclose(found.cpu().numpy(), want, rtol=1e-11)
    if name in ("manual", "minmax", "percentile"):
        assert tuple(found.tolist()) == tuple(want)
    values = np.where(np.isfinite(image.double().numpy()), image.double().numpy(), np.nan)
    assert_near(got, astropy_normalize(values, want, visualization.AsinhStretch()))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("bitpix", [8, 16, 32, -32, -64])
def test_fused_pipeline_matches_numpy_and_astropy(device: torch.device, kernel: str, bitpix: int, name: str) -> None:
    dtype = {8: "u1", 16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}[bitpix]
    native = frame(2, 150, 160, dtype=torch.float64).nan_to_num(posinf=50.0).clamp(0, 250).numpy()
    stored = native.astype(dtype) if bitpix < 0 else np.round(native).astype(dtype)
    raw = torch.from_numpy(np.ascontiguousarray(stored).view(np.uint8).copy())
    regions = [Region(3, 4, 140, 70, 0, 0, 1.25, 1.58), Region(3, 81, 140, 72, 0, 70, 2.7, 1.6)]
    encoding = Encoding(bitpix, 1.0, 3.0, blank=99 if bitpix > 0 else None)
    values = stored.astype(np.float64) + 3.0
    if bitpix > 0:
        values[stored == 99] = np.nan
    halves = [(values[:, r.y : r.y + r.height, r.x : r.x + r.width] - r.bias) * r.gain for r in regions]
    linear = np.concatenate(halves, axis=-1)
    np.testing.assert_array_equal(decode(raw.to(device), encoding, regions=regions, dtype=torch.float64).cpu().numpy(), linear)
    got = normalize(raw.to(device), encoding, regions=regions, limits=LIMITS[name], stretch=Log(), invalid="nan")
    for i in range(2):
        limits = limits_of(name, valid_of(linear[i]))
        assert_near(got[i], astropy_normalize(linear[i], limits, visualization.LogStretch()), 4e-7)


def shorts(name: str) -> np.ndarray[Any, Any]:
    """Frames of so many 16-bit pixels that a sample tells where their percentiles lie: an ordinary one, and some that mislead it."""
    rng = np.random.default_rng(4)
    size = (1024, 1100)
    sky = np.clip(np.round(rng.normal(-31568.0, 30.0, size) + 3000 * rng.random(size) ** 60), -32768, 32767)
    if name == "ties":
        sky = np.where(rng.random(size) < 0.3, -7, 5)
    if name == "constant":
        sky = np.full(size, 32767)
    if name == "full range":
        sky = rng.integers(-32768, 32768, size)
    if name == "unlike its sample":  # which is taken at equal distances
        place = np.arange(sky.size) % (sky.size // 2048)
        sky = np.where((place < 16).reshape(size), 100, rng.integers(-200, 32768, size))
    return sky.astype(np.int16)


@pytest.mark.parametrize("name", ["sky", "ties", "constant", "full range", "unlike its sample"])
@pytest.mark.parametrize("points", [(1.0, 99.0), (0.0, 100.0), (0.01, 50.0)], ids=str)
def test_percentiles_of_many_shorts_match_numpy(name: str, points: tuple[float, float]) -> None:
    codes = shorts(name)
    limits = torch.empty(2, dtype=torch.float64)
    raw = torch.from_numpy(codes.astype(">i2").view(np.uint8))
    normalize(raw, Encoding(16, 0.7, 1.3), limits=Percentile(*points), limits_out=limits)
    assert limits.tolist() == np.percentile(codes * 0.7 + 1.3, points).tolist()
    regions = [Region(0, 0, 1024, 500, 0, 0, 998.37, 1.58), Region(0, 500, 1024, 600, 0, 500, -3e4, 1.6)]
    normalize(torch.from_numpy(codes), regions=regions, limits=Percentile(*points), limits_out=limits)
    halves = [(codes[:, r.x : r.x + r.width] - r.bias) * r.gain for r in regions]
    assert limits.tolist() == np.percentile(np.concatenate(halves, axis=1), points).tolist()


@pytest.mark.parametrize("a", [1e-4, 0.004, 0.03, 0.1, 1.0, 5.0])
def test_asinh_of_every_place_matches_astropy(a: float) -> None:
    t = torch.cat([torch.linspace(0, 1, 1 << 18), torch.logspace(-12, 0, 4096)]).reshape(1, -1)
    want = visualization.AsinhStretch(a)(t.numpy().astype(np.float64))
    got = normalize(t, limits=Manual(0.0, 1.0), stretch=Asinh(a))
    np.testing.assert_allclose(got.double().numpy(), want, rtol=0, atol=2.5e-7)
    assert got[0, 0] == 0.0
    assert got[0, -1] == 1.0
    shifted = normalize(t.reshape(-1)[3:].reshape(1, -1), limits=Manual(0.0, 1.0), stretch=Asinh(a))
    assert torch.equal(shifted, got[:, 3:])  # wherever a pixel lies


def test_asinh_of_shorts_between_extreme_limits_matches_astropy() -> None:
    codes = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).reshape(256, 256)
    for limits in ((-1e6, 1e6), (3.0, 3.0), (5.0, 5.0 + 1e-9), (-1e300, 1e300), (20000.5, -1234.25)):
        want = astropy_normalize(codes.numpy() * 1.0, limits, visualization.AsinhStretch())
        assert_near(normalize(codes, limits=torch.tensor(limits, dtype=torch.float64)), want)


def test_asinh_of_a_frame_does_not_depend_on_the_limits_of_others() -> None:
    images = torch.stack([frame(40, 50)] * 3)
    limits = torch.tensor([[90.0, 300.0], [-1e300, 1e300], [math.nan, math.nan]], dtype=torch.float64)
    got = normalize(images, limits=limits, invalid=-1.0)
    assert all(torch.equal(got[i], normalize(images[i], limits=limits[i], invalid=-1.0)) for i in range(3))
    assert bool((got[2] == -1.0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_normalize_rounds_once_to_short_floats(device: torch.device, kernel: str, dtype: torch.dtype) -> None:
    image = frame(60, 5000).to(device)
    want = normalize(image)
    got = normalize(image, dtype=dtype)
    assert got.dtype == dtype
    if kernel == "native":
        assert torch.equal(got, want.to(dtype))  # the reference rounds from float64
    out = torch.empty(60, 5000, dtype=dtype, device=device)
    assert normalize(image, out=out) is out
    assert torch.equal(out, got)


def test_normalize_shares_limits_per_batch_or_finds_them_per_frame(device: torch.device, kernel: str) -> None:
    images = torch.stack((frame(20, 30), 3 * frame(20, 30))).to(device)
    each = torch.empty(2, 2, dtype=torch.float64, device=device)
    shared = torch.empty(2, dtype=torch.float64, device=device)
    got = normalize(images, limits_out=each)
    pooled = normalize(images, limits_out=shared, per="batch")
    for i in range(2):
        assert torch.equal(got[i], normalize(images[i]))
        assert torch.equal(pooled[i], normalize(images[i], limits=shared))
    valid = valid_of(images.cpu().double().numpy())
    assert tuple(shared.tolist()) == tuple(np.percentile(valid, [1.0, 99.0]))


def test_normalize_takes_limits_that_broadcast(kernel: str) -> None:
    images = frame(3, 2, 10, 12)
    limits = torch.tensor([[90.0, 120.0], [80.0, 300.0], [100.0, 101.0]], dtype=torch.float64)
    got = normalize(images, limits=limits[:, None])
    for i in range(3):
        assert torch.equal(got[i], normalize(images[i], limits=limits[i]))


def test_normalize_of_invalid_pixels_follows_the_policy(device: torch.device, kernel: str) -> None:
    image = torch.tensor([[0.0, 5.0, math.nan, math.inf, -math.inf, 10.0]], device=device)
    options: dict[str, Any] = {"limits": MinMax(), "stretch": Linear()}
    assert normalize(image, **options).tolist() == [[0.0, 0.5, 0.0, 0.0, 0.0, 1.0]]
    assert normalize(image, invalid=-1.0, **options).tolist() == [[0.0, 0.5, -1.0, -1.0, -1.0, 1.0]]
    assert normalize(image, invalid="nan", **options).isnan().tolist() == [[False, False, True, True, True, False]]
    rooted = normalize(image, limits=Manual(5, 10), stretch=Sqrt(), clip=False, invalid=-1.0)
    assert rooted.tolist() == [[-1.0, 0.0, -1.0, -1.0, -1.0, 1.0]]  # the root of a negative place is no number


@pytest.mark.parametrize("clip", [True, False])
def test_normalize_of_saturated_pixels_follows_the_policy(device: torch.device, kernel: str, clip: bool) -> None:
    raw = torch.tensor([[0, 50, 100, 200, 250]], dtype=torch.uint8, device=device)
    regions = [Region(0, 0, 1, 3, bias=0.0, gain=1.0), Region(0, 3, 1, 2, 0, 3, bias=190.0, gain=1.0)]  # 0 50 100 10 60
    options: dict[str, Any] = {"regions": regions, "stretch": Linear(), "saturation": 200.0, "clip": clip}
    assert normalize(raw, Encoding(8), limits=MinMax(), **options).tolist() == [[0.0, 0.5, 1.0, 1.0, 1.0]]
    kept = normalize(raw, Encoding(8), limits=MinMax(), saturated="keep", **options)
    torch.testing.assert_close(kept.cpu(), torch.tensor([[0.0, 0.5, 1.0, 0.1, 0.6]]))
    dropped = normalize(raw, Encoding(8), limits=MinMax(), saturated="invalid", invalid=-1.0, **options)
    assert dropped.tolist() == [[0.0, 0.5, 1.0, -1.0, -1.0]]


def test_normalize_without_a_valid_pixel_gives_nan_limits_and_the_policy(device: torch.device, kernel: str) -> None:
    image = torch.full((2, 4, 5), math.nan, device=device)
    for limits in (MinMax(), Percentile(), ZScale(), SigmaClip(), MedianMAD()):
        found = torch.zeros(2, 2, dtype=torch.float64, device=device)
        assert (normalize(image, limits=limits, limits_out=found) == 0).all()
        assert found.isnan().all()


def test_normalize_of_a_constant_frame_matches_astropy(device: torch.device, kernel: str) -> None:
    image = torch.full((3, 5), 7.0, device=device)
    assert (normalize(image) == 0).all()
    shifted = normalize(image, limits=torch.tensor([5.0, 5.0], dtype=torch.float64, device=device), stretch=Linear(), clip=False)
    assert (shifted == 2).all()


def test_normalize_with_subnormal_span_keeps_its_places(kernel: str) -> None:
    image = torch.tensor([[0.0, 2e-310, 4e-310]], dtype=torch.float64)
    torch.testing.assert_close(normalize(image, limits=MinMax(), stretch=Linear()), torch.tensor([[0.0, 0.5, 1.0]]))


def test_normalize_of_a_file_matches_astropy(tmp_path: Path, kernel: str) -> None:
    path = tmp_path / "frame.fits"
    pixels = np.random.default_rng(0).poisson(900, (64, 80)).astype(np.uint16)
    fits.PrimaryHDU(pixels).writeto(path)
    with fits.open(path) as hdus:
        start = hdus[0].fileinfo()["datLoc"]
    raw = torch.frombuffer(bytearray(path.read_bytes()[start : start + pixels.nbytes]), dtype=torch.uint8).reshape(64, 160)
    want = visualization.AsinhStretch()(visualization.AsymmetricPercentileInterval(1, 99)(pixels.astype(np.float64)))
    assert_near(normalize(raw, Encoding(16, 1.0, 32768.0)), want)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 3, 4), (2, 0, 3, 4)])
def test_normalize_takes_images_without_pixels(kernel: str, shape: tuple[int, ...]) -> None:
    assert normalize(torch.empty(shape)).shape == shape


def test_normalize_takes_any_strides_and_does_not_write_its_input(kernel: str) -> None:
    image = frame(150, 300)
    before = image.clone()
    for view in (image.T, image[::2, 1::3], image.expand(2, 150, 300)):
        assert torch.equal(normalize(view), normalize(view.contiguous()))
    out = torch.zeros(150, 600)[:, ::2]
    assert torch.equal(normalize(image, out=out), normalize(image))
    torch.testing.assert_close(image, before, rtol=0, atol=0, equal_nan=True)


def test_normalize_does_not_depend_on_threads(torch_threads: Callable[[int], None]) -> None:
    image = frame(2, 200, 5000)
    torch_threads(1)
    one = normalize(image, limits=SigmaClip())
    torch_threads(3)
    assert torch.equal(normalize(image, limits=SigmaClip()), one)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limits": (1.0, 2.0)}, UsageError, "limits must be a Manual"),
        ({"limits": torch.tensor([0.0, 1.0])}, UsageError, "given limits must be float64"),
        ({"limits": torch.zeros(3, dtype=torch.float64)}, InputShapeError, r"must broadcast to \(2, 2\)"),
        ({"limits": torch.zeros(3, 2, dtype=torch.float64)}, InputShapeError, r"must broadcast to \(2, 2\)"),
        ({"limits": torch.zeros(2, 2, dtype=torch.float64), "per": "batch"}, InputShapeError, r"must broadcast to \(2,\)"),
        ({"stretch": "asinh"}, UsageError, "stretch must be a Linear"),
        ({"invalid": "one"}, UsageError, "invalid must be 'zero', 'nan' or a finite number"),
        ({"invalid": math.inf}, UsageError, "invalid must be"),
        ({"dtype": torch.float64}, UsageError, "dtype must be torch.float32"),
        ({"per": "row"}, UsageError, "per must be"),
        ({"saturated": "one"}, UsageError, "saturated must be"),
        ({"out": torch.zeros(2, 4, 5)}, InputShapeError, "out must have shape"),
        ({"out": torch.zeros(2, 3, 4, dtype=torch.float64)}, UsageError, "out must be one of"),
        ({"limits_out": torch.zeros(2, dtype=torch.float64)}, InputShapeError, "limits_out must have shape"),
        ({"limits_out": torch.zeros(2, 2)}, UsageError, "limits_out must be one of"),
    ],
)
def test_normalize_refuses_wrong_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        normalize(torch.zeros(2, 3, 4), **options)


def test_normalize_refuses_to_write_over_its_input() -> None:
    image = torch.zeros(3, 4)
    with pytest.raises(UsageError, match="must not share memory with the image"):
        normalize(image, out=image)


def test_normalize_passes_opcheck(kernel: str) -> None:
    raw = torch.randint(0, 200, (2, 6, 10), dtype=torch.uint8)
    limits = torch.tensor([[10.0, 150.0], [0.0, 190.0]], dtype=torch.float64)
    arguments = (raw, 16, 1.0, 32768.0, 7, [0, 1, 4, 4, 0, 0], [3.5, 1.5], 6e4, "top", limits, "asinh", 0.1, True, 0.0)
    torch.library.opcheck(torch.ops.zoo.normalize.default, (*arguments, torch.bfloat16))
    torch.library.opcheck(torch.ops.zoo.normalize.out, arguments, {"out": torch.empty(2, 4, 4)})


@pytest.mark.parametrize("limits", [*LIMITS.values(), None], ids=str)
def test_normalize_compiles_without_graph_breaks(limits: Any) -> None:
    image = frame(12, 15).nan_to_num(posinf=1.0)

    def prepared(pixels: torch.Tensor) -> torch.Tensor:
        return 2 * normalize(pixels, limits=limits, stretch=Log(), regions=[Region(0, 1, 12, 14)]) - 1

    assert torch.equal(torch.compile(prepared, fullgraph=True, backend="aot_eager")(image), prepared(image))


def test_normalize_into_out_compiles_without_graph_breaks() -> None:
    image, out = frame(12, 15), torch.empty(12, 15)

    def prepared(pixels: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        return normalize(pixels, out=result) + 0

    got = torch.compile(prepared, fullgraph=True, backend="aot_eager")(image, out)
    assert torch.equal(got, normalize(image))
    assert torch.equal(out, got)
