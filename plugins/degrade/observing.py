"""What all degradations share: the exposure behind a frame, its noise where that has to be measured, and the frame that results.

A simulated frame is exposed again from its light, which is known without noise; what is drawn is drawn anew. A real frame holds noise:
a degradation changes its light and its noise together and adds the noise that is then missing, so that variance and correlation are those
of the degraded observation. Its noise is taken as independent Poisson noise of all that is in a pixel, sky and dark current included, and
read noise; that holds for raw frames after ``overscan`` and nearly for ``flt`` and ``flc``, not for drizzled ones, which are refused.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from zoo.data import find_scene
from zoo.errors import FrameError, PipelineError, UsageError
from zoo.frames import PIXEL_SCALES, Frame, Observation

_BLOCK = 32  # pixels; side of the blocks in which noise is measured
_TRUNCATED = 0.98658  # standard deviation of a normal distribution that is cut at 3 deviations, in units of the whole one's

Shape = tuple[int, int, int]


class Degradation:
    """A frame step that draws noise and keeps the shape.

    Args:
        pixel: side of a pixel in arcseconds; 0 for that of the camera.
        read_noise: of a real frame, electrons; 0 measures it in the frame.
        seed: of what is drawn in evaluation; another seed gives other noise.
    Raises: UsageError: if a number is negative or not finite.
    """

    scope = "frame"
    unit_in = "electron"
    unit_out = "same"
    random = "always"

    name = ""
    nothing = "nothing to do"
    arcseconds = False
    """Whether an option is an angle, so that the side of a pixel has to be known."""

    def __init__(self, *, pixel: float = 0.0, read_noise: float = 0.0, seed: int = 0) -> None:
        self.require(pixel=pixel, read_noise=read_noise)
        self.pixel, self.read_noise, self.seed = pixel, read_noise, seed

    def require(self, **numbers: float) -> None:
        """Refuse numbers that are negative or not finite."""
        for key, value in numbers.items():
            if not math.isfinite(value) or value < 0:
                raise UsageError(f"{self.name}: {key} must be finite and >= 0, got {value}")

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape."""
        return shape

    def __call__(self, x: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        """Degrade the frame.

        Raises: FrameError: ``no-electrons``, ``resampled``, ``no-scale`` or ``no-scene``. PipelineError: a step before it has changed the
            pixels. UsageError: no generator.
        """
        if generator is None:
            raise UsageError(f"{self.name} draws noise and got no generator; run it in a zoo.Pipeline, which gives one, or pass generator=")
        seen = observed(x, self.name, pixel=self.pixel, read_noise=self.read_noise, arcseconds=self.arcseconds)
        if seen.light is not None:
            changed = self.change_scene(x, seen, generator)
            image = None if changed is None else changed.expose(generator)
        else:
            degraded = self.change_frame(x, seen, generator)
            image, changed = degraded or (None, None)
        if image is None or changed is None:
            return replace(x, notes=(*x.notes, f"{self.name}: {self.nothing}"))
        return finish(x, image, changed, out=out)

    def change_scene(self, x: Frame, seen: Observation, generator: Generator) -> Observation | None:
        """The degraded exposure of a simulated scene, before it is exposed; ``None`` where there is nothing to do."""
        raise NotImplementedError

    def change_frame(self, x: Frame, seen: Observation, generator: Generator) -> tuple[Tensor, Observation] | None:
        """The degraded pixels of a real exposure, a new tensor, and the exposure that they are now; ``None`` for nothing to do."""
        raise NotImplementedError


def observed(frame: Frame, step: str, *, pixel: float = 0.0, read_noise: float = 0.0, arcseconds: bool = True) -> Observation:
    """The exposure behind a frame, as the degradations before left it.

    Args:
        frame: in electrons, in the pixels of its detector. step: who asks. pixel, read_noise, arcseconds: as `Degradation` has them.
    Returns: the exposure; its ``pixel`` is NaN where it is neither known nor needed.
    Raises: as `Degradation` says.
    """

    def refuse(code: str, got: str, expected: str, remedy: str) -> FrameError:
        return FrameError(code, path=frame.info.path, hdu=frame.info.hdu, got=got, expected=expected, remedy=remedy)

    if frame.unit != "electron":
        got = f"pixels in {frame.info.bunit or 'an unknown unit'} for {step}"
        raise refuse("no-electrons", got, "electrons, in which noise is counted", "use a raw frame after 'overscan', or a calibrated one")
    if frame.observation is not None:
        return _with_scale(frame, frame.observation, step, pixel) if arcseconds else frame.observation
    if frame.info.product == "drz":
        got = f"a drizzled image for {step}"
        raise refuse("resampled", got, "pixels whose noise is independent", "use the raw or flt file, or the step 'blur'")
    if frame.encoding is None and frame.info.path is not None:
        raise PipelineError(
            f"{step} needs the pixels of the detector, and a step before it has changed them; put it right behind 'overscan'"
        )
    scene = find_scene(frame)
    if scene is not None:
        if scene.light is not None and tuple(scene.light.shape) != frame.shape:
            got, whole = (f"{shape[1]}x{shape[2]}" for shape in (frame.shape, scene.light.shape))
            raise PipelineError(f"{step} got {got} pixels of a simulated frame of {whole}; put it right behind 'overscan', before 'crop'")
        return scene
    seen = Observation(math.nan, frame.info.exptime, read_noise=read_noise, full_well=_full_well(frame))
    if arcseconds:
        seen = _with_scale(frame, seen, step, pixel)
    return seen if read_noise else replace(seen, read_noise=measure_read_noise(frame.decode()))


def _with_scale(frame: Frame, seen: Observation, step: str, pixel: float) -> Observation:
    """The exposure with the side of its pixels, which is the one given where nothing is known. Raises: FrameError: ``no-scale``."""
    if math.isfinite(seen.pixel):
        return seen
    pixel = pixel or PIXEL_SCALES.get(frame.info.instrument.upper(), 0.0) * frame.info.scale
    if not pixel:
        raise FrameError(
            "no-scale",
            path=frame.info.path,
            hdu=frame.info.hdu,
            got=f"a frame of {frame.info.instrument or 'an unknown camera'}",
            expected=f"one of {', '.join(PIXEL_SCALES)}",
            remedy=f"give the side of a pixel: {step}:pixel=0.05",
        )
    return replace(seen, pixel=pixel)


def finish(frame: Frame, image: Tensor, seen: Observation, *, out: Tensor | None = None) -> Frame:
    """The frame with degraded pixels, and what is known of its exposure from now on."""
    # Above the full well there is read noise only; the level that counts as saturated leaves room for it.
    saturation = seen.full_well - 5 * seen.read_noise if math.isfinite(seen.full_well) else None
    done = frame.with_pixels(image if out is None or out.shape != image.shape else out.copy_(image))
    return replace(done, observation=seen, saturation=saturation)


def expected_signal(image: Tensor, read_noise: float) -> Tensor:
    """Electrons that are expected where noisy ones were counted: their mean over 5x5, and the count itself where it stands out of that.

    Args:
        image: ``(1, H, W)`` electrons, all finite. read_noise: electrons.
    Returns: ``(1, H, W)``, >= 0.
    """
    mean = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), 5, 1).clamp_min_(0)
    stands_out = (image - mean).abs() > 5 * (mean + read_noise**2).sqrt()
    return torch.where(stands_out, image, mean).clamp_min_(0)


