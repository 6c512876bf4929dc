"""The compiled parser and its Python reference say the same of any bytes, and so do both ways to add up a data sum."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from astropy.io import fits
from fits_bytes import block, data_sum, extension, header, primary
from hostile import CORPUS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zoo.frames import checksum, gate, headers
from zoo.frames.gate import scan, walk_headers
from zoo.frames.headers import BLOCK, walk
from zoo.ops.native import native

SIMPLE = "SIMPLE  =                    T"


@pytest.fixture(scope="module")
def compiled() -> ModuleType:
    """The extension; skips where it was not built."""
    module = native()
    if module is None:
        pytest.skip("no compiled kernels")
    return module


def assert_same(data: bytes | bytearray) -> None:
    found, fault = walk_headers(data)
    # As text, for 1, 1.0 and True are equal.
    assert repr((found, fault)) == repr(walk(data))
    for hdu in found:
        assert 0 <= hdu.start < hdu.offset <= hdu.offset + hdu.size <= len(data)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", [hostile.name for hostile in CORPUS])
def test_both_say_the_same_of_the_hostile_corpus(name: str) -> None:
    (data,) = (hostile.build() for hostile in CORPUS if hostile.name == name)
    assert_same(data)


@pytest.mark.usefixtures("compiled")
def test_both_say_the_same_of_real_files(real_data: Path) -> None:
    paths = [path for path in (real_data / "real").glob("*/*") if path.read_bytes()[:9] == b"SIMPLE  ="]
    assert len(paths) > 100
    for path in paths:
        assert_same(path.read_bytes())


# What stands in cards, and what a hostile hand might write there.
KEYS = st.sampled_from([
    "SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS01", "NAXIS999", "PCOUNT", "GCOUNT", "GROUPS", "XTENSION", "EXTEND",
    "ZIMAGE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "BSCALE", "DATASUM", "END", "ENDE", "naxis",
])  # fmt: skip
NUMBERS = st.sampled_from([0, 1, 2, 3, 8, 16, -32, -64, 12, 999, 1000, 2**31, 2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 10**40, -1])
TEXTS = st.sampled_from(["'IMAGE   '", "'BINTABLE'", "'it''s'", "'open", "''", "'''", "'a''", "' '' ' / c", "NaN", "(1, 2)"])
WORDS = st.sampled_from(
    ["T", "F", "TT", "T / yes", "1.", ".5", ".", "1E5", "1D-2", "1E999", "-1E", "+5", "-0", "5 / pixels", "5/", "/ none"]
)
ODDITIES = st.sampled_from(["", "\t7\t", "\x0b7", "\xa07", "\xb2", "\x00", "1_0", "1\x00"])
VALUES = NUMBERS.map(str) | TEXTS | WORDS | ODDITIES | st.text(st.characters(max_codepoint=255), max_size=70)
CARDS = st.one_of(
    st.builds(lambda key, value: f"{key:<8}= {value}"[:80], KEYS, VALUES),
    st.text(st.characters(max_codepoint=255), max_size=80),
)
AXES = st.lists(st.sampled_from([0, 1, 2, 3, 2**33, 2**62]), max_size=4).map(tuple)
PARTS = st.one_of(
    st.builds(lambda cards, axes, bitpix: primary(*cards, axes=axes, bitpix=bitpix), st.lists(CARDS, max_size=3), AXES, NUMBERS),
    st.builds(lambda cards: header(SIMPLE, *cards), st.lists(CARDS, max_size=8)),
    st.builds(
        lambda kind, cards, axes, pcount: extension(kind, *cards, axes=axes, pcount=pcount),
        st.sampled_from(["IMAGE", "BINTABLE", "TABLE", "OTHER"]),
        st.lists(CARDS, max_size=6),
        AXES,
        NUMBERS,
    ),
    st.binary(min_size=1, max_size=40).map(block),
    st.just(b" " * BLOCK),
)
DAMAGE = st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=4)


@pytest.mark.usefixtures("compiled")
@given(st.lists(PARTS, min_size=1, max_size=5), DAMAGE, st.integers(0, 1 << 15))
@example([header(SIMPLE, "BITPIX  = 8", "NAXIS   = 0", "NULL    = 1\x00", "EXPO    = 1\x00E")], [], 1 << 15)
@settings(max_examples=500, deadline=None)
def test_both_say_the_same_of_mutated_headers(parts: list[bytes], damage: list[tuple[int, int]], length: int) -> None:
    data = bytearray(b"".join(parts))
    for position, value in damage:
        data[position % len(data)] = value
    assert_same(data[:length])


@pytest.mark.usefixtures("compiled")
@given(st.lists(CARDS, max_size=12))
@settings(max_examples=500, deadline=None)
def test_both_read_the_same_values(cards: list[str]) -> None:
    assert_same(primary(*cards, axes=()))


@pytest.mark.usefixtures("compiled")
@given(st.lists(PARTS, min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_both_stop_at_the_same_limit(parts: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in {"MAX_HDUS": 2, "MAX_HEADER_BLOCKS": 2, "MAX_FILE_BLOCKS": 3, "MAX_AXES": 3}.items():
            patch.setattr(headers, name, limit)
            patch.setattr(gate, name, limit)
        assert_same(primary(axes=()) + b"".join(parts))


def test_scan_runs_in_python_where_nothing_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "native", lambda: None)
    monkeypatch.setattr(checksum, "native", lambda: None)
    data = primary() + block(bytes(24)) + extension("IMAGE", axes=(9, 9))
    hdus, damage = scan(data, "x.fits")
    assert [hdu.shape for hdu in hdus] == [(3, 4)]
    assert str(damage) == "x.fits: HDU 1: truncated: got 8640 bytes in the file, expected 8721 by its headers"
    assert checksum.data_sum(b"\0\0\0\1\0\0\0\2", 0, 8) == 3


@given(st.binary(max_size=64), st.integers(0, 3))
@example(b"\xff" * 64, 0)
@example(b"\xff" * 63, 1)
@settings(deadline=None)
def test_data_sums_are_those_of_whole_numbers(data: bytes, offset: int) -> None:
    offset = min(offset, len(data))
    # Zero has two forms in ones' complement; a sum of what is not all zeros is never the positive one.
    expected = data_sum(data[offset:]) or (0xFFFFFFFF if any(data[offset:]) else 0)
    assert checksum.data_sum(data, offset, len(data) - offset) == expected
    assert checksum.reference_sum(data, offset, len(data) - offset) == expected


def test_data_sum_of_a_frame_is_that_of_astropy() -> None:
    pixels = np.random.default_rng(1).integers(-32768, 32768, (1000, 1111), dtype=np.int16)
    hdu = fits.PrimaryHDU(pixels)
    hdu.add_datasum()
    data = block(pixels.astype(">i2").tobytes())
    assert str(checksum.data_sum(data, 0, len(data))) == hdu.header["DATASUM"]
