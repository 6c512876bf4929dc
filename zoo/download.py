"""Files from the network into the cache: whole, hashed, and asked for once."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zoo import storage
from zoo.errors import NetworkError, StorageError, UsageError

ATTEMPTS = 3
TIMEOUT_S = 30.0  # for the connection and for each read, not for the whole file
RETRY_DELAY_S = 1.0  # before the second attempt; doubled before each further one
CHUNK_BYTES = 1 << 20

_HASH = re.compile(r"[0-9a-f]{8,64}\Z")
_RETRIED = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Download:
    """A file in the cache: where, its full SHA-256, and whether it was there already."""

    path: Path
    sha256: str
    cached: bool


def download(url: str, folder: str | Path, *, sha256: str = "", progress: Progress | None = None) -> Download:
    """Fetch a file into ``folder``, or find it there, whole and unchanged since.

    It gets its name when it is complete and its hash agrees; before that, and after an error, nothing is left. A connection that breaks is
    tried again, from where it broke if the server can. The hash of every file is recorded beside it and checked at each later use; a file
    that changed is fetched anew.

    Args:
        url: ``http`` or ``https``.
        folder: made if absent.
        sha256: expected hash in hexadecimal, or at least its first 8 digits; empty to accept what comes.
        progress: called with the bytes fetched and the bytes expected (0 where the server does not say).

    Raises:
        UsageError: no such scheme, or the hash is malformed. NetworkError: the server cannot be reached or does not give the file.
        StorageError: the file has another hash than expected, or cannot be written.
    """
    expected = sha256.lower()
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"got the URL {url!r}, expected http://... or https://...")
    if expected and not _HASH.match(expected):
        raise UsageError(f"{url}: a SHA-256 is 8 to 64 hexadecimal digits, got {sha256!r}")
    base = Path(urllib.parse.unquote(parts.path)).name or parts.netloc
    path = Path(folder) / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{base[-100:]}"
    record = path.with_name(f"{path.name}.json")
    found = _recorded(path, record)
    if found and found.startswith(expected):
        return Download(path, found, cached=True)
    with storage.atomic_path(path) as temporary:
        digest = _fetch(url, temporary, progress)
        if not digest.startswith(expected):
            raise StorageError(
                f"{url}: SHA-256 is {digest}, expected {expected}; the file was changed or damaged on its way, and was not kept"
            )
    storage.write_json(record, {"url": url, "sha256": digest})
    return Download(path, digest, cached=False)


def _recorded(path: Path, record: Path) -> str:
    """Return the hash of a cached file if it is the one that was recorded when it was fetched, else an empty string."""
    if not (path.is_file() and record.is_file()):
        return ""
    try:
        wanted = storage.read_json(record)
    except StorageError:
        return ""
    digest = storage.sha256(path)
    return digest if isinstance(wanted, dict) and wanted.get("sha256") == digest else ""


def _fetch(url: str, path: Path, progress: Progress | None) -> str:
    """Write the body of ``url`` to ``path`` in up to ``ATTEMPTS`` connections; return its SHA-256."""
    part = _Part(url, path, progress)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            part.attempt()
        except urllib.error.HTTPError as err:
            err.close()
            reason: object = f"the server answered {err.code} {err.reason}"
            if err.code not in _RETRIED:
                raise NetworkError(f"{url}: {reason}; check the address") from err
            cause: Exception = err
        except (OSError, http.client.HTTPException) as err:
            if isinstance(err, StorageError):
                raise
            reason, cause = getattr(err, "reason", None) or err, err
        else:
            return storage.sha256(path)
        if attempt < ATTEMPTS:
            time.sleep(RETRY_DELAY_S * 2 ** (attempt - 1))
    raise NetworkError(
        f"{url}: not fetched in {ATTEMPTS} attempts: {reason}; check the connection, or fetch it elsewhere and pass the file"
    ) from cause


class _Part:
    """What has arrived of one file, and the tag by which a server knows that it still has the same."""

    def __init__(self, url: str, path: Path, progress: Progress | None) -> None:
        self.url, self.path, self.progress = url, path, progress
        self.done, self.tag = 0, ""
        path.touch()

    def attempt(self) -> None:
        """Fetch the rest over one connection. Raises: OSError, HTTPException: it broke; StorageError: the disk is full."""
        request = urllib.request.Request(self.url, headers={"User-Agent": "celestial-zoo"})
        if self.done and self.tag:
            request.add_header("Range", f"bytes={self.done}-")
            request.add_header("If-Range", self.tag)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {self.done}-")
            if response.status != (206 if resumed else 200):
                raise http.client.HTTPException(f"the server answered {response.status}")
            if not resumed:
                self.done = 0
            tag = response.headers.get("ETag", "")
            self.tag = "" if tag.startswith("W/") else tag  # a weak tag does not promise equal bytes
            length = response.headers.get("Content-Length")
            total = self.done + int(length) if length and length.isdigit() else 0
            with self.path.open("ab" if resumed else "wb") as stream:
                while block := response.read(CHUNK_BYTES):
                    self._write(stream, block)
                    if self.progress:
                        self.progress(self.done, total)
        if total and self.done != total:
            raise http.client.HTTPException(f"the connection ended after {self.done:,} of {total:,} bytes")

    def _write(self, stream: BinaryIO, block: bytes) -> None:
        try:
            stream.write(block)
            stream.flush()  # a full disk must not show first when the file is closed
        except OSError as err:
            raise StorageError(f"{self.path.parent}: cannot be written: {err.strerror or err}; check free space and permissions") from err
        self.done += len(block)
