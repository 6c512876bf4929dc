"""csst, and degradations of simulated frames: the noise is that of the other camera, or of the light exposed again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exposures import INFO, correlation, light, observe
from torch import Generator, Tensor

from zoo.data import find_scene
from zoo.entries import make_register
from zoo.errors import FrameError, PipelineError, PluginError
from zoo.frames import Frame, read_frame
from zoo.plugins.degrade.csst import Csst, rebin
from zoo.plugins.simulated import dataset
from zoo.steps import Pipeline


def test_pixels_are_rebinned_by_the_area_in_common() -> None:
    image = torch.arange(1.0, 7.0).repeat(4, 1)[None]
    torch.testing.assert_close(rebin(image, (2, 3), 2.0), torch.tensor([[[6.0, 14.0, 22.0]] * 2]))
    # A pixel of side 1.5 holds one and a half of the old ones in each direction.
    torch.testing.assert_close(rebin(image, (2, 4), 1.5)[0, 0], 1.5 * torch.tensor([1 + 0.5 * 2, 0.5 * 2 + 3, 4 + 0.5 * 5, 0.5 * 5 + 6]))
    torch.testing.assert_close(rebin(torch.ones(1, 4, 6), (2, 4), 1.5, squared=True), torch.full((1, 2, 4), 1.25**2))
    assert float(rebin(rebin(image, (2, 4), 1.5), (4, 6), 1 / 1.5).sum()) == pytest.approx(float(image.sum()), rel=0.05)


@pytest.mark.parametrize(("instrument", "pixel", "edge"), [("ACS/WFC", 0.05, 0), ("WFC3/UVIS", 0.04, 40)])
def test_csst_has_the_noise_of_its_own_exposure(instrument: str, pixel: float, edge: int) -> None:
    frame = observe(torch.full((1, 256, 512), 100.0), 1, replace(INFO, instrument=instrument))
    step = Csst(grid="csst", rays=0.0)
    result = step(frame, generator=Generator().manual_seed(1))
    assert result.shape == step.output_shape(frame.shape) == (1, 172, 345)
    middle = result.pixels[:, edge : 172 - edge, edge : 345 - edge]
    signal = 100 * (0.074 / pixel) ** 2 * 150 / 400 + 3
    assert float(middle.mean()) == pytest.approx(signal, abs=0.4)
    assert float(middle.var()) == pytest.approx(signal + 25, rel=0.04)
    assert max(map(abs, correlation(middle))) < 0.12  # neighbours share the pixels that their border divides
    assert result.observation is not None
    assert (result.observation.pixel, result.observation.exptime, result.observation.read_noise) == (0.074, 150.0, 5.0)
    assert result.notes == ()


def test_csst_comes_back_on_the_pixels_of_the_frame() -> None:
    frame = observe(light(100.0), 1)
    result = Csst(rays=0.0)(frame, generator=Generator().manual_seed(1))
    assert result.shape == frame.shape
    assert result.observation is None
    assert float(result.pixels.mean()) == pytest.approx((float(frame.pixels.mean()) * 150 / 400) + 3 * (0.05 / 0.074) ** 2, rel=0.01)
    assert correlation(result.pixels - light(100.0) * 150 / 400)[0] > 0.3
    hit = Csst(rays=50.0)(frame, generator=Generator().manual_seed(1))
    assert float(hit.pixels.max()) > 2 * float(result.pixels.max())


def test_csst_says_what_it_cannot_do() -> None:
    frame = observe(light(40.0, 64, 128), 1)
    short = Csst()(replace(frame, info=replace(INFO, exptime=60.0)), generator=Generator())
    assert short.notes == ("csst: the frame's own noise exceeds CSST's in 100% of the pixels",)
    red = Csst()(replace(frame, info=replace(INFO, filter="F814W")), generator=Generator())
    assert red.notes == ("csst: the camera's PSF is as wide as 0.114 arcseconds already, nothing is added",)
    with pytest.raises(FrameError, match="no-exptime"):
        Csst()(replace(frame, info=replace(INFO, exptime=math.nan)), generator=Generator())
    gap = observe(light(40.0, 64, 128), 1)
    gap.pixels[0, 20:40, 20:40] = math.nan
    assert 0.045 < float(torch.isnan(Csst()(gap, generator=Generator()).pixels).float().mean()) < 0.065


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """One frame of each camera; with seed 5 both are among them."""
    data = dataset.build(tmp_path_factory.mktemp("sky"), seed=5, train=1, val=0, test=1, exposures=1, workers=1)
    return [data.open(next(row for row in data.manifest if row.instrument == camera)) for camera in ("ACS/WFC", "WFC3/UVIS")]


def test_the_scene_of_a_simulated_frame_is_its_light(simulated: list[Frame]) -> None:
    for frame in simulated:
        scene = find_scene(frame)
        assert scene is not None
        assert scene.light is not None
        expected = scene.light * scene.flat + scene.dark
        image = Pipeline(["overscan"]).run_frame(frame)
        # Away from rays and bleeding, whose charge is not Poisson noise.
        quiet = (torch.nn.functional.max_pool2d(scene.rays, 5, 1, 2) == 0) & (expected < expected.median() * 2)
        gain = max(region.gain for region in Pipeline(["overscan"]).frame_steps[0](frame).regions)
        noise = ((image - expected) / (expected + scene.read_noise**2 + gain**2 / 12).sqrt())[quiet]
        assert float(noise.mean()) == pytest.approx(0, abs=0.06)  # the bias wanders by 0.3 DN
        assert float(noise.square().mean()) == pytest.approx(1, abs=0.03)
        again = scene.expose(Generator().manual_seed(1))
        assert float(again.median() / image.median()) == pytest.approx(1, abs=0.01)
        assert scene.pixel == (0.2 if frame.info.instrument == "ACS/WFC" else 0.16)


def test_simulated_frames_are_exposed_again_from_their_light(simulated: list[Frame]) -> None:
    frame = simulated[0]
    scene = find_scene(frame)
    assert scene is not None
    image = Pipeline(["overscan", "sky:electrons=500", "exposure:factor=2", "readnoise:electrons=1"]).run_frame(frame)
    expected = 2 * (scene.light + 500) * scene.flat + 2 * scene.dark
    quiet = (torch.nn.functional.max_pool2d(scene.rays, 5, 1, 2) == 0) & (expected < 2 * expected.median())
    noise = ((image - expected) / (expected + 1).sqrt())[quiet]
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.square().mean()) == pytest.approx(1, abs=0.02)
    smeared = Pipeline(["overscan", "psf:fwhm=0.6"]).run_frame(frame)
    assert float(smeared.sum() / Pipeline(["overscan"]).run_frame(frame).sum()) == pytest.approx(1, abs=0.01)


def test_csst_exposes_the_light_of_a_simulated_frame(simulated: list[Frame]) -> None:
    frame = simulated[0]
    scene = find_scene(frame)
    assert scene is not None
    assert scene.light is not None
    image = Pipeline(["overscan", "csst:grid=csst,rays=0"]).run_frame(frame)
    assert image.shape == (1, 345, 691)
    signal = scene.light.median() * 1.48**2 * 150 / scene.exptime + 3
    quiet = (image - image.median()).abs() < 4 * (signal + 25).sqrt()
    assert float(image.median()) == pytest.approx(float(signal), rel=0.02)
    assert float(image[quiet].var()) == pytest.approx(float(signal) + 25, rel=0.25)
    assert Pipeline(["overscan", "csst", "normalize"]).run_frame(simulated[1]).shape == (1, 512, 1024)


def test_noise_depends_on_the_frame_and_the_seed_alone(simulated: list[Frame]) -> None:
    def run(frame: Frame, steps: list[str], generator: Generator | None = None) -> Tensor:
        return Pipeline(["overscan", *steps]).run_frame(frame, generator=generator)

    frame = simulated[1]
    first = run(frame, ["sky:electrons=5"])
    assert torch.equal(first, run(frame, ["sky:electrons=5"]))
    assert not torch.equal(first, run(frame, ["sky:electrons=5,seed=1"]))
    twin = read_frame(frame.info.path, frame.info.hdu)
    assert torch.equal(first, run(twin, ["sky:electrons=5"]))
    draws = [run(frame, ["sky:electrons=5"], Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_simulated_frame_that_was_cut_or_changed_is_refused(simulated: list[Frame]) -> None:
    with pytest.raises(PipelineError, match="got 256x512 pixels of a simulated frame of 512x1024"):
        Pipeline(["overscan", "crop:height=256,width=512", "psf"]).run_frame(simulated[0])
    with pytest.raises(PipelineError, match="put it right behind 'overscan'"):
        Pipeline(["overscan", "resize:factor=2", "psf"]).run_frame(simulated[0])


def test_a_simulated_file_of_an_unknown_maker_is_refused(simulated: list[Frame], tmp_path: Path) -> None:
    from astropy.io import fits

    with fits.open(simulated[0].info.path) as hdus:
        del hdus[0].header["SIMTRAIN"]
        hdus.writeto(tmp_path / "old_raw.fits")
    with pytest.raises(FrameError, match="no-scene: got a simulated file that does not say how it was made"):
        Pipeline(["overscan", "psf"]).run_frame(read_frame(tmp_path / "old_raw.fits", 1))


def test_the_scene_of_a_data_set_is_checked_when_it_is_registered() -> None:
    register = make_register("datasets", owner="sky", distribution="", version="", stage=[])
    with pytest.raises(PluginError, match=r"scene of 'sky' must be .* or a callable, got 'nowhere'"):
        register("sky", "sky:build", scene="nowhere")
