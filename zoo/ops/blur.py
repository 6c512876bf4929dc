"""Gaussian blur: the torch op ``zoo::blur`` over the compiled kernels, and its pure-torch reference in ``blur_reference``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.ops.blur_reference import blur_reference, compute_dtype, gaussian_taps
from zoo.ops.borders import BORDERS
from zoo.ops.checks import NAN_TREATMENTS, check_border_and_nan, check_image, check_number, check_out
from zoo.ops.library import overlapping, register_op
from zoo.ops.native import DTYPE_CODES, cuda_usable, native

_MAX_RADIUS = 65536  # beyond it a typing error is likelier than a blur; the ring of rows would need hundreds of megabytes

# Not "mode": torch._ops passes an argument of that name by keyword to the kernels of ops with `out`.
_ARGUMENTS = "Tensor image, Tensor sigma, str border, float cval, float truncate, str nan_treatment, float fill_value, bool preserve_nan"


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
    out: Tensor | None = None,
) -> Tensor:
    """Blur frames with a Gaussian. Differentiable with respect to the image, to any order.

    NaN: ``propagate`` spreads it to every pixel within the square kernel; ``interpolate`` gives NaN pixels no weight and divides by the
    weight of the others (normalised convolution), so that NaN remains only where no valid pixel lies under the kernel; ``fill`` counts
    NaN as ``fill_value``. Infinite pixels are ordinary values. Sums are float64 for float64 images and float32 for all others; results do
    not depend on the number of threads.

    Args:
        image: ``(..., H, W)`` float32, float64, bfloat16 or float16, any unit; any strides.
        sigma: standard deviation in pixels, >= 0; 0 leaves an axis as it is. A number, a pair (vertical, horizontal), or a tensor in CPU
            memory with one number per frame (shape ``(...)`` or ``(frames,)``) or one pair per frame (``(..., 2)`` or ``(frames, 2)``). It
            may exceed the frame.
        mode: border, named as in ``scipy.ndimage``: ``reflect`` (d c b a | a b c d), ``mirror`` (d c b | a b c d), ``nearest``,
            ``constant``, ``wrap``. The sum over the frame is conserved by ``reflect`` and ``wrap`` only.
        cval: value outside the frame in mode ``constant``; NaN there is treated as NaN in the image.
        truncate: radius of the kernel in units of sigma; the radius in pixels is ``int(truncate * sigma + 0.5)``, as in scipy.
        nan_treatment: ``propagate``, ``interpolate`` or ``fill``.
        fill_value: what NaN counts as with ``fill``, in units of the image.
        preserve_nan: give NaN wherever the image has NaN.
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
    truncate = check_number("truncate", truncate)
    if not 0 < truncate < math.inf:
        raise UsageError(f"truncate must be a finite number > 0, in units of sigma, got {truncate!r}")
    sigmas = _sigmas(sigma, image.shape[:-2])
    cval, fill_value = check_number("cval", cval), check_number("fill_value", fill_value)
    arguments = (image, sigmas, mode, cval, truncate, nan_treatment, fill_value, bool(preserve_nan))
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
    if sigma.requires_grad:
        raise UsageError("sigma cannot require a gradient: the size of the kernel depends on it; call sigma.detach()")
    frames = math.prod(leading)
    if sigma.shape in (leading, (frames,)):
        return sigma.double().reshape(-1, 1).expand(-1, 2)
    if sigma.shape in ((*leading, 2), (frames, 2)):
        return sigma.double().reshape(-1, 2)
    raise UsageError(
        f"sigma must have shape {tuple(leading)} or {(*leading, 2)}, one number or pair per frame, got {tuple(sigma.shape)}; "
        "pass a number or a pair of numbers to treat all frames alike"
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
    out: Tensor,
) -> None:
    """Blur into ``out``, which has shape, dtype and device of the image, with the kernel that fits the device."""
    if image.numel() == 0:
        return
    if not bool(((sigma >= 0) & (sigma * truncate < _MAX_RADIUS)).all()):
        raise UsageError(f"sigma must be >= 0 and sigma * truncate below {_MAX_RADIUS} pixels, got sigma {sigma.tolist()}")
    if overlapping(image, out):
        raise UsageError("out must not share memory with the image: pixels are read after their neighbours are written")
    taps, radii = gaussian_taps(sigma, truncate, compute_dtype(image.dtype))
    module = native()
    if module is None or not (image.device.type == "cpu" or (image.is_cuda and cuda_usable())):
        out.copy_(blur_reference(image, taps, radii, mode, cval, nan_treatment, fill_value, preserve_nan))
        return
    source = image.contiguous()
    target = out if out.is_contiguous() else torch.empty_like(source)
    height, width = image.shape[-2:]
    arguments = module.BlurArguments(
        image=source.data_ptr(),
        out=target.data_ptr(),
        taps=taps.data_ptr(),
        radii=radii.data_ptr(),
        sets=taps.shape[0],
        max_radius=taps.shape[2] - 1,
        frames=image.numel() // (height * width),
        height=height,
        width=width,
        dtype=DTYPE_CODES[image.dtype],
        border=BORDERS[mode],
        nan_treatment=NAN_TREATMENTS[nan_treatment],
        preserve_nan=preserve_nan,
        cval=cval,
        fill_value=fill_value,
    )
    if image.is_cuda:
        scratch = torch.empty(module.blur_cuda_scratch_bytes(arguments), dtype=torch.uint8, device=image.device)
        with torch.cuda.device(image.device):
            stream = torch.cuda.current_stream().cuda_stream
            module.blur_cuda(arguments, scratch.data_ptr(), image.device.index, stream)
    else:
        threads = torch.get_num_threads()
        scratch = torch.empty(module.blur_cpu_scratch_bytes(arguments, threads), dtype=torch.uint8)
        module.blur_cpu(arguments, scratch.data_ptr(), threads)
    if target is not out:
        out.copy_(target)


