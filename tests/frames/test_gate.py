"""The gate: bytes that are not a safe FITS file are refused with a stable code, from headers alone."""

from __future__ import annotations

import re
import struct
import tracemalloc
from pathlib import Path

import pytest
from fits_bytes import block, extension, header, primary
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import FrameError
from zoo.frames import gate
from zoo.frames.gate import Hdu, check_scaling, scan
from zoo.frames.headers import BLOCK, MAX_HDUS, MAX_HEADER_BLOCKS


def list_of(data: bytes, path: str | None) -> list[Hdu]:
    hdus, damage = scan(data, path)
    if damage:
        raise damage
    return hdus


def test_scan_describes_every_hdu() -> None:
    data = primary() + block(bytes(24)) + extension("BINTABLE", axes=(8, 2), pcount=100) + block(bytes(116)) + extension("IMAGE")
    hdus = list_of(data, None)
    assert [(h.kind, h.axes, h.offset, h.size, h.shape) for h in hdus] == [
        ("image", (3, 4), 2880, 24, (3, 4)),
        ("table", (2, 8), 8640, 116, None),
        ("image", (), 14400, 0, None),
    ]


def test_scan_reads_every_type_of_value() -> None:
    cards = (
        "TEXT    = 'it''s    '          / a / comment",
        "EMPTY   = ''",
        "YES     =                    T / logical",
        "NO      = F",
        "WHOLE   =                  -12",
        "REAL    =             -1.5E+03",
        "DOUBLE  =              2.5D-01",
        "DOT     =                  .5",
        "NOTHING =",
        "COMPLEX = (1.0, 2.0)",
        "OPEN    = 'never closed",
        "REPEAT  =                    1",
        "REPEAT  =                    2",
        "COMMENT = not a value",
    )
    found = list_of(primary(*cards, axes=()), None)[0].header
    assert [found[k] for k in ("TEXT", "EMPTY", "YES", "NO", "WHOLE", "REAL", "DOUBLE", "DOT")] == [
        "it's",
        "",
        True,
        False,
        -12,
        -1500.0,
        0.25,
        0.5,
    ]
    assert [found[k] for k in ("NOTHING", "COMPLEX", "OPEN")] == [None, None, None]
    assert found["REPEAT"] == 1


@pytest.mark.parametrize(
    ("axes", "shape"),
    [((4, 3), (3, 4)), ((4, 3, 1, 1), (3, 4)), ((4, 3, 2), None), ((4,), None), ((), None), ((0, 5), None), ((4, 1, 3), None)],
)
def test_shape_is_that_of_two_dimensional_images(axes: tuple[int, ...], shape: tuple[int, int] | None) -> None:
    assert list_of(primary(axes=axes) + block(bytes(48)), None)[0].shape == shape


def test_scan_ignores_what_follows_the_last_hdu() -> None:
    assert len(list_of(primary() + block(bytes(24)) + b"rubbish" * 1000, None)) == 1


def test_scan_accepts_data_without_padding() -> None:
    assert len(list_of(primary() + bytes(24), None)) == 1


def test_scan_tells_tables_groups_and_compressed_images_apart() -> None:
    tiles = ("ZIMAGE  =                    T", "ZBITPIX = -32", "ZNAXIS  = 2", "ZNAXIS1 = 7", "ZNAXIS2 = 5")
    data = primary("GROUPS  =                    T", "PCOUNT  =                    2", "GCOUNT  =                    3", axes=(0, 5))
    data += block(bytes(2 * 3 * (2 + 5))) + extension("BINTABLE", *tiles) + extension("TABLE") + extension("FOREIGN")
    hdus = list_of(data, None)
    assert [h.kind for h in hdus] == ["groups", "compressed", "table", "other"]
    assert hdus[0].size == 42
    assert (hdus[1].bitpix, hdus[1].axes, hdus[1].shape, hdus[1].header["NAXIS1"], hdus[1].size) == (-32, (5, 7), (5, 7), 7, 0)


