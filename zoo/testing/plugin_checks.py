"""Checks of a plugin as a whole: that it loads, says which contract it keeps, and that importing it costs and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

from zoo.errors import CheckFailedError
from zoo.hookspecs import API_VERSION
from zoo.registry import KINDS, Failure, Registry
from zoo.testing.check import CheckList, FaultError, NotApplicableError
from zoo.testing.probe import Probe, probe

CHECKS = CheckList()


@dataclass
class PluginSubject:
    """A plugin, loaded or failed.

    Attributes:
        name: of its entry point, or of its file. source: as in ``zoo.registry.Plugin``.
        registry: where it is loaded, or where its failure is kept.
    """

    name: str
    source: str
    registry: Registry

    @property
    def label(self) -> str:
        """Such as ``plugin 'tinynet'``."""
        return f"plugin {self.name!r}"

    @property
    def failure(self) -> Failure | None:
        """Why it is not loaded."""
        return next((f for f in self.registry.failures if f.plugin == self.name and not f.loaded), None)

    @cached_property
    def bare(self) -> Probe:
        """What importing it does where nothing else is imported."""
        return self._probe(preload=False)

    @cached_property
    def preloaded(self) -> Probe:
        """What importing it, and all it refers to, does where torch is imported already."""
        return self._probe(preload=True)

    def _probe(self, *, preload: bool) -> Probe:
        if self.source == "object":
            raise NotApplicableError("it is an object of this process, which no other can import")
        try:
            return probe(self.name, self.source, preload=preload)
        except CheckFailedError as error:
            raise FaultError(str(error)) from error


@CHECKS.check(remedy="import it in python by itself to see where; import optional packages inside the functions that need them")
def plugin_imports(subject: PluginSubject) -> str:
    """It can be imported."""
    failure = subject.failure
    if failure is not None and failure.stage == "import":
        raise FaultError(failure.cause)
    return subject.source


@CHECKS.check(remedy=f"set zoo_api = {API_VERSION}", after="plugin-imports")
def plugin_api(subject: PluginSubject) -> str:
    """It asks for a version of the contract that this zoo offers."""
    failure = subject.failure
    if failure is not None and failure.stage == "api":
        raise FaultError(failure.cause)
    wanted = getattr(subject.registry.module(subject.name), "zoo_api", None)
    return f"not stated, taken as {API_VERSION}" if wanted is None else f"zoo_api = {wanted}"


@CHECKS.check(remedy="name hooks as in zoo.hookspecs, with one parameter `register`, and mark each with @zoo.hookimpl", after="plugin-api")
def plugin_hooks(subject: PluginSubject) -> str:
    """Its hooks are spelled as in zoo.hookspecs, and none has been left unmarked."""
    failure = subject.failure
    if failure is not None and failure.stage == "hooks":
        raise FaultError(failure.cause)
    plugin = subject.registry.module(subject.name)
    found = [name for name in dir(plugin) if name.startswith("register_") and callable(getattr(plugin, name))]
    unmarked = [name for name in found if not hasattr(getattr(plugin, name), "zoo_impl")]
    if unmarked and isinstance(plugin, ModuleType):
        raise FaultError(f"{', '.join(unmarked)} is not marked and never called", "put @zoo.hookimpl above it, or rename it")
    return ", ".join(name for name in found if name not in unmarked)


@CHECKS.check(remedy="register only names, references and metadata; the message says which of them was refused", after="plugin-hooks")
def plugin_registers(subject: PluginSubject) -> str:
    """Its hooks return without an error, and register something."""
    failure = subject.failure
    if failure is not None:
        raise FaultError(failure.cause)
    counts = {kind: sum(entry.owner == subject.name for entry in subject.registry.entries(kind)) for kind in KINDS}
    if not any(counts.values()):
        raise FaultError("it registers nothing", "call register(...) in its hooks")
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


@CHECKS.check(remedy="choose names that nobody holds; until then users must write the owner before them", after="plugin-registers")
def plugin_names(subject: PluginSubject) -> str:
    """None of its names is held by another plugin."""
    entries = [entry for kind in KINDS for entry in subject.registry.entries(kind)]
    own = [entry for entry in entries if entry.owner == subject.name]
    for entry in own:
        others = [other.owner for other in entries if other.owner != subject.name and (other.kind, other.name) == (entry.kind, entry.name)]
        if others:
            raise FaultError(f"{entry.name!r} is also registered by {' and '.join(others)}")
    return ", ".join(entry.name for entry in own)


@CHECKS.check(remedy="import it inside build, or register 'package.module:callable' and import it in that module", after="plugin-registers")
def plugin_light(subject: PluginSubject) -> str:
    """Importing it, as every `zoo --help` does, imports nothing heavy."""
    seen = subject.bare
    if seen.heavy:
        raise FaultError(f"it imports {', '.join(seen.heavy)} ({seen.seconds * 1e3:.0f} ms)")
    return f"{seen.modules} modules, {seen.seconds * 1e3:.0f} ms"


@CHECKS.check(remedy="import it inside the command's function, so that `zoo NAME --help` answers at once", after="plugin-registers")
def plugin_commands_light(subject: PluginSubject) -> str:
    """Importing its commands imports nothing heavy."""
    if not any(entry.owner == subject.name for entry in subject.registry.entries("commands")):
        raise NotApplicableError("it registers no commands")
    if subject.bare.command_heavy:
        raise FaultError(f"its commands import {', '.join(subject.bare.command_heavy)}")
    return "nothing heavy"


@CHECKS.check(remedy="print nothing at import; stdout is the result of a command, which a note would spoil", after="plugin-registers")
def plugin_silent(subject: PluginSubject) -> str:
    """Importing it, and all it refers to, prints nothing."""
    output = subject.preloaded.output
    if output:
        raise FaultError(f"it prints {output.splitlines()[0]!r}")
    return "nothing printed"


@CHECKS.check(
    remedy="move it into the function that needs it, and leave seeds, threads, dtypes, paths and handlers to zoo", after="plugin-registers"
)
def plugin_clean(subject: PluginSubject) -> str:
    """Importing it, and all it refers to, leaves process, files and network alone."""
    effects = [*subject.preloaded.changes, *subject.preloaded.outside]
    if effects:
        raise FaultError(
            f"importing it changes {'; '.join(effects[:5])}" if subject.preloaded.changes else f"importing it {'; '.join(effects[:5])}"
        )
    return "nothing changed"
