"""Which frames a network takes for alike: nearest neighbours among the features from which it makes its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.explaining.structure import Passing, first_tensor

BLOCK = 512
"""Frames whose distances to all others are held at a time."""


class FeatureTap:
    """Keeps what the last layer with weights takes while a model runs; a context manager.

    Args:
        model: on any device, prepared for inference or not.
        place: the layer, as `zoo.explaining.structure.last_layer` names it.

    Raises:
        AttributeError: the model has no such layer.
    """

    def __init__(self, model: nn.Module, place: Passing) -> None:
        self._model, self._layer, self._place = model, model.get_submodule(place.module), place
        self._taken: list[NDArray[np.float32]] = []
        self._calls = 0

    def __enter__(self) -> FeatureTap:
        self._handles = [
            self._model.register_forward_pre_hook(self._begin),
            self._layer.register_forward_pre_hook(self._take, with_kwargs=True),
        ]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    def features(self) -> NDArray[np.float32]:
        """Return ``(N, D)``, the frames in the order in which they went through."""
        return np.concatenate(self._taken) if self._taken else np.zeros((0, 0), dtype=np.float32)

    def _begin(self, model: nn.Module, args: object) -> None:
        self._calls = 0

    def _take(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._calls += 1
        tensor = first_tensor((*args, *kwargs.values()))
        if tensor is not None and self._calls == self._place.call + 1:
            linear = self._place.kind == "linear"
            self._taken.append(mean_features(tensor.detach(), linear=linear).float().cpu().numpy().copy())


def mean_features(tensor: Tensor, *, linear: bool) -> Tensor:
    """Return ``(N, D)`` of what a layer takes: as it is, or its mean over positions.

    Args:
        tensor: ``(N, D)``, ``(N, ..., D)`` of a linear layer, or ``(N, D, ...)`` of a convolution.
        linear: which of the two.
    """
    while tensor.ndim > 2:
        tensor = tensor.mean(dim=1 if linear else -1)
    return tensor


@dataclass(frozen=True)
class Neighbours:
    """The nearest frames of other targets, of another class and of the same class.

    Attributes:
        other, same: ``(N,)`` int64, which frame; -1 where there is none.
        to_other, to_same: ``(N,)`` float64, how far; NaN where there is none.
    """

    other: NDArray[np.int64]
    same: NDArray[np.int64]
    to_other: NDArray[np.float64]
    to_same: NDArray[np.float64]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Distance to the other class in units of that to the own one: below 1 a frame resembles the other class more. NaN for 0 / 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.to_other / self.to_same


def find_neighbours(features: NDArray[np.floating[Any]], labels: Sequence[str], targets: Sequence[str]) -> Neighbours:
    """Find the nearest frame of another class, and the nearest of the same class, both of another target; all pairs are compared.

    Distance: every feature is centred and divided by its standard deviation over the frames, constant ones are left out, and the Euclidean
    distance is divided by the root of their number. It does not depend on the scale or the number of the features; two frames drawn at
    random are about 1.4 apart.

    Args:
        features: ``(N, D)``; a frame with NaN or infinity has no neighbours and is none.
        labels, targets: of each frame.
    """
    values = np.asarray(features, dtype=np.float64)
    n_frames = len(values)
    other, same = np.full(n_frames, -1, dtype=np.int64), np.full(n_frames, -1, dtype=np.int64)
    to_other, to_same = np.full(n_frames, np.nan), np.full(n_frames, np.nan)
    usable = np.flatnonzero(np.isfinite(values).all(axis=1))
    if usable.size > 1 and values.shape[1]:
        scaled = _standardise(values[usable])
        label_index, target_index = (np.unique(np.asarray(names)[usable], return_inverse=True)[1] for names in (labels, targets))
        squares = (scaled**2).sum(axis=1)
        for start in range(0, usable.size, BLOCK):
            block = slice(start, start + BLOCK)
            distances = squares[block, None] + squares[None] - 2 * scaled[block] @ scaled.T
            elsewhere = target_index[block, None] != target_index[None]
            alike = label_index[block, None] == label_index[None]
            for found, far, allowed in ((other, to_other, elsewhere & ~alike), (same, to_same, elsewhere & alike)):
                masked = np.where(allowed, distances, np.inf)
                nearest = masked.argmin(axis=1)
                has = allowed.any(axis=1)
                rows = usable[block][has]
                found[rows] = usable[nearest[has]]
                far[rows] = np.linalg.norm(scaled[block][has] - scaled[nearest[has]], axis=1)  # the product above cancels for near ones
    return Neighbours(other, same, to_other, to_same)


def _standardise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre, scale, and leave out what is constant; distances are then per root of the features."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    kept = spread > 1e-6 * np.abs(values).max(axis=0)  # below that it is the rounding of float32
    return np.asarray(centred[:, kept] / spread[kept] / max(kept.sum(), 1) ** 0.5, dtype=np.float64)
