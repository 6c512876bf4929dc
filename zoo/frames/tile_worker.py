"""The process that unpacks tile-compressed images: runs as a script, imports nothing of zoo, and may die without taking anyone along.

It reads one request per line from a Unix socket, each with two file descriptors: a FITS file that holds the compressed image in HDU 1, and
a file to be filled with the pixels as an uncompressed FITS file would hold them. The answer is one line of JSON: ``{}``, or a ``code`` of
:mod:`zoo.frames.gate` with what was got.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import resource
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits


def main() -> None:
    """Answer requests until the other side closes the socket, whose descriptor is the first argument."""
    link = socket.socket(fileno=int(sys.argv[1]))
    link.sendall(b"ready\n")
    while True:
        line, descriptors, _, _ = socket.recv_fds(link, 1 << 16, 2)
        if not line:
            return
        try:
            answer = _answer(json.loads(line), *descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        link.sendall(json.dumps(answer).encode() + b"\n")


def _answer(request: dict[str, Any], source: int, target: int) -> dict[str, str]:
    try:
        _limit_memory(request["spare"] + 2 * os.fstat(source).st_size)
        _unpack(request, source, target)
    except MemoryError:
        return {"code": "too-large", "got": "tiles that need more memory than an image of this size should"}
    except Exception as error:  # whatever astropy raises on a broken file
        return {"code": "corrupt", "got": f"{type(error).__name__}: {error}"[:300]}
    return {}


def _limit_memory(spare: int) -> None:
    """Let the process grow by ``spare`` bytes from where it is now."""
    try:
        with Path("/proc/self/statm").open(encoding="ascii") as file:
            used = int(file.read().split()[0]) * mmap.PAGESIZE
    except OSError:  # not Linux; other systems do not enforce the limit anyway
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + spare if hard == resource.RLIM_INFINITY else min(used + spare, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _unpack(request: dict[str, Any], source: int, target: int) -> None:
    """Write one plane of HDU 1, unscaled and big-endian, to ``target``."""
    axes, bitpix = request["axes"], request["bitpix"]
    stored = np.dtype(f">{'u' if bitpix == 8 else 'i' if bitpix > 0 else 'f'}{abs(bitpix) // 8}")
    with warnings.catch_warnings(), os.fdopen(os.dup(source), "rb") as file:
        warnings.simplefilter("ignore")  # of headers that astropy mends; what it cannot mend raises
        with fits.open(file, memmap=False, do_not_scale_image_data=True) as hdus:
            planes = math.prod(axes[:-2])
            where: list[Any] = []
            rest = request["plane"]
            for length in axes[:-2]:
                planes //= length
                where.append(rest // planes)
                rest %= planes
            pixels = hdus[1].section[(*where, slice(None), slice(None))]
    if list(pixels.shape) != axes[-2:] or pixels.dtype.newbyteorder(">") != stored:
        raise ValueError(f"{pixels.dtype} pixels of shape {pixels.shape} from a header of BITPIX {bitpix} and {axes}")
    # Unmapped when the array goes; its pages stay, for the other side has the file open too.
    np.ndarray(pixels.shape, stored, mmap.mmap(target, pixels.size * abs(bitpix) // 8))[...] = pixels


if __name__ == "__main__":
    main()
