"""The files of the simulated sky: layout, headers, splits, and that nothing but the seed decides their bits."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from zoo.data import DataSet, open_data
from zoo.errors import StorageError, UsageError
from zoo.frames import read_info
from zoo.plugins.simulated import dataset
from zoo.plugins.simulated.bands import ACS, UVIS
from zoo.plugins.simulated.recipe import Recipe
from zoo.plugins.simulated.scene import KINDS, REGIMES, compose
from zoo.plugins.simulated.targets import plan_exposure, plan_targets
from zoo.steps import Pipeline

COUNTS = {"train": 24, "val": 6, "test": 12}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Two targets per class, two exposures each; with seed 5 both cameras are among them."""
    return dataset.build(tmp_path_factory.mktemp("simulated"), seed=5, train=1, val=0, test=1, exposures=2, workers=1)


def hashes(data: DataSet) -> dict[str, str]:
    return {row.path: hashlib.sha256(data.manifest.path_of(row).read_bytes()).hexdigest() for row in data.manifest}


def test_pixels_do_not_depend_on_the_workers(tiny: DataSet, tmp_path: Path) -> None:
    again = dataset.build(tmp_path, seed=5, train=1, val=0, test=1, exposures=2, workers=2)
    assert hashes(again) == hashes(tiny)


