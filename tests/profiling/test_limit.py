"""The smallest limit of memory under which a step succeeds: the search, and processes whose memory is limited."""

from __future__ import annotations

import sys

import pytest

import zoo
from zoo.costs.process import FAILED, OUT_OF_MEMORY, run_job
from zoo.costs.request import read_request
from zoo.profiling import limit
from zoo.profiling.limit import PRECISION, find_limit
from zoo.registry import Registry

MIB = 1 << 20
SHAPE = (1, 512, 1024)  # maps of 32 MiB


@pytest.mark.parametrize("least", [101, 500, 999, 1000])
def test_search_ends_within_its_precision_of_a_limit_that_does_not_suffice(least: int) -> None:
    tried: dict[int, bool] = {}

    def succeeds(size: int) -> bool:
        assert size not in tried, "every trial is a process"
        tried[size] = size >= least
        return tried[size]

    found = find_limit(100, 1000, succeeds)
    assert found is not None
    assert tried[found]
    below = max((size for size, well in tried.items() if not well), default=100)
    assert below < least <= found <= below + PRECISION * found
    assert len(tried) <= 10


def test_search_gives_up_where_the_first_limit_does_not_suffice() -> None:
    tried: list[int] = []
    assert find_limit(100, 1000, lambda size: bool(tried.append(size))) is None
    assert tried == [1000]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits memory on Linux only")
def test_a_step_needs_its_tensors_and_little_more(odd_nets: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "PRECISION", 0.4)  # a trial takes seconds
    said: list[str] = []
    profile = zoo.profile(
        "quiet", input_shape=SHAPE, mode="infer", budget=1.0, threads=1, frames="none", fit_min=True, progress=said.append
    )
    step = profile.models[0].step("infer")
    assert step.bound_bytes is not None
    assert step.peak_bytes is not None
    assert step.fit_min_bytes is not None
    assert step.bound_bytes <= step.fit_min_bytes <= step.peak_bytes + 32 * MIB  # one map
    assert any(line.endswith("succeeds") for line in said)
    assert step.to_dict()["fit_min_bytes"] == step.fit_min_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits memory on Linux only")
def test_a_step_fails_in_less_than_its_tensors(odd_nets: Registry) -> None:
    request = read_request("quiet", batch=1, precision="fp32", threads=1, input_shape=SHAPE, options=None)
    job = {**request.settings, **request.targets[0].aim(), "plugins": request.plugins, "device": "cpu", "plain": False, "mode": "infer"}
    found = run_job({**job, "limit_bytes": 48 * MIB, "work": "zoo.profiling.work:try_limit"})  # two maps are 64
    assert found["status"] in (FAILED, OUT_OF_MEMORY)
    assert found["note"]
