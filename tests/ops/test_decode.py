"""Decoding of raw FITS bytes and native tensors into linear pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from zoo.errors import InputShapeError, UsageError
from zoo.ops import Encoding, Region, decode

STORED = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
NATIVE = (
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
)  # fmt: skip


def stored_pixels(bitpix: int, *shape: int) -> np.ndarray[Any, Any]:
    """Stored numbers over the whole range of a type, with its extremes and, for floats, NaN and infinities."""
    rng = np.random.default_rng(3)
    dtype = np.dtype(STORED[bitpix])
    if bitpix < 0:
        values = (rng.normal(0.0, 1.0, shape) * 10.0 ** rng.integers(-5, 6, shape)).astype(dtype)
        values.flat[:4] = [np.nan, np.inf, -np.inf, -0.0]
        return values
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, shape, dtype=dtype.newbyteorder("="), endpoint=True).astype(dtype)
    values.flat[:3] = [info.min, info.max, 0]
    return values


def raw_bytes(values: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape[:-1], -1).copy())


def linear(values: np.ndarray[Any, Any], bscale: float = 1.0, bzero: float = 0.0) -> np.ndarray[Any, Any]:
    """numpy's idea of the decoded pixels."""
    result = values.astype(np.float64) * bscale + bzero
    return np.where(np.isfinite(result), result, np.nan)


def assert_same(got: torch.Tensor, want: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(got.cpu().to(torch.float64).numpy(), want)


@pytest.mark.parametrize("bitpix", STORED)
@pytest.mark.parametrize(("bscale", "bzero"), [(1.0, 0.0), (1.0, 32768.0), (-0.37, 1234.5)])
def test_decode_matches_numpy_for_every_encoding(device: torch.device, kernel: str, bitpix: int, bscale: float, bzero: float) -> None:
    values = stored_pixels(bitpix, 3, 5, 41)
    got = decode(raw_bytes(values).to(device), Encoding(bitpix, bscale, bzero), dtype=torch.float64)
    assert_same(got, linear(values, bscale, bzero))


@pytest.mark.parametrize("dtype", NATIVE, ids=str)
def test_decode_matches_numpy_for_every_native_dtype(device: torch.device, kernel: str, dtype: torch.dtype) -> None:
    image = (torch.randn(2, 7, 33, dtype=torch.float64) * 40).to(dtype)
    if dtype.is_floating_point:
        image[0, 0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    want = image.double().numpy()
    assert_same(decode(image.to(device), dtype=torch.float64), np.where(np.isfinite(want), want, np.nan))


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "int64", "float32", "float64", "scaled"])
def test_decode_matches_astropy_on_the_bytes_of_a_file(tmp_path: Path, kernel: str, kind: str) -> None:
    path = tmp_path / "frame.fits"
    rng = np.random.default_rng(5)
    values = rng.integers(0, 200, (19, 23)).astype("float32" if kind == "scaled" else kind)
    hdu = fits.PrimaryHDU(values)
    if kind == "scaled":
        hdu.scale("int16", bscale=0.25, bzero=7.0)
    hdu.writeto(path)
    with fits.open(path) as hdus:
        header, place = hdus[0].header.copy(), hdus[0].fileinfo()  # reading the data rewrites the header
        want = hdus[0].data.astype(np.float64)
    content = path.read_bytes()[place["datLoc"] :]
    encoding = Encoding(header["BITPIX"], header.get("BSCALE", 1.0), header.get("BZERO", 0.0), header.get("BLANK"))
    size = 19 * 23 * encoding.itemsize
    raw = torch.frombuffer(bytearray(content[:size]), dtype=torch.uint8).reshape(19, 23 * encoding.itemsize)
    assert_same(decode(raw, encoding, dtype=torch.float64), want)


@pytest.mark.parametrize("bitpix", [8, 16, 32, 64])
def test_decode_gives_nan_for_blank(device: torch.device, kernel: str, bitpix: int) -> None:
    values = stored_pixels(bitpix, 4, 9)
    values[1, 2:5] = 100
    got = decode(raw_bytes(values).to(device), Encoding(bitpix, 2.0, 1.0, blank=100), dtype=torch.float64)
    assert_same(got, np.where(values == 100, np.nan, linear(values, 2.0, 1.0)))


def test_decode_ignores_a_blank_outside_the_range_of_the_type(kernel: str) -> None:
    values = stored_pixels(16, 4, 9)
    assert not decode(raw_bytes(values), Encoding(16, blank=65536 + 100)).isnan().any()


