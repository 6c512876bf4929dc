"""Lists of frames for the audit tests, drawn target by target."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from zoo.auditing.table import Table, read_table
from zoo.data import DataSet, Manifest, Row

CAMERAS = ("ACS/WFC", "WFC3/UVIS")
FILTERS = ("F435W", "F555W", "F606W", "F814W")


def draw_rows(targets: int = 24, exposures: int = 3, *, seed: int = 0, shortcut: bool = False, split: bool = False) -> list[Row]:
    """Rows of half galaxies, half NSCs, two chips an exposure; cameras are mixed, or with ``shortcut`` those of the class."""
    rng = np.random.default_rng(seed)
    rows = []
    for target in range(targets):
        label = ("galaxy", "NSC")[target % 2]
        mix, ra, dec = rng.uniform(0.2, 0.8), rng.uniform(0, 360), float(np.degrees(np.arcsin(rng.uniform(-0.9, 0.9))))
        for exposure in range(exposures):
            uvis = (label == "galaxy") if shortcut else bool(rng.random() < mix)
            name = f"{'ji'[uvis]}{target:03x}{exposure:02x}aaq"
            band, exptime = str(rng.choice(FILTERS)), float(rng.choice([30, 300, 900]))
            rows += [
                Row(
                    path=f"{name}_raw.fits",
                    hdu=hdu,
                    label=label,
                    target=f"T{target}",
                    rootname=name,
                    instrument=CAMERAS[uvis],
                    filter=band,
                    product="raw",
                    exptime=exptime,
                    ra=ra,
                    dec=dec + 0.01 * (hdu == 4),
                    split=("train", "train", "test", "test")[target % 4] if split else "",
                )
                for hdu in (1, 4)
            ]
    return rows


def data_set(rows: Iterable[Row], name: str = "list") -> DataSet:
    """Rows without files."""
    return DataSet(name, Manifest(tuple(rows), Path()), [])


def table(*lists: Iterable[Row]) -> Table:
    """The table of lists named a, b, ..."""
    return read_table([("abc"[place], Manifest(tuple(rows), Path())) for place, rows in enumerate(lists)])
