"""Preprocessed frames kept on disk: what a list of files becomes under the frame part of a pipeline, read back instead of computed again.

An entry is named after the content of the file (its SHA-256) and its name without the folder, HDU and plane, and after everything else that
its pixels depend on: the steps with their options, the versions of zoo, torch and the plugins, and the kernels. A file that changes, or
another pipeline, is another entry; nothing has to be declared stale. Its pixels are the bytes of a float32 tensor after a header of 4096
bytes, so that reading one is mapping it. Checksums of both are compared at every reading: an entry that is damaged counts as absent and is
computed again.

Several processes may share the folder. An entry is written beside its name and renamed; room for it is booked under a lock before it is
written, so that the folder is never larger than its budget, whoever writes. The entries that were not used for longest go first, but never
one that this process has used: a list that is larger than the budget would otherwise push out every frame just before it is needed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import zoo
from zoo import storage
from zoo.data.dataset import DataSet
from zoo.data.manifest import Row
from zoo.errors import StorageError
from zoo.frames.checksum import data_sum
from zoo.ops.native import backend
from zoo.registry import get_registry
from zoo.settings import parse_bytes
from zoo.steps import Pipeline

SCHEMA = 1
HEADER_BYTES = 4096
FOLDER = "frames"
STALE_S = 3600.0
"""Age at which a half-written entry is that of a process that died."""

_LOCK = "lock"  # holds the bytes in use as text; what it says is counted again whenever it cannot be read
_SUFFIX = ".frame"
_CRC = 8  # hexadecimal digits of the CRC-32 of the header, before it
_SETTLED_S = 2.0  # a file that changed this recently may change again within the resolution of its time stamps
_SLACK = 20  # room is made for a twentieth of the budget at once, so that the folder is not counted for every entry


class _FullError(Exception):
    """There is no room for an entry."""


@dataclass(frozen=True)
class Usage:
    """What a cache holds.

    Attributes:
        folder: where. entries: preprocessed frames. bytes: of all files in it. last_used: time of the last use, seconds since 1970, NaN if
            never.
    """

    folder: Path
    entries: int
    bytes: int
    last_used: float


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    used: float


class _Identity(NamedTuple):
    """What tells that a file is the one that was read: where it is, its size, and when its content and its record were changed."""

    path: str
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class FrameCache:
    """A folder of preprocessed frames with a budget.

    Args:
        budget: bytes that the folder may take, > 0. What is there beyond it is removed at once.
        folder: by default ``frames`` below `zoo.storage.cache_root`.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, budget: int, folder: Path | None = None) -> None:
        self.budget, self.folder = budget, folder or default_folder()
        self._since = time.time()
        self._digests: dict[_Identity, str] = {}
        self._closed = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked() as lock:
                _write_total(lock, self._make_room(0, before=self._since))
        except OSError as err:
            raise storage.write_error(self.folder, err) from err

    def load(self, key: str) -> tuple[Tensor, Mapping[str, Any]] | None:
        """Return the frame of a key and what was stored with it; ``None`` where there is none, or a damaged one.

        Returns: ``(1, H, W)`` float32 over a private mapping of the entry, nothing copied; it stays valid when the entry is removed.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            text = data[:HEADER_BYTES].rstrip(b"\0")
            if zlib.crc32(text[_CRC:]) != int(text[:_CRC], 16):
                raise ValueError("damaged")
            header = json.loads(text[_CRC:])
            facts: Mapping[str, Any] = header["facts"]
            _, height, width = shape = tuple(header["shape"])
            size = 4 * height * width
            whole = header["schema"] == SCHEMA and header["key"] == key and len(data) == HEADER_BYTES + size
            if not whole or data_sum(data, HEADER_BYTES, size) != header["sum"]:
                raise ValueError("damaged")
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            with contextlib.suppress(OSError):
                path.unlink()  # or the frame could not take its place
            return None
        return torch.frombuffer(data, dtype=torch.float32, offset=HEADER_BYTES).view(shape), facts

    def store(self, key: str, image: Tensor, facts: Mapping[str, Any] | None = None) -> bool:
        """Keep a frame; return whether there was room. A disk that is full is a warning, once, and no error.

        Args:
            image: ``(1, H, W)`` float32. facts: what JSON can hold, a few hundred bytes.
        """
        pixels = image.detach().cpu().contiguous()
        data = memoryview(pixels.numpy()).cast("B")  # type: ignore[arg-type]  # numpy declares the buffer protocol from 3.12 on
        check = data_sum(data, 0, len(data))  # type: ignore[arg-type]  # any buffer is read
        told = {"schema": SCHEMA, "key": key, "shape": list(pixels.shape), "sum": check, "facts": dict(facts or {})}
        text = json.dumps(told).encode()
        header = f"{zlib.crc32(text):08x}".encode() + text
        return len(header) <= HEADER_BYTES and self._put(self._path(key), header.ljust(HEADER_BYTES, b"\0"), data)

    def digest(self, path: Path) -> str | None:
        """SHA-256 of a file, from memory or a note on disk where it has not changed since it was last asked for.

        Returns: hexadecimal; ``None`` where the file cannot be read, or changes meanwhile.
        """
        try:
            identity = _identity(path)
            if (known := self._digests.get(identity)) is not None:
                return known
            note = self.folder / "known" / hashlib.sha256(repr(identity).encode()).hexdigest()
            found = note.read_text(encoding="ascii") if note.is_file() else ""
            if len(found) != 64:
                found = storage.sha256(path)
                if _identity(path) != identity:
                    return None
                if time.time() - max(identity.modified_ns, identity.changed_ns) / 1e9 > _SETTLED_S:
                    self._put(note, found.encode())
        except (OSError, ValueError):
            return None
        self._digests[identity] = found
        return found

    def usage(self) -> Usage:
        """Count what is there."""
        return usage(self.folder)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{_SUFFIX}"

    def _put(self, path: Path, *parts: bytes | memoryview) -> bool:
        """Write a file if the budget has room for it."""
        if self._closed or path.exists():
            return not self._closed
        try:
            with storage.atomic_path(path, durable=False) as temporary:
                self._book(temporary, sum(len(part) for part in parts))
                with temporary.open("r+b") as file:
                    for part in parts:
                        file.write(part)
        except _FullError:
            self._closed = True  # all that is left is in use by this process, so the next entry would find no room either
        except OSError as err:
            self._closed = True
            warnings.warn(f"{self.folder}: frames are not cached any more: {err}", stacklevel=2)
        return not self._closed

    def _book(self, temporary: Path, size: int) -> None:
        """Make an empty file of a size that counts at once for every process. Raises: _FullError: there is no room."""
        with self._locked() as lock:
            total = _read_total(lock)
            if total is None or total + size > self.budget:
                total = self._make_room(size, before=self._since)
            if total + size > self.budget:
                raise _FullError
            with temporary.open("xb") as file:
                file.truncate(size)
            _write_total(lock, total + size)

    def _make_room(self, size: int, *, before: float) -> int:
        """Remove entries last used before a time until there is room for ``size`` more bytes; return the bytes that are left."""
        files = sorted(_files(self.folder), key=lambda file: file.used)
        total, aim = sum(file.size for file in files), self.budget - size
        if total <= aim:
            return total
        for file in files:
            half_written = file.path.name.startswith(storage.TEMPORARY_PREFIX)
            if total <= aim - self.budget // _SLACK or file.used >= (before - STALE_S if half_written else before):
                continue
            with contextlib.suppress(FileNotFoundError):
                file.path.unlink()
            total -= file.size
        return total

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Keep other processes and threads from counting and booking; yields the descriptor of the lock's file."""
        with _locked(self.folder) as lock:
            yield lock


