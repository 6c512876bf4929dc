"""The data sets ``simulated``, ``simulated:full`` and ``simulated:shifted``: planning, rendering by worker processes, opening."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.data import DataSet, Manifest, Row
from zoo.errors import UsageError
from zoo.frames import Frame, read_frame
from zoo.plugins.simulated.files import CHIPS, VERSION
from zoo.plugins.simulated.recipe import Recipe, exposures_by_path, render_target
from zoo.plugins.simulated.targets import LABELS
from zoo.plugins.simulated.workers import Progress, render
from zoo.steps import default_pipeline


def build(
    root: Path | None = None,
    *,
    seed: int = 0,
    train: int = 50,
    val: int = 8,
    test: int = 14,
    exposures: int = 2,
    workers: int = 2,
    progress: Progress | None = None,
) -> DataSet:
    """The simulated sky at 512x1024, rendered now unless its files are there.

    Args:
        root: folder for the files, one sub-folder per class; by default one below ``zoo.storage.cache_root()`` that is named after all that
            the pixels depend on.
        seed: of everything.
        train, val, test: targets per class in each split.
        exposures: per target; each gives two frames.
        workers: processes that render; the pixels do not depend on them.
        progress: called after every target with the exposures that are ready and all of them.

    Raises:
        UsageError: a number is out of range, or ``root`` holds another simulated sky.
        StorageError: a file cannot be written.
    """
    recipe = Recipe(seed, train, val, test, exposures, "standard", 4)
    folder = _folder(root, recipe)
    render(recipe, folder, workers=workers, progress=progress)
    return _data_set("simulated", recipe, folder)


def build_shifted(
    root: Path | None = None,
    *,
    seed: int = 0,
    test: int = 12,
    exposures: int = 2,
    workers: int = 2,
    progress: Progress | None = None,
) -> DataSet:
    """A test split whose morphology, PSF, sky and star density lie outside the ranges of ``simulated``; arguments as :func:`build`."""
    recipe = Recipe(seed, 0, 0, test, exposures, "shifted", 4)
    folder = _folder(root, recipe)
    render(recipe, folder, workers=workers, progress=progress)
    return _data_set("simulated:shifted", recipe, folder)


def build_full(
    root: Path | None = None,
    *,
    seed: int = 0,
    train: int = 50,
    val: int = 8,
    test: int = 14,
    exposures: int = 2,
) -> DataSet:
    """The sky of ``simulated`` at 2048x4096; an exposure is rendered when one of its frames is first opened. Arguments as :func:`build`."""
    recipe = Recipe(seed, train, val, test, exposures, "standard", 1)
    return _data_set("simulated:full", recipe, _folder(root, recipe), lazy=True)


def _folder(root: Path | None, recipe: Recipe) -> Path:
    """Where the files of a recipe lie; a folder that the user names is claimed for one recipe."""
    if root is None:
        return storage.cache_root() / "datasets" / recipe.folder
    note = Path(root) / "simulation.json"
    said = {"version": VERSION, **asdict(recipe)}
    if not note.exists():
        storage.write_json(note, said)
    elif (found := storage.read_json(note)) != said:
        raise UsageError(f"{root}: holds another simulated sky: got {found}, expected {said}; choose an empty folder")
    return Path(root)


def _rows(recipe: Recipe) -> tuple[Row, ...]:
    """Manifest rows, two per exposure."""
    return tuple(
        Row(
            path=path,
            hdu=hdu,
            label=exposure.target.label,
            target=exposure.target.name,
            rootname=exposure.rootname,
            instrument=f"{exposure.camera.instrument}/{exposure.camera.detector}",
            detector=exposure.camera.detector,
            filter=exposure.band.name,
            product="raw",
            exptime=exposure.exptime,
            ra=exposure.target.ra,
            dec=exposure.target.dec,
            visit=exposure.rootname[:6],
            proposal=str(exposure.target.proposal),
            split=exposure.target.split,
            extra={"kind": exposure.target.kind},
        )
        for path, exposure in exposures_by_path(recipe).items()
        for hdu, _ in CHIPS
    )


def _data_set(name: str, recipe: Recipe, folder: Path, *, lazy: bool = False) -> DataSet:
    """The data set whose files lie in ``folder``."""
    side = (1, 2048, 4096) if recipe.scale == 1 else (1, 256, 512)
    pipeline: list[dict[str, Any]] = [*default_pipeline(side), {"step": "flip"}]
    arguments: dict[str, Any] = {"open": _Lazy(recipe, folder)} if lazy else {}
    return DataSet(name, Manifest(_rows(recipe), folder), pipeline, LABELS, domain="simulated", **arguments)


_RENDERING = threading.Lock()


@dataclass(frozen=True)
class _Lazy:
    """Opens frames of a data set whose files are rendered when they are first needed."""

    recipe: Recipe
    folder: Path

    def __call__(self, row: Row) -> Frame:
        path = self.folder / row.path
        with _RENDERING:  # the two chips of an exposure are often asked for at once
            if not path.is_file():
                render_target(self.recipe, self.folder, [row.path])
        return read_frame(path, row.hdu)