def test_a_removed_file_comes_back_the_same(tiny: DataSet) -> None:
    before, row = hashes(tiny), tiny.manifest.rows[2]
    tiny.manifest.path_of(row).unlink()
    reports: list[tuple[int, int]] = []
    dataset.build(
        tiny.manifest.root,
        seed=5,
        train=1,
        val=0,
        test=1,
        exposures=2,
        workers=2,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert hashes(tiny) == before
    assert reports == [(7, 8), (8, 8)]


def test_another_seed_gives_other_pixels(tiny: DataSet, tmp_path: Path) -> None:
    other = dataset.build(tmp_path, seed=6, train=1, val=0, test=0, exposures=1, workers=1)
    assert not set(hashes(other).values()) & set(hashes(tiny).values())
    assert not {row.target for row in other.manifest} & {row.target for row in tiny.manifest}


def test_a_folder_of_another_sky_is_refused(tiny: DataSet) -> None:
    with pytest.raises(UsageError, match="holds another simulated sky"):
        dataset.build(tiny.manifest.root, seed=6, train=1, val=0, test=1, workers=1)


def test_files_have_the_seven_hdus_of_a_raw(tiny: DataSet) -> None:
    for row in tiny.manifest.rows[::2]:
        with fits.open(tiny.manifest.path_of(row)) as hdus:
            hdus.verify("exception")
            names = [(hdu.name, hdu.ver) for hdu in hdus]
            assert names == [("PRIMARY", 1), ("SCI", 1), ("ERR", 1), ("DQ", 1), ("SCI", 2), ("ERR", 2), ("DQ", 2)]
            # 4144 x 2068 and 4206 x 2070 with every count divided by four and rounded up, as the real files have them otherwise.
            width, height = (1036, 517) if row.instrument == "ACS/WFC" else (1054, 518)
            for first, chip in ((1, 2), (4, 1)):
                header = hdus[first].header
                assert (header["NAXIS1"], header["NAXIS2"], header["BITPIX"]) == (width, height, 16)
                assert (header["CCDCHIP"], header["BUNIT"]) == (chip, "COUNTS")
                assert hdus[first].data.dtype == np.uint16
                for constant in (hdus[first + 1], hdus[first + 2]):
                    assert constant.data is None
                    assert [constant.header[key] for key in ("NPIX1", "NPIX2", "PIXVALUE")] == [width, height, 0]


def test_headers_say_what_the_rows_say(tiny: DataSet) -> None:
    assert {row.instrument for row in tiny.manifest} == {"ACS/WFC", "WFC3/UVIS"}
    for row in tiny.manifest:
        path = tiny.manifest.path_of(row)
        info = read_info(path, row.hdu)
        assert (info.simulated, info.scale, info.product) == (True, 4, "raw")
        assert (info.rootname, info.target, info.visit) == (row.rootname, row.target, row.visit)
        assert (info.instrument, info.filter, info.exptime) == (row.instrument, row.filter, row.exptime)
        assert (info.ra, info.dec, info.proposal) == (row.ra, row.dec, row.proposal)
        text = path.read_bytes()[:2880].decode("ascii")
        assert "galaxy" not in text
        assert "NSC" not in text


def test_overscan_holds_bias_and_light_stands_above_it(tiny: DataSet) -> None:
    for row in tiny.manifest:
        with fits.open(tiny.manifest.path_of(row)) as hdus:
            raw = np.asarray(hdus[row.hdu].data, dtype=np.float64)
        acs = row.instrument == "ACS/WFC"
        rows = slice(0, 512) if row.hdu == 1 else slice(-512, None)
        left_bias, right_bias = (raw[rows, :6], raw[rows, -6:]) if acs else (raw[rows, 519:527], raw[rows, 527:535])
        left, right = (raw[rows, 6:518], raw[rows, 518:1030]) if acs else (raw[rows, 7:519], raw[rows, 535:1047])
        virtual = raw[-5:] if row.hdu == 1 else raw[:5]
        for bias, light in ((left_bias, left), (right_bias, right)):
            assert 2000 < bias.mean() < 2900
            assert bias.std() < 8  # read noise is 3.1 to 5.2 electrons, the gain 1 to 2
            assert np.median(light) > bias.mean() + 1
            assert abs(virtual.mean() - bias.mean()) < 150  # the levels of the two amplifiers differ


def test_default_pipeline_gives_frames_of_256_by_512(tiny: DataSet) -> None:
    frame = Pipeline(tiny.pipeline).run_frame(tiny.open(tiny.manifest.rows[0]))
    assert frame.shape == (1, 256, 512)
    assert 0 <= float(frame.min()) < 0.3
    assert float(frame.max()) == 1


def test_a_folder_that_was_written_is_data(tiny: DataSet) -> None:
    tiny.manifest.write_csv(tiny.manifest.root / "manifest.csv")
    data = open_data(tiny.manifest.root)
    assert data.domain == "simulated"
    assert data.labels == ("galaxy", "NSC")
    assert data.manifest.rows == tiny.manifest.rows
    assert {path.name for path in tiny.manifest.root.iterdir() if path.is_dir()} == {"galaxy", "NSC"}


def test_both_chips_see_one_sky(tiny: DataSet) -> None:
    row = tiny.manifest.rows[0]
    with fits.open(tiny.manifest.path_of(row)) as hdus:
        lower, upper = (WCS(hdus[hdu].header) for hdu in (1, 4))
        gap = 12.5 if row.instrument == "ACS/WFC" else 7.75
        rows = 512 if row.instrument == "ACS/WFC" else 513
        virtual = hdus[4].header["LTV2"]
        sky = upper.pixel_to_world_values(100, virtual)
        # The first lit row of chip 1 lies one gap above the last lit row of chip 2.
        assert lower.world_to_pixel_values(*sky) == pytest.approx((100, rows + gap), abs=2e-3)


def test_splits_share_no_target_and_hold_every_kind() -> None:
    targets = plan_targets(0, COUNTS, "T")
    assert len({target.name for target in targets}) == len(targets) == 84
    for split, count in COUNTS.items():
        members = [target for target in targets if target.split == split]
        for label, kinds in KINDS.items():
            found = [target.kind for target in members if target.label == label]
            assert len(found) == count
            assert set(found) == set(kinds)


def test_default_test_split_is_large_enough_for_intervals() -> None:
    recipe = Recipe(0, 50, 8, 14, 2, "standard", 4)
    counts = [sum(target.split == "test" and target.label == label for target in recipe.targets()) for label in ("galaxy", "NSC")]
    assert counts == [14, 14]


def test_exposures_do_not_know_the_class() -> None:
    target = plan_targets(0, COUNTS, "T")[0]
    for kind in KINDS["galaxy"] + KINDS["NSC"]:
        label = "galaxy" if kind in KINDS["galaxy"] else "NSC"
        other = replace(target, label=label, kind=kind)
        for index in range(4):
            planned = plan_exposure(0, other, index, REGIMES["standard"])
            assert replace(planned, target=target) == plan_exposure(0, target, index, REGIMES["standard"])


def test_cameras_and_filters_are_spread_over_the_classes() -> None:
    plan = Recipe(0, 200, 0, 0, 2, "standard", 4).plan()
    for label in ("galaxy", "NSC"):
        of_class = [exposure for exposure in plan if exposure.target.label == label]
        assert 0.4 < np.mean([exposure.camera == ACS for exposure in of_class]) < 0.6
        for camera in (ACS, UVIS):
            used = [exposure.band.name for exposure in of_class if exposure.camera == camera]
            assert all(used.count(band.name) > len(used) / 12 for band in camera.bands)


def test_targets_do_not_depend_on_how_many_exposures_they_get() -> None:
    few, many = (Recipe(0, 2, 0, 1, count, "standard", 4).plan() for count in (1, 3))
    assert few == [exposure for exposure in many if exposure.index == 0]


def test_shifted_ranges_lie_outside_the_standard_ones() -> None:
    standard, shifted = REGIMES["standard"], REGIMES["shifted"]
    assert not set(standard.arms) & set(shifted.arms)
    for name in ("pitch", "turbulence", "sky", "blur", "density"):
        low, high = getattr(standard, name)
        new_low, new_high = getattr(shifted, name)
        assert new_low > high or new_high < low, name


def test_shifted_is_a_test_split_of_its_own(tmp_path: Path) -> None:
    data = dataset.build_shifted(tmp_path, test=1, exposures=1, workers=1)
    assert {row.split for row in data.manifest} == {"test"}
    assert {row.target for row in data.manifest} == {"SHIFT0-0001", "SHIFT0-0002"}
    # The same numbers as in the standard sky of this seed would make copies of its targets.
    assert len(compose(2**32, 0, "globular", REGIMES["standard"]).sources) != len(compose(0, 0, "globular", REGIMES["standard"]).sources)


@pytest.mark.parametrize("bad", [{"seed": -1}, {"train": -1}, {"exposures": 0}, {"train": 0, "val": 0, "test": 0}, {"workers": 0}])
def test_numbers_out_of_range_are_refused(bad: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"simulated: .*expected"):
        dataset.build(tmp_path, **bad)


@pytest.mark.full_size
def test_full_size_is_rendered_when_a_frame_is_opened(tmp_path: Path) -> None:
    data = dataset.build_full(tmp_path, train=1, val=0, test=0, exposures=1)
    assert not list(tmp_path.rglob("*.fits"))
    row = next(row for row in data.manifest if row.hdu == 4)
    frame = data.open(row)
    assert [path.name for path in tmp_path.rglob("*.fits")] == [Path(row.path).name]
    assert Pipeline([{"step": "overscan"}]).run_frame(frame).shape == (1, 2048, 4096)
    assert read_info(data.manifest.path_of(row), 4).scale == 1
    with fits.open(data.manifest.path_of(row)) as hdus:
        assert hdus[1].shape == ((2068, 4144) if row.instrument == "ACS/WFC" else (2070, 4206))


def test_the_package_imports_nothing_heavy() -> None:
    code = "import sys, zoo.plugins.simulated; print([m for m in ('numpy', 'scipy', 'torch', 'astropy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_rendering_needs_no_main_module(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from zoo.plugins.simulated.dataset import build
build(Path(sys.argv[1]), train=1, val=0, test=0, exposures=1, workers=2)
"""
    subprocess.run([sys.executable, "-", str(tmp_path)], input=code, text=True, check=True)
    assert len(list(tmp_path.rglob("*_raw.fits"))) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "galaxy").write_text("in the way")
    (tmp_path / "NSC").write_text("in the way")
    with pytest.raises(StorageError, match=r"galaxy|NSC"):
        dataset.build(tmp_path, train=1, val=0, test=0, exposures=1, workers=2)
