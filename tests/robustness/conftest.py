"""A run that calls a frame NSC when its mean is above 5000 electrons, and lists of such frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from skies import STEPS, write_sky
from tiny_run import make_run, tiny_registry


@pytest.fixture(autouse=True)
def _registry(torch_threads: Callable[[int], None]) -> Iterator[None]:
    torch_threads(1)  # more only get in each other's way on frames as small as these
    with tiny_registry():
        yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", steps=STEPS)


@pytest.fixture
def make_list(tmp_path: Path) -> Callable[..., Path]:
    """Write frames of the given (label, target, electrons) and the list of them."""

    def make(frames: list[tuple[str, str, float]], **keywords: object) -> Path:
        lines = ["path,hdu,label,target"]
        for number, (label, target, electrons) in enumerate(frames):
            path = write_sky(tmp_path / "frames" / f"{number:03d}.fits", electrons, number, **keywords)
            lines.append(f"{path},0,{label},{target}")
        manifest = tmp_path / "frames" / "list.csv"
        manifest.write_text("\n".join(lines) + "\n")
        return manifest

    return make
