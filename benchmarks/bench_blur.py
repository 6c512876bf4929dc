"""Blurs and convolutions of 2048x4096 float32 frames beside scipy, torch, astropy and, where installed, OpenCV and kornia.

The unit ``mc`` is one memcpy of the same frame between two buffers that exist (``numpy.copyto``, one thread), measured in turn with every
candidate, because the speed of a shared machine drifts. Targets are for two threads. zoo, scipy.ndimage and OpenCV write into a buffer that
exists, on huge pages where the system has them; the others allocate their result. Errors are the largest difference from a float64
reference inside the border, in units of its peak: of the kernel cut at four sigma, of the ideal Gaussian for ``multirate``, of the same
kernel for ``psf``. Run: ``python
benchmarks/bench_blur.py [--threads 1,2] [--cases plain,nan] [--sigmas 1,2] [--repeats N] [--clock cpu] [--out FILE]``; prints a table and
writes JSON. The extra ``bench`` has the rivals.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import astropy.convolution
import numpy as np
import scipy.fft
import scipy.ndimage
import torch
import torch.nn.functional as F
from measure import SHAPE, circumstances, room, seconds, time_beside_copy, verdict

from zoo import storage
from zoo.ops import blur, convolve
from zoo.ops.blur_reference import gaussian_taps
from zoo.ops.convolve_reference import extend

CASES = ("plain", "nan", "multirate", "psf", "sigmas")
ASTROPY_SIGMA_MOST = 1.0  # astropy's direct sums take seconds per frame at sigma 2, half a minute at 8
SLOW_S = 0.25  # candidates slower than this are measured three times only
SINGLE = ("scipy.ndimage", "astropy")  # use one thread whatever is set
TARGETS = {  # in copies with two threads, of sigma
    ("plain", "zoo"): {0.5: 1.3, 1: 1.4, 2: 1.7, 4: 2.2, 8: 3.0, 16: 5.0},
    ("nan", "zoo"): {0.5: 2.4, 1: 2.8, 2: 4.5, 4: 5.7, 8: 8.4},
    ("multirate", "zoo multirate"): {16: 2.8},
}
# In the time of a rival in the same row, with any number of threads.
RATIOS = {("nan", "zoo, no NaN there"): ("zoo, plain blur", 1.1), ("psf", "zoo"): ("scipy.fft", 1.1)}
IDEAL_TRUNCATE = 8.0
PSF_SIZES = (7, 15, 33, 65, 129)

Call = Callable[[], Any]


class Work(NamedTuple):
    """What all candidates of a table row do, and the truth where it is cheap enough to know."""

    case: str
    parameter: float  # sigma in pixels, or the side of a PSF
    candidates: list[tuple[str, Call]]
    truth: np.ndarray[Any, Any] | None
    margin: int  # libraries differ in mode, so errors count inside it


def line(sigma: float) -> torch.Tensor:
    """The whole 1-D kernel, float32."""
    taps = gaussian_taps(torch.tensor([[sigma]], dtype=torch.float64), 4.0, torch.float32)[0][0, 0]
    return torch.cat([taps.flip(0)[:-1], taps])


def installed(name: str) -> Any:
    """The module, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def extended(frame: torch.Tensor, radius: int, size: tuple[int, int] | None = None) -> torch.Tensor:
    """A frame with its reflected border; torch's own padding has no such mode."""
    height, width = size or (frame.shape[0] + 2 * radius, frame.shape[1] + 2 * radius)
    return extend(frame, -radius, -radius, torch.empty(height, width), "reflect", 0.0)


