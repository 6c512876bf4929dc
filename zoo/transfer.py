"""One file over HTTP: from where the last connection ended, in as many connections as it takes, as gently as the server asks.

A file grows in place. A record beside it keeps the address, the size and the tag of the version that it is part of, so that another process
can go on at the next byte; a server that has another version by now, or cannot send parts, is read from the start.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import importlib.metadata
import random
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from zoo import storage
from zoo.errors import HttpStatusError, NetworkError, StorageError, UsageError, ZooError

CHUNK_BYTES = 1 << 20
LOWEST_BYTES_PER_S = 1000  # a connection that gives less over a whole time-out is dropped
GIVE_UP_AFTER = 3  # requests in a row that a host did not answer, after all their attempts

_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")
_DATE_MARGIN_S = 60  # RFC 9110: a date tells two versions apart only if the file was a minute old when it was sent

_random = random.Random()  # its own, so that delays leave the user's seeds alone

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes expected (0 where the server does not say)."""


class StoppedError(Exception):
    """The user asked to stop; what has arrived can be resumed."""


class Clock:
    """The time, and waiting that `stop` ends."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait. Raises: StoppedError: `stop` was called before or meanwhile."""
        if self._stopped.wait(seconds):
            raise StoppedError

    def stop(self) -> None:
        """End every wait and transfer that uses this clock."""
        self._stopped.set()

    def check(self) -> None:
        """Raises: StoppedError: `stop` was called."""
        if self._stopped.is_set():
            raise StoppedError


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        attempts: connections in a row that bring nothing further.
        timeout_s: for the connection and for each read.
        delay_s: before the second attempt, doubled before each further one; a random part of up to half of it is left out, so that many
            clients do not come back at once.
        longest_s: the longest delay, and the longest ``Retry-After`` that is waited for.
    """

    attempts: int = 5
    timeout_s: float = 30.0
    delay_s: float = 1.0
    longest_s: float = 120.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.delay_s * 2.0 ** (failures - 1), self.longest_s) * _random.uniform(0.5, 1.0)


class Host:
    """How one server is asked by all threads together.

    No more than ``connections`` are open at a time; none is opened while the server wants to be left alone (``Retry-After``), and none
    after `GIVE_UP_AFTER` requests in a row came to nothing.
    """

    def __init__(self, name: str, *, connections: int = 1, patience: Patience | None = None, clock: Clock | None = None) -> None:
        self.name, self.patience, self.clock = name, patience or Patience(), clock or Clock()
        self._slots = threading.BoundedSemaphore(connections)
        self._lock = threading.Lock()
        self._closed_until = self.clock.now()
        self._failures, self._given_up = 0, ""

    @contextlib.contextmanager
    def connection(self) -> Iterator[None]:
        """Wait for a free connection. Raises: NetworkError: the host was given up. StoppedError."""
        with self._slots:
            while (rest := self._closed_until - self.clock.now()) > 0:
                self.clock.wait(rest)
            self.clock.check()
            if self._given_up:
                raise NetworkError(f"{self.name}: not asked again, {self._given_up}")
            yield

    def leave_alone(self, seconds: float) -> None:
        """Open no connection for so long."""
        with self._lock:
            self._closed_until = max(self._closed_until, self.clock.now() + seconds)

    def answered(self) -> None:
        """Note that the host works."""
        with self._lock:
            self._failures = 0

    def failed(self, reason: object, *, for_good: bool = False) -> None:
        """Note that a request came to nothing."""
        with self._lock:
            self._failures += 1
            if for_good or self._failures >= GIVE_UP_AFTER:
                self._given_up = self._given_up or (str(reason) if for_good else f"{self._failures} requests in a row failed: {reason}")


def check_url(url: str) -> urllib.parse.SplitResult:
    """The parts of an ``http`` or ``https`` URL. Raises: UsageError: it is none."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"got the URL {url!r}, expected http://... or https://...")
    return parts


