"""Where pixels come from: a file that is mapped or unpacked, or an HDU list of astropy; its headers checked, its images as stored.

A plain file is mapped copy-on-write. Files in gzip or bzip2 are unpacked into memory, up to :data:`MAX_UNPACKED` bytes; images in tiles are
unpacked one plane at a time when they are wanted.

A mapping holds one file descriptor for as long as its frames live, so thousands of files are read one after the other, not kept. As with
every mapping, a file must not be shortened while it is in use: the system ends the process then (SIGBUS).
"""

from __future__ import annotations

import bz2
import gzip
import mmap
import os
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import FrameError
from zoo.frames.arrays import encode_array, exact
from zoo.frames.checksum import check_sum
from zoo.frames.gate import Hdu, check_scaling, scan
from zoo.frames.headers import read_cards
from zoo.frames.tiles import unpack
from zoo.ops.raw import Encoding
from zoo.stopwatch import listening, part

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

MAX_UNPACKED = 1 << 30
"""Most bytes that a compressed file may unpack to."""

_REFUSED = {b"\x1f\x9d": "uncompress", b"\xfd7": "unxz", b"PK": "unzip", b"(\xb5": "unzstd"}


@dataclass(frozen=True)
class Opened:
    """The HDUs of a source, and the bytes (of a file) or the HDU list (from astropy) that hold their pixels.

    Attributes:
        path: the file, or ``None``. hdus: what its headers describe.
        damage: why the HDUs after these cannot be read, or ``None`` where all can.
        data: the bytes or the list.
    """

    path: Path | None
    hdus: list[Hdu]
    damage: FrameError | None
    data: mmap.mmap | bytearray | HDUList

    def primary(self, index: int) -> Mapping[str, Any]:
        """The header that holds what is true of the whole exposure of image ``index``."""
        header = self.hdus[index].header
        # fpack makes an extension of a primary image and leaves an empty primary HDU before it.
        return {**self.hdus[0].header, **header} if header.get("ZSIMPLE") is True else self.hdus[0].header

    def extension(self, name: str, index: int) -> Hdu | None:
        """The image named ``name`` that belongs to image ``index``: the one of the same EXTVER."""
        version = self.hdus[index].header.get("EXTVER", 1)
        for found in self.hdus:
            if str(found.header.get("EXTNAME", "")).upper() == name and found.header.get("EXTVER", 1) == version:
                return found
        return None

    def stored(self, index: int, plane: int) -> tuple[Tensor, Encoding]:
        """One plane of an image as it is stored: ``(H, W * itemsize)`` uint8 in private memory, and its encoding.

        Where all of the HDU is read anyway, it is compared with its DATASUM: an image of one plane, or all tiles.

        Raises: FrameError: ``bad-header`` for impossible scaling, ``checksum``, or what :func:`zoo.frames.tiles.unpack` raises.
        """
        found = self.hdus[index]
        height, width = found.axes[-2:]
        if not isinstance(self.data, mmap.mmap | bytearray):
            return encode_array(np.reshape(_read(self.data, index), (-1, height, width))[plane])
        encoding = Encoding(found.bitpix, *check_scaling(found, self.path))
        if listening():
            _touch(self.data, found)
        if found.planes == 1 or found.kind == "compressed":
            check_sum(self.data, found, self.path)
        size = height * width * encoding.itemsize
        if found.kind == "compressed":
            with part("decode"):
                unpacked = unpack(self.data, found, plane, self.path)
            return exact(torch.frombuffer(unpacked, dtype=torch.uint8).view(height, -1), encoding)
        pixels = torch.frombuffer(self.data, dtype=torch.uint8, count=size, offset=found.offset + plane * size)
        return exact(pixels.view(height, -1), encoding)


def _touch(data: mmap.mmap | bytearray, hdu: Hdu) -> None:
    """Have the system map the pages of an HDU now, so that waiting for the disk is not taken for the work that would come to them first."""
    with part("read"):
        np.frombuffer(data, np.uint8, hdu.size, hdu.offset)[:: mmap.PAGESIZE].max(initial=0)


