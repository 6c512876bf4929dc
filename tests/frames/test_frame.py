"""Frame and FrameInfo: shapes, decoding, hashes, keywords."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.errors import InputShapeError
from zoo.frames import Encoding, Frame, FrameInfo, Region, acs_wfc, read_frame
from zoo.frames.frame import info_from_headers


def native(height: int = 4, width: int = 6) -> Frame:
    return Frame(torch.arange(height * width, dtype=torch.float32).view(1, height, width), None)


def test_frame_shape_follows_its_regions() -> None:
    frame = read_frame(np.zeros((8, 10), np.int16))
    assert (frame.shape, frame.raw_shape) == ((1, 8, 10), (8, 10))
    regions = (Region(0, 0, 4, 3), Region(0, 5, 4, 3, to_x=3))
    assert dataclasses.replace(frame, regions=regions).shape == (1, 4, 6)
    assert native().shape == (1, 4, 6)


@pytest.mark.parametrize("stored", ["raw", "native"])
def test_decode_applies_regions(stored: str) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    frame = read_frame(values) if stored == "raw" else Frame(torch.from_numpy(values)[None], None)
    frame = dataclasses.replace(frame, regions=(Region(1, 0, 2, 2, bias=1.0, gain=2.0), Region(1, 4, 2, 2, to_x=2, bias=4.0)))
    expected = [[[10.0, 12.0, 6.0, 7.0], [22.0, 24.0, 12.0, 13.0]]]
    assert frame.decode().tolist() == expected
    out = torch.empty(1, 2, 4)
    assert frame.decode(out=out) is out
    assert out.tolist() == expected


def test_decode_of_a_native_frame_is_its_pixels() -> None:
    frame = native()
    assert frame.decode() is frame.pixels
    out = torch.empty(1, 4, 6)
    assert torch.equal(frame.decode(out=out), frame.pixels)


def test_decode_refuses_out_of_another_shape() -> None:
    with pytest.raises(InputShapeError, match=r"must have shape \(1, 4, 6\).* got \(1, 4, 5\)"):
        native().decode(out=torch.empty(1, 4, 5))


def test_with_pixels_leaves_nothing_pending() -> None:
    frame = dataclasses.replace(read_frame(np.zeros((4, 6), np.int16)), regions=(Region(0, 0, 2, 2),), saturation=1.0)
    other = frame.with_pixels(torch.ones(1, 3, 3), unit="electron")
    assert (other.shape, other.encoding, other.regions, other.saturation, other.unit) == ((1, 3, 3), None, (), None, "electron")
    assert frame.with_pixels(torch.ones(1, 3, 3)).unit == "DN"


@pytest.mark.parametrize("pixels", [torch.ones(3, 3), torch.ones(2, 3, 3), torch.ones(1, 3, 3, dtype=torch.float64)])
def test_with_pixels_refuses_other_tensors(pixels: torch.Tensor) -> None:
    with pytest.raises(InputShapeError, match=r"pixels must be \(1, H, W\) float32"):
        native().with_pixels(pixels)


def test_hash_depends_on_pixels_only() -> None:
    data = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    frame = read_frame(data)
    assert frame.sha256() == read_frame(data.astype(">f4")).sha256()
    assert frame.sha256() == Frame(torch.from_numpy(data)[None], None, FrameInfo(rootname="other")).sha256()
    assert frame.sha256() != read_frame(data.reshape(7, 5)).sha256()
    changed = data.copy()
    changed[4, 6] += 1
    assert frame.sha256() != read_frame(changed).sha256()
    assert frame.sha256() != dataclasses.replace(frame, encoding=Encoding(-32, bzero=1.0)).sha256()


def test_hash_of_a_raw_chip_counts_science_pixels_only() -> None:
    layout = acs_wfc(2).scaled(64)
    data = np.random.default_rng(0).integers(0, 4000, layout.shape, dtype=np.uint16)
    frame = dataclasses.replace(read_frame(data), layout=layout)
    cut = dataclasses.replace(read_frame(data), regions=layout.regions((0.0, 0.0)))
    assert frame.sha256() == cut.sha256()
    data[:, 0] += 1
    assert frame.sha256() == dataclasses.replace(read_frame(data), layout=layout).sha256()
    data[:, 20] += 1
    assert frame.sha256() != dataclasses.replace(read_frame(data), layout=layout).sha256()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}, {"filter": "F814W"}),
        ({"FILTER1": "F606W", "FILTER2": "POL0V"}, {"filter": "F606W+POL0V"}),
        ({"FILTER": "F275W"}, {"filter": "F275W"}),
        ({"OBJECT": "M 51"}, {"target": ""}),
        ({"TARGNAME": " M51 "}, {"target": "M51"}),
        ({"INSTRUME": "acs", "DETECTOR": "wfc"}, {"instrument": "ACS/WFC", "detector": "WFC"}),
        ({"INSTRUME": "HRC"}, {"instrument": "HRC", "detector": ""}),
        ({"ROOTNAME": "IBCD12XYQ", "INSTRUME": "WFC3"}, {"rootname": "ibcd12xyq", "visit": "ibcd12"}),
        ({"ROOTNAME": "night-1"}, {"rootname": "night-1", "visit": ""}),
        ({"EXPTIME": "long", "RA_TARG": True}, {"exptime": math.nan, "ra": math.nan}),
        ({"PROPOSID": 9019, "CCDCHIP": 2, "EXPTIME": 30}, {"proposal": "9019", "chip": 2, "exptime": 30.0}),
        ({"SIMULATE": True, "SIMSCALE": 4}, {"simulated": True, "scale": 4}),
        ({"SIMSCALE": 4}, {"simulated": False, "scale": 1}),
        ({"SIMULATE": True, "SIMSCALE": "4"}, {"simulated": True, "scale": 1}),
        ({"FILENAME": "a_flc.fits"}, {"product": "flt"}),
        ({}, {"product": "other", "chip": None, "hdu": None, "path": None}),
    ],
)
def test_info_maps_headers(headers: dict[str, Any], expected: dict[str, Any]) -> None:
    info = dataclasses.asdict(info_from_headers(headers, {}))
    for key, value in expected.items():
        assert info[key] == value or (info[key] != info[key] and value != value)


@pytest.mark.parametrize(
    ("name", "product", "rootname"),
    [
        ("jabc01xyq_raw.fits", "raw", "jabc01xyq"),
        ("jabc01xyq_flc.fits.gz", "flt", "jabc01xyq"),
        ("hst_m51_drz.fits", "drz", "hst_m51"),
        ("M51-DRC.FITS", "drz", "M51"),
        ("straw.fits", "other", "straw"),
        ("m51.v2.fits", "other", "m51.v2"),
    ],
)
def test_info_reads_file_names(name: str, product: str, rootname: str) -> None:
    info = info_from_headers({}, {}, path=Path(name))
    assert (info.product, info.rootname) == (product, rootname)


def test_header_of_the_image_wins() -> None:
    info = info_from_headers({"EXPTIME": 1.0, "TARGNAME": "A"}, {"EXPTIME": 2.0}, hdu=1)
    assert (info.exptime, info.target, info.hdu) == (2.0, "A", 1)