def measure_read_noise(image: Tensor) -> float:
    """Read noise of a frame, electrons: what the differences between neighbours vary more than the electrons there explain.

    It is measured in the darker half of the blocks of 32x32 pixels, where the differences lie within 3 deviations. All noise that is not
    Poisson noise counts as read noise, that of the converter included.

    Args:
        image: ``(1, H, W)`` electrons; NaN pixels do not count.
    """
    height, width = (size - size % _BLOCK for size in image.shape[1:])
    if not height or not width:
        blocks = image.reshape(1, -1)
    else:
        cut = image[0, :height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
        blocks = cut.permute(0, 2, 1, 3).reshape(-1, _BLOCK * _BLOCK)
    level = blocks.nanmedian(1).values
    dark = blocks[level <= level.nanmedian()].double()
    # Neighbours in a row; the ends of rows of a block are left out.
    difference = (dark[:, 1:] - dark[:, :-1])[:, [i for i in range(dark.shape[1] - 1) if (i + 1) % _BLOCK]]
    spread = 1.4826 * difference.abs().nanmedian(1, keepdim=True).values
    kept = (difference.abs() <= 3 * spread.clamp_min(1e-9)) & torch.isfinite(difference)
    if not bool(kept.any()):
        return 0.0
    squares = torch.where(kept, difference, 0.0).square().sum(1) / kept.sum(1).clamp_min(1)
    variance = squares / 2 / _TRUNCATED**2
    return math.sqrt(max(float((variance - dark.nanmedian(1).values.clamp_min(0)).nanmedian()), 0.0))


def _full_well(frame: Frame) -> float:
    """Electrons from which a pixel of a real frame is saturated."""
    if frame.saturation is None:
        return math.inf
    return min(((frame.saturation - region.bias) * region.gain for region in frame.regions), default=frame.saturation)


def numpy_generator(generator: Generator) -> np.random.Generator:
    """Random numbers of numpy that depend on the generator of torch alone."""
    return np.random.Generator(np.random.Philox(int(torch.randint(2**62, (1,), generator=generator))))


def gaussian_noise(variance: Tensor, generator: Generator) -> Tensor:
    """Independent normal noise of a variance per pixel."""
    return torch.randn(variance.shape, generator=generator).mul_(variance.clamp_min(0).sqrt_())
