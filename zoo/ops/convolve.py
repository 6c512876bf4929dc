"""Convolution with the image of a point source or any other small image: the torch op ``zoo::convolve``."""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import UsageError
from zoo.ops.blur_reference import compute_dtype
from zoo.ops.borders import BORDERS, fold
from zoo.ops.checks import NAN_TREATMENTS, check_border_and_nan, check_choice, check_image, check_number, check_out
from zoo.ops.convolve_reference import convolve_reference, tile_pixels
from zoo.ops.library import overlapping, register_op
from zoo.ops.native import DTYPE_CODES, native

if TYPE_CHECKING:
    from astropy.convolution import Kernel2D
    from numpy.typing import ArrayLike

_METHODS = ("auto", "direct", "fft")
_LEAST_SUM = 1e-8  # of a kernel, in units of the sum of its absolute values; below it there is nothing to normalise by

# Nanoseconds per pixel of a 2048x4096 float32 frame, one thread of an AMD EPYC: of each term in direct sums, by instruction set, and of an
# FFT forward and back with everything around it, per pixel of its tiles. Only their ratio matters.
_TERM_NS = {"avx512": 0.0095, "avx2": 0.0195, "plain": 0.056, "torch": 0.35}
_FFT_NS = 5.5
_CUDA_TERMS = 16  # predicted from memory traffic: a term is one pass over the frame, an FFT forward and back about as many

# Not "mode": torch._ops passes an argument of that name by keyword to the kernels of ops with `out`.
_ARGUMENTS = (
    "Tensor image, Tensor kernel, str border, float cval, bool normalize, str nan_treatment, float fill_value, bool preserve_nan, "
    "str method"
)


def convolve(
    image: Tensor,
    kernel: ArrayLike | Tensor | Kernel2D,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    normalize: bool = True,
    nan_treatment: str = "propagate",
    fill_value: float = 0.0,
    preserve_nan: bool = False,
    method: str = "auto",
    out: Tensor | None = None,
) -> Tensor:
    """Convolve frames with a small image, such as a point-spread function. Differentiable with respect to the image, to any order.

    The kernel is turned by 180 degrees, as in ``astropy.convolution`` and ``scipy.ndimage.convolve``: a point source becomes a copy of the
    kernel. NaN: ``propagate`` spreads it to every pixel within the kernel's rectangle; ``interpolate`` gives NaN pixels no weight and
    divides by the weight of the others, so that NaN remains only where no valid pixel lies under the kernel; ``fill`` counts NaN as
    ``fill_value``. Sums are float64 for float64 images and float32 for all others, and do not depend on the number of threads.

    Direct sums run compiled on the CPU; the FFT, and all work on a GPU, is done by torch operations on the image's device. Errors of direct
    sums are relative to the brightest pixel under the kernel, those of the FFT to the brightest pixel of a tile of at most 1024 pixels a
    side, or twice the kernel (of the whole frame on a GPU).

    Args:
        image: ``(..., H, W)`` float32, float64, bfloat16 or float16, any unit; any strides.
        kernel: ``(h, w)`` with odd sizes, finite: an array, a tensor in CPU memory or an ``astropy.convolution.Kernel2D``. It may exceed
            the frame.
        mode: border, named as in ``scipy.ndimage``: ``reflect``, ``mirror``, ``nearest``, ``constant``, ``wrap``; see :func:`zoo.ops.blur`.
        cval: value outside the frame in mode ``constant``; NaN there is treated as NaN in the image.
        normalize: divide the kernel by its sum.
        nan_treatment: ``propagate``, ``interpolate`` or ``fill``.
        fill_value: what NaN counts as with ``fill``, in units of the image.
        preserve_nan: give NaN wherever the image has NaN.
        method: ``direct`` sums, or ``fft``, in which an infinite pixel gives NaN within the kernel; ``auto`` takes the faster one by the
            sizes of kernel and frame, and direct sums where pixels are not finite after the treatment of NaN.
        out: where to write the result: shape, dtype and device of the image, not overlapping it. Not for images that require a gradient.

    Returns:
        ``(..., H, W)``, dtype, device and unit of the image: ``out``, or a new contiguous tensor.

    Raises:
        UsageError: (a ``ValueError``) an argument has a type, shape or value that it cannot have.

    References:
        ``astropy.convolution.convolve`` and ``convolve_fft``.

    Example:
        >>> convolve(torch.zeros(1, 8, 8), [[0.0, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, 0.0]]).shape
        torch.Size([1, 8, 8])
    """
    check_image(image)
    check_border_and_nan(mode, nan_treatment)
    check_choice("method", method, _METHODS)
    cval, fill_value = check_number("cval", cval), check_number("fill_value", fill_value)
    arguments = (image, _kernel(kernel), mode, cval, bool(normalize), nan_treatment, fill_value, bool(preserve_nan), method)
    if out is None:
        result: Tensor = torch.ops.zoo.convolve(*arguments)
        return result
    check_out(image, out)
    torch.ops.zoo.convolve.out(*arguments, out=out)
    return out


