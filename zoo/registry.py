"""Names and what they build: loads plugins one by one, keeps their failures, looks names up.

Built-ins travel the same road as third parties. A plugin that cannot be imported, raises in a hook, misspells a hook, asks for a newer
contract, or repeats a name is rolled back as a whole (or, for a name that another plugin holds, in that name) and reported; everything
else goes on working.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pluggy

from zoo import hookspecs
from zoo.entries import KINDS, Entry, Option, make_register
from zoo.errors import AmbiguousNameError, PluginError, UnknownNameError, UsageError
from zoo.sources import Source, find_in_path, find_installed, is_path

__all__ = [
    "BUILTIN",
    "KINDS",
    "Entry",
    "Failure",
    "Option",
    "Plugin",
    "Registry",
    "configure",
    "get_registry",
    "loaded_registry",
    "use_registry",
]

BUILTIN = ("zoo.plugins",)
BUILTIN_OWNER = "zoo"

SINGULAR = {"models": "model", "steps": "step", "datasets": "data set", "losses": "loss", "loggers": "logger", "commands": "command"}
_REMEDY = {"models": "Run 'zoo models list'.", "steps": "Run 'zoo steps list'.", "datasets": "Run 'zoo data list'."}


# Where loading a plugin can end: its import, its zoo_api, its hooks, what it registers, or a name that another plugin holds.
Stage = Literal["import", "api", "hooks", "register", "clash"]


@dataclass(frozen=True)
class Plugin:
    """A plugin that was loaded, and how many names of each kind it registered.

    Attributes:
        name: the name of its entry point, or of its file without the suffix.
        source: ``module`` or ``module:attribute`` of an installed plugin, an absolute path, or ``object``.
        distribution, version: what pip knows it by; empty for a single file.
    """

    name: str
    source: str
    distribution: str = ""
    version: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """What went wrong with one plugin, in one line, and the exception behind it.

    Attributes:
        distribution: the name and version that pip knows it by; empty for a single file.
        stage: where loading it ended.
    """

    plugin: str
    source: str
    cause: str
    error: BaseException
    distribution: str = ""
    stage: Stage = "import"

    @property
    def loaded(self) -> bool:
        """Whether the plugin works all the same, as one does whose name clashed."""
        return self.stage == "clash"


class Registry:
    """The names that the loaded plugins registered.

    Use :func:`get_registry` for the process-wide one; :meth:`from_plugins` builds one that holds just what it is given, for tests.
    """

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.failures: list[Failure] = []
        self._entries: dict[str, dict[tuple[str, str], Entry]] = {kind: {} for kind in KINDS}
        self._manager = pluggy.PluginManager("zoo")
        self._manager.add_hookspecs(hookspecs)

    @classmethod
    def from_plugins(cls, plugins: Sequence[object], *, builtin: bool = True) -> Registry:
        """A registry of the built-ins (unless ``builtin`` is false) and the given modules or objects; no entry points are read."""
        registry = cls()
        if builtin:
            registry.load_builtin()
        for plugin in plugins:
            name = getattr(plugin, "__name__", type(plugin).__name__)
            registry.add(plugin, name=name, source=str(getattr(plugin, "__file__", "") or "object"))
        return registry

    @classmethod
    def load(
        cls, *, entry_points: bool = True, only: Iterable[str] | None = None, files: Sequence[Path] = (), strict: bool = False
    ) -> Registry:
        """The built-ins, the installed third parties, and single files.

        Args:
            entry_points: whether the entry points of group ``zoo`` are loaded.
            only: names of the entry points to load; ``None`` for all of them.
            files: Python files, or folders with a ``pyproject.toml``, loaded without installation; each takes the place of an installed
                plugin of the same name.
            strict: raise the first failure instead of keeping it.
        Raises: PluginError: one of ``files`` does not exist or is no plugin, or any failure when ``strict``.
        """
        registry = cls()
        registry.load_builtin()
        for path in files:
            for source in find_in_path(path):
                registry.add_source(source)
        if entry_points:
            registry._load_installed(only)
        if strict and registry.failures:
            failure = registry.failures[0]
            raise PluginError(f"plugin {failure.plugin!r} ({failure.source}): {failure.cause}") from failure.error
        return registry

    def load_builtin(self) -> None:
        """Load what ships with zoo. A failure here is a defect of zoo and is raised."""
        for module_name in BUILTIN:
            self.add(importlib.import_module(module_name), name=BUILTIN_OWNER, source=module_name)
        if self.failures:
            raise self.failures[0].error

    def _load_installed(self, only: Iterable[str] | None) -> None:
        allowed = None if only is None else set(only)
        found = find_installed()
        replaced = {held.name for held in self.plugins if is_path(held.source)} | {held.plugin for held in self.failures}
        for source in found:
            if source.name not in replaced and (allowed is None or source.name in allowed):
                self.add_source(source)
        for name in sorted((allowed or set()) - {source.name for source in found}):
            installed = ", ".join(source.name for source in found) or "none"
            self._fail(name, "ZOO_PLUGINS", PluginError(f"no installed plugin has this name; installed: {installed}"))

    def add_source(self, source: Source) -> None:
        """Import one plugin and register it; a failure is kept in ``failures``."""
        try:
            plugin = source.load()
        except Exception as error:
            self._fail(source.name, source.text, error, distribution=f"{source.distribution} {source.version}".strip())
            return
        self.add(plugin, name=source.name, source=source.text, distribution=source.distribution, version=source.version)

    def add(self, plugin: object, *, name: str, source: str, distribution: str = "", version: str = "") -> None:
        """Register one plugin: all of its hooks succeed, or none of its names stay. A failure is kept in ``failures``."""
        staged: list[Entry] = []
        stage: Stage = "api"
        try:
            self._refuse_api(plugin)
            if self._manager.has_plugin(name):
                raise PluginError(f"a plugin named {name!r} is already loaded")
            stage = "hooks"
            self._manager.register(plugin, name=name)
            self._refuse_unknown_hooks(plugin)
            if not self._manager.get_hookcallers(plugin):
                raise PluginError("it has no function marked @zoo.hookimpl; see zoo.hookspecs for the six hooks")
            stage = "register"
            others = [p for p in self._manager.get_plugins() if p is not plugin]
            for kind in KINDS:
                caller = self._manager.subset_hook_caller(f"register_{kind}", others)
                caller(register=make_register(kind, owner=name, distribution=distribution, version=version, stage=staged))
            self._refuse_repeats(staged)
        except Exception as error:
            if self._manager.get_plugin(name) is plugin:
                self._manager.unregister(plugin)
            self._fail(name, source, error, distribution=f"{distribution} {version}".strip(), stage=stage)
            return
        self._report_clashes(name, source, staged)
        for entry in staged:
            self._entries[entry.kind][entry.owner, entry.name] = entry
        counts = {kind: sum(entry.kind == kind for entry in staged) for kind in KINDS}
        self.plugins.append(Plugin(name, source, distribution, version, counts))

    @staticmethod
    def _refuse_api(plugin: object) -> None:
        wanted = getattr(plugin, "zoo_api", hookspecs.API_VERSION)
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
            raise PluginError(f"zoo_api must be a positive integer, got {wanted!r}")
        if wanted > hookspecs.API_VERSION:
            raise PluginError(f"it asks for plugin API {wanted}, this zoo offers {hookspecs.API_VERSION}; upgrade celestial-zoo")

    def _refuse_unknown_hooks(self, plugin: object) -> None:
        known = [f"register_{kind}" for kind in KINDS]
        for caller in self._manager.get_hookcallers(plugin) or ():
            if not caller.has_spec():
                raise PluginError(str(UnknownNameError("hook", caller.name, known, remedy=f"Known: {', '.join(known)}.")))

    @staticmethod
    def _refuse_repeats(staged: Sequence[Entry]) -> None:
        seen: set[tuple[str, str]] = set()
        for entry in staged:
            if (entry.kind, entry.name) in seen:
                raise PluginError(f"it registers the {SINGULAR[entry.kind]} {entry.name!r} twice")
            seen.add((entry.kind, entry.name))

    def _report_clashes(self, name: str, source: str, staged: Sequence[Entry]) -> None:
        for entry in staged:
            holders = [owner for owner, held in self._entries[entry.kind] if held == entry.name]
            if holders:
                what = f"the {SINGULAR[entry.kind]} {entry.name!r} is registered by {' and '.join(map(repr, [*holders, name]))}"
                self._fail(name, source, PluginError(f"{what}; name it as '{name}:{entry.name}'"), stage="clash")

    def _fail(self, plugin: str, source: str, error: BaseException, *, distribution: str = "", stage: Stage = "import") -> None:
        words = str(error).strip().splitlines() or [""]
        cause = words[0] if isinstance(error, PluginError) else f"{type(error).__name__}: {words[0]}"
        self.failures.append(Failure(plugin, source, cause, error, distribution, stage))

    def module(self, name: str) -> object | None:
        """The module or object that a loaded plugin is, or ``None``."""
        return self._manager.get_plugin(name)

    def entries(self, kind: str) -> list[Entry]:
        """Every entry of a kind, sorted by name and owner."""
        return sorted(self._entries[kind].values(), key=lambda entry: (entry.name, entry.owner))

    def names(self, kind: str) -> list[str]:
        """The names of a kind that :meth:`get` accepts, sorted; one that a clash made ambiguous stands as ``owner:name``."""
        return sorted(self.public_name(entry) for entry in self._entries[kind].values())

    def public_name(self, entry: Entry) -> str:
        """The shortest name that means this entry: ``name``, or ``owner:name`` where another plugin holds ``name`` too."""
        owners = [owner for owner, name in self._entries[entry.kind] if name == entry.name]
        return entry.name if len(owners) == 1 or entry.owner == BUILTIN_OWNER else f"{entry.owner}:{entry.name}"

    def get(self, kind: str, name: str) -> Entry:
        """Look a name up, as ``name`` or ``owner:name``.

        A name that zoo ships always means zoo's own (plain ``hrcn`` is the published layout, whatever is installed).
        Raises:
            UnknownNameError: nobody registered it; the message suggests the nearest.
            AmbiguousNameError: two third parties registered it; the message names both.
        """
        table = self._entries[kind]
        holders = [owner for owner, held in table if held == name]
        if BUILTIN_OWNER in holders:
            return table[BUILTIN_OWNER, name]
        if len(holders) == 1:
            return table[holders[0], name]
        if len(holders) > 1:
            raise AmbiguousNameError(SINGULAR[kind], name, holders)
        owner, _, rest = name.partition(":")
        if (owner, rest) in table:
            return table[owner, rest]
        raise UnknownNameError(SINGULAR[kind], name, self.names(kind), remedy=_REMEDY.get(kind, f"Known: {', '.join(self.names(kind))}."))

    def build(self, kind: str, name: str, /, *, options: Mapping[str, object] | None = None, **arguments: Any) -> Any:
        """Import what a name refers to and call it with ``arguments`` and the parsed ``options``.

        Raises: UnknownNameError, UsageError (a bad option), PluginError (the reference cannot be imported).
        """
        entry = self.get(kind, name)
        parsed = entry.parse_options(options or {})
        return entry.load()(**arguments, **parsed)


_registry: Registry | None = None
_configuration: dict[str, Any] = {"files": (), "safe": False}


def configure(*, files: Sequence[Path] = (), safe: bool = False) -> None:
    """Say, before the registry is first used, which files it loads as well, and whether it leaves third parties out."""
    global _registry
    wanted = {"files": tuple(files), "safe": safe}
    if wanted != _configuration:
        _configuration.update(wanted)
        _registry = None


def get_registry() -> Registry:
    """The process-wide registry, loaded at the first call.

    ``ZOO_PLUGINS=a,b`` limits the third parties to these entry-point names (empty: none of them); ``ZOO_STRICT_PLUGINS=1`` raises the
    first failure.
    """
    global _registry
    if _registry is None:
        limit = os.environ.get("ZOO_PLUGINS")
        _registry = Registry.load(
            entry_points=not _configuration["safe"],
            only=None if limit is None else [name.strip() for name in limit.split(",") if name.strip()],
            files=_configuration["files"],
            strict=_read_flag("ZOO_STRICT_PLUGINS"),
        )
    return _registry


def loaded_registry() -> Registry | None:
    """The process-wide registry if something has used it already; loads nothing."""
    return _registry


@contextlib.contextmanager
def use_registry(registry: Registry) -> Iterator[Registry]:
    """Make ``registry`` the process-wide one inside a ``with`` block."""
    global _registry
    before = _registry
    _registry = registry
    try:
        yield registry
    finally:
        _registry = before


def _read_flag(variable: str) -> bool:
    value = os.environ.get(variable, "0")
    if value not in ("", "0", "1"):
        raise UsageError(f"{variable} must be 0 or 1, got {value!r}")
    return value == "1"