def torch_separable(frame: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Two depthwise convolutions."""
    plane = extended(frame, len(taps) // 2)[None, None]
    return F.conv2d(F.conv2d(plane, taps.reshape(1, 1, -1, 1)), taps.reshape(1, 1, 1, -1))[0, 0]


def by_whole_fft(frame: torch.Tensor, kernel: np.ndarray[Any, Any]) -> Call:
    """One real FFT of the whole extended frame forward and back by scipy.fft, the kernel's transform made before."""
    size, workers = len(kernel), torch.get_num_threads()
    shape = tuple(scipy.fft.next_fast_len(n + size - 1, real=True) for n in SHAPE)
    spectrum = scipy.fft.rfft2(kernel.astype(np.float32), shape, workers=workers)

    def call() -> np.ndarray[Any, Any]:
        plane = extended(frame, size // 2, shape).numpy()
        product = scipy.fft.rfft2(plane, workers=workers)
        product *= spectrum
        result: np.ndarray[Any, Any] = scipy.fft.irfft2(product, shape, workers=workers)
        return result[size - 1 : size - 1 + SHAPE[0], size - 1 : size - 1 + SHAPE[1]]

    return call


def best_of_opencv(cv2: Any, call: Call) -> tuple[str, Call]:
    """OpenCV with the number of workers that serves it best within the threads: more of them than processors can be faster."""
    times = {}
    for workers in sorted({1, torch.get_num_threads(), 2 * torch.get_num_threads()}):
        cv2.setNumThreads(workers)
        call()
        times[workers] = min(seconds(call) for _ in range(3))
    best = min(times, key=lambda workers: times[workers])
    cv2.setNumThreads(best)
    return f"opencv ({best} workers)", call


def plain(frame: torch.Tensor, sigma: float) -> Work:
    """The Gaussian cut at four sigma."""
    array, taps = frame.numpy(), line(sigma)
    size, out, out_array = len(taps), room(), np.empty(SHAPE, np.float32)
    candidates: list[tuple[str, Call]] = [
        ("zoo", lambda: blur(frame, sigma, out=out)),
        ("scipy.ndimage", lambda: scipy.ndimage.gaussian_filter(array, sigma, output=out_array)),
        ("torch conv2d", lambda: torch_separable(frame, taps)),
        ("scipy.fft", by_whole_fft(frame, np.outer(taps, taps))),
    ]
    if (cv2 := installed("cv2")) is not None:
        call = lambda: cv2.GaussianBlur(array, (size, size), sigma, dst=out_array, borderType=cv2.BORDER_REFLECT)  # noqa: E731
        candidates.append(best_of_opencv(cv2, call))
    if (filters := installed("kornia.filters")) is not None:
        candidates.append(("kornia", lambda: filters.gaussian_blur2d(frame[None, None], (size, size), (sigma, sigma))[0, 0]))
    return Work("plain", sigma, candidates, scipy.ndimage.gaussian_filter(frame.double().numpy(), sigma), size)


def with_nan(frame: torch.Tensor, sigma: float) -> Work:
    """Normalised convolution: a frame of which a thousandth is NaN, and one without."""
    invalid = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.001
    image = frame.masked_fill(invalid, torch.nan)
    array, taps, out = image.numpy(), line(sigma), room()
    kernel, size = np.outer(taps.numpy(), taps.numpy()).astype(np.float64), len(taps)
    candidates: list[tuple[str, Call]] = [
        ("zoo", lambda: blur(image, sigma, nan_treatment="interpolate", out=out)),
        ("zoo, plain blur", lambda: blur(frame, sigma, out=out)),
        ("zoo, no NaN there", lambda: blur(frame, sigma, nan_treatment="interpolate", out=out)),
        ("astropy convolve_fft", lambda: astropy.convolution.convolve_fft(array, kernel, boundary="wrap", allow_huge=True)),
    ]
    if sigma <= ASTROPY_SIGMA_MOST:
        candidates.append(("astropy convolve", lambda: astropy.convolution.convolve(array, kernel, boundary="extend")))
    if (cv2 := installed("cv2")) is not None:

        def two_blurs() -> np.ndarray[Any, Any]:
            valid = np.isfinite(array).astype(np.float32)
            parts = (np.nan_to_num(array), valid)
            sums, weights = (cv2.GaussianBlur(part, (size, size), sigma, borderType=cv2.BORDER_REFLECT) for part in parts)
            result: np.ndarray[Any, Any] = sums / weights
            return result

        candidates.append(best_of_opencv(cv2, two_blurs))
    return Work("nan", sigma, candidates, blur(image.double(), sigma, nan_treatment="interpolate").numpy(), size)


def multirate(frame: torch.Tensor, sigma: float) -> Work:
    """The ideal Gaussian."""
    out = room()
    candidates: list[tuple[str, Call]] = [
        ("zoo multirate", lambda: blur(frame, sigma, method="multirate", out=out)),
        ("zoo direct", lambda: blur(frame, sigma, out=out)),
    ]
    truth = scipy.ndimage.gaussian_filter(frame.double().numpy(), sigma, truncate=IDEAL_TRUNCATE)
    return Work("multirate", sigma, candidates, truth, 1)


def psf(frame: torch.Tensor, size: int) -> Work:
    """A Moffat profile as an image."""
    kernel = astropy.convolution.Moffat2DKernel(size / 11, 2.5, x_size=size, y_size=size).array
    kernel = kernel / kernel.sum()
    array, out, small = frame.numpy(), room(), kernel.astype(np.float32)
    candidates: list[tuple[str, Call]] = [
        ("zoo", lambda: convolve(frame, kernel, out=out)),
        ("zoo fft", lambda: convolve(frame, kernel, method="fft", out=out)),
        ("scipy.fft", by_whole_fft(frame, kernel)),
    ]
    if size <= 65:
        candidates.insert(1, ("zoo direct", lambda: convolve(frame, kernel, method="direct", out=out)))
    if size <= 33:
        weight = torch.from_numpy(small)[None, None]  # symmetric: a correlation is a convolution
        candidates.append(("torch conv2d", lambda: F.conv2d(extended(frame, size // 2)[None, None], weight)[0, 0]))
        candidates.append(("astropy convolve_fft", lambda: astropy.convolution.convolve_fft(array, kernel, allow_huge=True)))
    if (cv2 := installed("cv2")) is not None:
        out_array = np.empty(SHAPE, np.float32)
        call = lambda: cv2.filter2D(array, -1, small, dst=out_array, borderType=cv2.BORDER_REFLECT)  # noqa: E731
        candidates.append(best_of_opencv(cv2, call))
    truth = convolve(frame.double(), kernel, method="fft").numpy()
    return Work("psf", size, candidates, truth, size)


def sigmas(frame: torch.Tensor, most: float) -> Work:
    """Sixteen frames of 512x1024, each with its own sigma from 0.5 to ``most``."""
    batch, values = frame.reshape(16, 1, 512, 1024), torch.linspace(0.5, most, 16)
    out, size = torch.empty_like(batch), 2 * int(4 * most + 0.5) + 1
    array, out_array = batch.numpy(), np.empty(batch.shape, np.float32)

    def one_by_one() -> torch.Tensor:
        for i, value in enumerate(values.tolist()):
            blur(batch[i], value, out=out[i])
        return out

    def scipy_one_by_one() -> np.ndarray[Any, Any]:
        for i, value in enumerate(values.tolist()):
            scipy.ndimage.gaussian_filter(array[i, 0], value, output=out_array[i, 0])
        return out_array

    candidates: list[tuple[str, Call]] = [
        ("zoo", lambda: blur(batch, values, out=out)),
        ("zoo, one by one", one_by_one),
        ("scipy.ndimage", scipy_one_by_one),
    ]
    if (filters := installed("kornia.filters")) is not None:
        pairs = values[:, None].expand(-1, 2)
        candidates.append(("kornia", lambda: filters.gaussian_blur2d(batch, (size, size), pairs)))
    return Work("sigmas", most, candidates, blur(batch.double(), values.double()).numpy(), size)


def works(frame: torch.Tensor, cases: list[str], wanted: list[float]) -> Iterator[Work]:
    """The rows of the table, built with the number of threads that is set."""
    for case, parameters, build in (
        ("plain", wanted, plain),
        ("nan", [sigma for sigma in wanted if sigma <= 8], with_nan),
        ("multirate", [sigma for sigma in wanted if sigma >= 8], multirate),
        ("psf", PSF_SIZES, psf),
        ("sigmas", [3.0], sigmas),
    ):
        if case in cases:
            yield from (build(frame, parameter) for parameter in parameters)  # type: ignore[operator]


def measure(work: Work, repeats: int, clock: Callable[[], float], *, first: bool) -> Iterator[dict[str, Any]]:
    """One record per candidate: time, time of the copy, error, and target. Libraries of one thread are measured in the first pass only."""
    inner = (..., slice(work.margin, -work.margin), slice(work.margin, -work.margin))
    threads, times = torch.get_num_threads(), {}
    for name, call in work.candidates:
        if not first and name.startswith(SINGLE):
            continue
        results: list[Any] = []
        slow = seconds(lambda c=call, r=results: r.append(c())) > SLOW_S  # type: ignore[misc]
        error = None
        if work.truth is not None and name not in ("zoo, no NaN there", "zoo, plain blur"):
            truth = work.truth[inner]
            error = float(np.abs(np.asarray(results[0])[inner] - truth).max() / np.abs(truth).max())
        timed = time_beside_copy(call, repeats=min(3, repeats) if slow else repeats, clock=clock)
        times[name] = timed["time_s"]
        yield {
            "case": work.case,
            "sigma_px" if work.case != "psf" else "psf_px": work.parameter,
            "library": name,
            "threads": threads,
            **timed,
            "error_of_peak": error,
            "target_copies": TARGETS.get((work.case, name), {}).get(work.parameter) if threads == 2 else None,
        }
    for (case, name), (other, most) in RATIOS.items():
        if case == work.case:
            ratio = times[name] / times[other]
            yield {"case": case, "px": work.parameter, "threads": threads, "ratio": ratio, "of": [name, other], "target_ratio": most}


def line_of(work: Work, record: dict[str, Any]) -> str:
    """A record as a row of the table."""
    start = f"{work.case:9} {work.parameter:5g} {record['threads']:7}"
    if "ratio" in record:
        return f"{start}  {' / '.join(record['of']):37} {record['ratio']:9.2f}  {verdict(record['ratio'], record['target_ratio'])}"
    error = "" if record["error_of_peak"] is None else f"{record['error_of_peak']:.1e}"
    times = f"{record['time_s'] * 1e3:8.1f} {record['iqr_s'] * 1e3:7.1f} {record['copies']:7.2f}"
    return f"{start}  {record['library']:22} {times}  {error:13}  {verdict(record['copies'], record['target_copies'])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="numbers of threads, one after the other")
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--sigmas", default="0.5,1,2,4,8,16", help="in pixels")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, for one thread on a busy machine")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "blur.json")
    options = parser.parse_args()
    cases, counts = options.cases.split(","), [int(n) for n in options.threads.split(",")]
    if unknown := set(cases) - set(CASES):
        parser.error(f"--cases must be of {', '.join(CASES)}, got {', '.join(sorted(unknown))}")
    if options.clock == "cpu" and options.threads != "1":
        parser.error(f"--clock cpu adds the time of all threads: pass --threads 1 with it, got {options.threads}")
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    rivals = {"cv2": "opencv-python-headless", "kornia.filters": "kornia"}
    skipped = [package for name, package in rivals.items() if installed(name) is None]
    versions = {
        package: importlib.metadata.version(package) for package in (*rivals.values(), "scipy", "astropy") if package not in skipped
    }
    facts = circumstances(clock=options.clock, shape=SHAPE, dtype="float32", mode="reflect", truncate=4.0, seed=0, versions=versions)
    del facts["threads"]  # each record has its own
    frame = room().copy_(torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 1000)
    warnings.filterwarnings("ignore", category=astropy.utils.exceptions.AstropyUserWarning)

    results: list[dict[str, Any]] = []
    ratios: list[dict[str, Any]] = []
    print(f"{'case':9} {'px':>5} {'threads':>7}  {'library':22} {'ms':>8} {'IQR':>7} {'mc':>7}  error of peak  target")
    for threads in counts:
        torch.set_num_threads(threads)
        for work in works(frame, cases, [float(sigma) for sigma in options.sigmas.split(",")]):
            for record in measure(work, options.repeats, clock, first=threads == counts[0]):
                (ratios if "ratio" in record else results).append(record)
                print(line_of(work, record), flush=True)
    for package in skipped:
        print(f"skipped: {package} is not installed")
    storage.write_json(options.out, {"schema": 3, "metadata": {**facts, "skipped": skipped}, "results": results, "ratios": ratios})


if __name__ == "__main__":
    main()
