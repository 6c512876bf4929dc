"""The light behind a file of the simulated sky: what its chips expected before any noise, rendered again from what its header says."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from zoo.frames import FrameInfo, Observation
from zoo.plugins.simulated.detector import collect
from zoo.plugins.simulated.fields import Array
from zoo.plugins.simulated.files import CHIPS, chip_of, light_on, noise_of
from zoo.plugins.simulated.recipe import Recipe, exposures_by_path
from zoo.plugins.simulated.scene import REGIMES, Scene, compose


def observe(info: FrameInfo) -> Observation | None:
    """Return the exposure behind a frame: the light that fell on its science area, its detector, and the cosmic rays that hit it.

    Args:
        info: of a frame that was read from a file.
    Returns: the exposure; ``None`` for a file that this version of the simulated sky did not write.
    """
    if info.path is None:
        return None
    from astropy.io import fits

    recipe = Recipe.from_header(fits.getheader(info.path, 0))
    number = dict(CHIPS).get(info.hdu or 0)
    if recipe is None or number is None:
        return None
    planned = (e for e in exposures_by_path(recipe).values() if (e.target.name, e.rootname) == (info.target, info.rootname))
    exposure = next(planned, None)
    if exposure is None:
        return None
    chip = chip_of(exposure, number, recipe.scale)
    light = light_on(exposure, chip, _scene(recipe, exposure.target.index, exposure.target.kind), recipe.scale)
    # A copy, because the light is overwritten with what the detector makes of it.
    charge = collect(noise_of(recipe.entropy, exposure, chip), light.copy(), chip)
    first = chip.layout.amplifiers[0]
    rows = slice(first.science.y - first.imaging.y, first.science.y - first.imaging.y + chip.layout.rows)

    def science(image: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image[rows]))[None]

    return Observation(
        pixel=exposure.camera.pixel * recipe.scale,
        exptime=exposure.exptime,
        read_noise=chip.read_noise,
        full_well=chip.layout.full_well,
        light=science(light),
        flat=science(charge.sensitivity),
        dark=science(charge.hot).add_(chip.dark * chip.exptime),
        rays=science(charge.rays),
    )


@lru_cache(maxsize=4)
def _scene(recipe: Recipe, target: int, kind: str) -> Scene:
    """The sky around a target; the frames of one target are often asked for one after the other."""
    return compose(recipe.entropy, target, kind, REGIMES[recipe.regime])
