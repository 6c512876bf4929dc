"""The output folder of a reproduction: which parts are finished, known by hashes of all that they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.errors import BusyError, StorageError, UsageError

SCHEMA = 1
PLAN_NAME, RECORDS, RUNS, LOCK_NAME = "plan.json", "parts", "runs", ".lock"


def digest(value: Any) -> str:
    """SHA-256 of a plain value; equal for equal values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(storage.finite(value), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Folder:
    """Where a reproduction writes.

    Attributes:
        path: the folder. force: whether parts of another recipe are replaced instead of refused.
    """

    path: Path
    force: bool = False

    def run(self, name: str) -> Path:
        """The directory of one training."""
        return self.path / RUNS / name

    @contextlib.contextmanager
    def open(self, plan: Mapping[str, Any]) -> Iterator[None]:
        """Hold the folder for this process and check that it is one of the same plan.

        Args:
            plan: what all parts have in common.

        Raises:
            UsageError: it holds something else. BusyError: another process works in it. StorageError: it cannot be written.
        """
        import fcntl  # absent on Windows, where zoo.storage does not work either

        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())) and not (self.path / PLAN_NAME).is_file():
            raise UsageError(f"{self.path}: got a file or folder of something else, expected a new name; choose another with --output")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / LOCK_NAME).open("ab")
        except OSError as err:
            raise StorageError(f"{self.path}: cannot be made: {err.strerror or err}; choose another place with --output") from err
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise BusyError(f"{self.path}: another process works in this folder; wait for it, or choose another --output") from err
            except OSError:
                pass  # some network file systems have no locks
            self._check(plan)
            yield

    def _check(self, plan: Mapping[str, Any]) -> None:
        """Refuse another plan where parts of it were begun, unless they may be replaced; each has a key of its own all the same."""
        file, said = self.path / PLAN_NAME, {"schema": SCHEMA, **storage.finite(plan)}
        if file.is_file() and not self.force and (self.path / RECORDS).is_dir():
            found = storage.read_json(file)
            other = [key for key in said if found.get(key) != said[key]]
            if other:
                facts = "; ".join(f"{key} {found.get(key)} instead of {said[key]}" for key in other)
                raise UsageError(f"{self.path}: holds another reproduction: {facts}; choose another --output, or replace it with --force")
        storage.write_json(file, said)

    def read(self, name: str, key: str) -> dict[str, Any] | None:
        """Return the record of a part, or ``None`` where it was never begun, or belongs to something else.

        Args:
            name: of the part. key: digest of all that its result depends on.
        """
        try:
            record = storage.read_json(self._record(name))
        except StorageError:  # absent or cut off
            return None
        return record if isinstance(record, dict) and record.get("schema") == SCHEMA and record.get("key") == key else None

    def write(self, name: str, key: str, record: Mapping[str, Any]) -> None:
        """Write down what became of a part. Raises: StorageError: it cannot be written."""
        storage.write_json(self._record(name), {"schema": SCHEMA, "key": key, **record})

    def has(self, name: str) -> bool:
        """Whether there is a record of a part, of whatever key."""
        return self._record(name).is_file()

    def _record(self, name: str) -> Path:
        return self.path / RECORDS / f"{name}.json"


def check_space(folder: Path, needed: int) -> None:
    """Raise where a disk has too little room.

    Args:
        folder: where will be written; it need not exist. needed: bytes.

    Raises:
        StorageError: less is free.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"{folder}: the runs need about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there; "
            "make room, choose another place with --output, or fewer networks with --only"
        )
