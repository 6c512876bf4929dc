"""The authors' data as data sets: LCID from their list, LCID-Resize, LCID-Blurry, and LCID as CSST would see it.

Sets that are derived are no copies: a frame goes through their steps when it is opened, so that every run, whatever its own steps, is
trained or evaluated on what the set says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.data import LABELS, DataSet, Row, open_data
from zoo.errors import DataError, UsageError
from zoo.frames import Frame
from zoo.steps import Pipeline, Spec, default_pipeline

LCID_LIST = "LCID_test.csv"
BLURRY_LIST = "blurry_validation.csv"
_FULL = (1, 2048, 4096)


def build(root: Path | None = None, *, list: str = "") -> DataSet:
    """The frames of the authors' list, as they are; splits by target are made where the list has none.

    Args:
        root: folder with the files, at any depth; by default that of the list.
        list: the authors' CSV or another manifest; by default ``LCID_test.csv`` in ``root``.

    Raises:
        DataError: there is no such list, or none of its files.
    """
    return _opened("lcid", root, list or LCID_LIST, _FULL)


def build_blurry(root: Path | None = None, *, list: str = "") -> DataSet:
    """LCID-Blurry: the frames of ``blurry_validation.csv``, which lack signal; nothing is blurred. All are the test; see `build`."""
    data = _opened("lcid:blurry", root, list or BLURRY_LIST, _FULL)
    rows = data.manifest.rows
    if any(row.split for row in rows):
        return data
    return replace(data, manifest=data.manifest.with_rows(replace(row, split="test") for row in rows))


def build_resize(root: Path | None = None, *, list: str = "", height: int = 512, width: int = 1024) -> DataSet:
    """LCID-Resize: the mean of blocks of pixels, by the smallest integer that brings a frame inside ``height`` x ``width``; see `build`."""
    if min(height, width) < 1:
        raise UsageError(f"lcid:resize: height and width must be >= 1 pixel, got {height} and {width}")
    steps = ["overscan", f"resize:height={height},width={width}"]
    return _opened("lcid:resize", root, list or LCID_LIST, (1, height, width), steps)


def build_csst(
    root: Path | None = None,
    *,
    list: str = "",
    ee80: float = 0.114,
    sensitivity: float = 1.0,
    rays: float = 1.0,
    grid: str = "hst",
    seed: int = 0,
) -> DataSet:
    """LCID as CSST's survey camera would expose it, on 2048x4096 pixels or its own; options are those of the step ``csst``; see `build`."""
    step: dict[str, object] = {"step": "csst", "ee80": ee80, "sensitivity": sensitivity, "rays": rays, "grid": grid, "seed": seed}
    shape = Pipeline(["overscan", step]).output_shape(_FULL)
    return _opened("lcid:csst", root, list or LCID_LIST, shape, ["overscan", step])


def _opened(name: str, root: Path | None, list: str, shape: tuple[int, int, int], steps: Sequence[Spec] = ()) -> DataSet:
    """The frames of a list, each through the steps that derive it."""
    path = Path(list) if Path(list).exists() or root is None else Path(root) / list
    if not path.exists():
        raise DataError(
            f"{name}: got no list {path}, expected the authors' CSV; name its folder with --root, or the file with the option list=PATH"
        )
    data = open_data(str(path.absolute()), root=root if path.is_file() else None, split=False)
    opener = data.open if not steps else _Derived(data.open, Pipeline(steps))
    return replace(data, name=name, labels=LABELS, pipeline=[*default_pipeline(shape), {"step": "flip"}], open=opener)


@dataclass(frozen=True)
class _Derived:
    """Opens frames through a pipeline."""

    source: Callable[[Row], Frame]
    pipeline: Pipeline

    def __call__(self, row: Row) -> Frame:
        return self.pipeline.apply(self.source(row))