def _read(hdulist: HDUList, index: int) -> np.ndarray[Any, Any]:
    """The pixels of an image in an astropy list."""
    try:
        return np.asanyarray(hdulist[index].data)
    except Exception as error:  # whatever astropy raises on a broken file
        got = f"{type(error).__name__}: {error}"
        raise FrameError("corrupt", path=None, hdu=index, got=got, expected="pixels that astropy can read") from error


def open_source(source: str | os.PathLike[str] | HDUList) -> Opened:
    """Map or unpack a file, or look into an HDU list, and check its headers up to the first faulty one.

    Raises: FrameError: if not even the first HDU can be read.
    """
    if not isinstance(source, str | os.PathLike):
        return Opened(None, _hdus_of_list(source), None, source)
    path = Path(source)
    try:
        facts = path.stat()  # before opening: a pipe would block
        if not stat.S_ISREG(facts.st_mode):
            raise FrameError("not-a-file", path=path, got="a folder or device", expected="a FITS file")
        with part("read"), path.open("rb") as file:
            data = _bytes_of(file, path)
    except FileNotFoundError as error:
        raise FrameError("missing", path=path, got="no such file", expected="a FITS file") from error
    except OSError as error:
        raise FrameError("unreadable", path=path, got=error.strerror or str(error), expected="a readable file") from error
    return Opened(path, *scan(data, path), data)


def _bytes_of(file: IO[bytes], path: Path) -> mmap.mmap | bytearray:
    magic = file.read(4)
    file.seek(0)
    if not magic:
        return bytearray()
    for start, command in _REFUSED.items():
        if magic.startswith(start):
            raise FrameError(
                "compressed", path=path, got="a compression that is not read here", expected="FITS", remedy=f"run {command} on it"
            )
    if magic.startswith(b"\x1f\x8b"):
        with part("decode"):
            return _unpack(gzip.GzipFile(fileobj=file), path)
    if magic.startswith(b"BZh"):
        with part("decode"):
            return _unpack(bz2.BZ2File(file), path)
    # ACCESS_COPY: torch warns on read-only memory.
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _unpack(stream: Any, path: Path) -> bytearray:
    result = bytearray()
    try:
        while chunk := stream.read(1 << 20):
            result += chunk
            if len(result) > MAX_UNPACKED:
                got = f"more than {MAX_UNPACKED} bytes unpacked"
                raise FrameError("too-large", path=path, got=got, expected=f"at most {MAX_UNPACKED}", remedy="unpack it first")
            # What is not FITS need not be unpacked to its end.
            if len(result) >= 9 and not result.startswith(b"SIMPLE  ="):
                break
    except MemoryError as error:
        got = f"more than {len(result)} bytes unpacked, and no memory for them"
        raise FrameError("too-large", path=path, got=got, expected="a file that fits in memory", remedy="unpack it first") from error
    except EOFError as error:
        raise FrameError("truncated", path=path, got="a compressed file that ends early", expected="a whole file") from error
    except (OSError, zlib.error) as error:
        raise FrameError("corrupt", path=path, got=f"{error}", expected="a valid compressed file") from error
    return result


def _hdus_of_list(hdulist: HDUList) -> list[Hdu]:
    """The HDUs of an astropy list; images in tiles count as plain ones, since astropy unpacks them."""
    from astropy.io.fits import CompImageHDU, GroupsHDU, ImageHDU, PrimaryHDU  # only who passes a list has loaded astropy

    result = []
    for index, hdu in enumerate(hdulist):
        header = read_cards(hdu.header.tostring().encode("latin-1", "replace"))
        image = isinstance(hdu, PrimaryHDU | ImageHDU | CompImageHDU) and not isinstance(hdu, GroupsHDU)
        result.append(
            Hdu(index, "image" if image else "table", header, int(header.get("BITPIX") or 8), tuple(hdu.shape) if image else (), 0, 0)
        )
    if not result:
        raise FrameError("empty", path=None, got="an HDU list of length 0", expected="at least one HDU")
    return result
