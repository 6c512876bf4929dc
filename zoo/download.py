"""Files from the network into the cache: whole, hashed, and asked for once."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from zoo import storage
from zoo.errors import StorageError, UsageError
from zoo.transfer import Host, Patience, Progress, check_url, transfer

ATTEMPTS = 3
TIMEOUT_S = 30.0  # for the connection and for each read, not for the whole file
RETRY_DELAY_S = 1.0  # before the second attempt; doubled before each further one

_HASH = re.compile(r"[0-9a-f]{8,64}\Z")


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
    parts = check_url(url)
    if expected and not _HASH.match(expected):
        raise UsageError(f"{url}: a SHA-256 is 8 to 64 hexadecimal digits, got {sha256!r}")
    base = Path(urllib.parse.unquote(parts.path)).name or parts.netloc
    path = Path(folder) / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{base[-100:]}"
    record = path.with_name(f"{path.name}.json")
    found = _recorded(path, record)
    if found and found.startswith(expected):
        return Download(path, found, cached=True)
    with storage.atomic_path(path) as temporary:
        transfer(url, temporary, host=Host(parts.netloc, patience=Patience(ATTEMPTS, TIMEOUT_S, RETRY_DELAY_S)), progress=progress)
        digest = storage.sha256(temporary)
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
