"""The networks of odd_nets.py as a plugin file, which the children load too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.registry import Registry, use_registry

ODD_NETS = Path(__file__).with_name("odd_nets.py")


@pytest.fixture(scope="module")
def odd_nets() -> Iterator[Registry]:
    """The built-ins and `odd_nets`."""
    with use_registry(Registry.load(entry_points=False, files=[ODD_NETS])) as registry:
        yield registry
