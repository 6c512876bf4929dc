"""Atomic files, their hashes, and the folder for what can be made again.

Every file that zoo writes goes through this module: it exists whole under its name or not at all, whatever stops the program.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zoo.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)

SEAL_NAME = "SHA256SUMS.json"
SEAL_SCHEMA = 1
TEMPORARY_PREFIX = ".zoo-tmp-"

# Permissions of a new file. A process can only learn its mask by changing it, which is safe before it has threads.
_MASK = os.umask(0o022)
os.umask(_MASK)
FILE_MODE = 0o666 & ~_MASK


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success make what was written there ``path``, on an error remove it.

    The file is fsynced before it is renamed and its folder after, so a power cut leaves the old file or the new one. A missing
    folder is made. The temporary name keeps the suffixes of ``path``, because writers such as astropy choose a format by them.

    Args:
        path: the file to write; an existing one is replaced, with its permission bits kept.
        durable: whether to fsync. Without, a power cut may leave an empty or torn file under the name: only for what can be made again and
            carries a checksum.

    Yields: a path that does not exist yet. The caller creates a regular file there and closes it.

    Raises:
        StorageError: the folder cannot be written, ``path`` is a folder, or the block left no file behind. What the block raises passes
            through.
    """
    target = Path(path)
    if target.is_dir():
        raise StorageError(f"{target}: got a folder, expected the name of a file to write")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError(f"{target}: its folder cannot be made: {err.strerror or err}; choose another place to write to") from err
    temporary = target.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(6)}-{target.name[-120:]}"
    try:
        yield temporary
        if not temporary.is_file():
            raise StorageError(f"{target}: nothing was written to its temporary file {temporary.name}")
        adopt(temporary, target, durable=durable)
    finally:
        with suppress(OSError):
            temporary.unlink()


def adopt(temporary: Path, path: Path, *, durable: bool = True) -> None:
    """Make a finished file ``path``, which is in the same folder; it is fsynced before it is renamed, and the folder after.

    Args:
        temporary: the file as it was written. path: its name from now on; an existing file is replaced, with its permission bits kept.
        durable: whether to fsync, see `atomic_path`.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        if path.exists():
            shutil.copymode(path, temporary)
        if durable:
            _fsync(temporary)
        temporary.replace(path)
        if durable:
            _fsync(path.parent)
    except OSError as err:
        raise write_error(path, err) from err


def write_bytes(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write ``data`` to ``path`` atomically (see `atomic_path`).

    Raises:
        StorageError: the disk is full or the folder cannot be written; ``path`` then holds what it held before.
    """
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as err:
            raise write_error(path, err, needed=len(data), temporary=temporary) from err


def write_error(
    path: str | os.PathLike[str], err: Exception, *, needed: int | None = None, temporary: str | os.PathLike[str] | None = None
) -> StorageError:
    """Return the error for a file that could not be written; where the disk is full it says how much is missing.

    Args:
        path: the file. err: what was raised; of libraries that hide the error number the text is read.
        needed: bytes that the file needs, if known.
        temporary: what was written so far, which will be removed, so that its bytes count as free.
    """
    target = Path(path)
    reason = (err.strerror if isinstance(err, OSError) else None) or str(err)
    full = [number for number in _FULL if number == getattr(err, "errno", None) or f"(os error {number})" in str(err)]
    if not full:
        return StorageError(f"{target}: cannot be written: {reason}; check free space and permissions")
    written = Path(temporary).stat().st_size if temporary and Path(temporary).exists() else 0
    folder = next(parent for parent in (*target.parents, Path("/")) if parent.exists())
    free = shutil.disk_usage(folder).free + written
    need = "" if needed is None else f"it needs {_size(needed)}, and "
    why = os.strerror(full[0])
    return StorageError(f"{target}: cannot be written: {why}: {need}{_size(free)} are free in {folder}; make room there")


def _size(count: int) -> str:
    """Bytes in the largest unit that gives a number of at least 1."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` atomically as UTF-8, line ends as given. Raises: StorageError, as `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinities become ``null``, paths become strings.

    Raises:
        StorageError: as `write_bytes`. TypeError: if JSON has no form for a value.
    """
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Return a copy of ``value`` fit for JSON: NaN and infinities as ``None``, tuples as lists, paths as strings."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the value of a JSON file. Raises: StorageError: the file is absent, unreadable or not JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError as err:
        raise StorageError(f"{Path(path)}: no such file") from err
    except OSError as err:
        raise StorageError(f"{Path(path)}: cannot be read: {err.strerror or err}") from err
    except ValueError as err:
        raise StorageError(f"{Path(path)}: got something that is not JSON ({err}); it is damaged or was not written by zoo") from err


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal, in memory that does not grow with it. Raises: StorageError: it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as err:
        raise StorageError(f"{Path(path)}: cannot be read: {err.strerror or err}") from err


