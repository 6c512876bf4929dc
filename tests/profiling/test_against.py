"""Verdicts of a comparison: on noise that is drawn, on series that are made, and what is refused."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest

from zoo.errors import DataError, UsageError
from zoo.profiling import ModelProfile, Profile, StepProfile, compare_profiles, read_base
from zoo.profiling.against import judge, quotients
from zoo.profiling.samples import Block, Lap

SLOW_DOWN = math.log(1.08)


def draw_run(rng: random.Random, *, blocks: int = 60, noise: float = 0.02, drift: float = 0.005) -> list[float]:
    """Quotients of a run: a level that wanders, and spikes of a busy machine in one block of ten."""
    level, found = rng.gauss(0.0, 0.004), []
    for _ in range(blocks):
        level += rng.gauss(0.0, drift) - 0.2 * level
        spike = rng.uniform(0.1, 1.0) if rng.random() < 0.1 else 0.0
        found.append(level + rng.gauss(0.0, noise) + spike)
    return found


@pytest.fixture(scope="module")
def verdicts() -> dict[float, Counter[str]]:
    """Of 1,000 pairs of runs each: as fast, and slower by 8 %."""
    rng = random.Random(1)
    return {
        shift: Counter(judge([value + shift for value in draw_run(rng)], draw_run(rng)).verdict for _ in range(1000))
        for shift in (0.0, SLOW_DOWN)
    }


def test_fewer_than_1_false_alarm_in_100(verdicts: dict[float, Counter[str]]) -> None:
    assert verdicts[0.0]["slower"] < 10


def test_a_slow_down_of_8_percent_is_caught_95_times_in_100(verdicts: dict[float, Counter[str]]) -> None:
    assert verdicts[SLOW_DOWN]["slower"] >= 950


def test_noise_that_hides_8_percent_is_named_as_such() -> None:
    rng = random.Random(2)
    found = Counter(judge(draw_run(rng, noise=0.3, drift=0.1), draw_run(rng, noise=0.3, drift=0.1)).verdict for _ in range(200))
    assert found["too noisy"] > 150
    assert found["slower"] <= 2


def test_ratio_and_interval() -> None:
    found = judge([math.log(1.2)] * 40, [0.0] * 40)
    assert (found.verdict, found.blocks, found.base_blocks) == ("slower", 40, 40)
    assert found.ratio == pytest.approx(1.2)
    assert found.lower is not None
    assert found.upper is not None
    assert 1.17 < found.lower < 1.2 < found.upper < 1.23
    assert judge([0.0] * 40, [math.log(1.2)] * 40).verdict == "same"  # faster is no alarm


def test_few_blocks_are_too_noisy() -> None:
    found = judge([0.5] * 19, [0.0] * 40)
    assert (found.verdict, found.ratio) == ("too noisy", None)
    assert "fewer than 20 blocks" in found.note


def test_each_block_is_divided_by_its_own_calibration() -> None:
    blocks = [
        {"step": Lap(2.0, 1.0)._asdict(), "calibration": Lap(1.0, 0.25)._asdict()},
        {"step": Lap(8.0, 1.0)._asdict(), "calibration": Lap(4.0, 0.5)._asdict()},
    ]
    assert quotients(blocks, "wall") == [math.log(2), math.log(2)]
    assert quotients(blocks, "processor") == [math.log(4), math.log(2)]


def make_profile(step_s: float, *, threads: int = 2, label: str = "net") -> Profile:
    block = Block(Lap(step_s, 3 * step_s), Lap(0.01, 0.01))
    step = StepProfile("infer", "measured", samples_s=(step_s,), blocks=(block,) * 30)
    model = ModelProfile(label, label, (1, 8, 8), 1, steps=(step,))
    return Profile((model,), (), {"threads": threads, "processor": "EPYC", "device": "cpu", "asked": {"precision": "fp32", "plain": False}})


def write(path: Path, profile: Profile) -> Path:
    path.write_text(json.dumps({"schema": 1, "metadata": dict(profile.metadata), "results": profile.to_dict()}))
    return path


@pytest.mark.parametrize(("threads", "clock"), [(1, "processor"), (2, "wall")])
def test_profiles_are_compared_step_by_step(threads: int, clock: str, tmp_path: Path) -> None:
    base = read_base(write(tmp_path / "base.json", make_profile(0.1, threads=threads)))
    (found,) = compare_profiles(base, make_profile(0.11, threads=threads))
    assert (found.model, found.mode, found.verdict, found.clock) == ("net", "infer", "slower", clock)
    assert found.ratio == pytest.approx(1.1)


def test_other_conditions_and_other_models_are_refused(tmp_path: Path) -> None:
    base = read_base(write(tmp_path / "base.json", make_profile(0.1)))
    with pytest.raises(UsageError, match="threads 2 then and 1 now"):
        compare_profiles(base, make_profile(0.1, threads=1))
    with pytest.raises(UsageError, match="nothing to compare"):
        compare_profiles(base, make_profile(0.1, label="other"))


@pytest.mark.parametrize("text", ["", "[]", '{"metadata": {}, "results": {"models": [{"steps": [{}]}]}}'])
def test_what_is_no_profile_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(DataError, match="zoo profile MODEL --json"):
        read_base(path)
