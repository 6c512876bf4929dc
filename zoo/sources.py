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

    A folder, or its ``src``, is put first on ``sys.path``, so that its lazy references are found.

    Raises: PluginError: there is no such file, or the folder declares no plugin.
    """
    path = path.absolute()
    if path.is_dir():
        return _find_in_folder(path)
    if not path.is_file():
        raise PluginError(f"{path}: no such file; expected a Python file with functions marked @zoo.hookimpl, or a package folder")
    return [Source(path.stem, str(path), partial(_import_file, path))]


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
    if place not in sys.path:
        sys.path.insert(0, place)
    facts = str(project.get("name", "")), str(project.get("version", ""))
    group = ENTRY_POINT_GROUP
    return [Source(n, str(folder), importlib.metadata.EntryPoint(n, value, group).load, *facts) for n, value in sorted(points.items())]


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