CARD = "SIMPLE  =                    T"
BROKEN = {
    "empty": (b"", "empty"),
    "text": (b"hello, world" * 300, "not-fits"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(3000), "not-fits"),
    "short": (b"SIM", "not-fits"),
    "simple-false": (header("SIMPLE  =                    F", "BITPIX  = 8", "NAXIS   = 0"), "bad-header"),
    "no-bitpix": (header(CARD, "NAXIS   = 0"), "bad-header"),
    "odd-bitpix": (primary(bitpix=12), "bad-header"),
    "no-naxis": (header(CARD, "BITPIX  = 8"), "bad-header"),
    "many-axes": (header(CARD, "BITPIX  = 8", "NAXIS   = 1000"), "bad-header"),
    "missing-axis": (header(CARD, "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 5"), "bad-header"),
    "negative-axis": (primary(axes=(-4, 3)), "bad-header"),
    "real-axis": (header(CARD, "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 5.0"), "bad-header"),
    "logical-axis": (header(CARD, "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = T"), "bad-header"),
    "text-naxis": (header(CARD, "BITPIX  = 8", "NAXIS   = '2'"), "bad-header"),
    "negative-pcount": (primary(axes=()) + extension("BINTABLE", pcount=-1), "bad-header"),
    "no-data": (primary(), "truncated"),
    "one-byte-short": (primary() + bytes(23), "truncated"),
    "header-cut": (primary()[:1000], "truncated"),
    "header-cut-after-end": (primary()[:2000], "truncated"),
    "no-end": (header(CARD, "BITPIX  = 8", "NAXIS   = 0").replace(b"END", b"   "), "truncated"),
    "second-cut": (primary(axes=()) + extension("IMAGE", axes=(100, 100)) + bytes(9999), "truncated"),
    "larger-than-memory": (primary(axes=(2**62, 2**62)) + bytes(2880), "truncated"),
    "overflowing": (primary(axes=(2**62, 2**62, 0)) + extension("IMAGE", axes=(2**32, 2**32), bitpix=64), "truncated"),
    "axis-of-65-bits": (primary(axes=(2**63, 0)), "bad-header"),
    "huge-and-many-axes": (primary(axes=(10**18,) * 999), "truncated"),
    "real-bitpix": (header(CARD, "BITPIX  = 16.0", "NAXIS   = 0"), "bad-header"),
    "endless-header": (primary(axes=()).replace(b"END", b"   ") + b" " * BLOCK * (MAX_HEADER_BLOCKS + 1), "bad-header"),
    "many-hdus": (primary(axes=()) + extension("IMAGE") * MAX_HDUS, "too-many-hdus"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_scan_refuses(name: str) -> None:
    data, code = BROKEN[name]
    with pytest.raises(FrameError) as caught:
        list_of(data, "x.fits")
    assert caught.value.code == code
    assert caught.value.path is not None
    assert str(caught.value).startswith("x.fits")


def test_scan_allows_a_thousand_hdus() -> None:
    assert len(list_of(primary(axes=()) + extension("IMAGE") * (MAX_HDUS - 1), None)) == MAX_HDUS


def test_scan_allocates_nothing_for_promised_pixels() -> None:
    data = primary(axes=(2**40, 2**20)) + bytes(2880)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            list_of(data, None)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("cards", "bitpix", "scaling"),
    [
        ((), 16, (1.0, 0.0, None)),
        (("BSCALE  = 2.5", "BZERO   = 32768", "BLANK   = -32768"), 16, (2.5, 32768.0, -32768)),
        (("BLANK   = 0",), -32, (1.0, 0.0, None)),
        (("BLANK   = 'x'",), -64, (1.0, 0.0, None)),
    ],
)
def test_check_scaling_gives_defaults(cards: tuple[str, ...], bitpix: int, scaling: tuple[float, float, int | None]) -> None:
    hdu = list_of(primary(*cards, bitpix=bitpix) + bytes(96), None)[0]
    assert check_scaling(hdu, None) == scaling


@pytest.mark.parametrize(
    "card", ["BSCALE  = 0", "BSCALE  = 'x'", "BSCALE  = NaN", "BZERO   = 1E999", "BZERO   = T", "BLANK   = 1.5", "BLANK   = 1" + "0" * 30]
)
def test_check_scaling_refuses(card: str) -> None:
    hdu = list_of(primary(card) + bytes(24), None)[0]
    with pytest.raises(FrameError) as caught:
        check_scaling(hdu, None)
    assert caught.value.code == "bad-header"


VALID = (
    primary("BSCALE  =                  1.0")
    + block(struct.pack(">12h", *range(12)))
    + extension("IMAGE", axes=(2, 2), bitpix=8)
    + block(b"abcd")
)


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6), st.integers(0, len(VALID)))
@settings(max_examples=300, deadline=None)
def test_scan_of_damaged_bytes_gives_hdus_or_a_refusal(damage: list[tuple[int, int]], length: int) -> None:
    data = bytearray(VALID)
    for position, value in damage:
        data[position] = value
    data = data[:length] if length < len(VALID) // 2 else data
    try:
        hdus = list_of(bytes(data), None)
    except FrameError:
        return
    for hdu in hdus:
        assert 0 <= hdu.offset <= hdu.offset + hdu.size <= len(data)
        assert hdu.shape is None or hdu.shape[0] * hdu.shape[1] * abs(hdu.bitpix) // 8 <= hdu.size


def test_every_code_is_listed_and_described() -> None:
    root = Path(__file__).resolve().parents[2]
    sources = [*(root / "zoo" / "frames").glob("*.py"), root / "plugins" / "overscan.py"]
    raised = {
        code
        for source in sources
        for code in re.findall(r'(?:(?:FrameError|refuse)\(\s*|"code": )"([a-z0-9-]+)"', source.read_text(encoding="utf-8"))
    }
    listed = set(re.findall(r"``([a-z0-9-]+)``", gate.__doc__ or ""))
    described = set(
        re.findall(r"`([a-z0-9-]+)`", (root / "docs" / "data.md").read_text().partition("### What is refused")[2].partition("## ")[0])
    )
    assert raised == listed
    assert raised <= described
