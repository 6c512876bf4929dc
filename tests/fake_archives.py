"""Both Hubble archives on this machine, small exposures for them, and a clock that does not wait."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from local_server import Site, serve

from zoo.data import FetchReport, fetch
from zoo.data.archive.fetching import LOCK_NAME
from zoo.transfer import Clock, Patience

NAMES = ("j8bt05njq", "iddt11fxq", "iddt13ebq")
PATIENCE = Patience(attempts=3)
LINES = (
    f"M51,ACS/WFC,{NAMES[0]},F606W,1.5,2.5,1,galaxy",
    f"M51,ACS/WFC,{NAMES[0]},F606W,1.5,2.5,4,galaxy",
    f"M5,WFC3/UVIS,{NAMES[1]},F625W,3.5,-4.5,4,NSC",
)
"""Lines of a list as the authors publish them, after the number."""


@functools.cache
def exposure(name: str, *, rootname: str = "", extensions: int = 6) -> bytes:
    """The bytes of a small file with the seven HDUs of a raw exposure; its two chips have 40 x 60 pixels of their own."""
    generator = np.random.default_rng(list(name.encode()))
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU()]
    hdus[0].header.update({"ROOTNAME": (rootname or name).upper(), "TELESCOP": "HST", "NEXTEND": extensions, "TARGNAME": "M51"})
    for version in (1, 2):
        pixels = generator.integers(0, 60000, (40, 60)).astype(np.uint16)
        hdus.append(fits.ImageHDU(pixels, name="SCI", ver=version))
        hdus += [fits.ImageHDU(name=other, ver=version) for other in ("ERR", "DQ")]
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return stream.getvalue()


@dataclass
class Archives:
    """The two servers, and the paths at which they have the products of an exposure."""

    s3: Site
    mast: Site

    @staticmethod
    def s3_path(name: str, product: str = "raw") -> str:
        return f"/hst/public/{name[:4]}/{name}/{name}_{product}.fits"

    @staticmethod
    def mast_path(name: str, product: str = "raw") -> str:
        return f"/api/v0.1/Download/file?uri=mast:HST/product/{name}_{product}.fits"

    def add(self, *names: str, s3: bool = True, mast: bool = True, product: str = "raw") -> None:
        """Give exposures to the archives."""
        for name in names:
            if s3:
                self.s3.files[self.s3_path(name, product)] = exposure(name)
            if mast:
                self.mast.files[self.mast_path(name, product)] = exposure(name)

    @property
    def urls(self) -> dict[str, str]:
        return {"s3_url": self.s3.url, "mast_url": f"{self.mast.url}/"}


@contextlib.contextmanager
def serve_archives() -> Iterator[Archives]:
    """Run both servers for as long as the block takes."""
    with serve() as s3, serve() as mast:
        mast.queries = True
        yield Archives(s3, mast)


class FastClock(Clock):
    """Time passes only by waiting, and that at once.

    Attributes:
        waits: seconds that were waited for, in order.
        step: seconds that pass between two looks at the clock.
    """

    def __init__(self, step: float = 0.0) -> None:
        self.time, self.step, self.waits = 0.0, step, list[float]()
        super().__init__()

    def now(self) -> float:
        self.time += self.step
        return self.time

    def wait(self, seconds: float) -> None:
        self.check()
        self.waits.append(seconds)
        self.time += seconds


def get(archives: Archives, sources: Any, to: Path, **options: Any) -> FetchReport:
    return fetch(sources, to, **{"clock": FastClock(), "patience": PATIENCE, **archives.urls, **options})


def statuses(report: FetchReport) -> dict[str, str]:
    return {file.rootname: file.status for file in report.files}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != LOCK_NAME)


def manifest_of(path: Path, *lines: str) -> Path:
    path.write_text(",ID,Instrument,OBSID,Filter,RA,DEC,HDU Index,Label\n" + "".join(f"{n},{line}\n" for n, line in enumerate(lines)))
    return path
