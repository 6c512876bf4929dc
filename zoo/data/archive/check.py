"""Is this file the product that was asked for, and is it whole?"""

from __future__ import annotations

from pathlib import Path

from zoo.data.manifest import twin_of
from zoo.errors import FrameError
from zoo.frames.headers import BLOCK
from zoo.frames.source import open_source


def check_file(path: Path, rootname: str) -> None:
    """Check a file as the archives hold it; only its headers are read.

    Every HDU and the padding after it must be there and nothing else, ``NEXTEND`` extensions must follow the first, and ``ROOTNAME`` must
    be the exposure, under the name of either copy.

    Raises:
        FrameError: with the codes of `zoo.frames.gate`; ``truncated`` and ``too-long`` for another length than the headers give,
            ``other-exposure`` for another rootname.
    """
    opened = open_source(path)
    if opened.damage is not None:
        raise opened.damage
    primary, last = opened.hdus[0].header, opened.hdus[-1]
    promised, got = primary.get("NEXTEND"), len(opened.hdus) - 1
    if isinstance(promised, int) and got < promised:
        raise FrameError("truncated", path=path, got=f"{got} extensions", expected=f"NEXTEND = {promised}")
    length, expected = path.stat().st_size, last.offset + -(-last.size // BLOCK) * BLOCK
    if length != expected:
        code = "truncated" if length < expected else "too-long"
        raise FrameError(code, path=path, got=f"{length:,} bytes", expected=f"{expected:,} by its headers")
    found = str(primary.get("ROOTNAME", "")).strip().lower()
    if found not in (rootname, twin_of(rootname)):
        raise FrameError("other-exposure", path=path, got=f"ROOTNAME = {found!r}", expected=repr(rootname))
