"""Degradations: that mean, variance and correlation are those of the degraded observation, on frames whose light is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exposures import INFO, READ_NOISE, correlation, light, observe
from torch import Generator, Tensor

from zoo.errors import FrameError, PipelineError, UsageError
from zoo.frames import Frame, Observation, cosmic_rays
from zoo.plugins.degrade.cosmics import Cosmics
from zoo.plugins.degrade.csst import Csst
from zoo.plugins.degrade.exposure import Exposure
from zoo.plugins.degrade.hubble import ee80, missing_sigma, wavelength_of
from zoo.plugins.degrade.observing import Degradation, measure_read_noise
from zoo.plugins.degrade.psf import GAUSSIAN_EE80, GAUSSIAN_FWHM, Jitter, Psf, gaussian, line, moffat
from zoo.plugins.degrade.rays import split_rays
from zoo.plugins.degrade.readnoise import ReadNoise
from zoo.plugins.degrade.saturate import Saturate
from zoo.plugins.degrade.sky import Sky
from zoo.plugins.simulated.psf import hubble
from zoo.registry import get_registry
from zoo.steps import Pipeline

NAMES = ("psf", "jitter", "sky", "readnoise", "cosmics", "saturate", "exposure", "csst")


@pytest.mark.parametrize("level", [5.0, 400.0])
@pytest.mark.parametrize(
    ("step", "signal", "variance"),
    [
        (Psf(fwhm=0.15), lambda s: s, lambda s: s + READ_NOISE**2),
        (Psf(ee80=0.12, profile="moffat"), lambda s: s, lambda s: s + READ_NOISE**2),
        (Psf(total=0.15), lambda s: s, lambda s: s + READ_NOISE**2),
        (Jitter(rms=0.05, direction=30.0), lambda s: s, lambda s: s + READ_NOISE**2),
        (Sky(electrons=30.0), lambda s: s + 30, lambda s: s + 30 + READ_NOISE**2),
        (Sky(rate=0.1), lambda s: s + 40, lambda s: s + 40 + READ_NOISE**2),
        (ReadNoise(electrons=12.0), lambda s: s, lambda s: s + 144),
        (Exposure(factor=0.3), lambda s: 0.3 * s, lambda s: 0.3 * s + READ_NOISE**2),
        (Exposure(seconds=300.0), lambda s: 0.75 * s, lambda s: 0.75 * s + READ_NOISE**2),
    ],
    ids=["gaussian", "moffat", "total", "jitter", "sky", "sky-rate", "readnoise", "factor", "seconds"],
)
def test_noise_is_that_of_the_degraded_observation(
    step: Degradation, signal: Callable[[Tensor], Tensor], variance: Callable[[Tensor], Tensor], level: float
) -> None:
    expected = light(level)
    result = step(observe(expected, 1), generator=Generator().manual_seed(2))
    noise = (result.pixels - signal(expected)) / variance(expected).sqrt()
    # 131,072 pixels: one deviation is 0.0028 in the mean and the correlations, 0.004 in the variance.
    assert float(noise.mean()) == pytest.approx(0, abs=0.012)
    assert float(noise.var()) == pytest.approx(1, abs=0.025)
    assert correlation(noise) == pytest.approx([0] * 4, abs=0.013)
    assert (result.unit, result.shape) == ("electron", (1, 256, 512))


def test_a_blur_alone_would_not_be_noise_correct() -> None:
    noise = observe(light(40.0), 1).pixels - light(40.0)
    blurred = Pipeline(["blur:sigma=1.27"]).run_frame(Frame(noise, None, INFO, unit="electron"))
    assert float(blurred.var() / noise.var()) < 0.1
    assert correlation(blurred)[0] > 0.8


def test_a_sharp_star_gets_the_new_width_and_keeps_its_light() -> None:
    expected = torch.full((1, 128, 128), 20.0)
    optics, star = hubble(0.05, 0.8, 0.36, 0.0), np.zeros((128, 128), np.float32)
    optics.draw(star, *(np.array([value], np.float32) for value in (64.0, 63.0, 2e5)), 0.01)
    generator = Generator().manual_seed(0)
    mean = torch.zeros(1, 128, 128)
    for seed in range(8):
        mean += (Psf(fwhm=0.2)(observe(expected + torch.from_numpy(star), seed), generator=generator).pixels - 20.0) / 8
    sigma = 0.2 / 0.05 / GAUSSIAN_FWHM
    wanted = Pipeline([f"blur:sigma={sigma}"]).run_frame(Frame(torch.from_numpy(star)[None], None))
    assert float(mean.sum()) == pytest.approx(2e5, rel=0.03)
    assert float(mean.max()) == pytest.approx(float(wanted.max()), rel=0.02)


@pytest.mark.parametrize("step", [Psf(fwhm=0.2), Exposure(factor=0.25), Sky(), ReadNoise(), Cosmics(number=50.0), Saturate(electrons=90.0)])
def test_pixels_without_a_value_stay_without_one(step: Degradation) -> None:
    frame = observe(light(40.0, 64, 128), 3)
    frame.pixels[0, 20:23, 40:60] = math.nan
    result = step(frame, generator=Generator().manual_seed(1)).pixels
    assert torch.equal(torch.isnan(result), torch.isnan(frame.pixels))


def test_steps_follow_each_other() -> None:
    expected = light(100.0)
    frame = observe(expected, 1)
    for seed, step in enumerate((ReadNoise(electrons=9.0), Exposure(factor=0.5), Psf(fwhm=0.15), Sky(electrons=10.0))):
        frame = step(frame, generator=Generator().manual_seed(seed))
    wanted = 0.5 * expected + 10
    noise = (frame.pixels - wanted) / (wanted + 81).sqrt()
    assert float(noise.mean()) == pytest.approx(0, abs=0.015)
    assert float(noise.var()) == pytest.approx(1, abs=0.03)
    assert frame.observation is not None
    assert (frame.observation.read_noise, frame.observation.exptime) == (9.0, 200.0)
    assert frame.with_pixels(frame.pixels).observation is None


@pytest.mark.parametrize("level", [0.0, 20.0, 300.0])
def test_read_noise_is_measured(level: float) -> None:
    frame = observe(light(level), 4)
    assert measure_read_noise(frame.pixels) == pytest.approx(READ_NOISE, abs=0.4)
    rounded = (frame.pixels / 2).round() * 2
    assert measure_read_noise(rounded) == pytest.approx(math.hypot(READ_NOISE, 2 / math.sqrt(12)), abs=0.4)
    assert measure_read_noise(frame.pixels[:, :20, :30]) == pytest.approx(READ_NOISE, abs=2.5)


def test_noise_that_is_there_already_is_not_added() -> None:
    frame = observe(light(40.0), 1)
    result = ReadNoise(electrons=3.0)(frame, generator=Generator())
    assert torch.equal(result.pixels, frame.pixels)
    assert result.notes == ("readnoise: the frame's own read noise is as high already, nothing is added",)
    wide = Psf(total=0.114)(replace(frame, info=replace(INFO, filter="F814W")), generator=Generator())
    assert wide.notes == ("psf: nothing is added, the light is spread as wide already",)
    assert torch.equal(wide.pixels, frame.pixels)


def test_a_real_exposure_cannot_be_longer() -> None:
    frame = observe(light(40.0, 64, 128), 1)
    with pytest.raises(FrameError, match=r"too-short: got an exposure of 400 s, expected 500 s or more"):
        Exposure(seconds=500.0)(frame, generator=Generator())
    with pytest.raises(FrameError, match="no-exptime: got no exposure time for a sky in electrons per second"):
        Sky(rate=1.0)(replace(frame, info=replace(INFO, exptime=math.nan)), generator=Generator())


def test_charge_above_the_full_well_bleeds_along_the_column() -> None:
    image = torch.full((1, 64, 64), 100.0)
    image[0, 30, 20] = 1500.0
    result = Saturate(electrons=500.0, read_noise=1e-3)(Frame(image, None, INFO, unit="electron"), generator=Generator())
    assert float(result.pixels[0, :, 20].sum()) == pytest.approx(float(image[0, :, 20].sum()), abs=1)
    assert int((result.pixels[0, :, 20] > 499).sum()) == 3
    assert torch.equal(result.pixels[0, :, 21], image[0, :, 21])
    assert result.saturation == pytest.approx(500, abs=0.1)


def test_rays_come_at_their_rate() -> None:
    frame = observe(light(0.0, 512, 512), 1)
    step = Cosmics(rate=2.0)
    expected = 2.0 * 400 * 512 * 512 * (15e-4) ** 2
    added = step(frame, generator=Generator().manual_seed(1)).pixels - frame.pixels
    from scipy import ndimage

    count = ndimage.label((added[0] > 1).numpy(), np.ones((3, 3)))[1]
    assert count == pytest.approx(expected, rel=0.15)
    assert float(added.min()) > -1e-3
    none = Cosmics(number=1e-9)(frame, generator=Generator().manual_seed(1))
    torch.testing.assert_close(none.pixels, frame.pixels)


def test_rays_are_told_from_stars() -> None:
    rng = np.random.default_rng(2)
    stars = np.zeros((256, 384), np.float32)
    places = rng.uniform(0, 384, 80).astype(np.float32), rng.uniform(0, 256, 80).astype(np.float32)
    hubble(0.05, 0.592, 0.36, 0.0).draw(stars, *places, (10 ** rng.uniform(2.5, 5, 80)).astype(np.float32), 0.1)
    rays = cosmic_rays(rng, stars.shape, 100.0)
    image = torch.from_numpy((rng.poisson(40 + stars) + rays + rng.normal(0, READ_NOISE, stars.shape)).astype(np.float32))[None]
    clean, excess = split_rays(image, READ_NOISE)
    found = excess[0].numpy()
    assert found[rays > 5].sum() > 0.6 * rays.sum()
    assert abs(found[(stars > 60) & (rays < 1)].sum()) < 0.01 * stars.sum()
    assert (found[(stars < 60) & (rays < 1)] != 0).mean() < 5e-4
    torch.testing.assert_close(clean + excess, image, rtol=1e-5, atol=1e-2)


def test_rays_do_not_get_a_psf() -> None:
    expected = torch.full((1, 64, 64), 50.0)
    frame = observe(expected, 5)
    frame.pixels[0, 32, 32] += 5000.0
    result = Psf(fwhm=0.3)(frame, generator=Generator().manual_seed(1)).pixels
    assert float(result[0, 32, 32]) > 4500
    assert float(result[0, 31, 32]) < 120


def test_a_shorter_exposure_has_fewer_rays_not_fainter_ones() -> None:
    expected = torch.full((1, 256, 256), 50.0)
    frame = observe(expected, 5)
    places = torch.arange(8, 250, 12)
    frame.pixels[0, places[:, None], places] += 3000.0
    result = Exposure(factor=0.3)(frame, generator=Generator().manual_seed(1)).pixels[0, places[:, None], places]
    bright = result > 2500
    assert float(bright.float().mean()) == pytest.approx(0.3, abs=0.08)
    assert float(result[~bright].max()) < 200


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.7, 2.0])
def test_kernels_have_the_width_that_is_asked_for(sigma: float) -> None:
    kernel = gaussian(sigma).double()
    axis = torch.arange(len(kernel)) - len(kernel) // 2
    assert float((kernel * axis**2).sum()) == pytest.approx(sigma**2, rel=1e-4)
    for degrees in (0, 30, 90):
        angle = math.radians(degrees)
        kernel = line(sigma, angle).double()
        axis = torch.arange(len(kernel)) - len(kernel) // 2
        along = axis * math.cos(angle) + axis[:, None] * math.sin(angle)
        assert float((kernel * along**2).sum()) == pytest.approx(sigma**2, rel=1e-4)
        assert float(kernel.min()) >= 0


def test_kernels_hold_the_light_that_their_radius_says() -> None:
    seen = Observation(0.01, 1.0, 1.0)
    frame = Frame(torch.zeros(1, 8, 8), None, INFO)
    for step, share in ((Psf(ee80=0.15), 0.8), (Psf(fwhm=0.2), 0.5), (Psf(ee80=0.15, profile="moffat", beta=4.0), 0.8)):
        kernel = step.kernel(frame, seen)
        assert kernel is not None
        axis = (torch.arange(len(kernel)) - len(kernel) // 2) * 0.01
        radius = (axis**2 + axis[:, None] ** 2).sqrt()
        inside = float(kernel[radius <= (0.1 if share == 0.5 else 0.15)].sum())
        assert inside == pytest.approx(share, abs=0.01)
    peak = moffat(10.0, 2.5)
    assert float(peak[len(peak) // 2, len(peak) // 2 + 5] / peak.max()) == pytest.approx((1 + 0.25) ** -2.5, rel=1e-5)
    assert pytest.approx(1.7941, abs=1e-4) == GAUSSIAN_EE80


def test_hubbles_own_width_leaves_nothing_to_add_in_the_red() -> None:
    assert ee80(micron=0.606, pixel=0.05) == pytest.approx(0.098, abs=0.001)
    assert ee80(micron=0.814, pixel=0.05) == pytest.approx(0.127, abs=0.001)
    # Of a Gaussian that is much wider than the diffraction pattern little more than its own radius is left.
    assert 1 < ee80(micron=0.606, pixel=0.05, sigma=0.5) / (0.5 * GAUSSIAN_EE80) < 1.05
    sigma = missing_sigma(0.15, micron=0.606, pixel=0.05)
    assert ee80(micron=0.606, pixel=0.05, sigma=sigma) == pytest.approx(0.15, abs=1e-5)
    assert missing_sigma(0.114, micron=0.814, pixel=0.05) == 0
    assert (wavelength_of("F606W"), wavelength_of("f850lp"), wavelength_of("CLEAR")) == (0.606, 0.85, 0.0)


@pytest.mark.parametrize("sigma", [0.001, 0.005, 0.01, 0.02, 0.03, 0.1, 0.5, 3.0])
def test_a_gaussian_has_its_width_however_narrow_it_is(sigma: float) -> None:
    kernel = gaussian(sigma).double()
    axis = torch.arange(kernel.shape[0]) - kernel.shape[0] // 2
    assert float((kernel.sum(0) * axis**2).sum()) == pytest.approx(sigma**2, rel=1e-3)


def test_what_a_frame_lacks_is_said() -> None:
    frame = observe(light(40.0, 64, 128), 1)
    step = Psf()
    with pytest.raises(FrameError, match=r"no-scale: got a frame of NIRCAM, .*psf:pixel=0\.05"):
        step(replace(frame, info=replace(INFO, instrument="NIRCAM")), generator=Generator())
    assert Psf(pixel=0.03)(replace(frame, info=replace(INFO, instrument="NIRCAM")), generator=Generator()).unit == "electron"
    # What counts electrons needs no angle; what follows it may.
    brighter = Sky()(replace(frame, info=replace(INFO, instrument="NIRCAM")), generator=Generator())
    with pytest.raises(FrameError, match="no-scale"):
        step(brighter, generator=Generator())
    known = Psf(pixel=0.03)(brighter, generator=Generator()).observation
    assert known is not None
    assert known.pixel == 0.03
    with pytest.raises(FrameError, match="no-electrons: got pixels in MJy/sr for psf"):
        step(replace(frame, unit="DN", info=replace(INFO, bunit="MJy/sr")), generator=Generator())
    with pytest.raises(FrameError, match="resampled: got a drizzled image"):
        step(replace(frame, info=replace(INFO, product="drz")), generator=Generator())
    with pytest.raises(PipelineError, match="a step before it has changed them; put it right behind 'overscan'"):
        step(replace(frame, info=replace(INFO, path=Path("x.fits"))), generator=Generator())
    with pytest.raises(UsageError, match="got no generator"):
        step(frame)
    with pytest.raises(FrameError, match=r"no-wavelength: got the filter '', .*psf:micron=0\.6"):
        Psf(total=0.15)(replace(frame, info=replace(INFO, filter="")), generator=Generator())
    with pytest.raises(PipelineError, match="'psf' needs electrons and would get dimensionless; put it before 'normalize'"):
        Pipeline(["overscan", "normalize", "psf"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Psf(fwhm=0.2, ee80=0.1), "give one of fwhm, ee80 and total"),
        (lambda: Psf(fwhm=-1.0), "fwhm must be finite and >= 0, got -1"),
        (lambda: Psf(profile="airy"), "profile must be one of gaussian, moffat, got 'airy'"),
        (lambda: Psf(profile="moffat", beta=1.0), "beta must be finite and > 1"),
        (lambda: Psf(total=0.15, profile="moffat"), "total adds a gaussian"),
        (lambda: Jitter(direction=200.0), "direction must be 0 to 180"),
        (lambda: Sky(electrons=1.0, rate=1.0), "give electrons or rate"),
        (lambda: Cosmics(rate=2.0, number=1.0), "give rate or number"),
        (lambda: Exposure(factor=0.2, seconds=1.0), "give factor or seconds"),
        (lambda: Exposure(factor=0.0), "factor must be > 0"),
        (lambda: Csst(grid="euclid"), "grid must be one of hst, csst"),
        (lambda: Csst(sensitivity=0.0), "ee80 and sensitivity must be > 0"),
        (lambda: Saturate(electrons=0.0), "electrons must be > 0"),
        (lambda: ReadNoise(electrons=math.inf), "electrons must be finite"),
    ],
)
def test_options_out_of_range_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize("name", NAMES)
def test_catalogue_defaults_are_the_constructors(name: str) -> None:
    entry = get_registry().get("steps", name)
    plain, full = entry.load()(), entry.load()(**entry.parse_options({}))
    assert vars(plain) == vars(full)
    assert (plain.scope, plain.random, plain.unit_in) == (entry.metadata["scope"], "always", "electron")
