"""newnet-data: a data set to start from. It draws its frames; one of files gives rows with paths and leaves ``open`` out."""

from functools import partial
from pathlib import Path

import torch

import zoo
from zoo.data import Manifest, Row
from zoo.frames import Frame, FrameInfo

SPLITS = ("train", "train", "val", "test")


def build(root: Path | None = None, *, targets: int = 12, size: int = 64) -> zoo.DataSet:
    """Two frames of each target; all frames of a target are in one split.

    Args:
        root: folder for files, of which this data set has none. targets: per class. size: height in pixels; the width is twice that.
    """
    rows = tuple(
        Row(path=f"{label}{target}-{exposure}", label=label, target=f"{label}{target}", product="other", split=SPLITS[target % len(SPLITS)])
        for label in ("galaxy", "NSC")
        for target in range(targets)
        for exposure in range(2)
    )
    pipeline: list[dict[str, object]] = [{"step": "normalize"}, {"step": "flip"}]
    return zoo.DataSet("newnet-data", Manifest(rows, root or Path()), pipeline, domain="simulated", open=partial(draw, size))


def draw(size: int, row: Row) -> Frame:
    """The frame of a row: a blob for a galaxy, points for an NSC; the same pixels every time."""
    generator = torch.Generator().manual_seed(sum(row.path.encode()))
    pixels = 50 + 5 * torch.randn(size, 2 * size, generator=generator)
    if row.label == "galaxy":
        y, x = torch.arange(size)[:, None] - size / 2, torch.arange(2 * size) - size
        pixels += 200 * torch.exp(-(y**2 + (x / 2) ** 2) / (size / 5) ** 2)
    else:
        pixels[torch.randint(size, (30,), generator=generator), torch.randint(2 * size, (30,), generator=generator)] += 500
    return Frame(pixels[None], None, FrameInfo(rootname=row.path, simulated=True), unit="electron")