def transfer(url: str, path: Path, *, host: Host, record: Path | None = None, progress: Progress | None = None) -> bool:
    """Write the body of ``url`` to ``path``; whether it is the right file is for the caller to say.

    Args:
        url: ``http`` or ``https``; redirections are followed.
        path: grows as bytes arrive. record: where to keep what a later process needs to go on; without it nothing is taken over.
        host: how to ask.
        progress: see :data:`Progress`.
    Returns: whether bytes of an earlier process are part of it.
    Raises: HttpStatusError: an answer that asking again does not change. NetworkError: no whole file after all attempts. StorageError: the
        disk is full or cannot be written. StoppedError: the host's clock was stopped; ``path`` and ``record`` are left to go on from.
    """
    part = _Part(url, path, record, host, progress)
    taken_over = part.done
    _insist(url, host, part.attempt, lambda: part.done, attempts=host.patience.attempts)
    return taken_over > 0 and not part.began


def ask_size(url: str, *, host: Host) -> int | None:
    """Bytes of a file by a ``HEAD`` request, ``None`` where the server does not say. Raises: as `transfer`."""
    length: int | None = None

    def attempt() -> None:
        nonlocal length
        with urllib.request.urlopen(_request(url, "HEAD"), timeout=host.patience.timeout_s) as response:
            length = _length(response.headers)

    _insist(url, host, attempt, lambda: 0, attempts=min(2, host.patience.attempts))  # nothing depends on it that is worth a long wait
    return length


def _insist(url: str, host: Host, attempt: Callable[[], None], arrived: Callable[[], int], *, attempts: int) -> None:
    """Call ``attempt`` until it returns; give up after so many in a row that brought less than a chunk."""
    patience = host.patience
    tries = failures = 0
    furthest = arrived()
    while True:
        tries += 1
        try:
            with host.connection():
                attempt()
        except urllib.error.HTTPError as err:
            err.close()
            reason: object = f"the server answered {err.code} {err.reason}"
            cause: Exception = err
            if err.code not in _RETRIED:
                host.answered()
                raise HttpStatusError(f"{url}: {reason}; check the address", status=err.code) from err
            wanted_s = _retry_after(err.headers)
            if wanted_s > patience.longest_s:
                host.failed(f"it asked to be left alone for {wanted_s:,.0f} s", for_good=True)
                raise NetworkError(f"{url}: {reason} and asked to be left alone for {wanted_s:,.0f} s; try again then") from err
            host.leave_alone(wanted_s)
        except (OSError, http.client.HTTPException) as err:
            if isinstance(err, ZooError):
                raise
            reason, cause = getattr(err, "reason", None) or err, err
        else:
            host.answered()
            return
        if arrived() >= furthest + CHUNK_BYTES:
            furthest, failures = arrived(), 0
        failures += 1
        if failures >= attempts:
            host.failed(reason)
            text = f"{url}: not fetched in {tries} attempts: {reason}; check the connection, or fetch it elsewhere and pass the file"
            raise NetworkError(text) from cause
        host.clock.wait(patience.delay(failures))


