"""BatchNorm in two processes equals BatchNorm in one on all frames."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from norm_cases import CASES, run_case
from processes import free_port
from safetensors.torch import load_file
from torch import nn

from zoo.errors import UsageError
from zoo.training.distributed import Ranks
from zoo.training.launch import Launch
from zoo.training.shared_norm import share_norm_statistics


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes left the results of all cases."""
    folder = tmp_path_factory.mktemp("norm")
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).parent / "norm_cases.py")
    processes = [
        subprocess.Popen([sys.executable, script, str(folder)], env={**os.environ, **common, "RANK": str(rank)}) for rank in range(2)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    return folder


# Worst measured on an AMD EPYC: 4e-14 in float64 (6e-11 on gradients of 1e6) and 1e-5 in float32, on frames of mean 50 and deviation 3.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 3e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_shared_norm_equals_one_process(results: Path, case: str, dtype: torch.dtype, tolerance: float) -> None:
    expected = run_case(case, Ranks(Launch()), dtype)
    parts = [load_file(results / f"{case}-{dtype}-{rank}.safetensors") for rank in range(2)]
    assert set(parts[0]) | set(parts[1]) == set(expected)
    for part in parts:
        for name, value in part.items():
            torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")
    shared = set(parts[0]) & set(parts[1])
    assert {name for name in shared if not torch.equal(parts[0][name], parts[1][name])} == set()


def test_share_norm_statistics_keeps_identity_state_and_copies() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.InstanceNorm2d(2))
    layer, keys = model[1], list(model.state_dict())
    assert share_norm_statistics(model) == 1
    assert model[1] is layer
    assert isinstance(layer, nn.BatchNorm2d)
    assert list(model.state_dict()) == keys
    assert type(copy.deepcopy(model)[1]) is type(layer)
    assert share_norm_statistics(model) == 0
    image = torch.randn(2, 1, 3, 3)
    model.eval()
    plain = nn.BatchNorm2d(2).eval()
    torch.testing.assert_close(layer(model[0](image)), plain(model[0](image)))


def test_share_norm_statistics_refuses_layers_of_their_own() -> None:
    class Own(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input

    with pytest.raises(UsageError, match=r"layer '0' is a Own with a forward of its own, .* train this model in one process"):
        share_norm_statistics(nn.Sequential(Own(2)))
