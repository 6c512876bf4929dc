"""What a fetch will do, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from zoo.errors import DataError, NetworkError, StorageError

Status = Literal["fetched", "kept", "pending", "absent", "refused", "failed"]
SPARE_BYTES = 64 << 20  # left free on the disk


@dataclass(frozen=True)
class FetchedFile:
    """One exposure of the list.

    Attributes:
        rootname: the name in the list.
        path: its file, under the name of the copy (suffix q or s) that there is.
        status: ``fetched``; ``kept``: it was there, whole; ``pending``: not fetched yet; ``absent``: no archive has it; ``refused``: what
            came is not this file, or not whole; ``failed``: the network failed.
        bytes: its size; of a pending file the expected one, 0 where every archive said that it has no such file. exact: whether the size
            is known.
        place: ``S3`` or ``MAST`` where it came from or will be asked for first, else empty.
        reason: why it could not be had, or why the file that is there will be replaced.
    """

    rootname: str
    path: Path
    status: Status
    bytes: int = 0
    exact: bool = True
    place: str = ""
    reason: str = ""


@dataclass(frozen=True)
class FetchPlan:
    """What is there and what is to be fetched.

    Attributes:
        root: the folder.
        files: every exposure of the list, in its order, ``kept`` or ``pending``.
        begun_bytes: how much of the pending files is there from an earlier try.
        free_bytes: free space of the folder's disk.
    """

    root: Path
    files: tuple[FetchedFile, ...]
    begun_bytes: int
    free_bytes: int

    @property
    def pending(self) -> tuple[FetchedFile, ...]:
        """The files to fetch."""
        return tuple(file for file in self.files if file.status == "pending")

    @property
    def bytes(self) -> int:
        """Size of the pending files."""
        return sum(file.bytes for file in self.pending)

    @property
    def exact(self) -> bool:
        """Whether the size of every pending file is known."""
        return all(file.exact and file.bytes for file in self.pending)

    @property
    def doubtful(self) -> tuple[FetchedFile, ...]:
        """The pending files that every archive said it has not; they are asked for all the same, because not every server knows HEAD."""
        return tuple(file for file in self.pending if not file.bytes)

    def summary(self) -> str:
        """One line for the user who decides."""
        counts = Counter(file.status for file in self.files)
        text = (
            f"{counts['pending']} {_files(counts['pending'])} to fetch into {self.root}, {'' if self.exact else 'about '}{size(self.bytes)}"
        )
        parts = [text]
        if self.begun_bytes:
            parts.append(f"{size(self.begun_bytes)} of it there already")
        if counts["kept"]:
            parts.append(f"{counts['kept']} whole {_files(counts['kept'])} kept")
        if self.doubtful:
            parts.append(f"{len(self.doubtful)} of them perhaps in no archive")
        return "; ".join(parts)

    def check_space(self) -> None:
        """Raise StorageError if the disk cannot take the pending files."""
        needed = self.bytes - self.begun_bytes + SPARE_BYTES
        if self.pending and needed > self.free_bytes:
            raise StorageError(
                f"{self.root}: got {size(self.free_bytes)} of free disk space, expected {'' if self.exact else 'about '}{size(needed)} for "
                f"{len(self.pending)} {_files(len(self.pending))}; choose another folder or a shorter list"
            )


@dataclass(frozen=True)
class FetchReport:
    """What became of every exposure of a list.

    Attributes:
        root: the folder. product: what was fetched.
        files: in the order of the list.
        manifest: written in the folder; ``None`` where the lists had no labels or no file is there.
        notes: for the user, one line each.
    """

    root: Path
    product: str
    files: tuple[FetchedFile, ...]
    manifest: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def unavailable(self) -> tuple[FetchedFile, ...]:
        """The files that could not be had."""
        return tuple(file for file in self.files if file.status in ("absent", "refused", "failed"))

    @property
    def exit_code(self) -> int:
        """0; 3 if a file is in no archive or was refused; 7 if only the network failed, so that the same call may bring the rest."""
        statuses = {file.status for file in self.unavailable}
        return DataError.exit_code if statuses & {"absent", "refused"} else NetworkError.exit_code if statuses else 0

    def counts(self) -> dict[str, int]:
        """How many files have each status; those that none has are left out."""
        return dict(Counter(file.status for file in self.files))

    def bytes(self, *statuses: Status) -> int:
        """Size of the files of these statuses."""
        return sum(file.bytes for file in self.files if file.status in statuses)

    def summary(self) -> str:
        """One line: how many files were fetched, kept, and could not be had."""
        names = {
            "fetched": f"fetched ({size(self.bytes('fetched'))})",
            "kept": "kept",
            "pending": "not fetched",
            "absent": "in no archive",
            "refused": "refused",
            "failed": "failed by the network",
        }
        counts = self.counts()
        return f"{len(self.files)} {_files(len(self.files))}: " + ", ".join(f"{counts[key]} {names[key]}" for key in names if key in counts)


def size(count: int) -> str:
    """Bytes for people, in decimal units as the archives tell them."""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def with_estimates(files: Iterable[FetchedFile]) -> tuple[FetchedFile, ...]:
    """The files, those of unknown size with the mean of the known ones of the same camera (first letter), where there is one."""
    held = tuple(files)
    known: dict[str, list[int]] = {}
    for file in held:
        if file.status == "pending" and file.exact and file.bytes:
            known.setdefault(file.rootname[0], []).append(file.bytes)
    means = {letter: sum(sizes) // len(sizes) for letter, sizes in known.items()}
    return tuple(
        replace(file, bytes=means[file.rootname[0]]) if file.status == "pending" and not file.exact and file.rootname[0] in means else file
        for file in held
    )


def _files(count: int) -> str:
    return "file" if count == 1 else "files"
