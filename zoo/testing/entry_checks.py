"""Checks of what any registered name says of itself: its reference, its options, its origin."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import click

from zoo.entries import Option
from zoo.errors import UsageError
from zoo.testing.check import CheckList, FaultError, NotApplicableError, describe_error
from zoo.testing.effects import preserved_state
from zoo.testing.subject import EntrySubject

CHECKS = CheckList()
WEIGHTS_CHECKS = CheckList()

# What zoo passes to the builder of a kind, besides the options.
ARGUMENTS = {
    "models": ("num_classes", "in_channels", "input_shape"),
    "steps": (),
    "datasets": ("root",),
    "losses": ("class_weights",),
    "loggers": ("run_dir",),
}
_REFERENCE = re.compile(r"https?://\S+\.\S+|doi:10\.\d+/\S+|arXiv:\d{4}\.\d{4,5}(v\d+)?|unpublished")
_SHA256 = re.compile(r"[0-9a-f]{8,64}")


@CHECKS.check(remedy="register 'package.module:callable' of something that can be imported")
def entry_loads(subject: EntrySubject) -> str:
    """What it refers to can be imported and called."""
    build = subject.entry.load()
    return subject.entry.build if isinstance(subject.entry.build, str) else getattr(build, "__qualname__", type(build).__name__)


@CHECKS.check(
    remedy="take exactly these keywords, and register every other parameter as an option or give it a default", after="entry-loads"
)
def entry_signature(subject: EntrySubject) -> str:
    """Its builder takes what zoo passes, and every option."""
    passed = (*ARGUMENTS[subject.entry.kind], *subject.entry.options)
    try:
        parameters = inspect.signature(subject.entry.load()).parameters.values()
    except ValueError as error:
        raise NotApplicableError("its signature cannot be read") from error
    by_name = {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    missing = [] if takes_all else [name for name in passed if name not in by_name]
    unfilled = [name for name, p in by_name.items() if p.default is p.empty and name not in passed]
    unfilled += [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
    if missing:
        raise FaultError(f"its builder does not take {', '.join(missing)}")
    if unfilled:
        raise FaultError(f"its builder needs {', '.join(unfilled)}, which zoo does not pass")
    return ", ".join(passed) or "no arguments"


@CHECKS.check(remedy="register it with summary='one line'")
def entry_summary(subject: EntrySubject) -> str:
    """It has a summary of one line, for lists."""
    summary = subject.entry.summary or str(subject.entry.metadata.get("help", ""))
    if not summary.strip() or "\n" in summary:
        raise FaultError("it has no summary" if not summary.strip() else "its summary has several lines")
    return summary


@CHECKS.check(remedy="register it with licence='BSD-3-Clause', or whichever SPDX identifier its code has")
def entry_licence(subject: EntrySubject) -> str:
    """It states a licence."""
    if not subject.entry.licence.strip():
        raise FaultError("it states no licence")
    return subject.entry.licence


@CHECKS.check(remedy="give each option zoo.Option(type, default, help, choices) with a help of one line, a default and choices of its type")
def entry_options(subject: EntrySubject) -> str:
    """Its options have a help text, and a default and choices of their own type."""
    for name, option in subject.entry.options.items():
        if not name.isidentifier():
            raise FaultError(f"option {name!r} is no keyword")
        if not option.help.strip():
            raise FaultError(f"option {name} has no help text")
        for what, value in [("default", option.default), *(("choice", choice) for choice in option.choices or ())]:
            if not option.fits(value):
                raise FaultError(f"{what} {value!r} of option {name} is no {option.type.__name__}")
    return ", ".join(subject.entry.options) or "no options"


def check_options_used(subject: EntrySubject, fingerprint: Callable[[dict[str, Any]], object]) -> str:
    """The body of ``...-options``: every option changes something, with every other option at its default or at another choice.

    Args:
        fingerprint: builds with the given options and returns what can be seen of the result; equal for equal results.
    Raises: FaultError: an option changes nothing, or building with an allowed value raised something else than a refusal.
    """
    if not subject.entry.options:
        raise NotApplicableError("it has no options")
    unseen = []
    for name, option in subject.entry.options.items():
        seen, tried = False, False
        for base in _bases(subject, name):
            reference = _try(fingerprint, base, "")
            for value in _alternatives(option, base[name]) if reference is not None else ():
                other = _try(fingerprint, {**base, name: value}, f"{name}={value}")
                tried = tried or other is not None
                seen = seen or (other is not None and other != reference)
            if seen:
                break
        if tried and not seen:
            raise FaultError(f"option {name} changes nothing")
        if not tried:
            unseen.append(name)
    used = [name for name in subject.entry.options if name not in unseen]
    return ", ".join(used) + (f" (not tried: {', '.join(unseen)})" if unseen else "")


def _bases(subject: EntrySubject, name: str) -> Iterator[dict[str, Any]]:
    """The options of the subject, then with one of the others changed that has few values: some act only in company."""
    yield dict(subject.options)
    for other, option in subject.entry.options.items():
        if other != name and (option.choices or option.type is bool):
            for value in _alternatives(option, subject.options[other]):
                yield {**subject.options, other: value}


def _alternatives(option: Option, value: Any) -> tuple[Any, ...]:
    """Other values to try."""
    if option.choices:
        return tuple(choice for choice in option.choices if choice != value)
    if option.type is bool:
        return (not value,)
    if option.type is int:
        return (value + 1, value * 2) if value else (1, 2)
    if option.type is float:
        return (value / 2,) if value else (0.5,)
    return ()


def _try(fingerprint: Callable[[dict[str, Any]], object], options: dict[str, Any], words: str) -> object:
    """What a build with these options looks like, or None if it refuses them."""
    try:
        with preserved_state():
            return fingerprint(options)
    except FaultError:
        return None  # a fault that another check reports
    except (UsageError, ValueError):
        return None
    except Exception as error:
        if not words:
            return None
        raise FaultError(
            f"{words} raised {describe_error(error)}", "refuse a value with zoo.errors.UsageError, or do not allow it"
        ) from error


def model_reference(subject: EntrySubject) -> str:
    """It says where its architecture is described."""
    reference = subject.entry.reference
    if not _REFERENCE.fullmatch(reference.strip()):
        raise FaultError(f"its reference is {reference!r}" if reference else "it has no reference")
    return reference


WEIGHTS_CHECKS.check(remedy="register it with reference='https://...', 'doi:10....', 'arXiv:2312.04948' or 'unpublished'")(model_reference)


@WEIGHTS_CHECKS.check(remedy="give each of them url, sha256 (hexadecimal, at least its first 8 digits), licence and trained_on")
def model_weights(subject: EntrySubject) -> str:
    """Its published weights say where they are, what they hash to, their licence and what they were trained on."""
    for name, facts in subject.entry.metadata["weights"].items():
        missing = [key for key in ("url", "sha256", "licence", "trained_on") if not (isinstance(facts, dict) and facts.get(key))]
        if missing:
            raise FaultError(f"weights {name!r} lack {', '.join(missing)}")
        if not str(facts["url"]).startswith(("https://", "http://")):
            raise FaultError(f"weights {name!r} have the url {facts['url']!r}")
        if not _SHA256.fullmatch(str(facts["sha256"])):
            raise FaultError(f"weights {name!r} have the sha256 {facts['sha256']!r}")
    return ", ".join(subject.entry.metadata["weights"]) or "none published"


COMMAND_CHECKS = CheckList()


@COMMAND_CHECKS.check(remedy="register a reference to a function decorated with @click.command()", after="entry-loads")
def command_is_click(subject: EntrySubject) -> str:
    """It is a click command."""
    command = subject.entry.load()
    if not isinstance(command, click.Command):
        raise FaultError(f"it is {type(command).__name__}, expected a click.Command")
    return type(command).__name__


@COMMAND_CHECKS.check(remedy="give register(help=...) the first line of the command's docstring", after="command-is-click")
def command_help(subject: EntrySubject) -> str:
    """Its help begins with the line that it was registered with."""
    command = subject.entry.load()
    first = ((getattr(command, "help", "") or "").strip().splitlines() or [""])[0]
    registered = str(subject.entry.metadata["help"])
    if first != registered:
        raise FaultError(f"it was registered with {registered!r} and says {first!r}")
    return first


@COMMAND_CHECKS.check(remedy="give every option help='...'", after="command-is-click")
def command_options(subject: EntrySubject) -> str:
    """Its options have a help text."""
    command = subject.entry.load()
    assert isinstance(command, click.Command)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.help:
            raise FaultError(f"{parameter.opts[0]} has no help text")
    return ", ".join(p.opts[0] for p in command.params if isinstance(p, click.Option)) or "no options"
