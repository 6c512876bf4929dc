"""Where the archives keep the products of an exposure, and how large these are."""

from __future__ import annotations

import os
from dataclasses import dataclass

from zoo.errors import UsageError
from zoo.transfer import check_url

PRODUCTS = ("raw", "flt", "flc", "drz", "drc")
S3_URL = "https://stpubdata.s3.amazonaws.com"
MAST_URL = "https://mast.stsci.edu"
VARIABLES = {"S3": "ZOO_S3_URL", "MAST": "ZOO_MAST_URL"}

MAST_CONNECTIONS = 2  # a service that people wait for; S3 is built for many

# Two raw chips of ACS/WFC (j), 4144 x 2068, or WFC3/UVIS (i), 4206 x 2070, of 2 bytes per pixel, with their headers. Two calibrated
# chips of 4096 x 2048 and a drizzled image of 4200 x 4200 have 4 + 4 + 2 and 4 + 4 + 4 bytes per pixel.
_RAW_BYTES = {"j": 34_350_000, "i": 35_000_000}
_BYTES = {"raw": 35_000_000, "flt": 168_000_000, "flc": 168_000_000, "drz": 212_000_000, "drc": 212_000_000}


@dataclass(frozen=True)
class Place:
    """An archive: its name, the root of its addresses, and how many connections it is asked for at most."""

    name: str
    base: str
    connections: int

    def url(self, rootname: str, product: str) -> str:
        """The address of a product of an exposure."""
        file = f"{rootname}_{product}.fits"
        if self.name == "S3":
            return f"{self.base}/hst/public/{rootname[:4]}/{rootname}/{file}"
        return f"{self.base}/api/v0.1/Download/file?uri=mast:HST/product/{file}"


def find_places(s3_url: str | None, mast_url: str | None, *, connections: int) -> tuple[Place, ...]:
    """The archives, in the order in which they are asked.

    Args:
        s3_url, mast_url: roots of their addresses; ``None`` for that of ``ZOO_S3_URL`` and ``ZOO_MAST_URL``, else the public ones. An
            empty text leaves the archive out.
        connections: at most so many for each; MAST gets `MAST_CONNECTIONS` or fewer.

    Raises:
        UsageError: no archive is left, or one has no ``http`` or ``https`` URL.
    """
    found = []
    for name, given, default, most in (("S3", s3_url, S3_URL, connections), ("MAST", mast_url, MAST_URL, MAST_CONNECTIONS)):
        base = os.environ.get(VARIABLES[name], default) if given is None else given
        if base:
            check_url(base)
            found.append(Place(name, base.rstrip("/"), min(most, connections)))
    if not found:
        raise UsageError("got an empty URL for both archives (ZOO_S3_URL, ZOO_MAST_URL), expected that of one to fetch from")
    return tuple(found)


def typical_bytes(rootname: str, product: str) -> int:
    """About how large a product is, where nothing better is known."""
    return _RAW_BYTES.get(rootname[0], _BYTES["raw"]) if product == "raw" else _BYTES[product]
