"""Gaussian blur of one 2048x4096 float32 frame beside scipy, torch convolutions, astropy and, where installed, OpenCV and kornia.

The unit ``mc`` is one copy of the same frame between two buffers that exist, measured in turn with every candidate, because the speed of a
shared machine drifts. zoo, scipy and OpenCV write into a buffer that exists; the others allocate their result. Every candidate is checked
against scipy in float64 first. Run: ``python benchmarks/bench_blur.py [--threads N] [--sigmas 1,2,4] [--repeats N] [--out FILE]``; prints
a table and writes JSON.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import astropy.convolution
import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from measure import SHAPE, circumstances, time_beside_copy

from zoo import storage
from zoo.ops import blur
from zoo.ops.blur_reference import gaussian_taps

ASTROPY_SIGMA_MOST = 1.0  # sigma 2 takes seconds per frame, sigma 8 half a minute


def kernel(sigma: float) -> torch.Tensor:
    """The whole 1-D kernel, float32."""
    taps = gaussian_taps(torch.tensor([[sigma]], dtype=torch.float64), 4.0, torch.float32)[0][0, 0]
    return torch.cat([taps.flip(0)[:-1], taps])


def torch_convolution(frame: torch.Tensor, sigma: float) -> torch.Tensor:
    """Two depthwise convolutions over a frame with its border; torch pads with mode mirror, so the border is gathered."""
    taps = kernel(sigma)
    radius = len(taps) // 2
    rows, columns = (torch.arange(-radius, n + radius) for n in frame.shape)
    extended = frame[_reflected(rows, frame.shape[0])][:, _reflected(columns, frame.shape[1])][None, None]
    return F.conv2d(F.conv2d(extended, taps.reshape(1, 1, -1, 1)), taps.reshape(1, 1, 1, -1))[0, 0]


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= size, 2 * size - 1 - index, index)


def candidates(frame: torch.Tensor, sigma: float, nan: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name and call of each library that is installed; the call returns the blurred frame."""
    array = frame.numpy()
    out, out_array = torch.empty_like(frame), np.empty_like(array)
    if nan:
        yield "zoo", lambda: blur(frame, sigma, nan_treatment="interpolate", out=out)
        if sigma <= ASTROPY_SIGMA_MOST:
            line = kernel(sigma).numpy()
            yield "astropy convolve", lambda: astropy.convolution.convolve(array, np.outer(line, line), boundary="extend")
        return
    yield "zoo", lambda: blur(frame, sigma, out=out)
    yield "scipy", lambda: scipy.ndimage.gaussian_filter(array, sigma, output=out_array)
    yield "torch conv2d", lambda: torch_convolution(frame, sigma)
    size = len(kernel(sigma))
    if (cv2 := installed("cv2")) is not None:
        cv2.setNumThreads(torch.get_num_threads())
        yield "opencv", lambda: cv2.GaussianBlur(array, (size, size), sigma, dst=out_array, borderType=cv2.BORDER_REFLECT)
    if (filters := installed("kornia.filters")) is not None:
        yield "kornia", lambda: filters.gaussian_blur2d(frame[None, None], (size, size), (sigma, sigma))[0, 0]


def installed(name: str) -> Any:
    """The module, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def measure(frame: torch.Tensor, sigma: float, nan: bool, repeats: int) -> Iterator[dict[str, Any]]:
    """One record per candidate: time, time of the copy, and error inside the border (where libraries differ in mode)."""
    margin = len(kernel(sigma))
    inner = (slice(margin, -margin), slice(margin, -margin))
    truth = None if nan else scipy.ndimage.gaussian_filter(frame.double().numpy(), sigma)[inner]
    for name, call in candidates(frame, sigma, nan):
        first = np.asarray(call())[inner]
        error = None if truth is None else float(np.abs(first - truth).max() / truth.max())
        runs = min(3, repeats) if name.startswith("astropy") else repeats
        yield {"sigma_px": sigma, "nan": nan, "library": name, **time_beside_copy(call, repeats=runs), "error_of_peak": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sigmas", default="0.5,1,2,4,8,16")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "blur.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = circumstances(shape=SHAPE, dtype="float32", mode="reflect", truncate=4.0, scipy=scipy.__version__, astropy=astropy.__version__)
    generator = torch.Generator().manual_seed(0)
    frame = torch.rand(SHAPE, generator=generator) * 1000
    with_nan = torch.where(torch.rand(SHAPE, generator=generator) < 0.001, torch.nan, frame)
    skipped = [name for name in ("cv2", "kornia.filters") if installed(name) is None]

    results = []
    print(f"{'sigma':>5}  {'NaN':3}  {'library':17} {'ms':>8} {'IQR':>7} {'mc':>7}  error of peak")
    for nan in (False, True):
        for sigma in map(float, options.sigmas.split(",")):
            for record in measure(with_nan if nan else frame, sigma, nan, options.repeats):
                results.append(record)
                error = "" if record["error_of_peak"] is None else f"{record['error_of_peak']:.1e}"
                times = f"{record['time_s'] * 1e3:8.1f} {record['iqr_s'] * 1e3:7.1f} {record['copies']:7.2f}"
                print(f"{sigma:5g}  {'yes' if nan else 'no':3}  {record['library']:17} {times}  {error}", flush=True)
    for name in skipped:
        print(f"skipped: {name} is not installed")
    storage.write_json(options.out, {"schema": 1, "metadata": {**facts, "skipped": skipped}, "results": results})


if __name__ == "__main__":
    main()
