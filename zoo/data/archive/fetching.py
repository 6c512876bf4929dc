"""Fetch the exposures of a list from the Hubble archives: see `fetch`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from zoo import storage
from zoo.data.archive.check import check_file
from zoo.data.archive.exposures import Exposures, read_exposures
from zoo.data.archive.listing import read_listing, write_listing
from zoo.data.archive.places import PRODUCTS, Place, find_places, typical_bytes
from zoo.data.archive.report import FetchedFile, FetchPlan, FetchReport, Status, with_estimates
from zoo.data.archive.threads import run_each
from zoo.data.manifest import Row, summarise, twin_of, walk_files
from zoo.errors import BusyError, FrameError, HttpStatusError, InterruptedRunError, NetworkError, StorageError, UsageError
from zoo.transfer import Clock, Host, Patience, ask_size, transfer

CONNECTIONS = 4
MOST_CONNECTIONS = 16
ASKED = 50
"""How many files the archives are asked for their size; the mean of these stands for the others."""

LOCK_NAME = ".zoo-fetch.lock"

_NO_HEAD = (405, 501)  # answers of a server that knows GET only

Confirm = Callable[[FetchPlan], bool]
Progress = Callable[[int, int], None]
"""Called with the files that are done and the bytes that have arrived."""


def fetch(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    to: str | os.PathLike[str],
    *,
    product: str = "raw",
    s3_url: str | None = None,
    mast_url: str | None = None,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
    clock: Clock | None = None,
    confirm: Confirm | None = None,
    progress: Progress | None = None,
) -> FetchReport:
    """Fetch the files of exposures, each once, from S3 and where that fails from MAST.

    A file grows under a name that ends in ``.part`` and gets its own when its headers, its length and its rootname have been checked, so
    that a call that was stopped in any way leaves nothing that looks whole; the next call goes on at the next byte. Files that are there
    already, in any folder below ``to``, are checked and kept; a damaged one is replaced. An exposure whose name ends in q or s is fetched
    under its other name where no archive has it under its own.

    Args:
        sources: what `read_exposures` takes: manifests, lists, names of exposures.
        to: folder of the files; made if absent. The labelled rows of the lists go into its ``manifest.csv``, beside those that it has.
        product: ``raw``, ``flt``, ``flc``, ``drz`` or ``drc``.
        s3_url, mast_url: see `find_places`.
        connections: at most so many at a time to S3, 1 to 16; two of them may be to MAST.
        patience: how long servers are waited for. clock: measures it, and can stop the call from another thread.
        confirm: gets the plan when there is something to fetch; nothing is fetched or written unless it returns true.
        progress: called from several threads, one at a time.

    Returns: what became of every exposure. Files that cannot be had are no exception.

    Raises:
        DataError: a list cannot be read. UsageError: an argument, or a ``manifest.csv`` that is none. NetworkError: no archive can be
            reached. StorageError: the disk is full or cannot be written. BusyError: another process fetches into the folder.
            InterruptedRunError: Ctrl-C, after the manifest was written.
    """
    if product not in PRODUCTS:
        raise UsageError(f"got product {product!r}, expected one of {', '.join(PRODUCTS)}")
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise UsageError(f"got {connections} connections, expected 1 to {MOST_CONNECTIONS}; the archives are shared")
    root = Path(to)
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: got a file, expected a folder to fetch into")
    exposures = read_exposures(sources)
    read_listing(root)  # refused now rather than after the work
    places = find_places(s3_url, mast_url, connections=connections)
    job = _Fetch(root, product, exposures, places, connections, patience, clock or Clock(), progress)
    try:
        plan = job.plan()
        if plan.pending and confirm is not None and not confirm(plan):
            return FetchReport(root, product, plan.files)
        plan.check_space()
        with _locked(root):
            return job.run(plan, read_listing(root))
    except KeyboardInterrupt as err:
        raise InterruptedRunError("the same command goes on where this one was stopped", signal_number=signal.SIGINT) from err


class _Fetch:
    """One call of `fetch`."""

    def __init__(
        self,
        root: Path,
        product: str,
        exposures: Exposures,
        places: tuple[Place, ...],
        threads: int,
        patience: Patience | None,
        clock: Clock,
        progress: Progress | None,
    ) -> None:
        self.root, self.product, self.exposures = root, product, exposures
        self._names = frozenset(exposures.names)
        self._run_each = partial(run_each, threads=threads, clock=clock)
        self._hosts = {
            place: Host(f"{place.name} ({place.base})", connections=place.connections, patience=patience, clock=clock) for place in places
        }
        self._progress = progress
        self._lock = threading.Lock()
        self._arrived: dict[Path, int] = {}
        self._done = 0

    def plan(self) -> FetchPlan:
        """Look which files are there, and ask for the size of some of the others."""
        found = self._index()
        files = {name: self._look(name, found) for name in self.exposures.names}
        pending = [file for file in files.values() if file.status == "pending"]
        asked = pending[:: -(-len(pending) // ASKED)] if pending else []
        failures: list[str] = []

        def ready(file: FetchedFile, answer: tuple[FetchedFile, str]) -> None:
            files[file.rootname], failure = answer
            failures.extend([failure] if failure else [])

        self._run_each(self._ask, asked, ready)
        if failures and len(failures) == len(asked):
            raise NetworkError(failures[0])
        parts = [_part_of(file.path)[0] for file in files.values() if file.status == "pending"]
        begun = sum(part.stat().st_size for part in parts if part.is_file())
        return FetchPlan(self.root, with_estimates(files.values()), begun, _free_bytes(self.root))

    def run(self, plan: FetchPlan, listed: tuple[Row, ...]) -> FetchReport:
        """Fetch what is not there, write the manifest, and report, also where the work is cut short."""
        files = {file.rootname: file for file in plan.files}
        try:
            self._run_each(self._fetch, plan.pending, lambda file, found: files.update({file.rootname: found}))
        except KeyboardInterrupt as err:
            summary = self._report(tuple(files.values()), listed).summary()
            text = f"{summary}; the same command goes on where this one was stopped"
            raise InterruptedRunError(text, signal_number=signal.SIGINT) from err
        except StorageError:
            self._report(tuple(files.values()), listed)
            raise
        return self._report(tuple(files.values()), listed)

    def _report(self, files: tuple[FetchedFile, ...], listed: tuple[Row, ...]) -> FetchReport:
        """Write the manifest if there is something to list."""
        there = {file.rootname: file.path for file in files if file.status in ("fetched", "kept")}
        twins = [name for name, path in there.items() if not path.name.lower().startswith(name)]
        notes = [f"took the other copy (suffix q or s) of {len(twins)} exposures: {summarise(twins)}"] if twins else []
        manifest = None
        if there and self.exposures.rows:
            manifest, more = write_listing(self.root, listed, self.exposures.rows, there, self.product)
            notes += more
        return FetchReport(self.root, self.product, files, manifest, tuple(notes))

    def _target(self, name: str) -> Path:
        return self.root / f"{name}_{self.product}.fits"

    def _copies(self, name: str) -> tuple[str, ...]:
        """The names under which an exposure is looked for; its other copy only where that is not asked for itself."""
        twin = twin_of(name)
        return (name,) if twin in self._names else (name, twin)

    def _index(self) -> dict[str, Path]:
        """Files of the product below the folder, by name in lower case; the one in the folder itself comes first."""
        found: dict[str, Path] = {}
        for path in walk_files(self.root) if self.root.is_dir() else ():
            key = path.name.lower()
            if key.endswith(f"_{self.product}.fits") and (key not in found or len(path.parts) < len(found[key].parts)):
                found[key] = path
        return found

    def _look(self, name: str, found: Mapping[str, Path]) -> FetchedFile:
        """An exposure as ``kept`` if a whole file of either name is there, else as ``pending`` with about the size it should have."""
        reason = ""
        for copy in self._copies(name):
            path = found.get(self._target(copy).name)
            if path is None:
                continue
            try:
                check_file(path, copy)
            except FrameError as err:
                reason = f"replaces {path.name}: {_say(err)}"
            else:
                return FetchedFile(name, path, "kept", path.stat().st_size)
        return FetchedFile(name, self._target(name), "pending", typical_bytes(name, self.product), exact=False, reason=reason)

    def _ask(self, file: FetchedFile) -> tuple[FetchedFile, str]:
        """The file with the size that an archive tells, 0 if none has either copy; and why none could be reached."""
        answers: dict[str, list[str]] = {}
        for copy in self._copies(file.rootname):
            failure = ""
            for place, host in self._hosts.items():
                try:
                    count = ask_size(place.url(copy, self.product), host=host)
                except HttpStatusError as err:
                    if err.status in _NO_HEAD:
                        return replace(file, place=place.name), ""
                    answers.setdefault(copy, []).append(f"{place.name} answered {err.status}")
                except NetworkError as err:
                    failure = failure or str(err)
                else:
                    file = replace(file, place=place.name)
                    return file if count is None else replace(file, bytes=count, exact=True), ""
            if failure:
                return file, failure
        return replace(file, bytes=0, exact=True, reason=_join(file.rootname, answers)), ""

    def _fetch(self, file: FetchedFile) -> FetchedFile:
        """Fetch one exposure from the first archive that has it, under its other name only if none has it under its own."""
        status: Status = "absent"
        answers: dict[str, list[str]] = {}
        for copy in self._copies(file.rootname):
            target, said = self._target(copy), answers.setdefault(copy, [])
            for place in self._hosts:
                try:
                    self._fetch_from(place, copy, target)
                except HttpStatusError as err:
                    said.append(f"{place.name} answered {err.status}")
                except FrameError as err:
                    status = "failed" if status == "failed" else "refused"
                    said.append(f"{place.name}: {_say(err)}")
                except NetworkError as err:
                    status = "failed"
                    said.append(f"{place.name}: {err}")
                else:
                    count = target.stat().st_size
                    self._tell(target, count, done=1)
                    return FetchedFile(file.rootname, target, "fetched", count, place=place.name)
            if status != "absent":
                break
        self._tell(file.path, 0, done=1)
        return FetchedFile(file.rootname, file.path, status, reason=_join(file.rootname, answers))

    def _fetch_from(self, place: Place, name: str, target: Path) -> None:
        """Fetch and check one file from one archive, and name it."""
        part, record = _part_of(target)
        while True:
            taken_over = transfer(
                place.url(name, self.product),
                part,
                host=self._hosts[place],
                record=record,
                progress=lambda arrived, total: self._tell(target, arrived),
            )
            try:
                check_file(part, name)
            except FrameError:
                part.unlink()
                record.unlink(missing_ok=True)
                if taken_over:
                    continue  # what an earlier process left may be to blame
                raise
            storage.adopt(part, target)
            record.unlink(missing_ok=True)
            return

    def _tell(self, target: Path, arrived: int, *, done: int = 0) -> None:
        with self._lock:
            self._arrived[target] = arrived
            self._done += done
            if self._progress is not None:
                self._progress(self._done, sum(self._arrived.values()))


def _part_of(target: Path) -> tuple[Path, Path]:
    """The names of a file while it grows, and of the record beside it."""
    return target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")


def _say(err: FrameError) -> str:
    return f"{err.code}: got {err.got}, expected {err.expected}"


def _join(name: str, answers: Mapping[str, list[str]]) -> str:
    """What the archives said, under the asked name and under the other."""
    return "; ".join(("" if copy == name else f"as {copy}: ") + ", ".join(said) for copy, said in answers.items())


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep other processes from fetching into the same folder; the system ends the lock with the process, however that ends."""
    import fcntl  # absent on Windows, where zoo.storage does not work either

    try:
        root.mkdir(parents=True, exist_ok=True)
        stream = (root / LOCK_NAME).open("ab")
    except OSError as err:
        raise StorageError(f"{root}: cannot be written: {err.strerror or err}; choose another folder") from err
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise BusyError(f"{root}: another process fetches into this folder; wait for it, or choose another folder") from err
        except OSError:
            pass  # some network file systems have no locks
        yield


def _free_bytes(root: Path) -> int:
    """Free space where a folder is or will be made."""
    return shutil.disk_usage(next(path for path in (root.absolute(), *root.absolute().parents) if path.is_dir())).free
