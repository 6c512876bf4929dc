"""The range of training frames, and the flags of a frame."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zoo import storage
from zoo.calibration import FLAGS, FlagRules, FrameRange, fit_range, judge
from zoo.data.condition import Condition
from zoo.errors import StorageError, UsageError

GOOD = Condition(1.0, 0.0, 100.0, 0.5, 100.0, 12.0, 44.0, 5000.0, 1.0, 50.0, 0.5)
UNKNOWN = Condition(0.0, *[math.nan] * 10)


def frames(targets: int, each: int, *, seed: int = 0) -> tuple[list[Condition], list[str]]:
    rng = np.random.default_rng(seed)
    names = [f"T{i}" for i in range(targets) for _ in range(each)]
    sky = np.repeat(rng.normal(0, 0.5, targets), each) + rng.normal(0, 0.1, targets * each)
    found = [replace(GOOD, sky=100 * math.exp(s), noise=12 * math.exp(s / 2), tail=50 * math.exp(rng.normal(0, 0.3))) for s in sky]
    return found, names


def test_about_the_stated_share_of_new_targets_is_out_of_range() -> None:
    found = fit_range(*frames(100, 3), rate=0.05)
    assert found is not None
    new, _ = frames(400, 1, seed=1)
    assert 0.01 < np.mean([found.distance(condition) > found.threshold for condition in new]) < 0.10
    assert found.rate == 0.05
    assert (found.n_frames, found.n_targets) == (300, 100)


def test_a_frame_of_another_kind_is_far() -> None:
    found = fit_range(*frames(30, 2))
    assert found is not None
    assert found.rate == 1 / 31  # of 30 targets no rarer alarm can be promised
    dark = replace(GOOD, sky=0.2)
    assert found.distance(GOOD) < found.threshold < found.distance(dark)
    # Each is within the range of the training, but they do not go together.
    assert found.distance(replace(GOOD, sky=200.0, noise=7.0)) > found.threshold


def test_statistics_that_a_frame_lacks_are_left_out() -> None:
    found = fit_range(*frames(20, 2))
    assert found is not None
    assert found.distance(replace(GOOD, points=math.nan)) < found.threshold
    assert found.distance(replace(GOOD, points=math.nan, sky=0.2)) > found.threshold
    assert found.distance(UNKNOWN) == math.inf


def test_few_targets_have_no_range() -> None:
    assert fit_range(*frames(4, 9)) is None
    assert fit_range([], []) is None
    assert fit_range([UNKNOWN] * 9, [str(i) for i in range(9)]) is None


def test_a_range_is_stored_and_read_again(tmp_path: Any) -> None:
    conditions, targets = frames(20, 2)
    found = fit_range(conditions, targets, ["ACS/WFC", ""] * 20)
    assert found is not None
    storage.write_json(tmp_path / "r.json", found.to_dict())
    again = FrameRange.from_dict(storage.read_json(tmp_path / "r.json"))
    assert again.to_dict() == found.to_dict()
    assert again.instruments == ("ACS/WFC",)
    assert again.distance(GOOD) == found.distance(GOOD)
    for broken in ({}, {"schema": 2, "statistics": ["sky"]}, {"schema": 1, "statistics": ["colour"]}):
        with pytest.raises(StorageError):
            FrameRange.from_dict(broken)


def test_each_flag_has_its_cause() -> None:
    found = fit_range(*frames(20, 2), ["ACS/WFC"] * 40)
    rules = FlagRules()
    assert judge(GOOD, rules, found, instrument="ACS/WFC") == ()
    cases = {
        "low-signal": judge(replace(GOOD, signal_to_noise=3.0), rules, None),
        "saturated": judge(replace(GOOD, saturated=0.02), rules, None),
        "mostly-invalid": judge(replace(GOOD, valid=0.4), rules, None),
        "size-adapted": judge(GOOD, rules, None, adapted=True),
        "other-product": judge(GOOD, rules, None, other_product=True),
        "other-camera": judge(GOOD, rules, found, instrument="WFC3/UVIS"),
        "out-of-range": judge(replace(GOOD, sky=0.2), rules, found),
    }
    assert tuple(cases) == FLAGS
    assert {name: flags for name, flags in cases.items() if flags != (name,)} == {}
    assert judge(UNKNOWN, rules, found) == ("mostly-invalid", "out-of-range")
    assert judge(UNKNOWN, rules, None) == ("mostly-invalid",)


def test_thresholds_can_be_others() -> None:
    found = fit_range(*frames(20, 2))
    rules = FlagRules.parse({"low-signal": 200, "saturated": 0.5, "out-of-range": 0.0})
    assert judge(replace(GOOD, saturated=0.4), rules, found) == ("low-signal", "out-of-range")
    for bad in ({"adapted": 1.0}, {"low-signal": -1.0}, {"low-signal": math.nan}):
        with pytest.raises(UsageError):
            FlagRules.parse(bad)
