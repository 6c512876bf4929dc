"""Where plugins come from: entry points of installed distributions, single files, and package folders that nobody installed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from zoo.errors import PluginError

ENTRY_POINT_GROUP = "zoo"

# As it was before any plugin was imported: for a fresh process that looks at what one changes.
ENVIRONMENT = dict(os.environ)


@dataclass(frozen=True)
class Source:
    """One plugin that can be imported.

    Attributes:
        name: the name of its entry point, or of its file without the suffix.
        text: ``module`` or ``module:attribute`` of an installed plugin, else an absolute path.
        load: imports it; whatever its code raises passes through.
        distribution, version: what pip knows it by; empty for a single file.
    """

    name: str
    text: str
    load: Callable[[], object]
    distribution: str = ""
    version: str = ""


def find_installed() -> list[Source]:
    """Return the entry points of group ``zoo`` of this environment, sorted by name; imports nothing of them."""
    points = sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value))
    return [Source(p.name, p.value, p.load, p.dist.name if p.dist else "", p.dist.version if p.dist else "") for p in points]


def find_in_path(path: Path) -> list[Source]:
    """Return the plugin in a Python file, or those that the ``pyproject.toml`` of a folder declares.

    A folder, or its ``src``, is put first on ``sys.path``, so that its lazy references are found; an installed plugin whose modules have
    the same names gives way to it when it is loaded.

    Raises: PluginError: there is no such file, or the folder declares no plugin.
    """
    path = whole_path(path)
    if path.is_dir():
        return _find_in_folder(path)
    if not path.is_file():
        raise PluginError(f"{path}: no such file; expected a Python file with functions marked @zoo.hookimpl, or a package folder")
    return [Source(path.stem, str(path), partial(_import_file, path))]


def whole_path(path: Path) -> Path:
    """Return the absolute path without ``..`` that stands in the :class:`Source` of a file or folder; a file keeps its own name."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def find_again(name: str, text: str) -> list[Source]:
    """Return the sources that ``name`` and ``text`` of a :class:`Source` stand for, in another process for instance."""
    if is_path(text):
        return [source for source in find_in_path(Path(text)) if source.name == name]
    return [Source(name, text, importlib.metadata.EntryPoint(name, text, ENTRY_POINT_GROUP).load)]


def is_path(text: str) -> bool:
    """Whether the text of a :class:`Source` is a path rather than a module."""
    return os.path.isabs(text)  # noqa: PTH117  # text, which need not be a path


def _find_in_folder(folder: Path) -> list[Source]:
    file = folder / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except FileNotFoundError:
        raise PluginError(f"{folder}: got a folder without pyproject.toml, expected that of a plugin package") from None
    except (OSError, ValueError) as error:
        raise PluginError(f"{file}: cannot be read: {error}") from error
    points = project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {})
    if not points:
        table = f"[project.entry-points.{ENTRY_POINT_GROUP}]"
        raise PluginError(f'{file}: got no table {table}, expected one with a line such as mynet = "mynet"')
    place = str(folder / "src" if (folder / "src").is_dir() else folder)
    sys.path[:] = [place, *(entry for entry in sys.path if entry != place)]
    facts = str(project.get("name", "")), str(project.get("version", ""))
    found = [importlib.metadata.EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in sorted(points.items())]
    return [Source(point.name, str(folder), partial(_import_below, folder, point), *facts) for point in found]


def _import_below(folder: Path, point: importlib.metadata.EntryPoint) -> object:
    """Import a plugin of a folder; modules of that name that an installed plugin brought are forgotten first."""
    package = point.module.partition(".")[0]
    held = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == package}
    installed = {found.text.partition(":")[0].partition(".")[0] for found in find_installed()}
    if package in installed and not all(_lies_below(module, folder) for module in held.values()):
        for name in held:
            del sys.modules[name]
    importlib.invalidate_caches()
    plugin = point.load()
    module = sys.modules[point.module]
    if not _lies_below(module, folder):
        raise PluginError(
            f"got the module {point.module!r} of {getattr(module, '__file__', None) or 'Python itself'}, expected one below {folder}; "
            "rename it, or leave out what imported the other one"
        )
    return plugin


def _lies_below(module: ModuleType, folder: Path) -> bool:
    """Whether a module is a file below a folder, or a package without a file of its own that has a part there."""
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", ()))
    return any(Path(place).resolve().is_relative_to(folder) for place in places)


def _import_file(path: Path) -> object:
    # Its own name where that is free, so that "mynet:build" in mynet.py refers to itself; the hash keeps two files of one name apart.
    free = path.stem.isidentifier() and path.stem not in sys.modules and importlib.util.find_spec(path.stem) is None
    module_name = path.stem if free else f"zoo_plugin_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: not a Python source file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module
