"""Tile-compressed images, unpacked by astropy in other processes, under a memory limit and a deadline.

astropy's decoders are C code that meets whatever a file holds, so they run apart from us: a stream that does not decode, crashes the
decoder, takes too much memory or never ends costs one :class:`zoo.errors.FrameError`, and the next file is read. The processes
(``tile_worker.py``) are started when first needed, serve any number of images, are replaced when they die, and end with this one. Several
threads may unpack at once, each with a process of its own up to :data:`MAX_WORKERS`.

Pixels come back through a file in memory that both sides map; nothing is pickled, and nothing has a name that could be left behind.
"""

from __future__ import annotations

import atexit
import json
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from zoo.errors import FrameError
from zoo.frames.gate import TILE_COMPRESSIONS, Hdu
from zoo.frames.headers import BLOCK, CARD

MAX_BYTES = 1 << 30
"""Most bytes that an image may unpack to."""
MAX_WORKERS = min(4, os.cpu_count() or 1)
"""Most processes at once; further threads wait for one."""
START_S = 60.0
"""How long a process may take to start, which is to import astropy, at worst from a cold disk."""
DEADLINE_S = 2.0
"""How long any image may take, however small."""
BYTES_PER_S = 2 << 20
"""What an image may take beyond that; the slowest coding, HCOMPRESS, unpacks 14 to 28 MB/s on one core of an AMD EPYC, busy or idle."""

# Memory that a process may take beyond what it needs to run: for small buffers; for the image; and for a tile on its way from bytes through
# 64-bit integers to floats. Many files are a single tile.
_SPARE = 256 << 20
_PER_BYTE = 3
_PER_TILE_PIXEL = 24

_SCRIPT = Path(__file__).with_name("tile_worker.py")
_CARDS = (
    "SIMPLE  =                    T",
    "BITPIX  =                    8",
    "NAXIS   =                    0",
    "EXTEND  =                    T",
    "END",
)
_PRIMARY = "".join(card.ljust(CARD) for card in _CARDS).ljust(BLOCK).encode()


class _Worker:
    """One process, and the socket to it."""

    def __init__(self) -> None:
        self.link, other = socket.socketpair()
        words = [sys.executable, "-P", str(_SCRIPT), str(other.fileno())]
        # One thread: every further one of a numeric library reserves address space, which is what is limited.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        try:
            # A session of its own, or Ctrl-C would end it before the program has decided what an interrupt means.
            self.process = subprocess.Popen(
                words, stdin=quiet, stdout=quiet, stderr=quiet, pass_fds=[other.fileno()], env=environment, start_new_session=True
            )
        except OSError:
            self.link.close()
            raise
        finally:
            other.close()

    def ask(self, request: bytes, descriptors: list[int]) -> bool:
        """Send a request; ``False`` if the process is no longer there."""
        try:
            socket.send_fds(self.link, [request], descriptors)
        except OSError:
            return False
        return True

    def answer(self, seconds: float) -> bytes | None:
        """The next line of the process: empty once it is dead, ``None`` when the time is over."""
        line, until = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            self.link.settimeout(max(0.001, until - time.monotonic()))
            try:
                part = self.link.recv(1 << 12)
            except TimeoutError:
                return None
            except OSError:  # it died before it read the request
                return b""
            if not part:
                return b""
            line += part
        return line

    def stop(self, grace_s: float = 0.0) -> int:
        """End the process, and return its exit status: negative if a signal did it within ``grace_s``."""
        self.link.close()
        try:
            return self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class _Workers:
    """The processes that wait for work, and how many more there may be."""

    def __init__(self) -> None:
        self.idle: list[_Worker] = []
        self.permits = threading.BoundedSemaphore(MAX_WORKERS)

    def take(self) -> _Worker:
        """A process that waits, or else a new one. Raises FrameError: ``no-decoder``."""
        try:
            return self.idle.pop()
        except IndexError:  # asked for in this way because another thread may take the last one
            return self.start()

    def start(self) -> _Worker:
        """A process that has said it is ready. Raises FrameError: ``no-decoder``."""
        expected = "a process that unpacks images"
        try:
            worker = _Worker()
        except OSError as error:
            raise FrameError("no-decoder", path=None, got=f"{error}", expected=expected) from error
        if worker.answer(START_S) != b"ready\n":
            status = worker.stop(1.0)
            got = f"one that ended with status {status} before it began, or did not begin within {START_S:g} s"
            raise FrameError("no-decoder", path=None, got=got, expected=expected, remedy=f"see what {sys.executable} {_SCRIPT} 0 says")
        return worker

    def close(self) -> None:
        """End the processes that wait."""
        while self.idle:
            self.idle.pop().stop(1.0)

    def forget(self) -> None:
        """After a fork: the processes are the parent's, and only it may talk to them or end them."""
        for worker in self.idle:
            worker.link.close()
            worker.process.returncode = 0  # or the child would warn that they still run
        self.idle, self.permits = [], threading.BoundedSemaphore(MAX_WORKERS)  # threads that held permits are not in the child


