"""Grad-CAM: where in the frame the evidence for a class was.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017, arXiv:1610.02391: the
channels of the last map of convolutions are added with the mean gradient of the class's score as weights, and what is negative is left out.
The score here is the log-odds of the class, its logit against those of all others together, because adding a number to all logits changes
no decision; with two classes it is the difference of the logits.

Features are computed without gradients, the stem in strips (`zoo.models.stream_stem`), and gradients exist only from the last map on. So a
frame of 2048x4096 takes the memory of an inference, not of a training step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.errors import MemoryLimitError, UsageError
from zoo.explaining.fields import Axis, Field, spread_evenly
from zoo.explaining.structure import Passing, first_tensor, follow, last_map
from zoo.models import LoadedModel, stream_stem
from zoo.models.prepare import share_weights
from zoo.training.device import find_device, is_out_of_memory


@dataclass(frozen=True)
class CamMap:
    """Where in one frame the evidence for a class was.

    Attributes:
        values: ``(h, w)`` float64, >= 0, one per cell of the map; all 0 where no place speaks for the class.
        field: where the cells lie in the frame.
        size: ``(H, W)`` of the frame.
        score: log-odds of the class.
    """

    values: NDArray[np.float64]
    field: Field
    size: tuple[int, int]
    score: float

    @property
    def peak(self) -> tuple[float, float] | None:
        """Row and column of the frame at the centre of what the largest cell sees; ``None`` where no place speaks for the class."""
        if not self.values.max() > 0:
            return None
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        rows, columns = self.field
        return rows.first + int(row) * rows.step, columns.first + int(column) * columns.step

    def at(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the map at places of the frame, ``(len(rows), len(columns))``: linear between the centres of the cells.

        Beyond the outer ones it is flat for half a step and falls to 0 over the next one: without padding much of a frame lies farther out,
        is seen by the outer cells at the edge of their fields only, and would look like their best place.

        Args:
            rows, columns: pixels of the frame, from 0; a whole number is the middle of one.
        """
        down, across = (
            _weights(places, axis, count) for places, axis, count in zip((rows, columns), self.field, self.values.shape, strict=True)
        )
        return np.asarray(down @ self.values @ across.T, dtype=np.float64)


class GradCam:
    """Computes the maps of a trained model, frame by frame.

    Args:
        loaded: the model; it stays as it is.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Attributes:
        place: the map that is used, ``(1, C, h, w)``.
        placed: whether it is known where its cells lie; otherwise they are spread evenly over the frame.

    Raises:
        UsageError: the network has no map of convolutions, or cannot be followed; says which.
    """

    def __init__(self, loaded: LoadedModel, *, device: str = "auto") -> None:
        self.device, self._shape = find_device(device), loaded.input_shape
        passings = follow(loaded.model, loaded.input_shape)
        place = last_map(passings)
        if place is None:
            lost = "cannot be followed on tensors without values"
            why = lost if passings is None else "has no map of convolutions with more than one cell"
            raise UsageError(f"{loaded.name} {why}, so there is no Grad-CAM of it")
        self.place, self.placed = place, place.field is not None
        self._model = _twin(loaded.model, self.device)
        if stream_stem(self._model) and not _same(place, last_map(follow(self._model, loaded.input_shape))):
            stream_stem(self._model, False)  # the stem holds the map itself

    def __call__(self, image: Tensor, index: int) -> CamMap:
        """Return where the evidence for a class was.

        Args:
            image: ``(1, 1, H, W)`` float32 of one frame, as the model takes it.
            index: of the class.

        Raises:
            MemoryLimitError: the frame does not fit.
        """
        if tuple(image.shape) != (1, *self._shape):
            raise UsageError(f"got images of shape {tuple(image.shape)}, expected one frame of shape {(1, *self._shape)}")
        try:
            with torch.inference_mode(False), torch.no_grad():
                tail = _Tail(self._model, self.place)
                logits = tail.run(image.to(self.device))
                with torch.enable_grad():
                    score = _log_odds(logits[0].double(), index)
            return self._weigh(score, tail)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = f"{image.shape[-2]}x{image.shape[-1]}"
            told = f"Grad-CAM of a frame of {size} does not fit into the memory of {self.device}; try another --device"
            raise MemoryLimitError(told) from error

    def _weigh(self, score: Tensor, tail: _Tail) -> CamMap:
        """Add the channels of the map with the mean gradients of the score as weights."""
        held = tail.held
        assert held is not None
        gradient = None
        if score.requires_grad:
            (gradient,) = torch.autograd.grad(score, held, allow_unused=True)
        values = np.zeros(tuple(held.shape[2:]))
        if gradient is not None:
            weights = gradient.double().mean(dim=(2, 3), keepdim=True)
            values = (weights * held.detach().double()).sum(dim=1).relu()[0].cpu().numpy()
        size = (self._shape[1], self._shape[2])
        rows, columns = values.shape
        return CamMap(values, self.place.field or spread_evenly((rows, columns), size), size, float(score.detach()))