class _Part:
    """What has arrived of one file, and the tag by which a server knows that it still has the same.

    Attributes:
        done: bytes in the file. size: bytes of the whole, 0 while unknown. began: whether it was begun anew.
    """

    def __init__(self, url: str, path: Path, record: Path | None, host: Host, progress: Progress | None) -> None:
        self.url, self.path, self.record, self.host, self.progress = url, path, record, host, progress
        self.done, self.size, self.tag, self.began = 0, 0, "", False
        if record is not None and path.is_file():
            self._take_over(record)

    def _take_over(self, record: Path) -> None:
        """Go on with what an earlier process left, if its record says of what."""
        with contextlib.suppress(StorageError, TypeError, KeyError, ValueError):
            found = storage.read_json(record)
            length = self.path.stat().st_size
            if found["url"] == self.url and found["tag"] and (not found["size"] or length <= found["size"]):
                self.done, self.size, self.tag = length, int(found["size"]), str(found["tag"])

    def attempt(self) -> None:
        """Fetch the rest over one connection. Raises: OSError, HTTPException: it broke; StorageError: the disk is full."""
        if self.done and self.done == self.size:
            return  # whole; the process ended before the file was named
        request = _request(self.url, "GET")
        if self.done and self.tag:
            request.add_header("Range", f"bytes={self.done}-")
            request.add_header("If-Range", self.tag)
        try:
            with urllib.request.urlopen(request, timeout=self.host.patience.timeout_s) as response:
                self._begin_or_go_on(response)
                self._read(response)
        except urllib.error.HTTPError as err:
            if err.code != 416:
                raise
            err.close()
            self.done = 0
            raise http.client.HTTPException("the server has another file by now") from err
        if self.size and self.done != self.size:
            raise http.client.HTTPException(f"the connection ended after {self.done:,} of {self.size:,} bytes")

    def _begin_or_go_on(self, response: http.client.HTTPResponse) -> None:
        """Place the body of an answer: after what is there, or at the start."""
        if response.status == 206:
            found = _RANGE.match(response.headers.get("Content-Range", ""))
            tag = response.headers.get("ETag", "")
            moved = self.tag.startswith('"') and tag and tag != self.tag  # a server that does not know If-Range
            if not found or int(found[1]) != self.done or moved or (self.size and found[2] not in ("*", str(self.size))):
                self.done = 0
                raise http.client.HTTPException("the server sent another part than asked for")
            self.size = self.size or (int(found[2]) if found[2] != "*" else 0)
            return
        if response.status != 200:
            raise http.client.HTTPException(f"the server answered {response.status}")
        self.done, self.began = 0, True
        self.tag, self.size = _tag(response.headers), _length(response.headers) or 0
        # The old bytes go before the new record comes: whatever stops the program, a record is never about bytes of another version.
        with _writing(self.path):
            self.path.write_bytes(b"")
        if self.record is not None:
            storage.write_json(self.record, {"url": self.url, "tag": self.tag, "size": self.size})

    def _read(self, response: http.client.HTTPResponse) -> None:
        """Append the body of an answer."""
        clock, window_s = self.host.clock, self.host.patience.timeout_s
        since, before = clock.now(), self.done
        with _writing(self.path):
            stream: BinaryIO = self.path.open("ab")
        with stream:
            while block := response.read1(CHUNK_BYTES):
                clock.check()
                with _writing(self.path):
                    stream.write(block)
                    stream.flush()  # a full disk must not show first when the file is closed
                self.done += len(block)
                if self.progress:
                    self.progress(self.done, self.size)
                if (elapsed := clock.now() - since) >= window_s:
                    if self.done - before < LOWEST_BYTES_PER_S * elapsed:
                        raise http.client.HTTPException(f"the server sent {self.done - before:,} bytes in {elapsed:.0f} s")
                    since, before = clock.now(), self.done


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell a disk that cannot be written from a connection that broke."""
    try:
        yield
    except OSError as err:
        raise StorageError(f"{path.parent}: cannot be written: {err.strerror or err}; check free space and permissions") from err


def _request(url: str, method: str) -> urllib.request.Request:
    return urllib.request.Request(url, method=method, headers={"User-Agent": f"celestial-zoo/{_version()}"})


def _version() -> str:
    try:
        return importlib.metadata.version("celestial-zoo")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def _length(headers: Message) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _tag(headers: Message) -> str:
    """What tells this version from every other: a strong ``ETag``, else ``Last-Modified`` where it is old enough, else nothing."""
    tag: str = headers.get("ETag", "")
    if tag:
        return "" if tag.startswith("W/") else tag  # a weak tag does not promise equal bytes
    changed: str = headers.get("Last-Modified", "")
    with contextlib.suppress(TypeError, ValueError):
        age = email.utils.parsedate_to_datetime(headers["Date"]) - email.utils.parsedate_to_datetime(changed)
        return changed if age.total_seconds() >= _DATE_MARGIN_S else ""
    return ""


def _retry_after(headers: Message) -> float:
    """Seconds for which the server wants to be left alone: a number, or a date compared with the server's own."""
    wanted = headers.get("Retry-After", "").strip()
    if wanted.isascii() and wanted.isdigit():
        return float(wanted)
    with contextlib.suppress(TypeError, ValueError):
        until, now = email.utils.parsedate_to_datetime(wanted), email.utils.parsedate_to_datetime(headers["Date"])
        return max((until - now).total_seconds(), 0.0)
    return 0.0
