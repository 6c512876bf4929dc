"""Links what a wheel declares to need, and what that needs in turn, from this environment into a folder, and nothing else.

A fresh environment that has the folder on its path needs no second download of torch, and a package that zoo imports without declaring it
is missing there. Usage: ``python link_dependencies.py WHEEL FOLDER``; prints the distributions.
"""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(requirements: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """Installed distributions by name that the requirements lead to; raises SystemExit where one is absent or of another version."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        # Of extras only those are followed that are asked for; the dependencies of zoo ask for none.
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
            continue
        distribution = found.get(name) or importlib.metadata.distribution(name)
        if not wanted.specifier.contains(distribution.version, prereleases=True):
            raise SystemExit(f"{name} is {distribution.version}, expected {wanted}")
        if name not in found:
            found[name] = distribution
            waiting += [Requirement(text) for text in distribution.requires or []]
    return found


def main() -> None:
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    found = closure(metadata.get_all("Requires-Dist", []))
    folder.mkdir(parents=True)
    for distribution in found.values():
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():  # two distributions may share a folder
                link.symlink_to(Path(str(distribution.locate_file(top))))
    print(" ".join(f"{name}=={distribution.version}" for name, distribution in sorted(found.items())))


if __name__ == "__main__":
    main()
