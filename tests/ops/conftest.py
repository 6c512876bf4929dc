"""Fixtures for the ops that read raw pixels."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture(params=["native", "reference"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test of decode, frame_statistics or normalize with the compiled kernels and with pure torch."""
    module = importlib.import_module("zoo.ops.raw")
    if request.param == "reference":
        monkeypatch.setattr(module, "native", lambda: None)
    elif module.native() is None:
        pytest.skip("zoo._native is not built")
    return str(request.param)
