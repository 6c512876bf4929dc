"""A corpus of hostile files: each is refused with its code, or holds pixels that must come out right. Built, not kept: it is 130 MB.

A file is written when it is asked for. `python tests/frames/hostile.py FOLDER` writes the small ones, from which the fuzzer starts.
"""

from __future__ import annotations

import bz2
import gzip
import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from fits_bytes import block, data_sum, extension, header, primary

from zoo.frames import acs_wfc
from zoo.frames.headers import MAX_HDUS, MAX_HEADER_BLOCKS

Pixels = np.ndarray[Any, np.dtype[np.float32]]

SIMPLE = "SIMPLE  =                    T"
IMAGE = np.arange(12, dtype=">i2").reshape(3, 4)
DATA = block(IMAGE.tobytes())
SKY = np.random.default_rng(3).normal(200, 30, (40, 56)).astype(np.int16)


@dataclass(frozen=True)
class Hostile:
    """One file. ``build``: its bytes. ``expected``: the code of its refusal, or its pixels."""

    name: str
    build: Callable[[], bytes]
    expected: str | Pixels

    def write(self, folder: Path) -> Path:
        path = folder / f"{self.name}{'.gz' if self.name.startswith('gz') else '.fits'}"
        path.write_bytes(self.build())
        return path


CORPUS: list[Hostile] = []


def add(name: str, build: bytes | Callable[[], bytes], expected: str | Pixels | np.ndarray[Any, Any]) -> None:
    made = expected if isinstance(expected, str) else expected.astype(np.float32)
    CORPUS.append(Hostile(name, (lambda: build) if isinstance(build, bytes) else build, made))


def image(*cards: str, data: bytes = DATA, **words: Any) -> bytes:
    return primary(*cards, **words) + data


# Not FITS, or cut.
add("nothing", b"", "empty")
add("text", b"hello, world" * 300, "not-fits")
add("random", np.random.default_rng(0).bytes(9000), "not-fits")
add("random-after-the-signature", b"SIMPLE  =" + np.random.default_rng(1).bytes(9000), "truncated")
add("zeros-after-the-signature", b"SIMPLE  =" + bytes(9000), "truncated")
add("header-cut-in-a-card", primary()[:1000], "truncated")
add("header-cut-after-end", primary()[:2000], "truncated")
add("header-without-end", primary(axes=()).replace(b"END", b"   "), "truncated")
add("data-cut", image()[: 2880 + 23], "truncated")
add("data-absent", primary(), "truncated")
add("second-image-cut", image() + extension("IMAGE", axes=(100, 100)) + bytes(9999), "truncated")
add("last-block-cut", image()[: 2880 + 24], IMAGE)
add("rubbish-at-the-end", image() + b"rubbish" * 1000, IMAGE)

# Sizes.
add("naxis-huge", primary(axes=(2**40, 2**20)) + bytes(2880), "truncated")
add("naxis-negative", primary(axes=(-4, 3)) + bytes(2880), "bad-header")
add("naxis-real", header(SIMPLE, "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 5.0"), "bad-header")
add("naxis-overflows-to-zero", primary(axes=(2**33, 2**31)) + bytes(2880), "truncated")
add("naxis-overflows-to-24-bytes", primary(axes=(2**61 + 3, 4)) + DATA, "truncated")
add("naxis-of-64-bits", primary(axes=(2**63, 1)) + bytes(2880), "bad-header")
add("naxis-of-60-digits", primary(axes=(10**59, 1)) + bytes(2880), "bad-header")
add("naxis-999-lengths-1", primary(axes=(1,) * 999) + DATA, np.zeros((1, 1)))
add("naxis-999-lengths-absent", header(SIMPLE, "BITPIX  = 8", "NAXIS   = 999"), "bad-header")
add("naxis-999-huge", primary(axes=(10**18,) * 999) + bytes(2880), "truncated")
add("naxis-1000", primary(axes=(1,) * 1000) + bytes(2880), "bad-header")
add("naxis-twice", image("NAXIS1  = 4000"), IMAGE)
add("pcount-negative", image(axes=(), data=b"") + extension("IMAGE", axes=(4, 3), pcount=-1), "bad-header")
add("pcount-huge", image(axes=(), data=b"") + extension("IMAGE", axes=(4, 3), pcount=2**63 - 1) + DATA, "truncated")
add("gcount-zero", image(axes=(), data=b"") + extension("IMAGE", axes=(4, 3), gcount=0) + DATA, "bad-header")
add("gcount-huge", image(axes=(), data=b"") + extension("IMAGE", axes=(4, 3), gcount=2**63 - 1) + DATA, "truncated")

