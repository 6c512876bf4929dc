"""normalize and blur: the steps that change what a pixel is worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from zoo import ops
from zoo.errors import UsageError
from zoo.frames import Frame

Limits = ops.Manual | ops.MinMax | ops.Percentile | ops.ZScale | ops.SigmaClip | ops.MedianMAD

_STRETCHES = {"linear": ops.Linear, "sqrt": ops.Sqrt, "log": ops.Log, "asinh": ops.Asinh, "sinh": ops.Sinh, "power": ops.Power}


class Normalize:
    """Bring a frame to [0, 1]: limits, clip, stretch; straight from raw bytes, with pending bias and gain, in one pass.

    Args:
        limits: ``manual``, ``minmax``, ``percentile``, ``zscale``, ``sigma_clip`` or ``median_mad``; see ``zoo.ops``.
        lower, upper: manual: the limits in the frame's unit. percentile: per cent. Not used by the others.
        below, above: sigma_clip, median_mad: how many deviations below and above the median.
        contrast: of zscale. sigma, maxiters: of sigma_clip.
        stretch: ``linear``, ``sqrt``, ``log``, ``asinh``, ``sinh`` or ``power``.
        a: parameter of the stretch, 0 for its default; linear and sqrt have none, power needs one.
        clip: whether pixels beyond the limits become 0 and 1.
    Pixels without a value become 0, saturated ones 1.
    Raises: UsageError: if a name is unknown or a number out of range.
    """

    scope = "frame"
    unit_in = "physical"
    unit_out = "dimensionless"
    random = False

    def __init__(
        self,
        *,
        limits: str = "percentile",
        lower: float = 1.0,
        upper: float = 99.0,
        below: float = 3.0,
        above: float = 10.0,
        contrast: float = 0.25,
        sigma: float = 3.0,
        maxiters: int = 5,
        stretch: str = "asinh",
        a: float = 0.0,
        clip: bool = True,
    ) -> None:
        rules: dict[str, Callable[[], Limits]] = {
            "manual": lambda: ops.Manual(lower, upper),
            "minmax": lambda: ops.MinMax(),
            "percentile": lambda: ops.Percentile(lower, upper),
            "zscale": lambda: ops.ZScale(contrast=contrast),
            "sigma_clip": lambda: ops.SigmaClip(sigma=sigma, maxiters=maxiters, lower=below, upper=above),
            "median_mad": lambda: ops.MedianMAD(lower=below, upper=above),
        }
        if limits not in rules:
            raise UsageError(f"normalize: limits must be one of {', '.join(rules)}, got {limits!r}")
        if stretch not in _STRETCHES:
            raise UsageError(f"normalize: stretch must be one of {', '.join(_STRETCHES)}, got {stretch!r}")
        if stretch == "power" and a == 0:
            raise UsageError("normalize: the power stretch needs its exponent; set a, for instance a=0.5")
        if stretch in ("linear", "sqrt") and a != 0:
            raise UsageError(f"normalize: the {stretch} stretch has no parameter, got a={a}")
        self.limits = rules[limits]()
        self.stretch = _STRETCHES[stretch](a) if a != 0 else _STRETCHES[stretch]()
        self.clip = clip

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same shape."""
        return shape

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        """Normalise; writes into ``out`` if given."""
        raw = x.encoding is not None
        pixels = ops.normalize(
            x.pixels if raw else x.pixels[0],
            x.encoding,
            regions=x.regions or None,
            limits=self.limits,
            stretch=self.stretch,
            clip=self.clip,
            saturation=x.saturation,
            out=None if out is None else out[0],
        )
        # Pixels without a value are numbers from here on; a step that must leave them out, such as pad, looks at the origin.
        return replace(x.with_pixels(pixels[None] if out is None else out, unit="dimensionless"), origin=x)


class Blur:
    """Blur with a Gaussian, in linear units. A blurred noisy frame is no test of a PSF: its noise drops as well.

    Args:
        sigma: standard deviation in pixels, > 0.
        mode: border, as scipy.ndimage names them: ``reflect``, ``mirror``, ``nearest``, ``constant`` (zeros) or ``wrap``.
        truncate: kernel radius in standard deviations, > 0.
    Pixels without a value stay without one, and their neighbours are blurred from those that have one.
    Raises: UsageError: if a number is out of range.
    """

    scope = "frame"
    unit_in = "physical"
    unit_out = "same"
    random = False

    def __init__(self, *, sigma: float = 1.0, mode: str = "reflect", truncate: float = 4.0) -> None:
        for name, value in (("sigma", sigma), ("truncate", truncate)):
            if not math.isfinite(value) or value <= 0:
                raise UsageError(f"blur: {name} must be finite and > 0, got {value}")
        self.sigma, self.mode, self.truncate = sigma, mode, truncate

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same shape."""
        return shape

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        """Blur; writes into ``out`` if given."""
        image = x.decode()
        blurred = ops.blur(
            image, self.sigma, mode=self.mode, truncate=self.truncate, nan_treatment="interpolate", preserve_nan=True, out=out
        )
        return x.with_pixels(blurred)
