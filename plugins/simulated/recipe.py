"""What a simulated data set depends on, its plan, and rendering one target of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.plugins.simulated.files import VERSION, write_exposure
from zoo.plugins.simulated.scene import REGIMES, compose
from zoo.plugins.simulated.targets import Exposure, Target, plan_exposure, plan_targets


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

    @property
    def keywords(self) -> dict[str, int | str]:
        """What headers say of the recipe, besides seed and scale; nothing of it depends on a target's class."""
        return {
            "SIMTRAIN": self.train,
            "SIMVAL": self.val,
            "SIMTEST": self.test,
            "SIMEXPO": self.exposures,
            "SIMREGIM": self.regime,
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Recipe | None:
        """The recipe of a file from its primary header; ``None`` if another simulator or version wrote it."""
        counts = [header.get(key) for key in ("SIMSEED", "SIMTRAIN", "SIMVAL", "SIMTEST", "SIMEXPO", "SIMSCALE")]
        regime = header.get("SIMREGIM")
        if header.get("SIMVERS") != VERSION or not isinstance(regime, str) or regime not in REGIMES:
            return None
        seed, train, val, test, exposures, scale = (count if isinstance(count, int) else -1 for count in counts)
        return None if min(seed, train, val, test, exposures, scale) < 0 else cls(seed % 2**32, train, val, test, exposures, regime, scale)

    def targets(self) -> list[Target]:
        """The planned targets."""
        prefix = f"{'SIM' if self.regime == 'standard' else 'SHIFT'}{self.seed}"
        return plan_targets(self.entropy, {"train": self.train, "val": self.val, "test": self.test}, prefix)

    def plan(self) -> list[Exposure]:
        """Every planned exposure."""
        ranges = REGIMES[self.regime]
        return [plan_exposure(self.entropy, target, index, ranges) for target in self.targets() for index in range(self.exposures)]


def path_of(exposure: Exposure) -> str:
    """File of an exposure, relative to the data set's folder."""
    return f"{exposure.target.label}/{exposure.target.name}/{exposure.rootname}_raw.fits"


@lru_cache(maxsize=4)
def exposures_by_path(recipe: Recipe) -> dict[str, Exposure]:
    """Every planned exposure by its file, those of a target one after the other."""
    return {path_of(exposure): exposure for exposure in recipe.plan()}


def render_target(recipe: Recipe, folder: Path, paths: list[str]) -> int:
    """Render exposures of one target.

    Args:
        recipe: the data set.
        folder: where its files lie.
        paths: files to write, all of the same target.

    Returns:
        How many were written.

    Raises:
        StorageError: a file cannot be written.
    """
    exposures = [exposures_by_path(recipe)[path] for path in paths]
    target = exposures[0].target
    scene = compose(recipe.entropy, target.index, target.kind, REGIMES[recipe.regime])
    for path, exposure in zip(paths, exposures, strict=True):
        write_exposure(folder / path, recipe.entropy, exposure, scene, recipe.scale, recipe.keywords)
    return len(paths)
