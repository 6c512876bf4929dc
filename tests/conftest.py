"""Fixtures of the whole suite: devices, seeds, tolerances, and the folder of real files."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

# Its own tests need the package installed: tests/test_example_plugin.py runs them in such an environment.
collect_ignore = ["example_plugin"]

# (relative, absolute) for values of order one: a few rounding steps of the type. A test that needs more says what was measured.
_TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (3e-7, 3e-7),
    torch.float16: (1e-3, 1e-3),
    torch.bfloat16: (8e-3, 8e-3),
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip ``needs_cuda`` tests without a device, or fail them where ZOO_REQUIRE_CUDA=1 says there must be one."""
    if item.get_closest_marker("needs_cuda") is None or torch.cuda.is_available():
        return
    if os.environ.get("ZOO_REQUIRE_CUDA") == "1":
        pytest.fail("ZOO_REQUIRE_CUDA=1, but torch sees no CUDA device", pytrace=False)
    pytest.skip("needs a CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.needs_cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device that the compiled kernels support."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Give every test the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def tolerance() -> Callable[[torch.dtype], dict[str, float]]:
    """Keyword arguments of ``torch.testing.assert_close`` for values of order one in a dtype."""

    def of(dtype: torch.dtype) -> dict[str, float]:
        relative, absolute = _TOLERANCES[dtype]
        return {"rtol": relative, "atol": absolute}

    return of


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    """``torch.set_num_threads``, undone after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with lcid/, real/ and torchvision/; skips when ZOO_REAL_DATA is unset."""
    folder = os.environ.get("ZOO_REAL_DATA")
    if not folder:
        pytest.skip("ZOO_REAL_DATA is not set")
    return Path(folder)