def _kernel(kernel: ArrayLike | Tensor | Kernel2D) -> Tensor:
    """The kernel as ``(h, w)`` float64 in CPU memory; its values are checked where they are known."""
    if isinstance(kernel, Tensor):
        if kernel.device.type != "cpu":
            raise UsageError(f"kernel must be in CPU memory, got {kernel.device}; call kernel.cpu()")
        if kernel.requires_grad:
            raise UsageError("kernel cannot require a gradient: convolve is differentiable with respect to the image only; detach it")
        if kernel.is_complex():
            raise UsageError(f"kernel must hold real numbers, got {kernel.dtype}")
        values = kernel.double()
    else:
        array = np.asarray(kernel if isinstance(kernel, np.ndarray) else getattr(kernel, "array", kernel))
        if array.dtype.kind not in "fiub":
            raise UsageError(
                f"kernel must be an array of real numbers, a tensor or a Kernel2D, got {type(kernel).__name__} of {array.dtype}"
            )
        values = torch.from_numpy(array.astype(np.float64))  # always a copy: torch warns about memory that is read-only
    if values.dim() != 2 or any(size % 2 == 0 for size in values.shape):
        raise UsageError(
            f"kernel must have shape (h, w) with odd sizes, so that it has a centre, got {tuple(values.shape)}; "
            "pad an even side with a row or column of zeros"
        )
    return values


def _correlation(kernel: Tensor, normalize: bool, nan_treatment: str) -> tuple[Tensor, float]:
    """The kernel turned round and, where anything is divided by its sum, normalised; and the factor that its result wants."""
    if not bool(kernel.isfinite().all()):
        raise UsageError("kernel must be finite, got NaN or infinity among its values; replace them, by 0 for instance")
    turned = kernel.flip(0, 1)
    if not normalize and nan_treatment != "interpolate":
        return turned.contiguous(), 1.0
    total = float(kernel.sum())
    if abs(total) <= _LEAST_SUM * float(kernel.abs().sum()):
        remedy = "normalize=False" if normalize else "nan_treatment='fill'"
        raise UsageError(f"kernel must have a sum that it can be divided by, got {total:g}; pass {remedy}")
    return (turned / total).contiguous(), 1.0 if normalize else total


def _use_fft(image: Tensor, kernel: Tensor, method: str, nan_treatment: str, outside: float) -> bool:
    """Whether the FFT is asked for, or the faster way."""
    if method != "auto":
        return method == "fft"
    terms = kernel.numel()
    height, width = image.shape[-2:]
    if image.device.type != "cpu":
        faster = terms > _CUDA_TERMS
    else:
        module = native()
        term_ns = _TERM_NS[module.simd() if module is not None else "torch"]
        faster = terms * term_ns * height * width > _FFT_NS * tile_pixels(height, width, kernel)
    if not faster:
        return False
    if bool(image.sum(dtype=compute_dtype(image.dtype)).isfinite()):  # much faster than a look at each pixel; seldom mistaken
        return math.isfinite(outside) or nan_treatment != "propagate"
    return nan_treatment != "propagate" and not bool(image.isinf().any())


