"""What a check is, and how a list of them is run on one subject."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from zoo.errors import CheckFailedError

Status = Literal["passed", "failed", "skipped"]


class FaultError(Exception):
    """Raised by a check whose fact does not hold.

    Attributes:
        got: what was found.
        remedy: how to mend it, where that is not what the check says for every fault.
    """

    def __init__(self, got: str, remedy: str = "") -> None:
        super().__init__(got)
        self.got, self.remedy = got, remedy


class NotApplicableError(Exception):
    """Raised by a check that says nothing about this subject; the text is the reason."""


@dataclass(frozen=True)
class Check:
    """One fact that must hold.

    Attributes:
        id: such as ``model-gradients``; stable, scripts may name it.
        holds: the fact, one sentence.
        remedy: how to mend it where it does not hold.
        run: gets the subject, returns what was got in a few words, raises `FaultError` or `NotApplicableError`; any other exception is the
            failure of the code under test.
        after: the check without which this one cannot tell anything.
    """

    id: str
    holds: str
    remedy: str
    run: Callable[[Any], str | None]
    after: str = ""


@dataclass(frozen=True)
class Result:
    """What one check found.

    Attributes:
        subject: what was checked, such as ``model 'tinynet'``.
        check: the id of the check.
        status: ``passed``, ``failed`` or ``skipped``.
        got: what was found, or why it was skipped.
        remedy: how to mend it; empty unless it failed.
    """

    subject: str
    check: str
    status: Status
    got: str
    remedy: str = ""

    def raise_if_failed(self) -> None:
        """Raises: CheckFailedError: it failed."""
        if self.status == "failed":
            raise CheckFailedError(f"{self.subject}: {self.got}; {self.remedy} [{self.check}]")


class CheckList(list[Check]):
    """Checks in the order in which they run; functions join it with the decorator :meth:`check`."""

    def check(self, *, remedy: str, after: str = "") -> Callable[[Callable[[Any], str | None]], Callable[[Any], str | None]]:
        """Add a function: its name with hyphens is the id, the first line of its docstring the fact that must hold."""

        def add(function: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
            holds = (function.__doc__ or "").partition("\n")[0]
            self.append(Check(function.__name__.replace("_", "-"), holds, remedy, function, after))
            return function

        return add


def run_checks(checks: Iterable[Check], subject: Any, *, label: str, only: Container[str] | None = None) -> Iterator[Result]:
    """Run checks one by one.

    Args:
        checks: in order; one whose ``after`` failed is skipped, and so are those after it.
        subject: what they get. label: its name in the results.
        only: ids to run; ``None`` for all.
    """
    blocked: set[str] = set()
    for check in checks:
        if only is not None and check.id not in only:
            continue
        if check.after in blocked:
            result = Result(label, check.id, "skipped", f"needs {check.after}")
        else:
            result = _run(check, subject, label)
        if result.status == "failed" or check.after in blocked:
            blocked.add(check.id)
        yield result


def _run(check: Check, subject: Any, label: str) -> Result:
    try:
        got = check.run(subject)
    except NotApplicableError as reason:
        return Result(label, check.id, "skipped", str(reason))
    except FaultError as fault:
        return Result(label, check.id, "failed", fault.got, fault.remedy or check.remedy)
    except Exception as error:
        return Result(label, check.id, "failed", describe_error(error), check.remedy)
    return Result(label, check.id, "passed", got or "")


def describe_error(error: BaseException) -> str:
    """Name an exception and its first line."""
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