class _Tail:
    """Runs a model without gradients up to a map and with gradients behind it."""

    def __init__(self, model: nn.Module, place: Passing) -> None:
        self._model, self._place, self._calls = model, place, 0
        self.held: Tensor | None = None

    def run(self, image: Tensor) -> Tensor:
        """Return the logits; ``held`` is then the map, on which they depend."""
        module = self._model.get_submodule(self._place.module)
        if self._place.given:
            handle = module.register_forward_hook(self._after)
        else:
            handle = module.register_forward_pre_hook(self._before, with_kwargs=True)
        try:
            logits: Tensor = self._model(image)
        finally:
            handle.remove()
        return logits

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not self._is_due():
            return None
        swapped = iter(self._swap((*args, *kwargs.values())))
        return tuple(next(swapped) for _ in args), {name: next(swapped) for name in kwargs}

    def _after(self, module: nn.Module, args: object, result: Any) -> Any:
        if not self._is_due():
            return None
        return self._enter(result) if isinstance(result, Tensor) else self._swap(result)

    def _swap(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Put the map in the place of the tensor that it is made of."""
        found = first_tensor(values)
        entered = None if found is None else self._enter(found)
        return tuple(entered if value is found else value for value in values)

    def _is_due(self) -> bool:
        self._calls += 1
        return self._calls == self._place.call + 1

    def _enter(self, tensor: Tensor) -> Tensor:
        """Keep the map and let the rest of the forward pass, which ends with its ``no_grad``, record what becomes of it."""
        torch.set_grad_enabled(True)
        self.held = tensor.detach().clone().requires_grad_()
        return self.held.clone()  # what follows may write into it


def _twin(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy with the same weights, for its stem is switched; the model itself where it cannot be copied."""
    try:
        return share_weights(model, device)
    except Exception:  # whatever the attributes of a plugin's model raise when they are copied
        return model.eval().to(device)


def _same(place: Passing, other: Passing | None) -> bool:
    """Whether two passings are the same but for where their cells lie."""
    return other is not None and replace(place, field=None) == replace(other, field=None)


def _log_odds(logits: Tensor, index: int) -> Tensor:
    """The logit of one class against those of all others together."""
    others = torch.cat([logits[:index], logits[index + 1 :]])
    return logits[index] - torch.logsumexp(others, dim=0) if len(others) else logits[index]


def _weights(places: NDArray[np.float64], axis: Axis, count: int) -> NDArray[np.float64]:
    """``(len(places), count)``: how much of each cell there is at each place."""
    exact = (np.asarray(places, dtype=np.float64) - axis.first) / axis.step
    cells = np.clip(exact, 0, count - 1)
    shown = np.clip(1.5 - np.abs(exact - cells), 0, 1)
    lower = np.minimum(cells.astype(np.int64), max(count - 2, 0))
    share = cells - lower
    weights = np.zeros((cells.size, count))
    row = np.arange(cells.size)
    weights[row, lower] = 1 - share
    weights[row, np.minimum(lower + 1, count - 1)] += share
    return weights * shown[:, None]