def _run(
    image: Tensor,
    kernel: Tensor,
    mode: str,
    cval: float,
    normalize: bool,
    nan_treatment: str,
    fill_value: float,
    preserve_nan: bool,
    method: str,
    out: Tensor,
) -> None:
    """Convolve into ``out``, which has shape, dtype and device of the image."""
    taps, scale = _correlation(kernel, normalize, nan_treatment)
    if image.numel() == 0:
        return
    if overlapping(image, out):
        raise UsageError("out must not share memory with the image: pixels are read after their neighbours are written")
    fft = _use_fft(image, taps, method, nan_treatment, cval if mode == "constant" else 0.0)
    module = native()
    target = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    if fft or module is None or image.device.type != "cpu":
        convolve_reference(image, taps, mode, cval, nan_treatment, fill_value, preserve_nan, scale, fft, target)
    else:
        _run_compiled(module, image, taps, mode, cval, nan_treatment, fill_value, preserve_nan, scale, target)
    if target is not out:
        out.copy_(target)


def _run_compiled(
    module: ModuleType,
    image: Tensor,
    taps: Tensor,
    mode: str,
    cval: float,
    nan_treatment: str,
    fill_value: float,
    preserve_nan: bool,
    scale: float,
    target: Tensor,
) -> None:
    """Direct sums on the CPU into a contiguous tensor."""
    source = image.contiguous()
    taps = taps.to(compute_dtype(image.dtype))
    height, width = image.shape[-2:]
    arguments = module.ConvolveArguments(
        image=source.data_ptr(),
        out=target.data_ptr(),
        kernel=taps.data_ptr(),
        kernel_height=taps.shape[0],
        kernel_width=taps.shape[1],
        frames=image.numel() // (height * width),
        height=height,
        width=width,
        dtype=DTYPE_CODES[image.dtype],
        border=BORDERS[mode],
        nan_treatment=NAN_TREATMENTS[nan_treatment],
        preserve_nan=preserve_nan,
        cval=cval,
        fill_value=fill_value,
        scale=scale,
    )
    threads = torch.get_num_threads()
    scratch = torch.empty(module.convolve_cpu_scratch_bytes(arguments, threads), dtype=torch.uint8)
    module.convolve_cpu(arguments, scratch.data_ptr(), threads)


def _allocate(image: Tensor, *_: object) -> Tensor:
    """The uninitialised result, real or fake."""
    return torch.empty_like(image, memory_format=torch.contiguous_format)


register_op("convolve", _ARGUMENTS, "", allocate=_allocate, write=_run)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep what the gradient needs; the image only where its NaN matter."""
    image, kernel, *options = inputs
    ctx.options = options
    ctx.save_for_backward(kernel, *([image] if options[3] != "propagate" else []))


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The transposed convolution, written with ``zoo::convolve`` itself, so that it has gradients of its own."""
    kernel, *saved = ctx.saved_tensors
    mode, cval, normalize, nan_treatment, _, preserve_nan, method = ctx.options
    dtype = grad.dtype
    grad = grad.to(compute_dtype(dtype))
    if normalize:
        kernel = kernel / kernel.sum()
    if not saved:
        result = _transposed(grad, kernel, mode, method)
    else:
        invalid = saved[0].isnan()
        if nan_treatment == "interpolate":
            outside = 0.0 if math.isnan(cval) else 1.0
            weights = _plain((~invalid).to(grad.dtype), kernel, mode, outside, "direct")
            grad = torch.where(weights != 0, grad * kernel.sum().to(grad.dtype) / weights, 0.0)
        if preserve_nan:
            grad = grad.masked_fill(invalid, 0.0)
        result = _transposed(grad, kernel, mode, method).masked_fill(invalid, 0.0)
    return result.to(dtype), *[None] * 8


def _plain(image: Tensor, kernel: Tensor, mode: str, cval: float, method: str) -> Tensor:
    """The convolution as the kernel is, without treatment of NaN."""
    result: Tensor = torch.ops.zoo.convolve(image, kernel, mode, cval, False, "propagate", 0.0, False, method)
    return result


def _transposed(grad: Tensor, kernel: Tensor, mode: str, method: str) -> Tensor:
    """Multiply by the transpose of the matrix of the convolution: to all that a pixel reached, then from beyond the borders back inside."""
    if grad.numel() == 0:
        return grad
    down, across = kernel.shape[0] // 2, kernel.shape[1] // 2
    extended = _plain(F.pad(grad, (across, across, down, down)), kernel.flip(0, 1), "constant", 0.0, method)
    return fold(fold(extended, down, -2, mode), across, -1, mode)


torch.library.register_autograd("zoo::convolve", _backward, setup_context=_save)
