"""The compiled CUDA kernels on batches of 2048x4096 frames, beside torch, kornia and CuPy; the unit is a copy of a frame.

What a call must read and write, divided by its time, is its bandwidth; ``share`` compares that with the copy's. Times are the device's own,
between two events around several calls, in turn with the copy. Every rival is checked against zoo first.
Run: ``python benchmarks/bench_cuda.py [--batch N] [--repeats N] [--only WORD] [--out FILE]``; ``--device cpu`` tries it without a GPU and
writes nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from measure import SHAPE, circumstances
from torch import Tensor
from torch.nn import functional

import zoo
from zoo import storage
from zoo.data.shuttle import Shuttle
from zoo.ops import Encoding, Percentile, ZScale, blur, buffers, decode, normalize

UINT16 = Encoding(16, 1.0, 32768.0)
HOST_BATCHES = 4
Call = Callable[[], Any]


class Case(NamedTuple):
    """One call: its work and library, compulsory bytes (0: no bandwidth stands for it), the largest difference from zoo that may be."""

    work: str
    library: str
    call: Call
    bytes: int
    allowed: float
    batches: int = 1  # that one call works on


def seconds(call: Call, device: torch.device, calls: int) -> float:
    """Time of one call, over several in a row."""
    if device.type == "cpu":
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(calls):
        call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1e3 / calls


def sky(batch: int, device: torch.device) -> Tensor:
    """Frames of counts with stars of every brightness."""
    generator = torch.Generator(device).manual_seed(0)
    counts = torch.randn((batch, *SHAPE), generator=generator, device=device).mul_(30).add_(1200)
    stars = torch.rand(counts.shape, generator=generator, device=device)
    return counts.add_(torch.where(stars < 0.01, 50 / (stars * 100 + 1e-3), 0.0)).clamp_(0, 65535).round_()


def raw_bytes(counts: Tensor) -> Tensor:
    """The same as big-endian 16-bit integers, as a FITS file holds them."""
    codes = (counts - 32768).to(torch.int16).view(torch.uint8)
    return codes.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)


def torch_blur(image: Tensor, sigma: float) -> Tensor:
    """Two one-dimensional convolutions with reflected borders."""
    radius = int(4 * sigma + 0.5)
    places = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float64)
    taps = torch.exp(-0.5 * (places / sigma) ** 2)
    taps = (taps / taps.sum()).to(image.dtype)
    around = functional.pad(image[:, None], (radius, radius, radius, radius), mode="reflect")
    return functional.conv2d(functional.conv2d(around, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))[:, 0]


def cases(batch: int, device: torch.device) -> Iterator[Case]:
    counts = sky(batch, device)
    raw, out = raw_bytes(counts), torch.empty_like(counts)
    pixels = counts.numel()
    yield Case("decode int16", "zoo", lambda: decode(raw, UINT16, out=out), 6 * pixels, 0.0)
    limits = torch.tensor([1100.0, 2000.0], dtype=torch.float64, device=device)
    work = "int16, given limits + asinh"
    yield Case(work, "zoo", lambda: normalize(raw, UINT16, limits=limits, out=out), 6 * pixels, 0.0)
    for name, rule in {"percentiles (1, 99)": Percentile(1, 99), "z-scale": ZScale()}.items():
        yield Case(f"int16 -> {name} + asinh", "zoo", lambda r=rule: normalize(raw, UINT16, limits=r, out=out), 8 * pixels, 0.0)
        yield Case(f"float32 -> {name} + asinh", "zoo", lambda r=rule: normalize(counts, limits=r, out=out), 12 * pixels, 0.0)

    def sorted_percentiles() -> Tensor:
        # torch.quantile takes 16 million numbers at most
        ordered = counts.flatten(1).sort(dim=1).values
        places = torch.tensor([0.01, 0.99], dtype=torch.float64, device=device) * (ordered.shape[1] - 1)
        low = places.long()
        below, above = ordered[:, low].double(), ordered[:, low + 1].double()
        vmin, vmax = (below + (above - below) * (places - low)).float().T[..., None, None]
        place = ((counts - vmin) / (vmax - vmin)).clamp_(0, 1)
        return torch.asinh(place / 0.1) / torch.asinh(torch.tensor(10.0))

    yield Case("float32 -> percentiles (1, 99) + asinh", "torch", sorted_percentiles, 0, 1e-5)
    filled = counts.clone()
    filled[torch.rand(counts.shape, generator=torch.Generator(device).manual_seed(1), device=device) < 0.001] = torch.nan
    for sigma in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0):
        work = f"blur, sigma {sigma:g}"
        yield Case(work, "zoo", lambda s=sigma: blur(counts, s, out=out), 8 * pixels, 0.0)
        yield Case(work, "torch", lambda s=sigma: torch_blur(counts, s), 0, 0.2)
        if importlib.util.find_spec("kornia"):
            import kornia

            side = 2 * int(4 * sigma + 0.5) + 1
            rival = kornia.filters.gaussian_blur2d
            yield Case(work, "kornia", lambda s=sigma, n=side, f=rival: f(counts[:, None], (n, n), (s, s), "reflect")[:, 0], 0, 0.2)
        if device.type == "cuda" and importlib.util.find_spec("cupy"):
            import cupy
            from cupyx.scipy import ndimage

            array = cupy.asarray(counts)
            yield Case(work, "CuPy", lambda s=sigma, a=array: torch.as_tensor(ndimage.gaussian_filter(a, (0, s, s))), 0, 0.2)
        yield Case(f"{work}, over NaN", "zoo", lambda s=sigma: blur(filled, s, nan_treatment="interpolate", out=out), 8 * pixels, 0.0)


def networks(batch: int, device: torch.device) -> Iterator[Case]:
    model = zoo.create_model("hrcn").to(device).eval()
    frames = sky(batch, device)[:, None] / 65535
    for precision in ("fp32", "bf16"):
        prepared = zoo.models.prepare_inference(model, precision=precision, input_shape=(1, *SHAPE), device=device)
        yield Case(f"hrcn inference, {precision}", "zoo", lambda p=prepared: p(frames), 0, 0.0)
    yield Case("hrcn inference, fp32", "plain module", lambda: model(frames), 0, 1e-3)


def transfers(batch: int, device: torch.device) -> Iterator[Case]:
    """Batches from host memory to logits on the host: each copied while the model works on the one before, and one after the other."""
    prepared = zoo.models.prepare_inference(zoo.create_model("hrcn").eval(), precision="bf16", input_shape=(1, *SHAPE), device=device)
    frames = (sky(batch, device)[:, None] / 65535).cpu()
    held = [buffers.empty(frames.shape, pinned=device.type == "cuda").copy_(frames) for _ in range(HOST_BATCHES)]
    shuttle = Shuttle(device)

    def overlapped() -> Tensor:
        # As zoo.predict: a batch is sent and started before the logits of the last one are waited for.
        fetched = [shuttle.fetch(prepared(shuttle.send(images).wait())) for images in held]
        return [values.wait() for values in fetched][-1]

    def in_turn() -> Tensor:
        return [prepared(images.to(device)).cpu() for images in held][-1]

    work = f"hrcn bf16, {HOST_BATCHES} batches from the host"
    yield Case(work, "zoo", overlapped, 0, 0.0, HOST_BATCHES)
    yield Case(work, "one after the other", in_turn, 0, 0.0, HOST_BATCHES)


def inside(value: Tensor) -> Tensor:
    """Without the border: the other libraries reflect about the centre of the last pixel, zoo about its edge."""
    return (value[..., 80:-80, 80:-80] if value.shape[-2:] == SHAPE else value).to("cpu", torch.float32, copy=True)


def measure(case: Case, copy: Call, device: torch.device, batch: int, repeats: int, calls: int) -> dict[str, Any]:
    """Times of one frame, in turn with the copy."""
    turns = calls if seconds(case.call, device, 1) < 0.1 else 1
    pairs = [(seconds(case.call, device, turns), seconds(copy, device, calls)) for _ in range(repeats)]
    times, copies = [own / batch / case.batches for own, _ in pairs], [copy / batch for _, copy in pairs]
    median, unit = statistics.median(times), statistics.median(copies)
    lower, _, upper = statistics.quantiles(times, n=4)
    bandwidth = case.bytes / batch / median if case.bytes else None
    share = None if bandwidth is None else bandwidth * unit / (8 * SHAPE[0] * SHAPE[1])
    return {
        "work": case.work,
        "library": case.library,
        "time_s": median,
        "iqr_s": upper - lower,
        "repeats": repeats,
        "copy_s": unit,
        "copies": median / unit,
        "bytes_per_s": bandwidth,
        "share_of_copy": share,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", default="", help="only work whose name holds this")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cuda.json")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device: nothing is measured")
    device, calls = torch.device(options.device), 10 if options.device == "cuda" else 1
    facts = circumstances(shape=SHAPE, batch=options.batch, calls=calls)
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "free_bytes": torch.cuda.mem_get_info()[0]}

    source = torch.rand((options.batch, *SHAPE), device=device)
    copied = torch.empty_like(source)
    results, firsts = [], {}
    print(f"{'work':42} {'library':12} {'us/frame':>10} {'IQR':>8} {'copies':>7} {'share':>6}  difference")
    with torch.inference_mode():
        for case in (case for make in (cases, networks, transfers) for case in make(options.batch, device)):
            if options.only not in case.work:
                continue
            value = inside(case.call())
            difference = float((value - firsts.setdefault(case.work, value)).nan_to_num().abs().max())
            if difference > case.allowed:
                raise SystemExit(f"{case.work}: {case.library} is {difference:.2e} away from zoo, more than {case.allowed:.0e}")
            record = measure(case, lambda: copied.copy_(source), device, options.batch, options.repeats, calls)
            results.append({**record, "difference_from_zoo": difference})
            share = "-" if record["share_of_copy"] is None else f"{record['share_of_copy']:.0%}"
            figures = f"{record['time_s'] * 1e6:10.1f} {record['iqr_s'] * 1e6:8.1f} {record['copies']:7.2f} {share:>6}"
            print(f"{case.work:42} {case.library:12} {figures}  {difference:.1e}", flush=True)
    if device.type == "cuda":
        storage.write_json(options.out, {"schema": 1, "metadata": facts, "results": results})


if __name__ == "__main__":
    main()
