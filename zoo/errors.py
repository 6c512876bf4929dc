"""Every error that zoo raises on purpose.

Each class also derives from the builtin that fits, so library users can catch either, and carries the exit code that the command line
returns for it. Messages say what was got, what was expected, where, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path


class ZooError(Exception):
    """Base of every error that zoo raises on purpose."""

    exit_code = 1


class UsageError(ZooError, ValueError):
    """An argument or option has a value that it cannot have."""

    exit_code = 2


class SettingsError(UsageError):
    """A configuration file or ``ZOO_*`` variable holds an unknown key or a bad value."""


class UnknownNameError(ZooError, KeyError):
    """A name is in no registry."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], *, remedy: str = "") -> None:
        self.kind, self.name = kind, name
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
        self.message = f"unknown {kind} {name!r}{hint}{' ' + remedy if remedy else ''}"
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return self.message


class AmbiguousNameError(UnknownNameError):
    """A name is registered by several third parties."""

    def __init__(self, kind: str, name: str, owners: Iterable[str]) -> None:
        super().__init__(kind, name, ())
        names = list(owners)
        self.message = f"{kind} {name!r} is registered by {' and '.join(names)}: say {' or '.join(repr(f'{o}:{name}') for o in names)}"


class PipelineError(UsageError):
    """Steps cannot stand in this order, or have the wrong parameters."""


class InputShapeError(UsageError):
    """A tensor does not have the shape that a model was built for, or a model cannot be built for a shape.

    Attributes:
        options: model options with which the architecture takes this shape; empty where there are none.
    """

    def __init__(self, message: str, *, options: Mapping[str, str] | None = None) -> None:
        self.options = dict(options or {})
        super().__init__(message)


class DataError(ZooError, ValueError):
    """Data are missing, corrupt, or do not follow a rule that the message names."""

    exit_code = 3


class FrameError(DataError):
    """A file or HDU was refused.

    Attributes:
        path: the file, or ``None`` for data in memory.
        hdu: index of the HDU, or ``None`` when the whole file is refused.
        code: a stable, lower-case word with hyphens, such as ``not-fits`` or ``truncated``; scripts may test it.
        got, expected: the two facts that disagree.
    """

    def __init__(self, code: str, *, path: Path | str | None, got: str, expected: str, hdu: int | None = None, remedy: str = "") -> None:
        self.code, self.path, self.hdu, self.got, self.expected = code, None if path is None else Path(path), hdu, got, expected
        where = "<memory>" if path is None else str(path)
        place = where if hdu is None else f"{where}: HDU {hdu}"
        self.remedy = remedy
        super().__init__(f"{place}: {code}: got {got}, expected {expected}{'; ' + remedy if remedy else ''}")


class StorageError(ZooError, OSError):
    """A file could not be written whole, or does not hold what its recorded hash says."""

    exit_code = 3


class MemoryLimitError(ZooError, MemoryError):
    """The work does not fit in memory."""

    exit_code = 4


class CheckFailedError(ZooError, RuntimeError):
    """A check that the user asked for did not hold."""

    exit_code = 5


class PluginError(ZooError, ImportError):
    """A plugin could not be loaded, or a run needs one that is absent."""

    exit_code = 6


class PeerError(ZooError, ConnectionError):
    """Another process of the same training failed, or cannot be reached; ``exit_code`` is that of the failure where it is known."""

    def __init__(self, message: str, *, exit_code: int = 75) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class InterruptedRunError(ZooError, RuntimeError):
    """A signal ended the work after it was saved; ``exit_code`` is 128 + the signal's number."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class WeightsError(DataError):
    """A file of weights cannot be read, or does not fit the model."""


class NetworkError(ZooError, ConnectionError):
    """Something could not be fetched over the network."""

    exit_code = 7


class HttpStatusError(NetworkError):
    """A server answered a request with a status that asking again does not change; ``status`` is its number."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class BusyError(ZooError, BlockingIOError):
    """Another process is at the same work; try again when it has ended."""

    exit_code = 75
