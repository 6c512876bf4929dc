"""csst: a Hubble frame as an exposure of CSST's survey camera would have it, as far as what is published allows.

Published, and used here: pixels of 0.074 arcseconds, exposures of 150 s, a dark current of 0.02 electrons per second, a read noise of 5
electrons, and a radius of 80 % of the light of at most 0.15 arcseconds, 0.114 in the mean of simulations. Collecting area and throughput
relative to Hubble's are an option, because they depend on the filter; Hubble's filters are not CSST's. Full well, flat field and the rate
of cosmic rays are not CSST's either.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from zoo import ops
from zoo.errors import FrameError, UsageError
from zoo.frames import PIXEL_SCALES, Frame, Observation, cosmic_rays
from zoo.plugins.degrade.hubble import known_wavelength, missing_sigma
from zoo.plugins.degrade.observing import Degradation, Shape, expected_signal, gaussian_noise, numpy_generator, observed
from zoo.plugins.degrade.psf import gaussian, smear_light
from zoo.plugins.degrade.rays import split_rays

PIXEL = 0.074  # arcseconds
EXPTIME = 150.0  # seconds
DARK = 0.02  # electrons per second
READ_NOISE = 5.0  # electrons
GRIDS = ("hst", "csst")


class Csst(Degradation):
    """See a frame as CSST would: its cosmic rays are taken out, its PSF is widened, its pixels are rebinned by area, its electrons scaled.

    Then the noise that is missing and new cosmic rays are added. Where a frame's own noise is higher than CSST's it stays, and a note says
    so. In a reduced layout of the simulated sky CSST's pixel is enlarged as Hubble's is.

    Args:
        ee80: radius of 80 % of the light in the end, arcseconds, on Hubble's pixels, before the rebinning; as ``total`` of ``psf``.
        sensitivity: electrons that CSST collects in the time in which Hubble collects one: collecting area times throughput.
        rays: cosmic rays per second and square centimetre. pitch: side of a pixel in micrometres, for that area. Both are assumptions.
        grid: ``hst``: back on the pixels of the frame, whose noise is then correlated; ``csst``: on pixels of 0.074 arcseconds, in a field
            of the size that an ACS/WFC frame has, smaller ones in its middle with their sky around them.
        micron: wavelength; 0 takes the one in the filter's name.
    Raises: UsageError: if a number is out of range.
    """

    name = "csst"

    def __init__(
        self,
        *,
        ee80: float = 0.114,
        sensitivity: float = 1.0,
        rays: float = 1.0,
        pitch: float = 10.0,
        grid: str = "hst",
        micron: float = 0.0,
        pixel: float = 0.0,
        read_noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(ee80=ee80, sensitivity=sensitivity, rays=rays, pitch=pitch, micron=micron)
        if not ee80 or not sensitivity:
            raise UsageError(f"csst: ee80 and sensitivity must be > 0, got {ee80} and {sensitivity}")
        if grid not in GRIDS:
            raise UsageError(f"csst: grid must be one of {', '.join(GRIDS)}, got {grid!r}")
        self.ee80, self.sensitivity, self.rays, self.pitch, self.grid, self.micron = ee80, sensitivity, rays, pitch, grid, micron

    def output_shape(self, shape: Shape) -> Shape:
        """The same shape with ``grid="hst"``, else that of an ACS/WFC frame (or of pixels as the option says) in pixels of CSST."""
        if self.grid == "hst":
            return shape
        factor = PIXEL / (self.pixel or PIXEL_SCALES["ACS/WFC"])
        return 1, max(int(shape[1] / factor), 1), max(int(shape[2] / factor), 1)

    def __call__(self, x: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        """Expose the frame's sky with CSST.

        Raises: FrameError: ``no-exptime`` or ``no-wavelength``, and as `Degradation` says, which see for the rest.
        """
        if generator is None:
            raise UsageError("csst draws noise and got no generator; run it in a zoo.Pipeline, which gives one, or pass generator=")
        seen = observed(x, self.name, pixel=self.pixel, read_noise=self.read_noise)
        if not math.isfinite(seen.exptime):
            got = "no exposure time to scale to CSST's"
            raise FrameError("no-exptime", path=x.info.path, hdu=x.info.hdu, got=got, expected="EXPTIME", remedy="use a file that has it")
        sigma = missing_sigma(self.ee80, micron=self.micron or known_wavelength(x.info, self.name), pixel=seen.pixel)
        kernel = gaussian(sigma / seen.pixel) if sigma else None
        factor = PIXEL * x.info.scale / seen.pixel
        size = tuple(max(int(side / factor), 1) for side in x.shape[1:])
        gain = EXPTIME / seen.exptime * self.sensitivity
        note = "" if kernel is not None else f"csst: the camera's PSF is as wide as {self.ee80:g} arcseconds already, nothing is added"
        if seen.light is not None:
            light = seen.light if kernel is None else ops.convolve(seen.light, kernel).clamp_min_(0)
            image = torch.poisson(rebin(light, size, factor) * gain + DARK * EXPTIME, generator=generator)
            image += READ_NOISE * torch.randn(image.shape, generator=generator)
        else:
            image, exceeding = self._expose_real(x, seen, kernel, size, factor, gain, generator)
            if exceeding > 0.01:
                note += f"{'; ' if note else ''}csst: the frame's own noise exceeds CSST's in {exceeding:.0%} of the pixels"
        _, height, width = image.shape
        mean = self.rays * EXPTIME * height * width * (self.pitch * 1e-4) ** 2
        image += torch.from_numpy(cosmic_rays(numpy_generator(generator), (height, width), mean))
        result = rebin(image, x.shape[1:], 1 / factor) if self.grid == "hst" else _placed(image, self.output_shape(x.shape))
        done = x.with_pixels(result if out is None or out.shape != result.shape else out.copy_(result))
        now = None if self.grid == "hst" else Observation(PIXEL * x.info.scale, EXPTIME, READ_NOISE)
        return replace(done, observation=now, notes=(*x.notes, note) if note else x.notes)

    def _expose_real(
        self, x: Frame, seen: Observation, kernel: Tensor | None, size: tuple[int, ...], factor: float, gain: float, generator: Generator
    ) -> tuple[Tensor, float]:
        """A real frame in CSST's pixels with the noise that was missing, and the share of pixels in which none was."""
        pixels = x.decode()
        clean, _ = split_rays(pixels, seen.read_noise)
        if kernel is not None:
            clean = smear_light(clean, kernel, seen.read_noise, generator)
        signal = expected_signal(clean, seen.read_noise)
        image = rebin(clean, size, factor) * gain + DARK * EXPTIME
        has = rebin(signal + seen.read_noise**2, size, factor, squared=True) * gain**2
        needs = rebin(signal, size, factor) * gain + DARK * EXPTIME + READ_NOISE**2
        image += gaussian_noise(needs - has, generator)
        missing = ~torch.isfinite(pixels)
        if bool(missing.any()):
            image = torch.where(rebin(missing.float(), size, factor) > factor**2 / 2, torch.nan, image)
        return image, float((has > needs).float().mean())


