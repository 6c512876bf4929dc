"""Small FITS files and in-memory data sets for the data tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits


@pytest.fixture
def write_fits() -> Callable[..., Path]:
    """Write an 8 x 16 int16 image whose pixels follow from ``value``; keywords go to its header."""

    def write(path: Path, value: int = 0, *, shape: tuple[int, int] = (8, 16), **keywords: Any) -> Path:
        pixels = (np.arange(shape[0] * shape[1], dtype=np.int16).reshape(shape) * 3 + value).astype(np.int16)
        hdu = fits.PrimaryHDU(pixels)
        hdu.header.update(keywords)
        path.parent.mkdir(parents=True, exist_ok=True)
        hdu.writeto(path)
        return path

    return write
