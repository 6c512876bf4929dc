"""psf and jitter: the sky through a wider point spread function, with the noise of an exposure through it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
from scipy import optimize
from torch import Generator, Tensor

from zoo import ops
from zoo.errors import UsageError
from zoo.frames import Frame, Observation
from zoo.plugins.degrade.hubble import known_wavelength, missing_sigma
from zoo.plugins.degrade.observing import Degradation, expected_signal
from zoo.plugins.degrade.rays import split_rays

GAUSSIAN_EE80 = math.sqrt(-2 * math.log(0.2))  # 1.7941 standard deviations hold 80 % of the light
GAUSSIAN_FWHM = math.sqrt(8 * math.log(2))
PROFILES = ("gaussian", "moffat")
FWHM = 0.1  # arcseconds

_LARGEST = 256  # pixels; half side of the largest kernel


class Smeared(Degradation):
    """A degradation that convolves the light."""

    arcseconds = True
    nothing = "nothing is added, the light is spread as wide already"

    def kernel(self, x: Frame, seen: Observation) -> Tensor | None:
        """What the light of a frame is convolved with, ``(K, K)`` float32 of odd side and sum 1; ``None`` for nothing."""
        raise NotImplementedError

    def change_scene(self, x: Frame, seen: Observation, generator: Generator) -> Observation | None:
        """Convolve the light."""
        kernel = self.kernel(x, seen)
        return None if kernel is None or seen.light is None else replace(seen, light=ops.convolve(seen.light, kernel).clamp_min_(0))

    def change_frame(self, x: Frame, seen: Observation, generator: Generator) -> tuple[Tensor, Observation] | None:
        """Convolve the frame without its hits, and make its noise white again."""
        kernel = self.kernel(x, seen)
        return None if kernel is None else (smear(x.decode(), kernel, seen, generator), seen)


class Psf(Smeared):
    """Convolve the light with a point spread function, and leave the noise that an exposure through it would have.

    Real frames: cosmic rays and hot pixels are taken out before and put back unchanged after;
    the convolution makes the noise smaller and correlated, and what is added brings it back to independent noise of the variance that the
    smoothed light has.

    Args:
        fwhm: full width at half maximum of what is convolved with, arcseconds.
        ee80: its radius of 80 % of the light, instead; 0 for none.
        total: instead the radius of 80 % that the camera's image of a point has in the end, arcseconds: a Gaussian adds what the camera's
            own PSF lacks by the diffraction model of `zoo.plugins.degrade.hubble`, and nothing where it lacks nothing; 0 for none.
        profile: ``gaussian`` or ``moffat``. beta: exponent of the Moffat profile, > 1.
        micron: wavelength for ``total``; 0 takes the one in the filter's name.
    Raises: UsageError: if a number is out of range, or more than one of the three widths is given.
    """

    name = "psf"

    def __init__(
        self,
        *,
        fwhm: float = FWHM,
        ee80: float = 0.0,
        total: float = 0.0,
        profile: str = "gaussian",
        beta: float = 2.5,
        micron: float = 0.0,
        pixel: float = 0.0,
        read_noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(fwhm=fwhm, ee80=ee80, total=total, micron=micron)
        if (fwhm != FWHM) + (ee80 > 0) + (total > 0) > 1:
            raise UsageError(f"psf: give one of fwhm, ee80 and total, got fwhm={fwhm}, ee80={ee80}, total={total}")
        if profile not in PROFILES:
            raise UsageError(f"psf: profile must be one of {', '.join(PROFILES)}, got {profile!r}")
        if profile == "moffat" and not (math.isfinite(beta) and beta > 1):
            raise UsageError(f"psf: beta must be finite and > 1, or the profile holds no finite light; got {beta}")
        if total and profile != "gaussian":
            raise UsageError(f"psf: total adds a gaussian, got profile={profile}")
        if not fwhm:
            raise UsageError("psf: fwhm must be > 0, got 0")
        self.fwhm, self.ee80, self.total = fwhm, ee80, total
        self.profile, self.beta, self.micron = profile, beta, micron

    def kernel(self, x: Frame, seen: Observation) -> Tensor | None:
        """What the light of a frame is convolved with, ``(K, K)``; ``None`` for nothing. Raises: FrameError: ``no-wavelength``."""
        if self.total:
            sigma = missing_sigma(self.total, micron=self.micron or known_wavelength(x.info, self.name), pixel=seen.pixel)
            return gaussian(sigma / seen.pixel) if sigma else None
        if self.profile == "gaussian":
            sigma = (self.ee80 / GAUSSIAN_EE80 if self.ee80 else self.fwhm / GAUSSIAN_FWHM) / seen.pixel
            return gaussian(sigma)
        # FWHM = 2 alpha sqrt(2^(1/beta) - 1); the share 1 - (1 + (r/alpha)^2)^(1 - beta) of the light lies within r.
        if self.ee80:
            alpha = self.ee80 / math.sqrt(0.2 ** (1 / (1 - self.beta)) - 1)
        else:
            alpha = self.fwhm / 2 / math.sqrt(2 ** (1 / self.beta) - 1)
        return moffat(alpha / seen.pixel, self.beta)


class Jitter(Smeared):
    """Let the telescope move during the exposure: a Gaussian blur of the light, round or along a line; noise as with ``psf``.

    Args:
        rms: of the pointing in each direction that it moves in, arcseconds.
        direction: along which it moves, degrees from the rows of the detector towards its columns; -1 for every direction.
    Raises: UsageError: if a number is out of range.
    """

    name = "jitter"

    def __init__(self, *, rms: float = 0.02, direction: float = -1.0, pixel: float = 0.0, read_noise: float = 0.0, seed: int = 0) -> None:
        super().__init__(pixel=pixel, read_noise=read_noise, seed=seed)
        self.require(rms=rms)
        if direction != -1 and not 0 <= direction < 180:
            raise UsageError(f"jitter: direction must be 0 to 180 degrees, or -1 for every direction, got {direction}")
        self.rms, self.direction = rms, direction

    def kernel(self, x: Frame, seen: Observation) -> Tensor | None:
        """What the light is convolved with."""
        sigma = self.rms / seen.pixel
        if not sigma:
            return None
        return gaussian(sigma) if self.direction == -1 else line(sigma, math.radians(self.direction))


def smear(image: Tensor, kernel: Tensor, seen: Observation, generator: Generator) -> Tensor:
    """A real image through a kernel, with independent noise of the variance that its smoothed light has.

    The convolution leaves of the variance v of a pixel the part sum(k^2 v), correlated as the kernel is. The noise that is added has the
    rest of the variance, and the spectrum 1 - |K|^2, so that both together are white.

    Args:
        image: ``(1, H, W)`` electrons; pixels without a value are filled for the convolution and stay without one.
        kernel: ``(K, K)``. seen: gives the read noise, and the full well that the result does not exceed. generator: draws the noise.
    Returns: ``(1, H, W)``, new.
    """
    clean, excess = split_rays(image, seen.read_noise)
    smooth = smear_light(clean, kernel, seen.read_noise, generator).add_(excess)
    return torch.where(torch.isfinite(image), smooth.clamp_max_(seen.full_well), torch.nan)


def smear_light(clean: Tensor, kernel: Tensor, read_noise: float, generator: Generator) -> Tensor:
    """As `smear`, of an image that holds light only and has a value everywhere."""
    smooth = ops.convolve(clean, kernel)
    variance = expected_signal(clean, read_noise) + read_noise**2
    wanted = expected_signal(smooth, read_noise) + read_noise**2
    kept = float(kernel.square().sum())
    if kept < 1 - 1e-6:
        missing = (wanted - ops.convolve(variance, kernel.square(), normalize=False)).clamp_min_(0)
        smooth += shaped_noise(kernel, clean.shape[1:], generator) * (missing / (1 - kept)).sqrt_()
    return smooth


def shaped_noise(kernel: Tensor, shape: torch.Size, generator: Generator) -> Tensor:
    """Normal noise with the power spectrum 1 - |K|^2 of a kernel, and so the variance 1 - sum(k^2): ``(1, H, W)`` float32."""
    height, width = shape
    response = torch.zeros(1, height, width)
    reach = kernel.shape[0] // 2
    # The kernel around pixel [0, 0], repeated as the transform repeats the image.
    rows, columns = (torch.arange(-reach, reach + 1) % size for size in (height, width))
    response[0].index_put_((rows[:, None].expand_as(kernel), columns.expand_as(kernel)), kernel, accumulate=True)
    power = (1 - torch.fft.rfft2(response).abs().square_()).clamp_min_(0)
    white = torch.randn(1, height, width, generator=generator)
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white).mul_(power.sqrt_()), s=(height, width))
    return noise


@lru_cache(maxsize=64)
def gaussian(sigma: float) -> Tensor:
    """A round Gaussian kernel, ``(K, K)`` float32 of sum 1.

    Args:
        sigma: standard deviation in pixels, > 0; the kernel has it even where it is a small part of a pixel.
    """
    taps = _taps(sigma)
    return torch.outer(taps, taps).float()


@lru_cache(maxsize=64)
def line(sigma: float, angle: float) -> Tensor:
    """A Gaussian along a line, each point of which is shared among four pixels, so that it is up to 0.4 pixels wide across.

    Args:
        sigma: standard deviation along the line in pixels, > 0; the kernel has it.
        angle: from the rows towards the columns, radians.
    Returns: ``(K, K)`` float32 of sum 1.
    """
    reach = _reach(5 * sigma + 1)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    along = axis * math.cos(angle) + axis[:, None] * math.sin(angle)

    def drawn(width: float) -> Tensor:
        place = torch.linspace(-min(5 * width, reach - 1), min(5 * width, reach - 1), 40 * reach + 1, dtype=torch.float64)
        weight = torch.exp(-(place**2) / (2 * width**2))
        x, y = place * math.cos(angle), place * math.sin(angle)
        column = (1 - (axis[:, None] - x).abs()).clamp_min(0)
        row = (1 - (axis[:, None] - y).abs()).clamp_min(0)
        kernel = (row * weight) @ column.T
        return kernel / kernel.sum()

    def excess(width: float) -> float:
        return float((drawn(width) * along**2).sum()) - sigma**2

    narrow = 0.25
    if excess(narrow) >= 0:
        # Narrower than the sharing among pixels allows: a part of the light is left where it is, which scales the second moment.
        share = sigma**2 / (excess(narrow) + sigma**2)
        kernel = share * drawn(narrow)
        kernel[reach, reach] += 1 - share
        return kernel.float()
    width: float = optimize.brentq(excess, narrow, 1.1 * sigma)
    return drawn(width).float()


@lru_cache(maxsize=64)
def moffat(alpha: float, beta: float) -> Tensor:
    """A Moffat kernel (1 + (r/alpha)^2)^-beta, cut where 99.5 % of its light lies within; ``(K, K)`` float32 of sum 1.

    Args:
        alpha: pixels. beta: > 1.
    Raises: UsageError: it is too narrow to be sampled.
    """
    if alpha * math.sqrt(2 ** (1 / beta) - 1) < 0.5:
        raise UsageError("psf: a moffat profile narrower than a pixel cannot be sampled; use profile=gaussian, or a larger fwhm")
    reach = _reach(alpha * math.sqrt(0.005 ** (1 / (1 - beta)) - 1))
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = (1 + (axis[:, None] ** 2 + axis**2) / alpha**2) ** -beta
    return (kernel / kernel.sum()).float()


def _reach(pixels: float) -> int:
    """Half side of a kernel."""
    return min(max(math.ceil(pixels), 1), _LARGEST)


def _taps(sigma: float) -> Tensor:
    """A Gaussian in one dimension, sampled at the pixels, whose second moment is ``sigma`` squared."""
    axis = torch.arange(-_reach(5 * sigma), _reach(5 * sigma) + 1, dtype=torch.float64)

    def sampled(width: float) -> Tensor:
        taps = torch.exp(-(axis**2) / (2 * width**2))
        return taps / taps.sum()

    # Samples of a Gaussian narrower than 0.6 pixels have another second moment than the Gaussian.
    # One of 0.3 pixels has more than the narrowest that is asked for; one of 0.22 has less than that of 0.01.
    width: float = optimize.brentq(lambda width: float((sampled(width) * axis**2).sum()) - sigma**2, 0.5 * sigma, 2 * sigma + 0.3)
    return sampled(width)