def rebin(image: Tensor, size: tuple[int, ...], factor: float, *, squared: bool = False) -> Tensor:
    """Share the content of square pixels among others of another size, by the area in common; the grids have one centre.

    Args:
        image: ``(1, H, W)``; a new pixel beyond its border has what the border has.
        size: height and width of the result. factor: side of a new pixel in old ones.
        squared: with the squares of the shares, as variances of independent pixels go.
    Returns: ``(1, *size)``, new.
    """
    for dim, count in zip((1, 2), size, strict=True):
        old = image.shape[dim]
        start = (old - count * factor) / 2 + torch.arange(count, dtype=torch.float64) * factor
        first = start.floor()
        total = None
        for step in range(math.ceil(factor) + 1):
            share = (torch.minimum(start + factor, first + step + 1) - torch.maximum(start, first + step)).clamp_min(0)
            share = (share.square() if squared else share).to(image.dtype)
            part = image.index_select(dim, (first + step).long().clamp(0, old - 1)) * (share[:, None] if dim == 1 else share)
            total = part if total is None else total.add_(part)
        image = image if total is None else total
    return image


def _placed(image: Tensor, shape: Shape) -> Tensor:
    """An image in the middle of a field of its median, cut where it is larger."""
    result = torch.full(shape, float(image.nanmedian()))
    sides = [
        (min(have, want), (have - min(have, want)) // 2, (want - min(have, want)) // 2)
        for have, want in zip(image.shape[1:], shape[1:], strict=True)
    ]
    (height, from_y, to_y), (width, from_x, to_x) = sides
    result[:, to_y : to_y + height, to_x : to_x + width] = image[:, from_y : from_y + height, from_x : from_x + width]
    return result