def test_decode_applies_regions_as_numpy_slices_do(device: torch.device, kernel: str) -> None:
    values = stored_pixels(16, 2, 12, 30)
    regions = [Region(2, 3, 5, 8, 0, 0, 100.3, 1.58), Region(2, 17, 5, 9, 0, 8, 101.71, 1.6), Region(8, 0, 3, 17, 5, 0, -7.5, 0.5)]
    got = decode(raw_bytes(values).to(device), Encoding(16, 1.0, 32768.0), regions=regions, dtype=torch.float64)
    pixels = linear(values, 1.0, 32768.0)
    want = np.empty((2, 8, 17))
    want[:, :5, :8] = (pixels[:, 2:7, 3:11] - 100.3) * 1.58
    want[:, :5, 8:] = (pixels[:, 2:7, 17:26] - 101.71) * 1.6
    want[:, 5:] = (pixels[:, 8:11, :17] + 7.5) * 0.5
    assert_same(got, want)


def test_decode_treats_overflow_as_invalid(kernel: str) -> None:
    image = torch.tensor([[1e300, 1.0]], dtype=torch.float64)
    assert decode(image, regions=[Region(0, 0, 1, 2, gain=1e10)], dtype=torch.float64).isnan().tolist() == [[True, False]]


def test_decode_drops_saturated_pixels_only_when_told(device: torch.device, kernel: str) -> None:
    image = torch.tensor([[1.0, 9.0, 10.0, 11.0]], device=device)
    region = [Region(0, 0, 1, 4, bias=5.0)]
    assert decode(image, regions=region, saturation=10.0).tolist() == [[-4.0, 4.0, 5.0, 6.0]]
    got = decode(image, regions=region, saturation=10.0, saturated="invalid")
    assert got.isnan().tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_decode_rounds_to_short_floats_as_torch_does(device: torch.device, kernel: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(40, 5000, generator=generator, dtype=torch.float64) * 10.0 ** torch.randint(-9, 6, (40, 5000), generator=generator)
    image[0, :6] = torch.tensor([65504.0, 65519.9, 65520.0, 2.0**-25, 2.0**-24 * 1.5, -0.0])
    want = image.to(dtype)
    assert torch.equal(decode(image.to(device), dtype=dtype).cpu(), want)
    out = torch.empty(40, 5000, dtype=dtype, device=device)
    assert decode(image.to(device), out=out) is out
    assert torch.equal(out.cpu(), want)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 3, 4), (2, 0, 3, 4)])
def test_decode_takes_images_without_pixels(kernel: str, shape: tuple[int, ...]) -> None:
    assert decode(torch.empty(shape)).shape == shape


def test_decode_takes_any_strides_and_leading_dimensions(kernel: str) -> None:
    image = torch.randn(3, 2, 9, 4100)
    for view in (image.transpose(-1, -2), image[:, :, ::2, 1::3], image[0, 0].expand(4, 9, 4100), image[0, 0]):
        assert torch.equal(decode(view), view)
    out = torch.zeros(9, 8200)[:, ::2]
    decode(image[0, 0], out=out)
    assert torch.equal(out, image[0, 0])


def test_decode_does_not_write_its_input(kernel: str) -> None:
    image = torch.randn(5, 50)
    before = image.clone()
    decode(image, regions=[Region(1, 1, 2, 30, bias=2.0)])
    assert torch.equal(image, before)


