"""Optimizer steps that are left out because a loss or a gradient is not finite, so that nothing of them stays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from zoo.data import Row
from zoo.errors import CheckFailedError

LIMIT = 3  # steps left out in a row that end a training
_SHOWN = 6  # frames named in a message; the record has them all


@dataclass(frozen=True)
class Fault:
    """Why a step is left out.

    Attributes:
        reason: such as ``the loss is nan``.
        rows: the frames that it can come from: those with pixels that are not finite if there are any, else all that were seen.
        overflow: the gradient left the range of fp16, which a smaller scale of the loss mends.
    """

    reason: str
    rows: tuple[Row, ...]
    overflow: bool = False

    def __str__(self) -> str:
        return self.reason if self.overflow else f"{self.reason}; look at {describe_frames(self.rows)}"


def is_finite(images: Tensor) -> Tensor:
    """Return ``(N,)`` uint8: 1 for each of the images ``(N, C, H, W)`` whose pixels are all finite."""
    return torch.isfinite(images).flatten(1).all(1).to(torch.uint8)


def loss_fault(loss: float, sound: Tensor, rows: Sequence[Row]) -> Fault:
    """Return the fault of a batch whose mean loss is not finite.

    Args:
        loss: of the batch.
        sound: ``(N,)``, from `is_finite`, of what the model saw. rows: its frames.
    """
    bad = [row for row, finite in zip(rows, sound.tolist(), strict=True) if not finite]
    where = f", and so are pixels of {len(bad)} of {len(rows)} frames after the pipeline" if bad else ""
    return Fault(f"the loss is {loss}{where}", tuple(bad or rows))


def gradient_fault(norm: float, rows: Sequence[Row], *, scale: float) -> Fault | None:
    """Return the fault of a step whose whole gradient has this norm, or ``None``.

    Args:
        rows: every frame of the step.
        scale: of the loss; 1 where it is not scaled, and then no smaller scale can help.
    """
    if math.isfinite(norm):
        return None
    if scale > 1:
        return Fault(f"the gradient leaves the range of fp16 at loss scale {scale:g}", tuple(rows), overflow=True)
    return Fault(f"the norm of the gradient is {norm}", tuple(rows))


def stop_error(fault: Fault, *, step: int, checkpoint: Path) -> CheckFailedError:
    """Return the error that ends a training after `LIMIT` such steps in a row.

    Args:
        fault: the last one. step: where, from 1. checkpoint: folder of the last checkpoint, which may be absent.
    """
    kept = f"the last checkpoint is {checkpoint}" if checkpoint.exists() else "there is no checkpoint yet"
    return CheckFailedError(
        f"{LIMIT} optimizer steps in a row were left out, the last one at step {step}: {fault}. If these frames are sound, start again "
        f"with a lower --lr, a smaller --clip-norm or --precision fp32. No weight was changed by these steps; {kept}"
    )


def frame_names(rows: Iterable[Row]) -> list[str]:
    """Return the frames as the manifest names them, with their HDU where it is not the first: ``j8f6_raw.fits:4``."""
    return [f"{row.path}:{row.hdu}" if row.hdu else row.path for row in rows]


def target_names(rows: Iterable[Row]) -> list[str]:
    """Return the targets of the frames, each once, sorted."""
    return sorted({row.target for row in rows})


def describe_frames(rows: Sequence[Row]) -> str:
    """Return ``a.fits, b.fits (targets NGC1, NGC2)``; of many only the first are named, with the number of the others."""
    targets = target_names(rows)
    return f"{_shorten(frame_names(rows))} (target{'' if len(targets) == 1 else 's'} {_shorten(targets)})"


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


class BufferMemory:
    """Remembers a model's buffers over one step: a forward pass in training mode already writes NaN into BatchNorm's statistics.

    Buffers are small: hrcn has 27 KiB of them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = list(model.buffers())
        self._before = [torch.empty_like(buffer) for buffer in self._buffers]
        layers = (module for module in model.modules() if isinstance(module, _NormBase))
        self._statistics = [buffer for layer in layers for buffer in layer.buffers(recurse=False) if buffer.is_floating_point()]

    def fault(self, rows: Sequence[Row]) -> Fault | None:
        """Return the fault of a step over these frames that made a running statistic NaN or infinite, as a variance that overflows does."""
        largest = nn.utils.get_total_norm(self._statistics, norm_type=math.inf).item() if self._statistics else 0.0
        return None if math.isfinite(largest) else Fault("the variance of a layer's output is not finite", tuple(rows))

    def keep(self) -> None:
        """Remember the buffers as they are."""
        _copy(self._buffers, self._before)

    def restore(self) -> None:
        """Put back what was last kept."""
        _copy(self._before, self._buffers)


@torch.no_grad()
def _copy(sources: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
