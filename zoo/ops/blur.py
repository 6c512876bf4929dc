"""Gaussian blur: the torch op ``zoo::blur`` over the compiled kernels, and its pure-torch reference in ``blur_reference``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.ops.blur_gradient import backward, save
from zoo.ops.blur_kernels import check_sigma, run_taps
from zoo.ops.blur_multirate import run_multirate
from zoo.ops.blur_reference import compute_dtype, gaussian_taps
from zoo.ops.checks import check_border_and_nan, check_choice, check_image, check_number, check_out
from zoo.ops.library import overlapping, register_op

# Not "mode": torch._ops passes an argument of that name by keyword to the kernels of ops with `out`.
_ARGUMENTS = (
    "Tensor image, Tensor sigma, str border, float cval, float truncate, str nan_treatment, float fill_value, bool preserve_nan, str method"
)
_METHODS = ("direct", "multirate")


def blur(
    image: Tensor,
    sigma: float | tuple[float, float] | Tensor,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    nan_treatment: str = "propagate",
    fill_value: float = 0.0,
    preserve_nan: bool = False,
    method: str = "direct",
    out: Tensor | None = None,
) -> Tensor:
    """Blur frames with a Gaussian. Differentiable with respect to the image and to sigma, to any order.

    NaN: ``propagate`` spreads it to every pixel within the square kernel; ``interpolate`` gives NaN pixels no weight and divides by the
    weight of the others (normalised convolution), so that NaN remains only where no valid pixel lies under the kernel; ``fill`` counts
    NaN as ``fill_value``. Infinite pixels are ordinary values. Sums are float64 for float64 images and float32 for all others; results do
    not depend on the number of threads.

    Args:
        image: ``(..., H, W)`` float32, float64, bfloat16 or float16, any unit; any strides.
        sigma: standard deviation in pixels, >= 0; 0 leaves an axis as it is. A number, a pair (vertical, horizontal), or a tensor in CPU
            memory: one number for all frames (shape ``()``), one per frame (``(...)`` or ``(frames,)``) or one pair per frame
            (``(..., 2)`` or ``(frames, 2)``); frames with different sigmas are blurred in one call. It may exceed the frame. The gradient
            counts the radius of the kernel as constant, and is 0 for a sigma of 0.
        mode: border, named as in ``scipy.ndimage``: ``reflect`` (d c b a | a b c d), ``mirror`` (d c b | a b c d), ``nearest``,
            ``constant``, ``wrap``. The sum over the frame is conserved by ``reflect`` and ``wrap`` only.
        cval: value outside the frame in mode ``constant``; NaN there is treated as NaN in the image.
        truncate: radius of the kernel in units of sigma; the radius in pixels is ``int(truncate * sigma + 0.5)``, as in scipy.
        nan_treatment: ``propagate``, ``interpolate`` or ``fill``.
        fill_value: what NaN counts as with ``fill``, in units of the image.
        preserve_nan: give NaN wherever the image has NaN.
        method: ``direct`` sums the taps of the truncated kernel. ``multirate``, for sigma from 8 on, approximates the ideal Gaussian on a
            coarse grid, several times faster: no wave gains more than 6e-8 of its amplitude beside the ideal, and float32 rounds as in
            ``direct``; ``truncate`` does not matter. There an infinite pixel spreads NaN, NaN that propagates reaches about 7 sigma, and
            with ``interpolate`` the relative error is 1e-7 over the weight of the valid pixels, NaN where that is below 1e-4.
        out: where to write the result: shape, dtype and device of the image, not overlapping it. Not for images that require a gradient.

    Returns:
        ``(..., H, W)``, dtype, device and unit of the image: ``out``, or a new contiguous tensor.

    Raises:
        UsageError: (a ``ValueError``) an argument has a type, shape or value that it cannot have.

    References:
        ``scipy.ndimage.gaussian_filter`` for kernel and borders, ``astropy.convolution.convolve`` for NaN.

    Example:
        >>> blur(torch.zeros(1, 8, 8), sigma=1.0).shape
        torch.Size([1, 8, 8])
    """
    check_image(image)
    check_border_and_nan(mode, nan_treatment)
    check_choice("method", method, _METHODS)
    truncate = check_number("truncate", truncate)
    if not 0 < truncate < math.inf:
        raise UsageError(f"truncate must be a finite number > 0, in units of sigma, got {truncate!r}")
    sigmas = _sigmas(sigma, image.shape[:-2])
    cval, fill_value = check_number("cval", cval), check_number("fill_value", fill_value)
    arguments = (image, sigmas, mode, cval, truncate, nan_treatment, fill_value, bool(preserve_nan), method)
    if out is None:
        result: Tensor = torch.ops.zoo.blur(*arguments)
        return result
    check_out(image, out)
    torch.ops.zoo.blur.out(*arguments, out=out)
    return out


def _sigmas(sigma: float | tuple[float, float] | Tensor, leading: torch.Size) -> Tensor:
    """Sigma as ``(1, 2)`` or ``(frames, 2)`` float64 in CPU memory; the values of a tensor are checked where they are known."""
    if not isinstance(sigma, Tensor):
        pair = tuple(sigma) if isinstance(sigma, (tuple, list)) else (sigma, sigma)
        if len(pair) != 2:
            raise UsageError(f"sigma must be a number, a pair (vertical, horizontal) or a tensor, got {len(pair)} values")
        for value in pair:
            if not 0 <= check_number("sigma", value) < math.inf:
                raise UsageError(f"sigma must be finite and >= 0 pixels, got {value!r}")
        return torch.tensor([pair], dtype=torch.float64, device="cpu")
    if sigma.device.type != "cpu":
        raise UsageError(f"sigma must be in CPU memory, since it sets the size of the kernel; got {sigma.device}; call sigma.cpu()")
    if not sigma.dtype.is_floating_point:
        raise UsageError(f"sigma must be a tensor of floating-point numbers, got {sigma.dtype}; call sigma.float()")
    if sigma.dim() == 0:
        return sigma.double().reshape(1, 1).expand(1, 2)
    frames = math.prod(leading)
    if sigma.shape in (leading, (frames,)):
        return sigma.double().reshape(-1, 1).expand(-1, 2)
    if sigma.shape in ((*leading, 2), (frames, 2)):
        return sigma.double().reshape(-1, 2)
    raise UsageError(
        f"sigma must have shape {tuple(leading)} or {(*leading, 2)}, one number or pair per frame, got {tuple(sigma.shape)}; "
        "pass a number, a pair of numbers or a tensor without axes to treat all frames alike"
    )


def _run(
    image: Tensor,
    sigma: Tensor,
    mode: str,
    cval: float,
    truncate: float,
    nan_treatment: str,
    fill_value: float,
    preserve_nan: bool,
    method: str,
    out: Tensor,
) -> None:
    """Blur into ``out``, which has shape, dtype and device of the image."""
    if image.numel() == 0:
        return
    if overlapping(image, out):
        raise UsageError("out must not share memory with the image: pixels are read after their neighbours are written")
    check_sigma(sigma, truncate)
    if method == "multirate":
        run_multirate(image, sigma, mode, cval, nan_treatment, fill_value, preserve_nan, out)
        return
    taps, radii = gaussian_taps(sigma, truncate, compute_dtype(image.dtype))
    run_taps(image, taps, radii, mode, cval, nan_treatment, fill_value, preserve_nan, out)


def _allocate(image: Tensor, *_: object) -> Tensor:
    """The uninitialised result, real or fake."""
    return torch.empty_like(image, memory_format=torch.contiguous_format)


register_op("blur", _ARGUMENTS, "", allocate=_allocate, write=_run)


torch.library.register_autograd("zoo::blur", backward, setup_context=save)