# Keywords.
add("simple-false", image().replace(b"                   T", b"                   F", 1), "bad-header")
add("bitpix-12", image(bitpix=12), "bad-header")
add("bitpix-zero", image(bitpix=0), "bad-header")
add("bitpix-real", header(SIMPLE, "BITPIX  = 16.0", "NAXIS   = 2", "NAXIS1  = 4", "NAXIS2  = 3") + DATA, "bad-header")
add("bitpix-absent", header(SIMPLE, "NAXIS   = 0"), "bad-header")
add("bscale-zero", image("BSCALE  = 0.0"), "bad-header")
add("bscale-nan", image("BSCALE  = NaN"), "bad-header")
add("bzero-infinite", image("BZERO   = 1E999"), "bad-header")
add("blank-real", image("BLANK   = 1.5"), "bad-header")
add("nan-everywhere", image(bitpix=-32, data=block(np.full((3, 4), np.nan, ">f4").tobytes())), "few-valid")
add("blank-everywhere", image("BLANK   = 7", data=block(np.full((3, 4), 7, ">i2").tobytes())), "few-valid")
add("text-not-closed", image("EXTNAME = 'SCI", "OBJECT  = 'it''s''"), IMAGE)
add("keywords-of-any-bytes", image("\x00\xff\t'     = '\xe9\x00'", "        =  "), IMAGE)

# Many of something.
LONG = (*(f"K{n:07d}= {n}" for n in range(36 * (MAX_HEADER_BLOCKS - 1) - 10)),)
add("header-bomb-with-end", lambda: image(*LONG), IMAGE)
add("header-bomb-without-end", lambda: primary(axes=()).replace(b"END", b"   ") + b" " * 2880 * (MAX_HEADER_BLOCKS + 1), "bad-header")
add("header-bomb-in-six-parts", lambda: image(*LONG) + extension("IMAGE", *LONG[:-6]) * 5, "bad-header")
add("a-thousand-hdus", lambda: image() + extension("IMAGE") * (MAX_HDUS - 1), IMAGE)
add("20000-hdus", lambda: image() + extension("IMAGE") * 19_999, "too-many-hdus")

# Files in gzip and bzip2.
ZEROS = gzip.compress(bytes(1 << 24))
add("gz-bomb", lambda: gzip.compress(primary(axes=(2**20, 2**20))) + ZEROS * 512, "too-large")
add("gz-bomb-of-zeros", lambda: ZEROS * 512, "not-fits")
add("gz-cut", lambda: gzip.compress(image())[:-12], "truncated")
add("gz-garbled", lambda: gzip.compress(image())[:-8] + bytes(8), "corrupt")
add("bz2-garbled", lambda: bz2.compress(image())[:40] + bytes(40), "corrupt")
add("xz", b"\xfd7zXZ\x00" + bytes(100), "compressed")
add("zip", b"PK\x03\x04" + bytes(100), "compressed")


# Checksums.
def summed(name: str = "PRIMARY", flip: int | None = None, told: int | None = None) -> bytes:
    data = bytearray(DATA)
    card = f"DATASUM = '{data_sum(DATA) if told is None else told}'"
    if flip is not None:
        data[flip // 8] ^= 1 << flip % 8
    if name == "PRIMARY":
        return image(card, data=bytes(data))
    return (
        image("TELESCOP= 'HST     '", axes=(), data=b"")
        + extension("IMAGE", f"EXTNAME = '{name}'", card, axes=(4, 3), bitpix=16)
        + bytes(data)
    )


add("checksum-right", summed(), IMAGE)
add("checksum-right-last-block-cut", summed()[: 2880 + 24], IMAGE)
add("checksum-first-bit-flipped", summed(flip=0), "checksum")
add("checksum-last-bit-flipped", summed(flip=8 * 24 - 1), "checksum")
add("checksum-padding-flipped", summed(flip=8 * 2880 - 1), "checksum")
add("checksum-of-an-extension", summed("SCI", flip=77), "checksum")
add("checksum-of-another-file", summed(told=1), "checksum")
add("checksum-no-number", image("DATASUM = 'unknown'"), IMAGE)


# What an image is.
def written(*hdus: Any, **words: Any) -> bytes:
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream, **words)
    return stream.getvalue()


def exposure(cut: int = 0, **keywords: Any) -> bytes:
    """A raw exposure of ACS/WFC at 1/64 of its size with its extensions in the order DQ, ERR, SCI."""
    layout = acs_wfc(2).scaled(64)
    first = fits.PrimaryHDU()
    facts = {"TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC", "CCDGAIN": 2.0, "CCDAMP": "ABCD", "SIMULATE": True, "SIMSCALE": 64}
    first.header.update({**facts, "FILENAME": "jabc01xyq_raw.fits", "NEXTEND": 3, **keywords})
    pixels = np.arange(layout.shape[0] * layout.shape[1], dtype=np.uint16).reshape(layout.shape)
    sci = fits.ImageHDU(pixels, name="SCI")
    sci.header.update({"CCDCHIP": 2, "BUNIT": "COUNTS"} | {key: value for key, value in keywords.items() if key.startswith("BINAXIS")})
    return written(first, *[fits.ImageHDU(np.zeros(layout.shape, np.int16), name="DQ"), fits.ImageHDU(name="ERR"), sci][: 3 - cut])