def test_decode_does_not_depend_on_threads(torch_threads: Callable[[int], None]) -> None:
    raw = raw_bytes(stored_pixels(16, 30, 5000))
    torch_threads(1)
    one = decode(raw, Encoding(16, 0.3, 1.7))
    torch_threads(2)
    assert torch.equal(decode(raw, Encoding(16, 0.3, 1.7)), one)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Encoding(12), UsageError, "bitpix must be one of"),
        (lambda: Encoding(16, bscale=0.0), UsageError, "bscale must be finite and not 0"),
        (lambda: Encoding(16, bzero=math.inf), UsageError, "bzero must be finite"),
        (lambda: Encoding(-32, blank=3), UsageError, "floats use NaN"),
        (lambda: Encoding(64, blank=2**63), UsageError, "fit in 64 bits"),
        (lambda: Region(-1, 0, 1, 1), UsageError, "y, x, to_y, to_x >= 0"),
        (lambda: Region(0, 0, 0, 1), UsageError, "height, width >= 1"),
        (lambda: Region(0, 0, 1, 1, gain=0.0), UsageError, "gain of a region must be finite and > 0"),
        (lambda: Region(0, 0, 1, 1, bias=math.nan), UsageError, "bias of a region must be finite"),
        (lambda: decode(torch.zeros(3)), InputShapeError, "at least two dimensions"),
        (lambda: decode(torch.zeros(3, 4, dtype=torch.bool)), UsageError, "8 to 64 bits"),
        (lambda: decode(torch.zeros(3, 4), Encoding(16)), UsageError, "must be uint8 bytes"),
        (lambda: decode(torch.zeros(3, 5, dtype=torch.uint8), Encoding(16)), InputShapeError, "multiple of 2 bytes"),
        (lambda: decode(torch.zeros(3, 4), dtype=torch.int16), UsageError, "dtype must be one of"),
        (lambda: decode(torch.zeros(3, 4), saturated="clip"), UsageError, "saturated must be"),  # type: ignore[arg-type]
        (lambda: decode(torch.zeros(3, 4), saturation=math.nan), UsageError, "saturation must be"),
        (lambda: decode(torch.zeros(3, 4), regions=[Region(0, 0, 4, 4)]), InputShapeError, "leaves the image of 3 x 4"),
        (lambda: decode(torch.zeros(3, 4), regions=[Region(0, 0, 2, 2), Region(0, 2, 2, 2, 1, 1)]), UsageError, "overlap"),
        (lambda: decode(torch.zeros(3, 4), regions=[Region(0, 0, 2, 2, 1, 0)]), UsageError, "without holes, got 4 of its 6"),
        (lambda: decode(torch.zeros(3, 4), out=torch.zeros(4, 3)), InputShapeError, "out must have shape"),
        (lambda: decode(torch.zeros(3, 4), out=torch.zeros(3, 4, dtype=torch.int32)), UsageError, "out must be one of"),
        (lambda: decode(torch.zeros(3, 4), out=torch.zeros(1).expand(3, 4)), UsageError, "share memory"),
    ],
)
def test_decode_refuses_wrong_arguments(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_decode_refuses_to_write_over_its_input() -> None:
    image = torch.zeros(3, 4)
    with pytest.raises(UsageError, match="must not share memory with the image"):
        decode(image, out=image)


def test_decode_passes_opcheck(kernel: str) -> None:
    raw = raw_bytes(stored_pixels(16, 2, 6, 10))
    source = (16, 1.0, 32768.0, 7, [0, 1, 4, 5, 0, 0], [3.5, 1.5], 7e4, "invalid")  # no pixel is NaN: opcheck compares with ==
    torch.library.opcheck(torch.ops.zoo.decode.default, (raw, *source, torch.float32))
    torch.library.opcheck(torch.ops.zoo.decode.out, (raw, *source), {"out": torch.empty(2, 4, 5)})


def test_decode_compiles_without_graph_breaks() -> None:
    raw, encoding = raw_bytes(stored_pixels(16, 6, 10)), Encoding(16, 1.0, 32768.0)

    def twice(image: torch.Tensor) -> torch.Tensor:
        return decode(image, encoding, regions=[Region(0, 0, 5, 9, bias=3.25)]) * 2

    assert torch.equal(torch.compile(twice, fullgraph=True, backend="aot_eager")(raw), twice(raw))


def test_decode_matches_astropy_on_real_files(real_data: Path) -> None:
    for path in sorted((real_data / "real").rglob("*.fits"))[:6]:
        with fits.open(path, do_not_scale_image_data=True) as hdus:
            plain = [hdu for hdu in hdus if hdu.header.get("NAXIS") == 2 and not isinstance(hdu, fits.CompImageHDU)]
            if not plain:
                continue
            header, start, shape = plain[0].header.copy(), plain[0].fileinfo()["datLoc"], plain[0].shape
            stored = np.array(plain[0].data)
        encoding = Encoding(header["BITPIX"], header.get("BSCALE", 1.0), header.get("BZERO", 0.0), header.get("BLANK"))
        size = shape[0] * shape[1] * encoding.itemsize
        raw = torch.frombuffer(bytearray(path.read_bytes()[start : start + size]), dtype=torch.uint8).reshape(shape[0], -1)
        want = linear(stored, encoding.bscale, encoding.bzero)
        if encoding.blank is not None:
            want[stored == encoding.blank] = np.nan
        assert_same(decode(raw, encoding, dtype=torch.float64), want)
