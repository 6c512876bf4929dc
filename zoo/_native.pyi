"""The compiled module, as zoo.ops and zoo.frames use it. Addresses are ``Tensor.data_ptr()``; nothing is checked here."""

from collections.abc import Sequence
from typing import Any

from zoo.frames.headers import Bytes

def simd() -> str: ...
def openmp() -> bool: ...
def usable_threads(requested: int) -> int: ...
def cuda_archs() -> str: ...
def cuda_devices() -> tuple[int, str]: ...

class BlurArguments:
    def __init__(
        self,
        *,
        image: int,
        out: int,
        taps: int,
        radii: int,
        sets: int,
        max_radius: int,
        frames: int,
        height: int,
        width: int,
        dtype: int,
        border: int,
        nan_treatment: int,
        preserve_nan: bool,
        cval: float,
        fill_value: float,
    ) -> None: ...

def blur_cpu_scratch_bytes(arguments: BlurArguments, threads: int) -> int: ...
def blur_cpu(arguments: BlurArguments, scratch: int, threads: int) -> None: ...
def blur_cuda_scratch_bytes(arguments: BlurArguments) -> int: ...
def blur_cuda(arguments: BlurArguments, scratch: int, device: int, stream: int) -> None: ...

class ConvolveArguments:
    def __init__(
        self,
        *,
        image: int,
        out: int,
        kernel: int,
        kernel_height: int,
        kernel_width: int,
        frames: int,
        height: int,
        width: int,
        dtype: int,
        border: int,
        nan_treatment: int,
        preserve_nan: bool,
        cval: float,
        fill_value: float,
        scale: float,
    ) -> None: ...

def convolve_cpu_scratch_bytes(arguments: ConvolveArguments, threads: int) -> int: ...
def convolve_cpu(arguments: ConvolveArguments, scratch: int, threads: int) -> None: ...

class MultirateAxis:
    def __init__(self, *, taps: int, step: int, margin: int, coarse: int) -> None: ...

class MultirateArguments:
    def __init__(
        self,
        *,
        image: int,
        coarse: int,
        out: int,
        frames: int,
        height: int,
        width: int,
        dtype: int,
        border: int,
        cval: float,
        down: MultirateAxis,
        across: MultirateAxis,
    ) -> None: ...

def multirate_scratch_bytes(arguments: MultirateArguments, threads: int) -> int: ...
def multirate_decimate(arguments: MultirateArguments, scratch: int, threads: int) -> None: ...
def multirate_interpolate(arguments: MultirateArguments, scratch: int, threads: int) -> None: ...

class FrameSource:
    def __init__(
        self,
        *,
        data: int,
        kind: int,
        count: int,
        height: int,
        width: int,
        out_height: int,
        out_width: int,
        bscale: float,
        bzero: float,
        blank: int | None,
        geometry: Sequence[int],
        calibration: Sequence[float],
        saturation: float,
        drop_saturated: bool,
        mark_saturated: bool,
    ) -> None: ...

class NormalizeParameters:
    def __init__(self, *, clip: bool, mark_saturated: bool, lowest: float, fill: float, a: float, scale: float, sign: float) -> None: ...

class StatisticsRequest:
    def __init__(self, *, quantiles: Sequence[float], wanted: int, clip: Sequence[float], zscale: Sequence[float]) -> None: ...

def decode_cpu(source: FrameSource, dtype: int, out: int, threads: int) -> None: ...
def decode_cuda(source: FrameSource, dtype: int, out: int, stream: int) -> None: ...
def normalize_cpu(
    source: FrameSource, limits: int, stretch: int, parameters: NormalizeParameters, dtype: int, out: int, threads: int
) -> None: ...
def normalize_cuda(
    source: FrameSource, limits: int, stretch: int, parameters: NormalizeParameters, dtype: int, out: int, stream: int
) -> None: ...
def statistics_cpu(source: FrameSource, request: StatisticsRequest, pooled: int, table: int, threads: int) -> None: ...
def statistics_cuda_scratch_bytes(source: FrameSource, request: StatisticsRequest, pooled: int) -> int: ...
def statistics_cuda(source: FrameSource, request: StatisticsRequest, pooled: int, table: int, scratch: int, stream: int) -> None: ...
def walk_headers(
    data: Bytes, *, hdus: int, header_blocks: int, file_blocks: int, axes: int
) -> tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]: ...
def data_sum(data: Bytes, offset: int, size: int) -> int: ...

class StemArguments:
    def __init__(
        self,
        *,
        image: int,
        frames: int,
        frame_stride: int,
        row_stride: int,
        dtype: int,
        vertical: Sequence[int],
        horizontal: Sequence[int],
        channels: int,
    ) -> None: ...

def stem_channel_block() -> int: ...
def stem_longest_kernel() -> int: ...
def stem_forward_scratch_bytes(arguments: StemArguments, threads: int) -> int: ...
def stem_forward_cpu(
    arguments: StemArguments, weight: int, bias: int, out: int, places: int, out_dtype: int, place_bytes: int, scratch: int, threads: int
) -> None: ...
def stem_backward_scratch_bytes(arguments: StemArguments, threads: int) -> int: ...
def stem_backward_cpu(
    arguments: StemArguments, grad: int, places: int, grad_dtype: int, place_bytes: int, weight: int, bias: int, scratch: int, threads: int
) -> None: ...
def stem_patches_scratch_bytes(arguments: StemArguments, threads: int) -> int: ...
def stem_patches_cpu(arguments: StemArguments, pivot: float, sums: int, products: int, scratch: int, threads: int) -> None: ...
