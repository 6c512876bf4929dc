"""What the simulated sky is made of: random fields, point spread function, scenes, and the detector."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.frames.hst import acs_wfc, wfc3_uvis
from zoo.plugins.simulated.bands import ACS, UVIS
from zoo.plugins.simulated.detector import Chip, bleed, cosmic_rays, expose
from zoo.plugins.simulated.fields import GRID, Texture, rotate, stream
from zoo.plugins.simulated.psf import Psf, hubble
from zoo.plugins.simulated.render import Pointing, expected
from zoo.plugins.simulated.scene import KINDS, REGIMES, SKY, Scene, compose
from zoo.plugins.simulated.sources import HALF_FIELD, old_population, power_law, scatter

ALL_KINDS = sorted({kind for kinds in KINDS.values() for kind in kinds})


def aim(scale: int = 4, **changes: float) -> Pointing:
    values = {"u": 0.0, "v": 0.0, "roll": 0.3, "exptime": 400.0, "sky": 1.0, "blur": 0.0, **changes}
    return Pointing(camera=ACS, band=ACS.bands[3], scale=scale, **values)


@pytest.fixture(scope="module")
def optics() -> Psf:
    return hubble(0.2, 0.6, 0.36, 0.0)


@pytest.fixture(scope="module")
def globular() -> Scene:
    return compose(1, 0, "globular", REGIMES["standard"])


def draw(optics: Psf, x: float, y: float, electrons: float = 1e6, floor: float = 0.1) -> NDArray[np.float32]:
    image = np.zeros((160, 200), np.float32)
    optics.draw(image, *(np.array([value], np.float32) for value in (x, y, electrons)), floor)
    return image


def test_streams_differ_by_every_word() -> None:
    draws = [stream(*words).random() for words in ((0, 1, "a"), (1, 1, "a"), (0, 2, "a"), (0, 1, "b"))]
    assert len(set(draws)) == 4
    assert stream(0, 1, "a").random() == draws[0]


def test_texture_is_periodic_normal_and_smooth_between_cells() -> None:
    texture = Texture.power_law(stream(0, "texture"), 3.0, 0.5)
    assert texture.grid.mean() == pytest.approx(0, abs=1e-5)
    assert texture.grid.std() == pytest.approx(1, abs=1e-5)
    u, v = np.array([3.0, 3.25, 3.5], np.float32), np.full(3, 7.0, np.float32)
    left, middle, right = texture(u, v)
    assert (left, right) == (texture.grid[14, 6], texture.grid[14, 7])
    assert middle == pytest.approx((left + right) / 2, abs=1e-6)
    assert texture(u - GRID * 0.5, v + GRID * 0.5) == pytest.approx([left, middle, right], abs=1e-6)


def test_steeper_textures_are_smoother() -> None:
    rough, smooth = (Texture.power_law(stream(0, "t"), slope, 1.0).grid for slope in (1.0, 4.0))
    assert np.abs(np.diff(smooth)).mean() < 0.1 * np.abs(np.diff(rough)).mean()


def test_fluxes_follow_their_power_law() -> None:
    flux = power_law(stream(0, "flux"), 100_000, 1.0, 1e4, 0.8)
    assert flux.min() >= 1
    assert flux.max() <= 1e4
    assert (flux > 10).mean() == pytest.approx(10**-0.8, abs=0.005)


def test_old_population_is_faint_with_a_few_giants() -> None:
    flux = old_population(stream(0, "old"), 20_000, 2.0, 0.02)
    assert (flux > 2.0).mean() == pytest.approx(0.041, abs=0.005)
    assert flux[flux > 2.0].sum() > 0.5 * flux.sum()


def test_scattered_positions_follow_the_density() -> None:
    u, v = scatter(stream(0, "scatter"), lambda u, v: (u > 0).astype(np.float32), 5000)
    assert u.min() > -1
    assert np.abs(np.stack([u, v])).max() <= HALF_FIELD
    assert v.mean() == pytest.approx(0, abs=5)


def test_psf_conserves_flux_and_keeps_the_position(optics: Psf) -> None:
    rows, columns = np.mgrid[:160, :200]
    for x, y in ((99.0, 80.0), (99.375, 79.75), (99.5, 80.5)):
        image = draw(optics, x, y)
        assert image.sum() == pytest.approx(1e6, rel=0.03)
        core = image * (np.hypot(rows - y, columns - x) < 10)
        assert (core * columns).sum() / core.sum() == pytest.approx(x, abs=0.02)
        assert (core * rows).sum() / core.sum() == pytest.approx(y, abs=0.02)


def test_psf_has_a_sharp_core_and_diagonal_spikes(optics: Psf) -> None:
    image = draw(optics, 99.0, 80.0)
    assert 0.2e6 < image.max() < 0.6e6
    along = sum(image[80 + k, 99 + k] + image[80 + k, 99 - k] for k in range(12, 28))
    between = sum(image[80 + k, 99] + image[80, 99 + k] for k in (round(1.414 * k) for k in range(12, 28)))
    assert along > 3 * between


def test_faint_stars_are_cut_short_without_losing_their_light(optics: Psf) -> None:
    short, whole = draw(optics, 99, 80, 1e4, 5.0), draw(optics, 99, 80, 1e4, 1e-3)
    assert np.count_nonzero(short) < np.count_nonzero(whole)
    assert np.abs(short - whole).max() < 5.0


def test_stars_beyond_the_border_spill_in(optics: Psf) -> None:
    assert draw(optics, -2.0, 80.0)[80, 0] > 0
    assert draw(optics, -500.0, 80.0).sum() == 0


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_gives_finite_light_on_the_chips(kind: str) -> None:
    for target in range(2):
        scene = compose(0, target, kind, REGIMES["standard"])
        assert 10 < scene.extent < 1000
        for camera in (ACS, UVIS):
            pointing = Pointing(camera, camera.bands[1], 5.0, -5.0, 1.0, 300.0, 1.0, 0.02, 16)
            image = expected(scene, pointing, 1, (128, 256))
            assert image.dtype == np.float32
            assert np.isfinite(image).all()
            sky = SKY * camera.bands[1].width * pointing.pixel**2 * 300
            assert image.min() > 0.99 * sky
            assert image.mean() > 1.02 * sky


def test_scenes_depend_on_the_seed_and_the_target_alone() -> None:
    first, again, other = (compose(0, target, "spiral", REGIMES["standard"]) for target in (1, 1, 2))
    u = np.linspace(-50, 50, 64, dtype=np.float32)
    light = [scene.brightness(u, u[::-1].copy(), ACS.bands[3], 0.2) for scene in (first, again, other)]
    assert np.array_equal(light[0], light[1])
    assert not np.allclose(light[0], light[2])
    assert np.array_equal(first.sources.flux, again.sources.flux)


def test_a_finer_detector_sees_the_same_light(globular: Scene) -> None:
    coarse = expected(globular, aim(8), 2, (256, 512))
    fine = expected(globular, aim(4), 2, (512, 1024)).reshape(256, 2, 512, 2).sum((1, 3))
    assert fine.sum() == pytest.approx(coarse.sum(), rel=0.02)
    assert np.median(fine / coarse) == pytest.approx(1, abs=0.02)


def test_longer_exposures_of_a_bluer_sky_scale_as_they_should(globular: Scene) -> None:
    short, long = (expected(globular, aim(16, exptime=exptime), 2, (128, 256)) for exptime in (100.0, 400.0))
    assert long.sum() == pytest.approx(4 * short.sum(), rel=1e-3)
    bright = expected(globular, aim(16, sky=3.0), 2, (128, 256))
    assert np.median(bright - long) == pytest.approx(2 * SKY * 0.8**2 * 400, rel=1e-3)


def test_the_field_turns_with_the_roll(globular: Scene) -> None:
    upright = expected(globular, aim(16, roll=0.0), 2, (128, 256))
    turned = expected(globular, aim(16, roll=float(np.pi)), 1, (128, 256))
    smooth = [image.reshape(16, 8, 32, 8).mean((1, 3)) for image in (upright, turned[::-1, ::-1])]
    assert smooth[0] == pytest.approx(smooth[1], rel=0.05)


def test_bleeding_moves_charge_along_columns_only() -> None:
    image = np.full((60, 9), 100.0, np.float32)
    image[30, 4] = 500_000.0
    before = image.sum()
    bleed(image, 80_000.0)
    assert image.sum() == pytest.approx(before)
    assert image.max() == 80_000
    assert np.count_nonzero(image[:, 4] == 80_000) in (5, 6, 7)
    assert (image[:, [0, 1, 2, 3, 5, 6, 7, 8]] == 100).all()


def test_bleeding_neighbours_end_below_the_full_well() -> None:
    image = np.zeros((40, 1), np.float32)
    image[[3, 4, 20, 22]] = 400_000.0
    bleed(image, 80_000.0)
    assert image.max() <= 80_000


def test_cosmic_rays_are_short_sharp_tracks() -> None:
    image = cosmic_rays(stream(0, "rays"), (512, 1024), 500.0)
    hit = image > 100
    assert 500 < np.count_nonzero(hit) < 20_000
    assert np.median(image[hit]) > 200
    assert image.min() >= 0
    assert cosmic_rays(stream(0, "rays"), (64, 64), 0.0).sum() == 0


def read(electrons: float, gain: float = 2.0, **changes: float) -> NDArray[np.uint16]:
    values = {"read_noise": 5.0, "dark": 0.0, "exptime": 100.0, "rays": 0.0, "hot": 0.0, **changes}
    chip = Chip(layout=acs_wfc(1, gain).scaled(8), bias=(2000.0, 2500.0), **values)
    return expose(stream(0, "read"), np.full((256, 512), electrons, np.float32), chip)


def test_readout_adds_bias_noise_and_gain_per_amplifier() -> None:
    raw = read(3000.0).astype(np.float64)
    assert raw.shape == (259, 518)  # 2068 and 4144, every count divided by eight and rounded up
    left, right = raw[3:, 3:259], raw[3:, 259:515]
    # The flat field varies by a few per cent over the chip.
    assert left.mean() - 2000 == pytest.approx(1500, rel=0.05)
    assert right.mean() - 2500 == pytest.approx(1500, rel=0.05)
    noise = np.diff(left, axis=1).std() / np.sqrt(2)
    assert noise == pytest.approx(np.sqrt(3000 + (0.008 * 3000) ** 2 + 25) / 2, rel=0.06)
    overscan = raw[:3, 3:259]
    assert overscan.mean() == pytest.approx(2000, abs=2)
    assert overscan.std() == pytest.approx(5 / 2, rel=0.15)


def test_readout_stops_at_the_full_well_and_at_the_converter() -> None:
    # 84,700 electrons at gain 2 are 42,350 DN above bias; at gain 1 the converter stops first.
    assert int(read(200_000.0).max()) == pytest.approx(2500 + 42_350, abs=20)
    assert read(200_000.0, gain=1.0).max() == 65_535


def test_uvis_halves_are_split_by_virtual_columns() -> None:
    layout = wfc3_uvis(2).scaled(4)
    chip = Chip(layout, (2300.0, 2400.0), 3.1, 0.0, 100.0, 0.0, 0.0)
    raw = expose(stream(0, "uvis"), np.full((513, 1024), 5000.0, np.float32), chip)
    assert raw.shape == (518, 1054)
    assert raw[:513, 519:535].max() < 2450
    assert raw[:513, 7:519].min() > 4000
    assert raw[:513, 535:1047].min() > 4000


def test_hot_pixels_and_rays_stand_out() -> None:
    quiet, noisy = read(100.0), read(100.0, hot=1e-3, rays=5.0)
    assert np.count_nonzero(noisy > 2600) > np.count_nonzero(quiet > 2600) + 100


def test_rotation_turns_by_its_angle() -> None:
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    u, v = rotate(one, zero, float(np.pi / 2))
    assert (u[0], v[0]) == pytest.approx((0, -1), abs=1e-6)
