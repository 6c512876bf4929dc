"""The data sets ``simulated``, ``simulated:full`` and ``simulated:shifted``: planning, rendering by worker processes, opening."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.data import DataSet, Manifest, Row
from zoo.errors import UsageError
from zoo.frames import Frame, read_frame
from zoo.plugins.simulated.files import CHIPS, VERSION, write_exposure
from zoo.plugins.simulated.scene import REGIMES, compose
from zoo.plugins.simulated.targets import LABELS, Exposure, Target, plan_exposure, plan_targets
from zoo.steps import default_pipeline

Progress = Callable[[int, int], None]
"""Called with the number of exposures that are ready, and of all."""


@dataclass(frozen=True)
class Recipe:
    """All that a simulated data set depends on.

    Attributes:
        seed: >= 0.
        train, val, test: targets per class.
        exposures: per target.
        regime: name in ``REGIMES``.
        scale: scale of the layout; 1 is full size.
    """

    seed: int
    train: int
    val: int
    test: int
    exposures: int
    regime: str
    scale: int

    def __post_init__(self) -> None:
        for name, least, most in (("seed", 0, 2**32 - 1), ("train", 0, 5000), ("val", 0, 5000), ("test", 0, 5000), ("exposures", 1, 100)):
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"simulated: {name} is {getattr(self, name)}, expected {least} to {most}")
        if self.train + self.val + self.test == 0:
            raise UsageError("simulated: got no targets in any split, expected at least one")

    @property
    def folder(self) -> str:
        """Name of the folder that holds the files."""
        counts = f"{self.train}-{self.val}-{self.test}x{self.exposures}"
        return f"simulated-{VERSION}-{self.seed}-{self.regime}-{counts}-{2048 // self.scale}x{4096 // self.scale}"

    @property
    def entropy(self) -> int:
        """What seeds the random numbers: a shifted sky shares none with the standard one of the same seed."""
        return self.seed if self.regime == "standard" else self.seed + 2**32

    def targets(self) -> list[Target]:
        """The planned targets."""
        prefix = f"{'SIM' if self.regime == 'standard' else 'SHIFT'}{self.seed}"
        return plan_targets(self.entropy, {"train": self.train, "val": self.val, "test": self.test}, prefix)

    def plan(self) -> list[Exposure]:
        """Every planned exposure."""
        ranges = REGIMES[self.regime]
        return [plan_exposure(self.entropy, target, index, ranges) for target in self.targets() for index in range(self.exposures)]


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


def render(recipe: Recipe, folder: Path, *, workers: int = 2, progress: Progress | None = None) -> None:
    """Render the exposures of a recipe whose files are not in ``folder``.

    Every exposure depends on the seed, its target and its number alone, so any number of processes gives the same bits, and a rendering
    that was stopped goes on where it was.

    Raises:
        UsageError: ``workers`` is below 1. StorageError: a file cannot be written.
    """
    if workers < 1:
        raise UsageError(f"simulated: workers is {workers}, expected 1 or more")
    plan = recipe.plan()
    missing: dict[int, list[Exposure]] = {}
    for exposure in plan:
        if not (folder / _path(exposure)).is_file():
            missing.setdefault(exposure.target.index, []).append(exposure)
    if not missing:
        return
    ready = len(plan) - sum(map(len, missing.values()))

    def report(more: int) -> None:
        nonlocal ready
        ready += more
        if progress is not None:
            progress(ready, len(plan))

    report(0)
    if workers == 1 or len(missing) == 1:
        for exposures in missing.values():
            report(_render_target(recipe, folder, exposures))
        return
    with ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_render_target, recipe, folder, exposures) for exposures in missing.values()]
        try:
            for future in as_completed(futures):
                report(future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _render_target(recipe: Recipe, folder: Path, exposures: list[Exposure]) -> int:
    """Render exposures of one target; returns how many."""
    scene = compose(recipe.entropy, exposures[0].target.index, exposures[0].target.kind, REGIMES[recipe.regime])
    for exposure in exposures:
        write_exposure(folder / _path(exposure), recipe.entropy, exposure, scene, recipe.scale)
    return len(exposures)


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


def _path(exposure: Exposure) -> str:
    """File of an exposure, relative to the data set's folder."""
    return f"{exposure.target.label}/{exposure.target.name}/{exposure.rootname}_raw.fits"


def _rows(recipe: Recipe) -> tuple[Row, ...]:
    """Manifest rows, two per exposure."""
    return tuple(
        Row(
            path=_path(exposure),
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
        for exposure in recipe.plan()
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
                _render_target(self.recipe, self.folder, [_exposures(self.recipe)[row.path]])
        return read_frame(path, row.hdu)


@lru_cache(maxsize=4)
def _exposures(recipe: Recipe) -> dict[str, Exposure]:
    """Every planned exposure by its file."""
    return {_path(exposure): exposure for exposure in recipe.plan()}
