"""Geometry of raw Hubble exposures, against a table written by hand from the instrument handbooks."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.errors import FrameError, UsageError
from zoo.frames import Layout, Window, acs_hrc, acs_wfc, layout_of, wfc3_uvis

# camera, frame pixel (row, column), raw pixel (row, column), amplifier, electrons per DN
CORNERS = [
    ("wfc2", (0, 0), (0, 24), "C", 2.0),
    ("wfc2", (0, 2047), (0, 2071), "C", 2.0),
    ("wfc2", (0, 2048), (0, 2072), "D", 2.0),
    ("wfc2", (2047, 4095), (2047, 4119), "D", 2.0),
    ("wfc1", (0, 0), (20, 24), "A", 2.0),
    ("wfc1", (2047, 2047), (2067, 2071), "A", 2.0),
    ("wfc1", (2047, 2048), (2067, 2072), "B", 2.0),
    ("wfc1", (2047, 4095), (2067, 4119), "B", 2.0),
    ("uvis2", (0, 0), (0, 25), "C", 1.60),
    ("uvis2", (2047, 2047), (2047, 2072), "C", 1.60),
    ("uvis2", (2047, 2048), (2047, 2133), "D", 1.59),
    ("uvis2", (2047, 4095), (2047, 4180), "D", 1.59),
    ("uvis1", (0, 0), (22, 25), "A", 1.58),
    ("uvis1", (0, 4095), (22, 4180), "B", 1.58),
    ("uvis1", (2047, 2047), (2069, 2072), "A", 1.58),
    ("uvis1", (2047, 2048), (2069, 2133), "B", 1.58),
    ("hrc", (0, 0), (0, 19), "C", 2.0),
    ("hrc", (1023, 1023), (1023, 1042), "C", 2.0),
]
LAYOUTS = {
    "wfc2": acs_wfc(2, 2.0),
    "wfc1": acs_wfc(1, 2.0),
    "uvis2": wfc3_uvis(2),
    "uvis1": wfc3_uvis(1),
    "hrc": acs_hrc("C", 2.0),
}


@pytest.mark.parametrize(("camera", "pixel", "raw", "amplifier", "gain"), CORNERS)
def test_layout_maps_corner_pixels(camera: str, pixel: tuple[int, int], raw: tuple[int, int], amplifier: str, gain: float) -> None:
    layout = LAYOUTS[camera]
    y, x = pixel
    found = []
    for amp, region in zip(layout.amplifiers, layout.regions((0.0,) * len(layout.names)), strict=True):
        if region.to_y <= y < region.to_y + region.height and region.to_x <= x < region.to_x + region.width:
            found.append(((region.y + y - region.to_y, region.x + x - region.to_x), amp.name, region.gain))
    assert found == [(raw, amplifier, gain)]


@pytest.mark.parametrize(
    ("camera", "shape", "science"),
    [
        ("wfc2", (2068, 4144), (2048, 4096)),
        ("wfc1", (2068, 4144), (2048, 4096)),
        ("uvis2", (2070, 4206), (2048, 4096)),
        ("uvis1", (2070, 4206), (2048, 4096)),
        ("hrc", (1044, 1062), (1024, 1024)),
    ],
)
def test_layout_has_the_size_of_the_camera(camera: str, shape: tuple[int, int], science: tuple[int, int]) -> None:
    assert LAYOUTS[camera].shape == shape
    assert LAYOUTS[camera].science_shape == science


@pytest.mark.parametrize(
    ("camera", "bias"),
    [
        ("wfc2", {"C": [(0, 2048, 18, 24)], "D": [(0, 2048, 4120, 4126)]}),
        ("wfc1", {"A": [(20, 2068, 18, 24)], "B": [(20, 2068, 4120, 4126)]}),
        ("uvis2", {"C": [(0, 2048, 2073, 2103)], "D": [(0, 2048, 2103, 2133)]}),
        ("uvis1", {"A": [(22, 2070, 2073, 2103)], "B": [(22, 2070, 2103, 2133)]}),
        ("hrc", {"C": [(0, 1024, 13, 19), (0, 1024, 1043, 1049)]}),
    ],
)
def test_layout_finds_bias_columns(camera: str, bias: dict[str, list[tuple[int, int, int, int]]]) -> None:
    found = {a.name: [(w.y, w.y + w.height, w.x, w.x + w.width) for w in a.bias] for a in LAYOUTS[camera].amplifiers}
    assert found == bias


@pytest.mark.parametrize(
    ("camera", "rows"), [("wfc2", (0, 2048)), ("wfc1", (20, 2068)), ("uvis2", (0, 2051)), ("uvis1", (19, 2070)), ("hrc", (0, 1024))]
)
def test_imaging_rows_keep_what_the_frame_drops(camera: str, rows: tuple[int, int]) -> None:
    for amplifier in LAYOUTS[camera].amplifiers:
        assert (amplifier.imaging.y, amplifier.imaging.y + amplifier.imaging.height) == rows


@pytest.mark.parametrize("camera", list(LAYOUTS))
def test_readouts_cover_the_raw_chip_once(camera: str) -> None:
    layout = LAYOUTS[camera]
    assert sum(a.readout.height * a.readout.width for a in layout.amplifiers) == layout.shape[0] * layout.shape[1]
    for amplifier in layout.amplifiers:
        for window in (amplifier.science, amplifier.imaging, *amplifier.bias):
            assert _inside(window, amplifier.readout)
        for window in amplifier.bias:
            assert window.x + window.width <= amplifier.imaging.x or window.x >= amplifier.imaging.x + amplifier.imaging.width


def _inside(inner: Window, outer: Window) -> bool:
    rows = outer.y <= inner.y and inner.y + inner.height <= outer.y + outer.height
    return rows and outer.x <= inner.x and inner.x + inner.width <= outer.x + outer.width


def test_window_slices_index_an_array() -> None:
    assert Window(2, 3, 4, 5).slices == (slice(2, 6), slice(3, 8))


@pytest.mark.parametrize(
    ("layout", "bias", "saturation"),
    [
        (acs_wfc(2, 1.0), 0.0, 65535.0),  # 84,700 e- are beyond the converter
        (acs_wfc(2, 2.0), 0.0, 42350.0),
        (acs_wfc(2, 2.0), (2000.0, 2100.0), 44350.0),
        (wfc3_uvis(2), 0.0, 63000 / 1.60),
        (wfc3_uvis(1), (2500.0, 2400.0), 2400 + 63000 / 1.58),
        (acs_hrc("C", 2.0), 1134.0, 65535.0),
        (acs_hrc("C", 4.0), 0.0, 38750.0),
    ],
)
def test_saturation_is_the_lower_of_converter_and_full_well(layout: Layout, bias: Any, saturation: float) -> None:
    assert layout.saturation(bias) == pytest.approx(saturation, rel=1e-12)


@pytest.mark.parametrize(
    ("layout", "shape", "science", "bias"),
    [
        (acs_wfc(2), (517, 1036), (512, 1024), [(4, 6), (1030, 1032)]),
        (wfc3_uvis(2), (518, 1054), (512, 1024), [(519, 527), (527, 535)]),
        (acs_hrc(), (261, 266), (256, 256), [(3, 5), (261, 263)]),
    ],
)
def test_scaled_layout_rounds_every_other_count_up(
    layout: Layout, shape: tuple[int, int], science: tuple[int, int], bias: list[tuple[int, int]]
) -> None:
    quarter = layout.scaled(4)
    assert quarter.shape == shape
    assert quarter.science_shape == science
    assert [(w.x, w.x + w.width) for a in quarter.amplifiers for w in a.bias] == bias
    assert quarter.scale == 4
    assert layout.scaled(2).scaled(2).science_shape == science


def test_scaled_uvis_drops_rows_nearest_the_gap() -> None:
    chip1, chip2 = wfc3_uvis(1).scaled(4), wfc3_uvis(2).scaled(4)
    assert (chip1.amplifiers[0].imaging.y, chip1.amplifiers[0].science.y, chip1.surplus_rows) == (5, 6, 1)
    assert (chip2.amplifiers[0].imaging.y, chip2.amplifiers[0].science.y) == (0, 0)


@pytest.mark.parametrize("factor", [0, -4, 3, 4096])
def test_scaled_refuses_what_does_not_divide(factor: int) -> None:
    with pytest.raises(UsageError, match=r"divisor of 2048 rows"):
        acs_wfc(2).scaled(factor)


WFC = {"INSTRUME": "ACS", "DETECTOR": "WFC", "CCDGAIN": 2.0, "CCDAMP": "ABCD", "SUBARRAY": False}
UVIS = {"INSTRUME": "WFC3", "DETECTOR": "UVIS", "CCDGAIN": 1.5, "CCDAMP": "ABCD", "SUBARRAY": False}
HRC = {"INSTRUME": "ACS", "DETECTOR": "HRC", "CCDGAIN": 2, "CCDAMP": "C", "SUBARRAY": False}
WFC_SCI = {"NAXIS1": 4144, "NAXIS2": 2068, "BITPIX": 16, "CCDCHIP": 2, "BINAXIS1": 1, "BINAXIS2": 1}
UVIS_SCI = {**WFC_SCI, "NAXIS1": 4206, "NAXIS2": 2070}
HRC_SCI = {"NAXIS1": 1062, "NAXIS2": 1044, "BITPIX": 16, "LTV1": 19.0, "LTV2": 0.0}


@pytest.mark.parametrize(
    ("primary", "sci", "expected"),
    [
        (WFC, WFC_SCI, acs_wfc(2, 2.0)),
        ({**WFC, "CCDGAIN": 1}, {**WFC_SCI, "CCDCHIP": 1}, acs_wfc(1, 1.0)),
        (UVIS, UVIS_SCI, wfc3_uvis(2)),
        (UVIS, {**UVIS_SCI, "CCDCHIP": 1}, wfc3_uvis(1)),
        (HRC, HRC_SCI, acs_hrc("C", 2.0)),
        ({**WFC, "SIMULATE": True, "SIMSCALE": 4}, {**WFC_SCI, "NAXIS1": 1036, "NAXIS2": 517}, acs_wfc(2, 2.0).scaled(4)),
        ({**WFC, "INSTRUME": "WFPC2", "DETECTOR": "1"}, WFC_SCI, None),
        ({"INSTRUME": "WFC3", "DETECTOR": "IR"}, {}, None),
        ({}, {}, None),
    ],
)
def test_layout_of_reads_headers(primary: dict[str, Any], sci: dict[str, Any], expected: Layout | None) -> None:
    assert layout_of(primary, sci) == expected


@pytest.mark.parametrize(
    ("primary", "sci", "code"),
    [
        ({**WFC, "SUBARRAY": True}, WFC_SCI, "subarray"),
        ({k: v for k, v in WFC.items() if k != "SUBARRAY"}, {**WFC_SCI, "SUBARRAY": True}, "subarray"),
        (UVIS, {**UVIS_SCI, "BINAXIS1": 2, "BINAXIS2": 2}, "binned"),
        (WFC, {**WFC_SCI, "BITPIX": -32}, "bad-header"),
        ({**WFC, "CCDGAIN": 0}, WFC_SCI, "bad-header"),
        ({**WFC, "CCDGAIN": "two"}, WFC_SCI, "bad-header"),
        ({k: v for k, v in WFC.items() if k != "CCDGAIN"}, WFC_SCI, "bad-header"),
        (WFC, {**WFC_SCI, "CCDCHIP": 3}, "bad-header"),
        (WFC, {k: v for k, v in WFC_SCI.items() if k != "CCDCHIP"}, "bad-header"),
        ({**WFC, "CCDAMP": "C"}, WFC_SCI, "unknown-readout"),
        ({**UVIS, "CCDGAIN": 1.0}, UVIS_SCI, "unknown-readout"),
        ({**HRC, "CCDAMP": "ABCD"}, HRC_SCI, "unknown-readout"),
        (HRC, {**HRC_SCI, "LTV2": 20.0}, "unknown-readout"),
        (WFC, {**WFC_SCI, "NAXIS1": 2072, "NAXIS2": 1034}, "bad-geometry"),
        ({**WFC, "SIMULATE": True, "SIMSCALE": 4}, WFC_SCI, "bad-geometry"),
        ({**WFC, "SIMULATE": True, "SIMSCALE": 3}, WFC_SCI, "bad-header"),
        ({**WFC, "SIMULATE": True, "SIMSCALE": True}, WFC_SCI, "bad-header"),
    ],
)
def test_layout_of_refuses_with_a_code(primary: dict[str, Any], sci: dict[str, Any], code: str) -> None:
    with pytest.raises(FrameError) as caught:
        layout_of(primary, sci, path="x_raw.fits", hdu=1)
    assert caught.value.code == code
    assert "x_raw.fits: HDU 1" in str(caught.value)
    assert "expected" in str(caught.value)
