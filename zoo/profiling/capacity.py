"""Whether hardware keeps up with a survey: the frames that arrive against those that a model computes, measured or predicted."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from zoo.errors import UnknownNameError, UsageError
from zoo.storage import read_json

KEEPS_UP, PERHAPS, TOO_SLOW = "keeps-up", "perhaps", "too-slow"
MEASURED, PREDICTED = "measured", "predicted"


class Speed(NamedTuple):
    """Peak figures of a GPU: dense TFLOP/s in float32, TF32 and bfloat16, the last two on tensor cores; GB/s of its memory."""

    fp32: float
    tf32: float
    bf16: float
    bandwidth: float


# NVIDIA's data sheets of H200, H100 (SXM), A100 (SXM), L4 and L40S, halved where they count sparsity; for GeForce cards the appendices of
# its white papers on the Ada and GA102 architectures, bfloat16 with float32 sums.
SPEEDS = {
    "h200": Speed(67, 494, 989, 4800),
    "h100": Speed(67, 494, 989, 3350),
    "a100-80gb": Speed(19.5, 156, 312, 2039),
    "a100-40gb": Speed(19.5, 156, 312, 1555),
    "l40s": Speed(91.6, 183, 362, 864),
    "l4": Speed(30.3, 60, 121, 300),
    "rtx4090": Speed(82.6, 82.6, 165.2, 1008),
    "rtx3090": Speed(35.6, 35.6, 71, 936),
}

# Least and most of the peak figures that is assumed to be reached. These are assumptions, wide on purpose, not measurements.
ARITHMETIC_SHARE = (0.15, 0.70)
BANDWIDTH_SHARE = (0.40, 0.85)

PASSES = {"infer": 1, "train": 3}  # a backward pass multiplies for the gradient of the input and for that of the weights

_PERIODS_S = {"s": 1, "min": 60, "h": 3600, "day": 86400}
_RATE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*/\s*(s|min|h|day)")


@dataclass(frozen=True)
class RateFit:
    """How a device stands to frames that arrive at a rate. Pairs are the least and the most; they are equal where it was measured.

    Attributes:
        hardware: as it was asked for, or the processor of a stored profile.
        basis: ``measured`` or ``predicted``.
        frames_per_s: that one device computes.
        utilisation: share of its time that one device works; above 1 it falls behind.
        devices: how many are needed.
        latency_s: of the first frame of a batch: waiting for the others, and the step.
        verdict: ``keeps-up``, ``perhaps`` or ``too-slow``: of one device, within the deadline if there is one.
    """

    hardware: str
    basis: str
    frames_per_s: tuple[float, float]
    utilisation: tuple[float, float]
    devices: tuple[int, int]
    latency_s: tuple[float, float]
    verdict: str


def parse_rate(text: str) -> float:
    """Return frames per second of ``49000/day``, ``200/h``, ``30/min`` or ``2/s``. Raises: UsageError: any other form, or not above 0."""
    found = _RATE.fullmatch(text.strip().lower())
    rate = float(found[1]) / _PERIODS_S[found[2]] if found else 0.0
    if not rate > 0:
        raise UsageError(f"a rate is frames per time above 0, such as 49000/day, 200/h, 30/min or 2/s; got {text!r}")
    return rate


def parse_hardware(words: str | Iterable[str]) -> tuple[str, ...]:
    """Read ``"h200,rtx4090"``, or several such texts. Raises: UnknownNameError: peak figures of a GPU are not known."""
    texts = [words] if isinstance(words, str) else list(words)
    names = [word.strip().lower().replace(" ", "").removeprefix("nvidia") for text in texts for word in text.split(",")]
    for name in names:
        if name not in SPEEDS:
            raise UnknownNameError("hardware", name, SPEEDS, remedy=f"Known: {', '.join(SPEEDS)}; or measure it: --measured FILE.")
    return tuple(names)


class Measured(NamedTuple):
    """A throughput of a stored profile: of which model, mode, precision and device, and frames per second."""

    model: str
    mode: str
    precision: str
    hardware: str
    frames_per_s: float


def read_measured(path: Path) -> list[Measured]:
    """Return every throughput in a file that ``zoo profile --json`` wrote. Raises: StorageError, UsageError: it is none."""
    document = read_json(path)
    try:
        facts, models = document["metadata"], document["results"]["models"]
        hardware = str(facts.get("gpu") or facts["processor"])
        precision = str(facts["asked"]["precision"])
        return [
            Measured(model["label"], step["mode"], precision, hardware, model["batch"] / statistics.median(step["samples_s"]))
            for model in models
            for step in model["steps"]
            if step["samples_s"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: got no profile, expected the output of 'zoo profile MODEL --json'") from error


def predict_throughput(speed: Speed, *, macs: int, traffic_bytes: int, mode: str, precision: str) -> tuple[float, float]:
    """Return frames per second, least and most, from peak figures and the share of them that is assumed to be reached.

    At best arithmetic and memory work at the same time, at worst one after the other. In float32 torch lets convolutions use TF32.

    Args:
        speed: of the GPU.
        macs: of one frame, forward.
        traffic_bytes: that one frame moves.
        mode: ``infer`` or ``train``. precision: ``fp32`` or ``bf16``.
    """
    slow, fast = (speed.fp32, speed.tf32) if precision == "fp32" else (speed.bf16, speed.bf16)
    work, bytes_per_s = 2.0 * macs * PASSES[mode], speed.bandwidth * 1e9
    longest = work / (ARITHMETIC_SHARE[0] * slow * 1e12) + traffic_bytes / (BANDWIDTH_SHARE[0] * bytes_per_s)
    shortest = max(work / (ARITHMETIC_SHARE[1] * fast * 1e12), traffic_bytes / (BANDWIDTH_SHARE[1] * bytes_per_s))
    return 1 / longest, 1 / shortest


def fit_rate(hardware: str, basis: str, frames_per_s: tuple[float, float], rate: float, *, batch: int, deadline_s: float | None) -> RateFit:
    """Compare a throughput with a rate, both in frames per second."""
    least, most = frames_per_s
    use = (rate / most, rate / least)
    wait = (batch - 1) / rate
    latency = (wait + batch / most, wait + batch / least)
    good = [share <= 1 and (deadline_s is None or delay <= deadline_s) for share, delay in zip(use, latency, strict=True)]
    verdict = KEEPS_UP if all(good) else PERHAPS if any(good) else TOO_SLOW
    return RateFit(hardware, basis, frames_per_s, use, (math.ceil(use[0]), math.ceil(use[1])), latency, verdict)


def fit_rates(
    model: str,
    facts: Mapping[str, Any],
    asked: Mapping[str, Any],
    hardware: Sequence[str],
    measured: Sequence[Measured],
) -> tuple[RateFit, ...]:
    """Return how each device stands to the rate: by a measurement of this model on it where there is one, else predicted.

    Args:
        model: name with its options.
        facts: of the model: ``macs`` and ``traffic_bytes`` of one frame.
        asked: ``rate`` in frames per second, ``deadline_s``, ``batch``, ``mode`` and ``precision``.
        hardware: names of `SPEEDS`; empty for all that was measured.
        measured: of `read_measured`.
    """
    known = [each for each in measured if (each.model, each.mode, each.precision) == (model, asked["mode"], asked["precision"])]
    found: list[tuple[str, str, tuple[float, float]]] = []
    for name in hardware:
        own = [each.frames_per_s for each in known if _is_same(name, each.hardware)]
        if own:
            found.append((name, MEASURED, (own[0], own[0])))
        elif facts["macs"]:
            wanted = {key: facts[key] for key in ("macs", "traffic_bytes")}
            found.append((name, PREDICTED, predict_throughput(SPEEDS[name], **wanted, mode=asked["mode"], precision=asked["precision"])))
    if not hardware:
        found = [(each.hardware, MEASURED, (each.frames_per_s, each.frames_per_s)) for each in known]
    limits = {"batch": asked["batch"], "deadline_s": asked["deadline_s"]}
    return tuple(fit_rate(name, basis, speed, asked["rate"], **limits) for name, basis, speed in found)


def _is_same(name: str, device: str) -> bool:
    """Whether a driver's name, such as ``NVIDIA GeForce RTX 4090`` or ``NVIDIA A100-SXM4-80GB``, is that of this GPU."""
    words = re.findall(r"[a-z0-9]+", device.lower())
    words += [first + second for first, second in itertools.pairwise(words)]
    return all(part in words for part in name.split("-"))
