"""The same small computations with BatchNorm in one process and in several; started as a script, it is one of several."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.data.loader import part_of
from zoo.models import stream_stem
from zoo.training.distributed import Ranks, join
from zoo.training.launch import Launch
from zoo.training.shared_norm import share_norm_statistics

FRAMES = 5  # two processes get 2 and 3 of them


class Branch(nn.Module):
    """A parameter that only the first of two processes uses, on frames 0 and 1, and one that none uses."""

    def __init__(self) -> None:
        super().__init__()
        self.often, self.seldom, self.never = (nn.Parameter(torch.full((3,), value)) for value in (2.0, 3.0, 4.0))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.often
        return x if len(x) == 3 else torch.cat([x[:2] + self.seldom, x[2:]])


def streamed(*, before: bool) -> nn.Module:
    """A network with a stem; several processes stream it before or after they share its statistics, one process does not stream it."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(18, 3))
    if dist.is_initialized():
        if not before:
            share_norm_statistics(model)
        assert len(stream_stem(model)) == 4
    return model


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(3), (3,)),
    "1d-length": (lambda: nn.BatchNorm1d(3, momentum=0.3), (3, 7)),
    "2d": (lambda: nn.BatchNorm2d(3, eps=1e-3), (3, 4, 6)),
    "2d-average": (lambda: nn.BatchNorm2d(3, momentum=None), (3, 4, 6)),
    "2d-plain": (lambda: nn.BatchNorm2d(3, affine=False), (3, 4, 6)),
    "2d-forgetful": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (3, 4, 6)),
    "3d": (lambda: nn.BatchNorm3d(3), (3, 2, 3, 4)),
    "net": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(6, 3)
        ),
        (3, 4, 6),
    ),
    "branch": (Branch, (3,)),
    "streamed": (lambda: streamed(before=False), (1, 9, 8)),
    "streamed-before": (lambda: streamed(before=True), (1, 9, 8)),
}


def run_case(name: str, ranks: Ranks, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return what two training steps and one in eval mode give; inputs, outputs and their gradients only for the own frames."""
    build, shape = CASES[name]
    torch.manual_seed(0)
    model = build().to(dtype)
    results: dict[str, Tensor] = {}
    keys = list(model.state_dict())
    if ranks.size > 1:
        share_norm_statistics(model)
    assert list(model.state_dict()) == keys
    own = part_of(FRAMES, ranks.part)
    for step in range(2):
        whole = torch.randn(FRAMES, *shape, dtype=torch.float64).mul_(3).add_(50).to(dtype)
        x = whole[own.start : own.stop].clone().requires_grad_()
        output = ranks.gather(model(x), FRAMES)
        target = torch.randn(output.shape, dtype=torch.float64).to(dtype)
        model.zero_grad()
        ((output - target) ** 3).mean().backward()  # the loss of all frames; no sum of losses of parts
        ranks.sum_gradients(model.parameters())
        results |= {f"{step}.output": output.detach()}
        assert x.grad is not None
        results |= {f"{step}.input.{index}": gradient.contiguous() for index, gradient in zip(own, x.grad, strict=True)}
        results |= {f"{step}.{key}.grad": p.grad.contiguous() for key, p in model.named_parameters() if p.grad is not None}
        results |= {f"{step}.{key}": value.clone() for key, value in model.state_dict().items()}
    model.eval()
    with torch.no_grad():
        results["eval"] = model(torch.randn(1, *shape, dtype=torch.float64).to(dtype))
    return results


if __name__ == "__main__":
    with join(Launch.from_environment()) as ranks:
        for case in CASES:
            for dtype in (torch.float64, torch.float32):
                save_file(run_case(case, ranks, dtype), Path(sys.argv[1]) / f"{case}-{dtype}-{ranks.rank}.safetensors")