add("extensions-in-another-order", exposure, np.arange(np.prod(acs_wfc(2).scaled(64).shape)).reshape(acs_wfc(2).scaled(64).shape))
add("extensions-missing", lambda: exposure(NEXTEND=6), "truncated")
add("raw-subarray", lambda: exposure(SUBARRAY=True), "subarray")
add("raw-binned", lambda: exposure(BINAXIS1=2, BINAXIS2=2), "binned")
add("raw-of-another-size", lambda: exposure(SIMSCALE=32), "bad-geometry")
add("tables-only", image(axes=(), data=b"") + extension("BINTABLE", axes=(8, 2)) + block(bytes(16)), "no-image")
add("random-groups", image("GROUPS  =                    T", "PCOUNT  = 2", "GCOUNT  = 3", axes=(0, 5), data=block(bytes(42))), "no-image")
add("unknown-extension", image() + extension("FOREIGN", axes=(7, 7)) + block(bytes(49)), IMAGE)
add("cube", image(axes=(2, 2, 3)), "not-2d")
add("line", image(axes=(12,)), "not-2d")


# Tiles.
def tiles(damage: Callable[[fits.Header], object] | None = None, flip: int | None = None, checksum: bool = False, **options: Any) -> bytes:
    """An image in tiles, its header or one bit of its streams damaged."""
    with warnings.catch_warnings(action="ignore"):
        data = written(fits.PrimaryHDU(), fits.CompImageHDU(SKY, **options), checksum=checksum)
        with fits.open(io.BytesIO(data), disable_image_compression=True) as hdus:
            start, width, rows = hdus[1].fileinfo()["datLoc"], hdus[1].header["NAXIS1"], hdus[1].header["NAXIS2"]
            if damage:
                damage(hdus[1].header)
                data = data[: hdus[1].fileinfo()["hdrLoc"]] + hdus[1].header.tostring().encode() + data[start:]
    result = bytearray(data)
    if flip is not None:
        result[start + width * rows + flip] ^= 1
    return bytes(result)


def descriptors(value: int) -> bytes:
    """RICE tiles whose table says that each stream is ``value`` bytes long."""
    result = bytearray(tiles())
    with fits.open(io.BytesIO(bytes(result)), disable_image_compression=True) as hdus:
        start, rows = hdus[1].fileinfo()["datLoc"], hdus[1].header["NAXIS2"]
    for row in range(rows):
        result[start + 8 * row : start + 8 * row + 4] = value.to_bytes(4, "big")
    return bytes(result)


add("tiles", tiles, SKY)
add("tiles-bit-flipped-under-a-checksum", lambda: tiles(flip=9, checksum=True), "checksum")
add("tiles-with-a-checksum", lambda: tiles(checksum=True), SKY)
add("tiles-gzip-garbled", lambda: tiles(flip=40, compression_type="GZIP_1"), "corrupt")
add("tiles-rice-streams-too-long", lambda: descriptors(2**31 - 1), "corrupt")
add("tiles-rice-streams-too-short", lambda: descriptors(2), "corrupt")
add("tiles-of-no-size", lambda: tiles(lambda h: h.set("ZTILE1", 0)), "bad-header")
add("tiles-of-another-size", lambda: tiles(lambda h: h.set("ZTILE2", 7)), "corrupt")
add("tiles-of-a-huge-image", lambda: tiles(lambda h: h.update(ZNAXIS1=2**40, ZNAXIS2=2**40)), "too-large")
add("tiles-of-99-huge-axes", lambda: tiles(lambda h: h.update({"ZNAXIS": 99} | {f"ZNAXIS{n}": 10**18 for n in range(1, 100)})), "not-2d")
add("tiles-znaxis-negative", lambda: tiles(lambda h: h.set("ZNAXIS1", -4)), "bad-header")
add("tiles-zbitpix-7", lambda: tiles(lambda h: h.set("ZBITPIX", 7)), "bad-header")
add("tiles-unknown-coding", lambda: tiles(lambda h: h.set("ZCMPTYPE", "ZPAQ_9")), "compressed")
add("tiles-without-columns", lambda: tiles(lambda h: h.set("TFIELDS", 0)), "corrupt")


if __name__ == "__main__":
    for hostile in CORPUS:
        content = hostile.build()
        if content.startswith(b"SIMPLE  =") and len(content) <= 1 << 16:
            (Path(sys.argv[1]) / f"{hostile.name}.fits").write_bytes(content)