def cache_root() -> Path:
    """Return the folder for data that can be made or fetched again: ``ZOO_CACHE``, else the user's cache folder. It may not exist yet."""
    chosen = os.environ.get("ZOO_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("zoo"))


def seal_directory(folder: str | os.PathLike[str]) -> None:
    """Write the SHA-256 of every file below ``folder`` to its ``SHA256SUMS.json``, atomically and last.

    A folder without the seal is one whose writing did not end. Temporary files that a killed writer left are removed.

    Raises:
        StorageError: a file cannot be read, or the seal cannot be written.
    """
    root = Path(folder)
    for stray in root.rglob(f"{TEMPORARY_PREFIX}*"):
        stray.unlink()
    write_json(root / SEAL_NAME, {"schema": SEAL_SCHEMA, "files": {name: sha256(root / name) for name in _files(root)}})


def verify_directory(folder: str | os.PathLike[str]) -> None:
    """Check every file of a sealed folder against its recorded SHA-256.

    Raises:
        StorageError: names the first file that is missing, differs from its hash, or is not in the seal; or says that the seal is absent.
    """
    root = Path(folder)
    if not (root / SEAL_NAME).is_file():
        raise StorageError(f"{root}: {SEAL_NAME} is missing, so its writing did not end or it is no folder of zoo")
    record = read_json(root / SEAL_NAME)
    sums = record.get("files") if isinstance(record, dict) else None
    if not isinstance(sums, dict) or record.get("schema") != SEAL_SCHEMA:
        raise StorageError(f"{root / SEAL_NAME}: got an unknown layout, expected schema {SEAL_SCHEMA}; a newer zoo may have written it")
    present = set(_files(root))
    for name, expected in sums.items():
        if name not in present:
            raise StorageError(f"{root / name}: recorded in {SEAL_NAME} but missing")
        got = sha256(root / name)
        if got != expected:
            raise StorageError(
                f"{root / name}: SHA-256 is {got[:12]}..., expected {str(expected)[:12]}...; the file was changed or damaged"
            )
    for name in sorted(present - set(sums)):
        raise StorageError(f"{root / name}: not recorded in {SEAL_NAME}; move it elsewhere, sealed folders hold only what zoo wrote")


@contextmanager
def sealed_directory(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder; on success seal it and put it in the place of ``folder``, on an error remove it.

    The old folder stays until the new one is complete. A power cut between the two renames leaves neither under its name, but both beside
    it; `recover_directory` puts the newest complete one back.

    Raises:
        StorageError: a file cannot be written. What the block raises passes through.
    """
    target = Path(folder)
    recover_directory(target)
    new, old = _siblings(target)
    for stray in (new, old):
        shutil.rmtree(stray, ignore_errors=True)
    try:
        new.mkdir(parents=True)
    except OSError as err:
        raise write_error(target, err) from err
    try:
        yield new
        seal_directory(new)
        try:
            if target.exists():
                target.rename(old)
            new.rename(target)
            _fsync(target.parent)
        except OSError as err:
            raise StorageError(f"{target}: cannot be replaced: {err.strerror or err}") from err
    finally:
        if recover_directory(target) or not old.exists():
            for stray in (new, old):
                shutil.rmtree(stray, ignore_errors=True)


def recover_directory(folder: str | os.PathLike[str]) -> bool:
    """Put back what a power cut in `sealed_directory` left beside ``folder``; return whether ``folder`` is there now."""
    target = Path(folder)
    for candidate in _siblings(target):
        if not target.exists() and candidate.exists():
            with suppress(OSError):
                verify_directory(candidate)
                candidate.rename(target)
    return target.exists()


def _siblings(target: Path) -> tuple[Path, Path]:
    """Return the names of the new and the old folder while ``target`` is being replaced."""
    return target.parent / f"{TEMPORARY_PREFIX}{target.name}.new", target.parent / f"{TEMPORARY_PREFIX}{target.name}.old"


def _files(root: Path) -> list[str]:
    """Return the relative POSIX names of the files below ``root``, sorted, without the seal itself."""
    names = (file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file() and not file.name.startswith(TEMPORARY_PREFIX))
    return sorted(name for name in names if name != SEAL_NAME)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
