"""Which checks a plugin, or one of its names, gets; and running them."""

from __future__ import annotations

import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.entries import Entry
from zoo.errors import PluginError, UnknownNameError
from zoo.registry import BUILTIN_OWNER, KINDS, Registry, use_registry
from zoo.sources import whole_path
from zoo.testing import entry_checks, model_checks, model_options, model_tools, other_checks, plugin_checks, step_checks
from zoo.testing.check import Check, Result, run_checks
from zoo.testing.other_checks import DatasetSubject, LoggerSubject, LossSubject
from zoo.testing.plugin_checks import PluginSubject
from zoo.testing.step_checks import StepSubject
from zoo.testing.subject import EntrySubject, ModelSubject

_ENTRY = tuple(entry_checks.CHECKS)
PLUGIN_CHECKS: tuple[Check, ...] = tuple(plugin_checks.CHECKS)
ENTRY_CHECKS: dict[str, tuple[Check, ...]] = {
    "models": (*_ENTRY, *entry_checks.WEIGHTS_CHECKS, *model_checks.CHECKS, *model_options.CHECKS, *model_tools.CHECKS),
    "steps": (*_ENTRY, *step_checks.CHECKS),
    "losses": (*_ENTRY, *other_checks.LOSS_CHECKS),
    "loggers": (*_ENTRY, *other_checks.LOGGER_CHECKS),
    "datasets": (*_ENTRY, *other_checks.DATASET_CHECKS),
    "commands": (*(check for check in _ENTRY if check.id not in ("entry-signature", "entry-options")), *entry_checks.COMMAND_CHECKS),
}
_SUBJECTS: dict[str, type[EntrySubject]] = {
    "models": ModelSubject,
    "steps": StepSubject,
    "losses": LossSubject,
    "loggers": LoggerSubject,
    "datasets": DatasetSubject,
    "commands": EntrySubject,
}
ALIASES = {"builtin": BUILTIN_OWNER}


@dataclass(frozen=True)
class Target:
    """What was asked to be checked.

    Attributes:
        registry: where it is loaded. plugins: as wholes. entries: names, those of the plugins too.
    """

    registry: Registry
    plugins: tuple[PluginSubject, ...]
    entries: tuple[Entry, ...]

    @property
    def loaded(self) -> bool:
        """Whether every plugin could be loaded."""
        return not self.causes

    @property
    def causes(self) -> tuple[str, ...]:
        """Why plugins could not be loaded."""
        return tuple(plugin.failure.cause for plugin in self.plugins if plugin.failure is not None)


def list_checks() -> list[tuple[str, Check]]:
    """Return every check with the kind of thing it is for: ``plugin``, or one of ``zoo.registry.KINDS``; common ones once, as ``entry``."""
    listed = [("plugin", check) for check in PLUGIN_CHECKS] + [("entry", check) for check in _ENTRY]
    return listed + [(kind, check) for kind in KINDS for check in ENTRY_CHECKS[kind] if check not in _ENTRY]


def check_ids(wanted: Iterable[str]) -> frozenset[str] | None:
    """Return the ids that ``wanted`` names, each an id or its beginning such as ``model``; ``None`` where it is empty.

    Raises: UnknownNameError: one of them is no check.
    """
    known = [check.id for _, check in list_checks()]
    found: set[str] = set()
    for word in wanted:
        matching = {name for name in known if name == word or name.startswith(f"{word}-")}
        if not matching:
            raise UnknownNameError("check", word, known, remedy="'zoo plugins check --list' shows all.")
        found |= matching
    return frozenset(found) or None


def find_target(text: str, registry: Registry) -> Target:
    """Return what a word of the command line means.

    Args:
        text: a Python file or a package folder (its plugins are loaded into a registry of their own, beside everything that is installed);
            else the name of a plugin, of its distribution, or ``builtin``; else a registered name of any kind.
        registry: where names are looked up.
    Raises: UnknownNameError: nobody knows the name. PluginError: there is no such file, or the folder is no plugin.
    """
    path = Path(text)
    if path.suffix == ".py" or "/" in text or (path.is_dir() and (path / "pyproject.toml").is_file()):
        loaded = Registry.load(files=[path])
        place = str(whole_path(path))
        return _target(loaded, [name for name, source in _sources(loaded).items() if source == place])
    name = ALIASES.get(text, text)
    owners = [owner for owner in _sources(registry) if owner == name]
    owners = owners or [plugin.name for plugin in registry.plugins if plugin.distribution == name]
    owners = owners or [failure.plugin for failure in registry.failures if failure.distribution.partition(" ")[0] == name]
    if owners:
        return _target(registry, owners)
    entries = []
    for kind in KINDS:
        if name in registry.names(kind) or any(f"{entry.owner}:{entry.name}" == name for entry in registry.entries(kind)):
            entries.append(registry.get(kind, name))
    if entries:
        return Target(registry, (), tuple(entries))
    known = [*_sources(registry), *ALIASES, *(held for kind in KINDS for held in registry.names(kind))]
    raise UnknownNameError("plugin or name", text, known, remedy="Run 'zoo plugins list'; a path needs a '/' or the suffix .py.")


def _sources(registry: Registry) -> dict[str, str]:
    """Names and sources of all plugins, loaded and failed."""
    failed = {failure.plugin: failure.source for failure in registry.failures}
    return failed | {plugin.name: plugin.source for plugin in registry.plugins}


def _target(registry: Registry, owners: list[str]) -> Target:
    if not owners:
        raise PluginError("it declares no plugin that this zoo loads")
    plugins = tuple(PluginSubject(owner, _sources(registry)[owner], registry) for owner in dict.fromkeys(owners))
    return Target(registry, plugins, tuple(entry for kind in KINDS for entry in registry.entries(kind) if entry.owner in owners))


def examine(target: Target, *, only: Container[str] | None = None, build_data: bool = False) -> Iterator[Result]:
    """Run every check that applies.

    Args:
        target: from `find_target`. only: ids to run; ``None`` for all. build_data: build data sets, too, in a temporary folder.
    """
    with use_registry(target.registry), tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        for plugin in target.plugins:
            yield from run_checks(PLUGIN_CHECKS, plugin, label=plugin.label, only=only)
        for number, entry in enumerate(target.entries):
            arguments: dict[str, Any] = {"root": Path(folder) / str(number)} if entry.kind == "datasets" and build_data else {}
            yield from examine_entry(entry, only=only, **arguments)


def examine_entry(
    entry: Entry, options: Mapping[str, object] | None = None, *, only: Container[str] | None = None, **arguments: Any
) -> Iterator[Result]:
    """Run every check that applies to one registered name.

    Args:
        entry: the name. options: those that it is built with, parsed here. only: ids to run; ``None`` for all.
        **arguments: fields of the subject of this kind, such as ``sizes`` of a model.
    Raises: UnknownNameError, UsageError: an option does not fit.
    """
    subject = _SUBJECTS[entry.kind].of(entry, options, **arguments)
    yield from run_checks(ENTRY_CHECKS[entry.kind], subject, label=subject.label, only=only)
