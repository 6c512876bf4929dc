"""Real files: each is read as astropy reads it, or refused with a code. Needs ZOO_REAL_DATA."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from zoo.errors import FrameError
from zoo.frames import read_frame, read_frames

REFUSED = {
    "M51_nebulosa-rgb-thumbnail-icc.fits": "not-2d",
    "NGC3344_nebulosa-color4plane-16.fits": "not-2d",
    "none_astropytest-arange.fits": "not-2d",
    "NGC104_crds-j8bt05njq-raw-broke.fits": "no-image",
    "none_workshop-header-only.fits": "no-image",
    "none_astropytest-btable.fits": "no-image",
    "none_astropytest-random-groups.fits": "no-image",
    "none_js9-snr.fits.bz2": "no-image",
    "none_astropytest-comp.fits": "compressed",
    "none_astropytest-lzw.fits.Z": "compressed",
}


def test_every_real_file_is_read_as_astropy_does_or_refused(real_data: Path) -> None:
    read, refused = 0, {}
    for path in sorted((real_data / "real").glob("*/*")):
        try:
            frames = read_frames(path)
        except FrameError as error:
            refused[path.name] = error.code
            continue
        assert path.suffix not in (".jpg", ".png")
        for frame in frames:
            with warnings.catch_warnings(action="ignore"), fits.open(path) as hdus:
                expected = np.asarray(hdus[frame.info.hdu].data, dtype=np.float64).reshape(frame.shape)
            expected = np.where(np.isfinite(expected), expected, np.nan).astype(np.float32)
            # astropy scales 16-bit integers in float32, we in float64 rounded once.
            rtol = 3e-7 if frame.encoding and frame.encoding.bscale != 1 else 0
            np.testing.assert_allclose(frame.decode().numpy(), expected, rtol=rtol, err_msg=path.name)
            read += 1
    assert {name: refused.get(name) for name in REFUSED} == REFUSED
    assert {code for name, code in refused.items() if name.endswith((".jpg", ".png"))} == {"not-fits"}
    assert read >= 70


@pytest.mark.parametrize(
    ("name", "filter_name"), [("f330w-j8bt09jcqraw", "F330W"), ("f555w-j8bt05njqraw", "F555W"), ("f606w-j8bt06o6qraw", "F606W")]
)
def test_genuine_hrc_raw_has_its_layout(name: str, filter_name: str, real_data: Path) -> None:
    frame = read_frame(real_data / "real" / "nsc" / f"NGC104_crds-hst-acshrc-{name}.fits")
    assert (frame.info.instrument, frame.info.filter, frame.info.target, frame.info.proposal) == ("ACS/HRC", filter_name, "NGC104", "9019")
    assert frame.shape == (1, 1044, 1062)
    assert frame.layout is not None
    assert frame.layout.science_shape == (1024, 1024)
    assert frame.saturation == 65535.0