_WORKERS = _Workers()
atexit.register(_WORKERS.close)
os.register_at_fork(after_in_child=_WORKERS.forget)


def unpack(data: mmap.mmap | bytearray, hdu: Hdu, plane: int, path: Path | None) -> mmap.mmap:
    """Unpack one plane of a tile-compressed image.

    Args:
        data: the whole file. hdu: a compressed image in it. plane: index into its planes. path: for messages.
    Returns: the stored pixels as an uncompressed file would hold them, big-endian and unscaled, in private memory.
    Raises: FrameError: ``compressed`` (a coding astropy does not know), ``corrupt``, ``too-large``, ``timeout``, ``no-decoder``.
    """
    size = math.prod(hdu.axes[-2:]) * abs(hdu.bitpix) // 8
    coding = hdu.header.get("ZCMPTYPE")
    if coding not in TILE_COMPRESSIONS:
        raise _refuse("compressed", path, hdu, f"ZCMPTYPE = {coding!r}", f"one of {', '.join(TILE_COMPRESSIONS)}")
    if size > MAX_BYTES:
        raise _refuse("too-large", path, hdu, f"an image of {size} bytes", f"at most {MAX_BYTES}", "run funpack on it")
    spare = _SPARE + _PER_BYTE * size + _PER_TILE_PIXEL * _check_tiles(hdu, path)
    request = json.dumps({"axes": hdu.axes, "bitpix": hdu.bitpix, "plane": plane, "spare": spare}).encode() + b"\n"
    source = target = -1
    try:
        source, target = _memory_file(), _memory_file()
        os.ftruncate(target, size)
        _write(source, data, hdu)
        _exchange(request, [source, target], DEADLINE_S + size / BYTES_PER_S, path, hdu)
        return mmap.mmap(target, size)
    finally:
        for descriptor in (source, target):
            if descriptor >= 0:
                os.close(descriptor)


def _check_tiles(hdu: Hdu, path: Path | None) -> int:
    """How many pixels one tile holds. A file whose table has another number of rows than its header has tiles is not unpacked."""
    lengths = []
    for n, length in enumerate(reversed(hdu.axes), 1):
        tile = hdu.header.get(f"ZTILE{n}", length if n == 1 else 1)
        if isinstance(tile, bool) or not isinstance(tile, int) or tile < 1:
            raise _refuse("bad-header", path, hdu, f"ZTILE{n} = {tile!r}", "an integer of at least 1")
        lengths.append((length, min(tile, length)))
    tiles = math.prod(-(-length // tile) for length, tile in lengths)
    if hdu.rows != tiles:
        raise _refuse("corrupt", path, hdu, f"a table of {hdu.rows} tiles", f"{tiles} by the header")
    return math.prod(tile for _, tile in lengths)


def _memory_file() -> int:
    """A file that lives only as long as it is open or mapped."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("zoo-frame")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, data: mmap.mmap | bytearray, hdu: Hdu) -> None:
    """Write a FITS file that holds this HDU only, so that nothing else in the file can matter."""
    with os.fdopen(os.dup(descriptor), "wb") as file, memoryview(data) as whole, whole[hdu.start : hdu.offset + hdu.size] as part:
        file.write(_PRIMARY)
        file.write(part)
        file.write(bytes(-len(part) % BLOCK))


def _exchange(request: bytes, descriptors: list[int], seconds: float, path: Path | None, hdu: Hdu) -> None:
    """Have one image unpacked by a process of its own, and raise what went wrong."""
    with _WORKERS.permits:
        try:
            worker = _WORKERS.take()
            if not worker.ask(request, descriptors):  # it died while it waited, of nothing this image did
                worker.stop()
                worker = _WORKERS.start()
                worker.ask(request, descriptors)
        except FrameError as error:
            raise _refuse(error.code, path, hdu, error.got, error.expected, error.remedy) from error
        line: bytes | None = b""
        try:
            line = worker.answer(seconds)
        finally:
            status = None if line else worker.stop(1.0 if line == b"" else 0.0)
        if line is None:
            raise _refuse("timeout", path, hdu, f"no pixels after {seconds:.1f} s", "a valid compressed image")
        if not line:
            raise _refuse("corrupt", path, hdu, f"a stream that ended the decoder ({_cause(status)})", "a valid compressed image")
        _WORKERS.idle.append(worker)
    failure = json.loads(line)
    if failure:
        raise _refuse(failure["code"], path, hdu, failure["got"], "a valid compressed image")


def _cause(status: int | None) -> str:
    return signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"


def _refuse(code: str, path: Path | None, hdu: Hdu, got: str, expected: str, remedy: str = "") -> FrameError:
    return FrameError(code, path=path, hdu=hdu.index, got=got, expected=expected, remedy=remedy)
