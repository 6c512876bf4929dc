"""Frames of a known sky in electrons, and the steps of a run that decides by their mean level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

FULL = 10_000.0
"""Electrons at which the pipeline of the run is at 1; its model says NSC above one half."""

STEPS = ("overscan", f"normalize:limits=manual,lower=0,upper={FULL:g},stretch=linear")


def write_sky(path: Path, electrons: float, seed: int, **keywords: object) -> Path:
    """A calibrated ACS/WFC frame of 32x64 pixels: a flat sky with its Poisson noise and a read noise of 5 electrons."""
    rng = np.random.default_rng(seed)
    pixels = (rng.poisson(electrons, (32, 64)) + rng.normal(0, 5, (32, 64))).astype(np.float32)
    hdu = fits.PrimaryHDU(pixels)
    facts = {"INSTRUME": "ACS", "DETECTOR": "WFC", "FILTER1": "F606W", "EXPTIME": 400.0, "BUNIT": "ELECTRONS"}
    hdu.header.update({**facts, **keywords})
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu.writeto(path)
    return path