def _allocate(image: Tensor, *_: object) -> Tensor:
    """The uninitialised result, real or fake."""
    return torch.empty_like(image, memory_format=torch.contiguous_format)


register_op("blur", _ARGUMENTS, "", allocate=_allocate, write=_run)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep what the gradient needs; the image only where its NaN matter."""
    image, sigma, *options = inputs
    nan_treatment = options[3]
    ctx.options = options
    ctx.save_for_backward(sigma, *([image] if nan_treatment != "propagate" else []))


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The transposed blur, written with ``zoo::blur`` itself, so that it has gradients of its own."""
    sigma, *saved = ctx.saved_tensors
    mode, cval, truncate, nan_treatment, _, preserve_nan = ctx.options
    dtype = grad.dtype
    grad = grad.to(compute_dtype(dtype))
    if saved:
        invalid = saved[0].isnan()
        if nan_treatment == "interpolate":
            weights = _plain((~invalid).to(grad.dtype), sigma, mode, truncate, 0.0 if math.isnan(cval) else 1.0)
            grad = torch.where(weights > 0, grad / weights, 0.0)
        if preserve_nan:
            grad = grad.masked_fill(invalid, 0.0)
        result = _transposed(grad, sigma, mode, truncate).masked_fill(invalid, 0.0)
    else:
        result = _transposed(grad, sigma, mode, truncate)
    return result.to(dtype), *[None] * 7


def _plain(image: Tensor, sigma: Tensor, mode: str, truncate: float, cval: float = 0.0) -> Tensor:
    """The blur without treatment of NaN."""
    result: Tensor = torch.ops.zoo.blur(image, sigma, mode, cval, truncate, "propagate", 0.0, False)
    return result


def _transposed(grad: Tensor, sigma: Tensor, mode: str, truncate: float) -> Tensor:
    """Multiply by the transpose of the matrix of the blur.

    The matrix is symmetric for reflect, wrap and constant. Mirror counts the pixels at the ends once where a symmetric matrix would
    count them twice. Nearest adds everything outside to the pixels at the ends.
    """
    if mode == "mirror":
        scale = _end_weights(grad.shape[-2], grad)[:, None] * _end_weights(grad.shape[-1], grad)
        return _plain(grad / scale, sigma, mode, truncate) * scale
    if mode == "nearest":
        zero = torch.zeros_like(sigma[:, :1])
        down = _transposed_nearest(grad, torch.cat([sigma[:, :1], zero], 1), truncate)
        across = _transposed_nearest(down.mT, torch.cat([sigma[:, 1:], zero], 1), truncate)
        return across.mT.contiguous()
    return _plain(grad, sigma, mode, truncate)


def _end_weights(size: int, like: Tensor) -> Tensor:
    """``(size,)``: 1/2 at both ends, 1 between; 1 where there is one pixel only."""
    weights = torch.ones(size, dtype=like.dtype, device=like.device)
    if size > 1:
        weights[0] = weights[-1] = 0.5
    return weights


def _transposed_nearest(grad: Tensor, sigma: Tensor, truncate: float) -> Tensor:
    """The transpose of the vertical blur with mode nearest."""
    size = grad.shape[-2]
    if size < 2 or grad.numel() == 0:
        return grad
    # What a pixel at an end gives to each row is the blurred image of that pixel alone.
    frames = len(sigma)
    ends = torch.zeros(frames, size, 2, dtype=grad.dtype, device=grad.device)
    ends[:, 0, 0] = ends[:, -1, 1] = 1.0
    shares = _plain(ends, sigma, "nearest", truncate)
    shares = shares.reshape(*grad.shape[:-2], size, 2) if frames > 1 else shares[0]
    first, last = ((shares[..., end, None] * grad).sum(-2, keepdim=True) for end in (0, 1))
    inner = _plain(grad, sigma, "constant", truncate)[..., 1:-1, :]
    return torch.cat([first, inner, last], -2)


torch.library.register_autograd("zoo::blur", _backward, setup_context=_save)