def open_cache(budget: int | str) -> FrameCache | None:
    """The cache of this user, or ``None`` for a budget of 0 (``off``).

    Args:
        budget: bytes, or a text such as ``20GB``.

    Raises:
        UsageError: the text is no number of bytes. StorageError: the folder cannot be written.
    """
    size = parse_bytes(budget) if isinstance(budget, str) else budget
    return FrameCache(size) if size > 0 else None


class CachedFrames:
    """A data set and a pipeline that go through a cache.

    Args:
        cache: keeps the frames. dataset: opens them; only frames that are HDUs of files are kept.
        pipeline: its frame part without the steps that draw in training only.
    """

    def __init__(self, cache: FrameCache, dataset: DataSet, pipeline: Pipeline) -> None:
        self.cache, self.dataset, self.pipeline = cache, dataset, pipeline
        self._work = describe(pipeline)

    def key(self, row: Row) -> str | None:
        """Name of the entry of a row; ``None`` where it can have none."""
        if not (self.dataset.reads_files and row.path):
            return None
        path = self.dataset.manifest.path_of(row)
        digest = self.cache.digest(path)
        # The name tells what a file is where its headers do not: j8bt05njq_flt.fits is calibrated.
        return digest and hashlib.sha256(f"{digest} {row.hdu} {row.plane} {self._work} {path.name}".encode()).hexdigest()

    def read(self, row: Row, out: Tensor | None = None) -> Tensor:
        """The preprocessed frame of a row: from the cache, else computed, into ``out`` where that helps, and kept."""
        key = self.key(row)
        if key is not None and (found := self.cache.load(key)) is not None:
            return found[0]
        image = self.pipeline.run_frame(self.dataset.open(row), out=out)
        self.keep(row, key, image)
        return image

    def keep(self, row: Row, key: str | None, image: Tensor, facts: Mapping[str, Any] | None = None) -> None:
        """Store what was computed for a row, unless its file has changed since ``key`` was asked for."""
        if key is not None and self.key(row) == key:
            self.cache.store(key, image, facts)


