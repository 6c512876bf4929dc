"""Where a registered name came from, so that a run can say years later what has to be installed to use it."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from collections.abc import Mapping
from typing import Any

import zoo
from zoo.entries import Entry
from zoo.errors import PluginError, UnknownNameError
from zoo.registry import BUILTIN_OWNER, SINGULAR, Registry, get_registry
from zoo.sources import is_path

DISTRIBUTION = "celestial-zoo"

_BY_PATH = "zoo --plugin "


def describe_origin(entry: Entry, registry: Registry | None = None) -> dict[str, str]:
    """Return what a run records of a name that it uses.

    ``name`` and ``owner`` are those of the registry; ``distribution`` and ``version`` what pip knows them by, empty for a single file;
    ``install`` is what has to be done to have them again: ``pip install ...`` or ``zoo --plugin PATH``.
    """
    if entry.owner == BUILTIN_OWNER:
        facts = {"distribution": DISTRIBUTION, "version": zoo.__version__, "install": f"pip install {DISTRIBUTION}=={zoo.__version__}"}
    else:
        plugins = (registry or get_registry()).plugins
        source = next((plugin.source for plugin in plugins if plugin.name == entry.owner), "")
        facts = {"distribution": entry.distribution, "version": entry.version, "install": _install_words(entry, source)}
    return {"name": entry.name, "owner": entry.owner, **facts}


def find_origin(kind: str, origin: Mapping[str, str], *, where: object, registry: Registry | None = None) -> Entry:
    """Return the entry that :func:`describe_origin` described, of the same owner.

    Args:
        kind: one of ``zoo.registry.KINDS``. origin: what was recorded. where: the run, for the message.
    Raises: PluginError: its plugin is not loaded; names distribution and version, or the file, and how to have it again.
    """
    registry = registry or get_registry()
    name, owner = origin["name"], origin["owner"]
    try:
        return registry.get(kind, f"{owner}:{name}")
    except UnknownNameError as err:
        raise PluginError(f"{where}: needs the {SINGULAR[kind]} {name!r} of plugin {owner!r}{_absence(registry, origin)}") from err


def _absence(registry: Registry, origin: Mapping[str, str]) -> str:
    """Why a name of a plugin is not there, and what to do."""
    failures = [failure.cause for failure in registry.failures if failure.plugin == origin["owner"]]
    if failures:
        return f", which failed to load: {failures[0]}"
    distribution, version, install = (origin.get(key, "") for key in ("distribution", "version", "install"))
    if any(plugin.name == origin["owner"] for plugin in registry.plugins):
        whole = f"{install} plugins list" if install.startswith(_BY_PATH) else install
        return f" {version}, which is loaded but does not register it; run '{whole}'" if install else ", which does not register it"
    if not distribution:
        return f", which came from a single file; pass it with '{install or 'zoo --plugin FILE'} ...'"
    if install.startswith(_BY_PATH):
        whole = f"{install} plugins list"
        return f" from distribution {distribution} {version}, which is not loaded; pass its folder before the command, as in '{whole}'"
    words = install or f"pip install {distribution}=={version}"
    return (
        f" from distribution {distribution} {version}, which is not loaded; run '{words}' and see 'zoo plugins' "
        "(ZOO_PLUGINS and --safe leave plugins out)"
    )


def _install_words(entry: Entry, source: str) -> str:
    """The command that gives the plugin of an entry back."""
    if is_path(source):
        return f"{_BY_PATH}{shlex.quote(source)}"
    if not entry.distribution:
        return ""
    return f"pip install {_requirement(entry.distribution, entry.version)}"


def _requirement(distribution: str, version: str) -> str:
    """What pip was given for an installed distribution: a folder, a repository, or a name and version of an index.

    References: PEP 610, which describes direct_url.json.
    """
    pinned = f"{distribution}=={version}"
    try:
        recorded: dict[str, Any] = json.loads(importlib.metadata.distribution(distribution).read_text("direct_url.json") or "{}")
        url = str(recorded["url"])
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError):
        return pinned
    if "vcs_info" in recorded:
        facts = recorded["vcs_info"]
        url = f"{facts['vcs']}+{url}@{facts['commit_id']}"
    if "subdirectory" in recorded:
        url += f"#subdirectory={recorded['subdirectory']}"
    if recorded.get("dir_info", {}).get("editable"):
        return f"-e {url.removeprefix('file://')}"
    return f'"{distribution} @ {url}"' if "#" in url or " " in url else url.removeprefix("file://")
