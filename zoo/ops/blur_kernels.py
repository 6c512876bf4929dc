"""Runs the kernels of the blur: compiled ones where the device has them, pure torch elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.ops.blur_reference import blur_reference
from zoo.ops.borders import BORDERS
from zoo.ops.checks import NAN_TREATMENTS
from zoo.ops.native import DTYPE_CODES, cuda_usable, native

_MAX_RADIUS = 65536  # beyond it a typing error is likelier than a blur; the ring of rows would need hundreds of megabytes


def check_sigma(sigma: Tensor, truncate: float) -> None:
    """Refuse values of sigma that a blur cannot have."""
    if not bool(((sigma >= 0) & (sigma * truncate < _MAX_RADIUS)).all()):
        raise UsageError(f"sigma must be >= 0 and sigma * truncate below {_MAX_RADIUS} pixels, got sigma {sigma.tolist()}")


def run_taps(
    image: Tensor,
    taps: Tensor,
    radii: Tensor,
    mode: str,
    cval: float,
    nan_treatment: str,
    fill_value: float,
    preserve_nan: bool,
    out: Tensor,
) -> None:
    """Blur into ``out`` with kernels from :func:`zoo.ops.blur_reference.gaussian_taps`; other arguments as in :func:`zoo.ops.blur`.

    Args:
        image: ``(..., H, W)``, not empty.
        taps: ``(1, 2, R + 1)`` or ``(frames, 2, R + 1)``.
        radii: ``(1, 2)`` or ``(frames, 2)``.
        out: shape, dtype and device of the image, sharing no memory with it.
    """
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
