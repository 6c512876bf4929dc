"""Is it slower than before? Two profiles of one step, each in units of the calibration that was timed in turn with it.

A shared machine is slow today and fast tomorrow. Every block of samples is divided by the calibration right after it, so that what slows
down both does not count. How far the quotients can be trusted is told by the spread of groups of neighbours, for neighbouring blocks are
alike and their own spread would promise too much. `benchmarks/bench_against.py` replays recorded noise and counts how often the verdict is
wrong.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.costs.process import MEASURED
from zoo.errors import DataError, UsageError
from zoo.profiling.result import ModelProfile, Profile, StepProfile
from zoo.profiling.samples import LEAST_BLOCKS

SLOWER, SAME, TOO_NOISY = "slower", "same", "too noisy"

GROUPS = 10  # that the blocks of a run are cut into, in their order
# A slow-down that counts, about half of the 8 % that are to be found. Chosen on the runs of benchmarks/results/against_noise.json, which
# differ by up to 4.5 % though nothing else was at work: 4.0 % raises more than one false alarm in 100, 4.6 % finds fewer than 95.
THRESHOLD = 0.043
SURE = 2.576  # standard errors: 99 % of a normal distribution lie within
ALIKE = 0.015  # largest standard error with which an 8 % slow-down would be found

# Two runs of the same code differ though each is steady, for the neighbours take of caches and memory bandwidth what the calibration does
# not feel as a network does. How much is told by how long the calibration had to wait for a core: its wall time over its processor time.
# Runs on a busy machine (load 5 to 9) differed by about 2 %; where nothing waits 0.3 % is added, and the threshold carries the rest.
RUN_SPREAD, WAITING_SPREAD = 0.003, 0.006


@dataclass(frozen=True)
class Comparison:
    """One step beside the same step of an earlier profile.

    Attributes:
        model, mode: which.
        verdict: ``slower``, ``same`` (not slower by 4.4 % or more, so also where it is faster), or ``too noisy`` to tell.
        ratio: time now over time then, both in units of their calibration; ``None`` where it could not be formed.
        lower, upper: ends of the 99 % interval of the ratio.
        clock: what was compared: ``processor``, ``wall`` or ``device`` time.
        blocks, base_blocks: how many quotients there are.
        note: why it is too noisy.
    """

    model: str
    mode: str
    verdict: str
    ratio: float | None = None
    lower: float | None = None
    upper: float | None = None
    clock: str = ""
    blocks: int = 0
    base_blocks: int = 0
    note: str = ""


def read_base(path: Path) -> dict[str, Any]:
    """Read what ``zoo profile --json`` printed.

    Raises:
        DataError: the file is no such document.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        steps = [step for model in document["results"]["models"] for step in model["steps"]]
        known = isinstance(document["metadata"], dict) and all("blocks" in step for step in steps)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: got {type(error).__name__}: {error}, expected what 'zoo profile MODEL --json' printed") from error
    if not known:
        raise DataError(f"{path}: it holds no calibrations; make it again with 'zoo profile MODEL --json'")
    return dict(document)


def compare_profiles(base: Mapping[str, Any], result: Profile) -> tuple[Comparison, ...]:
    """Compare every step that both profiles have measured.

    Args:
        base: of `read_base`. result: the new profile.

    Raises:
        UsageError: they were not made under the same conditions, or have no step in common.
    """
    _check_conditions(base["metadata"], result.metadata)
    threads, device = result.metadata.get("threads"), result.metadata.get("device", "cpu")
    found = []
    for model in result.models:
        for step in model.steps:
            before = _find(base, model, step)
            if before is not None and step.status == MEASURED == before["status"]:
                clock = "device" if str(device).startswith("cuda") else "processor" if threads == 1 else "wall"
                blocks = step.to_dict()["blocks"], before["blocks"]
                now, then = (quotients(run, clock) for run in blocks)
                spread = math.hypot(*(run_spread(run, clock) for run in blocks))
                found.append(judge(now, then, spread=spread, model=model.model, mode=step.mode, clock=clock))
    if not found:
        raise UsageError("nothing to compare: the base has none of these models with this mode, batch and frame; profile the same ones")
    return tuple(found)