def is_deterministic(pipeline: Pipeline, *, training: bool) -> bool:
    """Whether the frame part gives the same pixels whenever a frame is read: always outside training, and there if no step of it draws."""
    return not (training and any(step.random for step in pipeline.frame_steps))


def describe(pipeline: Pipeline) -> str:
    """Digest of everything besides the file that the result of the frame part depends on."""
    _, (steps, *rest) = pipeline.__reduce__()
    registry = get_registry()
    owners = [registry.get("steps", spec.name) for spec in pipeline.specs[: len(pipeline.frame_steps)]]
    facts = {
        "schema": SCHEMA,
        "kind": type(pipeline).__qualname__,
        "steps": steps[: len(pipeline.frame_steps)],
        "rest": rest,
        "owners": [[entry.owner, entry.version] for entry in owners],
        "zoo": zoo.__version__,
        "torch": torch.__version__,
        "kernels": backend()["simd"],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def default_folder() -> Path:
    """Where preprocessed frames are kept unless another place is named."""
    return storage.cache_root() / FOLDER


def usage(folder: Path | None = None) -> Usage:
    """Count what a cache holds; nothing where there is none."""
    root = folder or default_folder()
    files = list(_files(root))
    entries = [file for file in files if file.path.suffix == _SUFFIX and not file.path.name.startswith(storage.TEMPORARY_PREFIX)]
    return Usage(root, len(entries), sum(file.size for file in files), max((file.used for file in entries), default=float("nan")))


def clear(folder: Path | None = None) -> Usage:
    """Remove every frame of a cache, also one in use elsewhere, where it is computed again; return what was there.

    Raises:
        StorageError: a file cannot be removed.
    """
    before = usage(folder)
    if before.folder.is_dir():
        try:
            with _locked(before.folder) as lock:
                for file in _files(before.folder):
                    file.path.unlink(missing_ok=True)
                _write_total(lock, 0)
        except OSError as err:
            raise StorageError(f"{before.folder}: cannot be cleared: {err.strerror or err}") from err
    return before


def _files(folder: Path) -> Iterator[_File]:
    """Every file of a cache but its lock; one that goes meanwhile is left out."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            with contextlib.suppress(OSError):
                if name != _LOCK:
                    status = path.stat()
                    yield _File(path, status.st_size, status.st_mtime)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    import fcntl  # absent on Windows, where zoo.storage does not work either

    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, storage.FILE_MODE)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks; processes may then pass the budget by an entry each
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _read_total(lock: int) -> int | None:
    text = os.pread(lock, 32, 0)
    return int(text) if text.strip().isdigit() else None


def _write_total(lock: int, total: int) -> None:
    os.pwrite(lock, f"{total:<32d}".encode(), 0)


def _identity(path: Path) -> _Identity:
    status = path.stat()
    return _Identity(os.fspath(path.resolve()), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
