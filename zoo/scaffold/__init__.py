"""A new plugin package, written from the working one in ``template``: parts that were not asked for are left out, names are put in."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from zoo.errors import StorageError, UsageError
from zoo.registry import KINDS, SINGULAR, Registry
from zoo.storage import TEMPORARY_PREFIX

TEMPLATE = Path(__file__).parent / "template"
DEFAULT_KINDS = ("models", "steps")
# The text of this one is written too; those of the others are for the author to add.
DEFAULT_LICENCE = "BSD-3-Clause"
LICENCES = (DEFAULT_LICENCE, "BSD-2-Clause", "MIT", "Apache-2.0", "MPL-2.0", "LGPL-3.0-or-later", "GPL-3.0-or-later", "AGPL-3.0-or-later")

_FILES = {
    "models": "net.py",
    "steps": "step.py",
    "datasets": "dataset.py",
    "losses": "loss.py",
    "loggers": "logger.py",
    "commands": "command.py",
}
# What the template registers; a name that somebody holds already would make the new plugin clash.
_NAMES = {
    "models": "newnet",
    "steps": "newnet-sky",
    "datasets": "newnet-data",
    "losses": "newnet-loss",
    "loggers": "newnet-lines",
    "commands": "newnet",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class NewPackage:
    """What was written.

    Attributes:
        distribution: name for pip. folder: the package. files: in it, relative, sorted.
        commands: what to do next, as lines for a shell.
    """

    distribution: str
    folder: Path
    files: tuple[Path, ...]
    commands: tuple[str, ...]


def write_plugin(
    name: str,
    parent: Path,
    *,
    kinds: Collection[str] = (),
    licence: str = DEFAULT_LICENCE,
    author: str = "",
    taken: Registry | None = None,
    reserved: Collection[str] = (),
) -> NewPackage:
    """Write a package that installs and passes its own test.

    Args:
        name: of the plugin, lower case with hyphens; ``zoo-`` is put before it for the distribution where it is not there.
        parent: the folder to write into; made if absent.
        kinds: what it registers, of ``zoo.registry.KINDS``; an architecture and a step where empty.
        licence: SPDX identifier, one of `LICENCES`. author: who holds the copyright.
        taken: the registry whose names must stay free. reserved: further names of commands that must.
    Raises:
        UsageError: the name is none, or is taken; the folder is there already; another licence. StorageError: it cannot be written;
            nothing is left half written.
    """
    short = name.lower().removeprefix("zoo-")
    if not _NAME.fullmatch(short) or not name.isascii():
        raise UsageError(f"name must be lower-case letters, digits and single hyphens, beginning with a letter, got {name!r}")
    if licence not in LICENCES:
        raise UsageError(f"licence must be one of {', '.join(LICENCES)}, got {licence!r}; write another into pyproject.toml afterwards")
    wanted = tuple(kind for kind in KINDS if kind in (kinds or DEFAULT_KINDS))
    words = {
        "zoo-newnet": f"zoo-{short}",
        "zoo_newnet": f"zoo_{short.replace('-', '_')}",
        "NewNet": "".join(part.capitalize() for part in short.split("-")),
        "test_newnet": f"test_{short.replace('-', '_')}",
        "def newnet": f"def {short.replace('-', '_')}",
        "command:newnet": f"command:{short.replace('-', '_')}",
        "newnet": short,
        DEFAULT_LICENCE: licence,
    }
    if "commands" in wanted and short in reserved:
        raise UsageError(f"'zoo {short}' is a command of zoo itself; choose another name")
    if taken is not None:
        _refuse_taken(short, wanted, taken)
    folder = parent / words["zoo-newnet"]
    if folder.exists():
        raise UsageError(f"{folder}: something is here already; choose another name, or another place with --dir")
    words["the authors of zoo-newnet"] = author or f"the authors of {words['zoo-newnet']}"
    words["Copyright (c) 2026"] = f"Copyright (c) {datetime.now(UTC).year}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=parent))
        try:
            _write(temporary, wanted, words, with_text=licence == DEFAULT_LICENCE)
            temporary.chmod(0o755)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as err:
        raise StorageError(f"{folder}: cannot be written: {err.strerror or err}; choose another place with --dir") from err
    files = tuple(sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()))
    commands = (f"cd {folder}", "pip install --no-build-isolation -e .", f"zoo plugins check {short}", "python -m pytest")
    return NewPackage(words["zoo-newnet"], folder, files, commands)


def _refuse_taken(short: str, kinds: Collection[str], taken: Registry) -> None:
    if any(short == plugin.name for plugin in taken.plugins) or any(short == failure.plugin for failure in taken.failures):
        raise UsageError(f"a plugin named {short!r} is installed already; choose another name")
    for kind in kinds:
        name = _NAMES[kind].replace("newnet", short)
        holders = [entry.owner for entry in taken.entries(kind) if entry.name == name]
        if holders:
            raise UsageError(f"the {SINGULAR[kind]} {name!r} is registered by {' and '.join(holders)}; choose another name")


def _write(folder: Path, kinds: Collection[str], words: dict[str, str], *, with_text: bool) -> None:
    """Write the template with its names replaced, without the parts of other kinds."""
    left_out = {file for kind, file in _FILES.items() if kind not in kinds}
    functions = {f"{prefix}_{kind}" for kind in KINDS if kind not in kinds for prefix in ("register", "test")}
    pattern = re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        if source.name in left_out or (source.name == "LICENSE" and not with_text):
            continue
        text = source.read_text(encoding="utf-8")
        if source.suffix == ".py":
            text = _without_functions(text, functions)
        elif not with_text:
            text = text.replace('license-files = ["LICENSE"]\n', "").replace(
                "Before you publish:", f"Before you publish: add the text of the licence ({words[DEFAULT_LICENCE]}) as `LICENSE`;"
            )
        lines = [line for line in text.splitlines(keepends=True) if not any(f"/{file}`" in line for file in left_out)]
        place = "/".join(pattern.sub(lambda found: words[found[0]], part) for part in source.relative_to(TEMPLATE).parts)
        target = folder / (".gitignore" if source.name == "gitignore" else place)
        target.parent.mkdir(exist_ok=True)
        target.write_text(pattern.sub(lambda found: words[found[0]], "".join(lines)), encoding="utf-8")


def _without_functions(text: str, names: Collection[str]) -> str:
    """A module without some of its functions: in the template two blank lines stand before each, and its imports inside."""
    blocks = text.rstrip().split("\n\n\n")
    return "\n\n\n".join(block for block in blocks if not any(f"def {name}(" in block for name in names)) + "\n"
