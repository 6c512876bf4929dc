"""What a network is made of, found by following one frame through it without computing anything.

The frame is a fake tensor: it has a shape and no values, so that a network of any size is followed in a second and in no memory. What
passes the border of a module is written down in order, whatever the modules are called, and with every map goes where its cells lie in the
frame (`zoo.explaining.fields`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.conv import _ConvNd

from zoo.explaining.fields import Field, FieldTracker


@dataclass(frozen=True)
class Passing:
    """A tensor that a module takes or gives.

    Attributes:
        module: its name in the model.
        call: which call of this module it is, from 0.
        given: whether it is what the module gives; else what it takes.
        kind: ``convolution``, ``linear``, or empty for every other module.
        shape: of the tensor, for one frame.
        field: where the cells of a map ``(1, C, h, w)`` lie in the frame; ``None`` where that is not known.
    """

    module: str
    call: int
    given: bool
    kind: str
    shape: tuple[int, ...]
    field: Field | None = None


def follow(model: nn.Module, input_shape: tuple[int, int, int]) -> list[Passing] | None:
    """Return what passes between the modules of a model, in the order in which it does.

    Args:
        model: in eval mode, on any device; it is left as it is.
        input_shape: ``(C, H, W)`` of a frame.

    Returns: ``None`` where the model cannot be followed, because its code looks at the values of its tensors.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    passings: list[Passing] = []
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        shells = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in tensors.items()}
        image = torch.empty(1, *input_shape)
        try:
            with FieldTracker(image) as tracker, _listening(model, tracker, passings):
                torch.func.functional_call(model, shells, (image,))
        except Exception:  # a plugin's code may raise anything on tensors without values
            return None
    return passings


def last_layer(passings: Sequence[Passing] | None) -> Passing | None:
    """Return what the last layer with weights takes: the features from which the logits are made; ``None`` where there is no such layer.

    It is the linear layer or convolution that is called last, by whatever name.
    """
    return next((passing for passing in reversed(passings or ()) if passing.kind and not passing.given), None)


def last_map(passings: Sequence[Passing] | None) -> Passing | None:
    """Return the last feature map of convolutions, ``(1, C, h, w)``; ``None`` where the network has none of more than one cell.

    It has the rows and columns that the last convolution gives, and whatever follows at that size is part of it: normalisation, activation,
    the sum with a shortcut. What a pooling layer takes counts, so an activation that is a mere function is not missed.
    """
    last = None
    for place, passing in enumerate(passings or ()):
        if passing.kind == "convolution" and passing.given and len(passing.shape) == 4 and passing.shape[2] * passing.shape[3] > 1:
            last = place
    if passings is None or last is None:
        return None
    size = passings[last].shape[2:]
    return [passing for passing in passings[last:] if len(passing.shape) == 4 and passing.shape[2:] == size][-1]


@contextmanager
def _listening(model: nn.Module, tracker: FieldTracker, passings: list[Passing]) -> Iterator[None]:
    """Write down what passes while the block runs."""
    calls = Counter[str]()

    def note(name: str, kind: str, tensor: Tensor | None, *, given: bool) -> None:
        call = calls[name] - 1
        if tensor is not None:
            passings.append(Passing(name, call, given, kind, tuple(tensor.shape), tracker.field_of(tensor)))

    def before(name: str, kind: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        calls[name] += 1
        note(name, kind, first_tensor((*args, *kwargs.values())), given=False)

    def after(name: str, kind: str, module: nn.Module, args: object, result: object) -> None:
        note(name, kind, first_tensor(result if isinstance(result, tuple) else (result,)), given=True)

    handles = []
    for name, module in model.named_modules():
        if name:
            kind = "convolution" if isinstance(module, _ConvNd) else "linear" if isinstance(module, nn.Linear) else ""
            handles.append(module.register_forward_pre_hook(partial(before, name, kind), with_kwargs=True))
            handles.append(module.register_forward_hook(partial(after, name, kind)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(values: tuple[Any, ...]) -> Tensor | None:
    """Return the first tensor among the values."""
    return next((value for value in values if isinstance(value, Tensor)), None)
