"""Where the cells of a feature map lie in the frame: the centre and the extent of what each of them sees.

A layer of kernel ``k``, stride ``s``, padding ``p`` and dilation ``d`` moves the centre of the first cell by ``(d (k - 1) / 2 - p)`` steps
of the map before it and makes the step ``s`` times as long (A. Araujo, W. Norris and J. Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019, doi 10.23915/distill.00021). Without padding the cells are therefore not spread evenly over the frame: the
first one of HR-CelestialNet's last map looks at pixel 596.5, not at the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten


class Axis(NamedTuple):
    """Cells along one side of a map: cell ``i`` looks at ``size`` pixels around pixel ``first + i * step``.

    Pixels count from 0, and a whole number is the middle of one. ``size`` is that of what is seen at most; NaN where it is not known.
    """

    first: float
    step: float
    size: float

    def layer(self, kernel: float, stride: float, padding: float = 0, dilation: float = 1) -> Axis:
        """Return the axis behind a layer that slides over this one."""
        reach = dilation * (kernel - 1)
        return Axis(self.first + (reach / 2 - padding) * self.step, self.step * stride, self.size + reach * self.step)


class Field(NamedTuple):
    """Where the cells of a map lie, along its rows and its columns."""

    rows: Axis
    columns: Axis


def spread_evenly(cells: tuple[int, int], size: tuple[int, int]) -> Field:
    """Return the field of a map of which nothing is known but that it shows the whole frame: its cells share it evenly.

    Args:
        cells: rows and columns of the map. size: height and width of the frame.
    """
    rows, columns = (Axis((side / count - 1) / 2, side / count, float("nan")) for count, side in zip(cells, size, strict=True))
    return Field(rows, columns)


@dataclass(frozen=True)
class _Known:
    """A tensor is kept with its field, or another could get its ``id``; fake ones weigh nothing."""

    tensor: Tensor
    field: Field


class FieldTracker(TorchDispatchMode):
    """Follows the field of every map made from an image while the mode is on.

    An operation that it does not know passes the field on where rows and columns keep their number, and loses it where they do not.

    Args:
        image: ``(N, C, H, W)``.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        pixel = Axis(0.0, 1.0, 1.0)
        self._known = {id(image): _Known(image, Field(pixel, pixel))}

    def field_of(self, tensor: Tensor) -> Field | None:
        """Return where the cells of a map lie; ``None`` where that is not known."""
        known = self._known.get(id(tensor))
        return known.field if known else None

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run the operation, then note the fields of the maps that it gives."""
        result = func(*args, **(kwargs or {}))
        maps = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor) and id(value) in self._known]
        if maps and func.overloadpacket not in _TURNING:
            rule = _RULES.get(func.overloadpacket)
            fields = {tuple(value.shape[2:]): self._known[id(value)].field for value in maps}
            for made in tree_leaves(result):
                if not isinstance(made, Tensor) or made.ndim != 4:
                    continue
                size = tuple(made.shape[2:])
                if rule is not None:
                    field = rule(self._known[id(maps[0])].field, maps[0], made, args, kwargs or {})
                elif size in fields:
                    field = _join([self._known[id(value)].field for value in maps if tuple(value.shape[2:]) == size])
                else:
                    continue
                if field is not None:
                    self._known[id(made)] = _Known(made, field)
        return result


def _join(fields: Sequence[Field]) -> Field | None:
    """The field of maps that were added or stacked: what any of them sees; ``None`` where their steps differ."""
    joined = []
    for axes in zip(*fields, strict=True):
        if len({axis.step for axis in axes}) > 1:
            return None
        low = min(axis.first - axis.size / 2 for axis in axes)
        high = max(axis.first + axis.size / 2 for axis in axes)
        joined.append(Axis((low + high) / 2, axes[0].step, high - low))
    return Field(*joined)


def _pair(value: Any) -> tuple[int, int]:
    """Two numbers, of a number or of a list of one or two."""
    values = [value] if isinstance(value, int) else list(value)
    return int(values[0]), int(values[-1])


def _slide(field: Field, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Field:
    sides = zip(field, *(_pair(value) for value in (kernel, stride, padding, dilation)), strict=True)
    return Field(*(axis.layer(k, s, p, d) for axis, k, s, p, d in sides))


def _convolution(field: Field, before: Tensor, made: Tensor, args: Sequence[Any], kwargs: Any) -> Field | None:
    _, weight, _, stride, padding, dilation, transposed = args[:7]
    return None if transposed else _slide(field, weight.shape[2:], stride, padding, dilation)


def _pool(field: Field, before: Tensor, made: Tensor, args: Sequence[Any], kwargs: Any) -> Field:
    given = dict(enumerate(args))  # the last ones are left out where they are the defaults
    kernel, stride, padding, dilation = args[1], given.get(2), given.get(3, 0), given.get(4, 1)
    return _slide(field, kernel, stride or kernel, padding, 1 if isinstance(dilation, bool) else dilation)  # of an average: ceil_mode


def _adaptive(field: Field, before: Tensor, made: Tensor, args: Sequence[Any], kwargs: Any) -> Field:
    blocks = [old / new for old, new in zip(before.shape[2:], made.shape[2:], strict=True)]
    return Field(*(axis.layer(block, block) for axis, block in zip(field, blocks, strict=True)))


def _pad(field: Field, before: Tensor, made: Tensor, args: Sequence[Any], kwargs: Any) -> Field:
    amounts = [*args[1], 0, 0]  # left, right, top, bottom
    return Field(*(axis._replace(first=axis.first - side * axis.step) for axis, side in zip(field, (amounts[2], amounts[0]), strict=True)))


def _slice(field: Field, before: Tensor, made: Tensor, args: Sequence[Any], kwargs: Any) -> Field:
    given = dict(enumerate(args))
    dim, start, step = given.get(1, 0), given.get(2) or 0, given.get(4, 1)
    place, length = dim % 4 - 2, before.shape[dim]
    if place < 0:
        return field
    first = min(max(start + length if start < 0 else start, 0), length)
    axis = field[place]
    cut = axis._replace(first=axis.first + first * axis.step, step=axis.step * step)
    return Field(*(cut if side == place else field[side] for side in range(2)))


_Rule = Callable[[Field, Tensor, Tensor, Sequence[Any], Any], Field | None]
_RULES: dict[Any, _Rule] = {
    _aten.convolution: _convolution,
    _aten.max_pool2d_with_indices: _pool,
    _aten.avg_pool2d: _pool,
    _aten._adaptive_avg_pool2d: _adaptive,
    _aten.adaptive_max_pool2d: _adaptive,
    _aten.constant_pad_nd: _pad,
    _aten.reflection_pad2d: _pad,
    _aten.replication_pad2d: _pad,
    _aten.slice: _slice,
}
_TURNING = {_aten.permute, _aten.transpose, _aten.t, _aten.flip, _aten.roll, _aten.rot90, _aten.view, _aten.reshape, _aten._unsafe_view}
"""Operations after which rows and columns are others, though there may be as many."""
