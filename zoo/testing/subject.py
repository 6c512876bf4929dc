"""What the checks of entries and models work on: an entry, the options it is built with, and models built from it when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from zoo.entries import Entry
from zoo.errors import InputShapeError, UsageError
from zoo.models.build import build_model, build_shell
from zoo.registry import SINGULAR
from zoo.testing.check import FaultError, describe_error
from zoo.testing.effects import preserved_state
from zoo.testing.samples import SEED, make_batch

Shape = tuple[int, int, int]

# Tried in this order: small enough for a test, until the architecture accepts one.
SIZES = ((64, 128), (128, 256), (256, 512))


@dataclass
class EntrySubject:
    """One registered name, with the options that it is checked with."""

    entry: Entry
    options: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry, options: Mapping[str, object] | None = None, **arguments: Any) -> Any:
        """Parse the options, as the command line would. Raises: UnknownNameError, UsageError: one does not fit."""
        return cls(entry, entry.parse_options(options or {}), **arguments)

    @property
    def label(self) -> str:
        """Such as ``step 'destripe'``."""
        return f"{SINGULAR[self.entry.kind]} {self.entry.name!r}"


@dataclass
class ModelSubject(EntrySubject):
    """An architecture.

    Attributes:
        sizes: heights and widths to try, in order. num_classes, in_channels: what the model is built with where a check does not vary it.
    """

    sizes: tuple[tuple[int, int], ...] = SIZES
    num_classes: int = 2
    in_channels: int = 1
    _built_with: dict[str, Any] = field(default_factory=dict, init=False)

    @cached_property
    def size(self) -> tuple[int, int]:
        """The first of `sizes` that the architecture accepts, with options that its refusal names if that helps.

        Raises: FaultError: it accepts none.
        """
        refusals = []
        for size in self.sizes:
            hint: Mapping[str, str] = {}
            for _ in range(2):
                self._built_with = self.entry.parse_options({**self.options, **hint})
                try:
                    self.shell(size=size, options=self._built_with)
                    return size
                except InputShapeError as error:
                    refusals.append(str(error))
                    hint = error.options
                if not hint:
                    break
        tried = ", ".join(f"{height}x{width}" for height, width in self.sizes)
        raise FaultError(f"it refuses frames of {tried}: {refusals[0]}")

    @property
    def built_with(self) -> dict[str, Any]:
        """All options, those among them that the size asked for."""
        _ = self.size
        return self._built_with

    @property
    def shape(self) -> Shape:
        """``(C, H, W)`` that the model is built for."""
        return self.in_channels, *self.size

    @cached_property
    def model(self) -> nn.Module:
        """The model, in eval mode."""
        return self.build().eval()

    @cached_property
    def spare(self) -> nn.Module:
        """A model of the same seed for what may change its buffers."""
        return self.build()

    @cached_property
    def other(self) -> nn.Module:
        """A model of another seed."""
        return self.build(seed=SEED + 1)

    @cached_property
    def frames(self) -> Tensor:
        """Two frames."""
        return make_batch(2, self.shape)

    @cached_property
    def logits(self) -> Tensor:
        """What the model says of the two frames."""
        return self.run(self.model, self.frames)

    def arguments(
        self, *, size: tuple[int, int] | None = None, num_classes: int | None = None, in_channels: int | None = None
    ) -> dict[str, Any]:
        """What a builder gets besides its options."""
        channels = in_channels or self.in_channels
        return {"num_classes": num_classes or self.num_classes, "in_channels": channels, "input_shape": (channels, *(size or self.size))}

    def build(self, *, seed: int = SEED, options: Mapping[str, Any] | None = None, **changed: Any) -> nn.Module:
        """Build for real, with weights of a seed; the state of the process is as before afterwards."""
        with preserved_state():
            torch.manual_seed(seed)
            return build_model(self.entry, self.built_with if options is None else options, **self.arguments(**changed))

    def shell(self, *, options: Mapping[str, Any] | None = None, **changed: Any) -> nn.Module:
        """Build without memory for the weights where the builder allows it; the state of the process is as before afterwards."""
        with preserved_state():
            return build_shell(self.entry, self.built_with if options is None else options, **self.arguments(**changed))

    def run(self, model: nn.Module, frames: Tensor) -> Tensor:
        """Logits without gradients. Raises: FaultError: forward raised, or gave something else than a tensor."""
        try:
            with torch.no_grad(), preserved_state():
                logits = model(frames.clone())  # whether it works in place is a check of its own
        except Exception as error:
            raise FaultError(f"forward of {'x'.join(map(str, frames.shape))} frames raised {describe_error(error)}") from error
        if not isinstance(logits, Tensor):
            raise FaultError(f"forward gave {type(logits).__name__}, expected a tensor of logits", "return one row of raw logits a frame")
        return logits

    def logits_shape(self, **changed: Any) -> tuple[int, ...]:
        """Shape of the logits of two frames for other arguments than the usual ones: on the meta device if the model can, else for real.

        Raises: InputShapeError, UsageError: the builder refused them. FaultError: forward raised.
        """
        frames = make_batch(2, self.arguments(**changed)["input_shape"])
        model = self.shell(**changed)
        meta = next((parameter.is_meta for parameter in model.parameters()), False)
        try:
            if meta:
                return tuple(self.run(model.eval(), frames.to("meta")).shape)
        except FaultError:
            pass  # some operators exist on real tensors only
        return tuple(self.run(self.build(**changed).eval(), frames).shape)


def refuses(error: BaseException) -> bool:
    """Whether an exception is a builder's way to refuse a shape, as opposed to a defect."""
    return isinstance(error, InputShapeError | UsageError)