def quotients(blocks: Sequence[Mapping[str, Mapping[str, float]]], clock: str) -> list[float]:
    """Return the logarithm of (mean time of the step / mean time of the calibration) of each block, in their order.

    Args:
        blocks: as the JSON has them.
        clock: ``processor``, ``wall`` or ``device``.
    """
    return [math.log(block["step"][f"{clock}_s"] / block["calibration"][f"{clock}_s"]) for block in blocks]


def run_spread(blocks: Sequence[Mapping[str, Mapping[str, float]]], clock: str) -> float:
    """Return by how much another run of the same code would differ, as a standard deviation of the quotient; 0 without blocks."""
    if clock == "device" or not blocks:
        return RUN_SPREAD if blocks else 0.0
    waits = [block["calibration"]["wall_s"] / block["calibration"]["processor_s"] for block in blocks]
    return RUN_SPREAD + WAITING_SPREAD * max(0.0, statistics.median(waits) - 1.0)


def judge(
    now: Sequence[float], then: Sequence[float], *, spread: float = RUN_SPREAD, model: str = "", mode: str = "", clock: str = ""
) -> Comparison:
    """Compare two runs by the `quotients` of their blocks.

    The place of a run is the median of all its quotients. Its standard error is that of a median of `GROUPS` medians of neighbouring
    blocks, estimated by their median absolute deviation; `run_spread` is added to it. It is slower where the difference exceeds both the
    threshold and 2.6 of its standard errors (twice that where they are large), too noisy where the standard error is so large that 8 %
    might be missed, else the same.
    """
    facts: dict[str, Any] = {"model": model, "mode": mode, "clock": clock, "blocks": len(now), "base_blocks": len(then)}
    if min(len(now), len(then)) < LEAST_BLOCKS:
        return Comparison(verdict=TOO_NOISY, **facts, note=f"fewer than {LEAST_BLOCKS} blocks; raise --budget or make the frame smaller")
    difference = statistics.median(now) - statistics.median(then)
    error = math.hypot(_error(now), _error(then), spread)
    reach = (SURE if error <= ALIKE else 2 * SURE) * error  # a large spread is known less well itself
    facts |= {"ratio": math.exp(difference), "lower": math.exp(difference - reach), "upper": math.exp(difference + reach)}
    if difference > max(THRESHOLD, reach):
        return Comparison(verdict=SLOWER, **facts)
    if error > ALIKE:
        known = f"standard error {100 * error:.1f} %, at most {100 * ALIKE:.1f} % shows 8 %"
        return Comparison(verdict=TOO_NOISY, **facts, note=f"{known}; try a quieter time, --threads 1 or a larger --budget")
    return Comparison(verdict=SAME, **facts)


def _error(values: Sequence[float]) -> float:
    """Standard error of the median of correlated values."""
    size = len(values) / GROUPS
    medians = [statistics.median(values[round(index * size) : round((index + 1) * size)]) for index in range(GROUPS)]
    centre = statistics.median(medians)
    deviation = 1.4826 * statistics.median(abs(value - centre) for value in medians)
    return 1.2533 * deviation / math.sqrt(GROUPS)  # sqrt(pi / 2): a median varies more than a mean


def _find(base: Mapping[str, Any], model: ModelProfile, step: StepProfile) -> Mapping[str, Any] | None:
    """The same step of the base, by model, frame, mode and batch."""
    for other in base["results"]["models"]:
        if other["label"] == model.label and tuple(other["input_shape"]) == model.input_shape:
            for each in other["steps"]:
                if each["mode"] == step.mode and each.get("batch") == step.batch:
                    return dict(each)
    return None


def _check_conditions(base: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to compare what was measured on different ground; other versions of the software are what one wants to compare."""
    facts = [(name, base.get(name), now.get(name)) for name in ("processor", "gpu", "device", "threads")]
    facts += [(name, base.get("asked", {}).get(name), now.get("asked", {}).get(name)) for name in ("precision", "plain")]
    different = [f"{name} {then} then and {new} now" for name, then, new in facts if then != new]
    if different:
        raise UsageError(f"the base was measured under other conditions: {'; '.join(different)}; profile both alike")
