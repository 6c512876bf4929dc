"""Checks of a preprocessing step: that it does what it declares, and that chance enters by its generator alone."""

from __future__ import annotations

import hashlib
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy
import torch
from torch import Tensor

from zoo.errors import FrameError, InputShapeError
from zoo.frames import Frame
from zoo.steps import Step
from zoo.testing.check import CheckList, FaultError, NotApplicableError, describe_error
from zoo.testing.effects import differences, preserved_state, snapshot
from zoo.testing.entry_checks import check_options_used
from zoo.testing.samples import SEED, make_frame
from zoo.testing.subject import EntrySubject

CHECKS = CheckList()

SIZES = ((64, 128), (2100, 4200))  # tried in this order; the second one for steps that cut out a whole chip
ODD_SIZE = (61, 131)
DECLARED = {
    "scope": ("frame", "batch"),
    "unit_in": ("DN", "electron", "physical", "any"),
    "unit_out": ("DN", "electron", "dimensionless", "same"),
    "random": (True, False, "always"),
}
_DRAWS = 16  # a step that acts with probability 1/4 is left unchanged by all of them once in a hundred


@dataclass
class StepSubject(EntrySubject):
    """A step.

    Attributes:
        sizes: heights and widths of frames to try, in order.
    """

    sizes: tuple[tuple[int, int], ...] = SIZES
    _pixels: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False)

    @cached_property
    def step(self) -> Step:
        """The step."""
        return self.build(self.options)

    @cached_property
    def size(self) -> tuple[int, int]:
        """The first of `sizes` that the step accepts. Raises: FaultError: it accepts none."""
        for size in self.sizes:
            try:
                self.step.output_shape((1, *size))
                return size
            except InputShapeError as error:
                refusal = str(error)
        raise FaultError(f"it refuses frames of {', '.join(f'{h}x{w}' for h, w in self.sizes)}: {refusal}")

    @property
    def batched(self) -> bool:
        """Whether it works on batches."""
        return self.step.scope == "batch"

    def build(self, options: dict[str, Any]) -> Step:
        """Build it; the state of the process is as before afterwards."""
        with preserved_state():
            step: Step = self.entry.load()(**options)
        return step

    def pixels(self, size: tuple[int, int] | None = None) -> Tensor:
        """What it is fed, to be left unmodified: ``(1, H, W)``, or ``(3, 1, H, W)`` for a batch step."""
        height, width = size or self.size
        if (height, width) not in self._pixels:
            frames = [make_frame(height, width, seed=seed).decode() for seed in ((1, 2, 3) if self.batched else (1,))]
            self._pixels[height, width] = torch.stack(frames) if self.batched else frames[0]
        return self._pixels[height, width]

    def fed(self, pixels: Tensor) -> Any:
        """The batch, or a frame of these pixels in a unit that the step takes."""
        return pixels if self.batched else replace(make_frame(), pixels=pixels, unit="DN" if self.step.unit_in == "DN" else "electron")

    def generators(self, seed: int | None) -> Any:
        """What the step gets as its generator; one that always draws gets one always, as a pipeline does it."""
        if seed is None and self.step.random == "always":
            seed = SEED
        if seed is None:
            return None
        if self.batched:
            return [torch.Generator().manual_seed(seed + index) for index in range(3)]
        return torch.Generator().manual_seed(seed)

    def run(self, pixels: Tensor, seed: int | None = None, *, step: Step | None = None, out: Tensor | None = None) -> Tensor:
        """Run it and copy the result; the state of the process is as before afterwards. Raises: FaultError: it raised."""
        step = step or self.step
        try:
            with preserved_state():
                result = step(
                    self.fed(pixels.clone()), generator=self.generators(seed), out=out
                )  # whether it works in place is a check of its own
        except (InputShapeError, FrameError):
            raise
        except Exception as error:
            raise FaultError(f"it raised {describe_error(error)}") from error
        if not isinstance(result, Tensor if self.batched else Frame):
            raise FaultError(f"it gave {type(result).__name__}, expected {'a tensor' if self.batched else 'a zoo.Frame'}")
        return (result if isinstance(result, Tensor) else result.decode()).clone()

    def promised(self, size: tuple[int, int] | None = None) -> tuple[int, ...]:
        """The shape that output_shape promises for what `pixels` gives."""
        shape = tuple(self.step.output_shape((1, *(size or self.size))))
        return (3, *shape) if self.batched else shape


@CHECKS.check(remedy="set scope, unit_in, unit_out and random as attributes, as zoo.steps.Step describes them", after="entry-signature")
def step_declares(subject: StepSubject) -> str:
    """It builds, and declares scope, units and randomness; the scope is the registered one."""
    for attribute, allowed in DECLARED.items():
        value = getattr(subject.step, attribute, None)
        if value not in allowed:
            raise FaultError(f"{attribute} is {value!r}", f"set it to one of {', '.join(map(repr, allowed))}")
    registered = subject.entry.metadata["scope"]
    if subject.step.scope != registered:
        raise FaultError(f"it was registered with scope {registered!r} and says {subject.step.scope!r}", "give both the same scope")
    if not isinstance(subject.step, Step):
        raise FaultError("it lacks output_shape() or __call__()")
    return ", ".join(f"{name} {getattr(subject.step, name)}" for name in DECLARED)


@CHECKS.check(remedy="make output_shape and the result agree, and refuse frames with zoo.errors.InputShapeError", after="step-declares")
def step_shape(subject: StepSubject) -> str:
    """It gives the shape that output_shape promises."""
    notes = []
    for size in (subject.size, ODD_SIZE):
        try:
            promised, got = subject.promised(size), tuple(subject.run(subject.pixels(size)).shape)
        except InputShapeError:
            notes.append(f"{size[0]}x{size[1]} refused")
            continue
        if got != promised:
            raise FaultError(f"it gave {got} and output_shape says {promised}")
        notes.append(f"{size[0]}x{size[1]} to {got[-2]}x{got[-1]}")
    return ", ".join(notes)


@CHECKS.check(remedy="keep seeds, threads and folders out of it, and draw from the generator given", after="step-shape")
def step_effects(subject: StepSubject) -> str:
    """Building and running it leave the state of the process alone."""
    pixels = subject.pixels()
    with preserved_state():
        before = snapshot()
        step = subject.entry.load()(**subject.options)
        step(subject.fed(pixels.clone()), generator=subject.generators(None))
        changes = differences(before, snapshot())
    if changes:
        raise FaultError(f"it changes {'; '.join(changes)}")
    return "nothing changed"


@CHECKS.check(remedy="give float32 pixels, and guard divisions and logarithms", after="step-shape")
def step_values(subject: StepSubject) -> str:
    """It keeps finite pixels finite, in float32."""
    result = subject.run(subject.pixels())
    if result.dtype != torch.float32:
        raise FaultError(f"it gave {result.dtype}", "give float32 pixels")
    if not bool(torch.isfinite(result).all()):
        raise FaultError("a finite frame became NaN or infinite", "guard divisions and logarithms")
    return f"from {result.min():.3g} to {result.max():.3g}"


@CHECKS.check(remedy="write into a new tensor or into out", after="step-shape")
def step_input_kept(subject: StepSubject) -> str:
    """It leaves what it is given unmodified."""
    for seed in (None, 1, 2):
        pixels = subject.pixels().clone()
        with preserved_state():
            subject.step(subject.fed(pixels), generator=subject.generators(seed))
        if not torch.equal(pixels, subject.pixels()):
            raise FaultError(f"it changed the {'batch' if subject.batched else 'frame'} it was given")
    return "unmodified"


@CHECKS.check(remedy="draw only from the generator given, and keep no state between calls", after="step-shape")
def step_repeatable(subject: StepSubject) -> str:
    """It does the same twice, without a generator and with equal ones, whatever the global seeds are."""
    pixels = subject.pixels()
    for seed in (None, 0, 1):
        results = []
        for global_seed in (1, 2):
            with preserved_state():
                torch.manual_seed(global_seed)
                _seed_others(global_seed)
                results.append(subject.run(pixels, seed))
        if not _same(*results):
            words = "without a generator" if seed is None else "with equal generators"
            raise FaultError(f"two calls {words} differ")
    return "equal"


@CHECKS.check(remedy="set random = False, or use the generators and do nothing without them", after="step-repeatable")
def step_random(subject: StepSubject) -> str:
    """It draws if it says so, and then does nothing without a generator."""
    pixels = subject.pixels()
    plain = subject.run(pixels)
    drawn = any(not _same(subject.run(pixels, seed), plain) for seed in range(_DRAWS if subject.step.random else 2))
    if not subject.step.random:
        if drawn:
            raise FaultError("it is not declared random and depends on the generator", "set random = True")
        return "not random"
    if subject.step.random == "always":
        return "random, always" if drawn else "random where it acts"
    if not _same(plain, pixels):
        raise FaultError("a random step changed frames without a generator", "do nothing when generator is None")
    if not drawn:
        raise FaultError("sixteen draws changed nothing", "set random = False, or use the generators")
    return "random"


@CHECKS.check(remedy="write the same result into out, or leave out alone and return a new one", after="step-repeatable")
def step_out(subject: StepSubject) -> str:
    """With out= it gives the same pixels."""
    pixels = subject.pixels()
    out = torch.full(subject.promised(), math.nan)
    if not _same(subject.run(pixels, out=out), subject.run(pixels)):
        raise FaultError("with out= it gives other pixels")
    return "used" if bool(torch.isfinite(out).any()) else "not used"


@CHECKS.check(remedy="return frame.with_pixels(pixels, unit=...) with the unit that unit_out declares", after="step-shape")
def step_units(subject: StepSubject) -> str:
    """The frame it gives has the unit that it declares."""
    if subject.batched:
        raise NotApplicableError("batches carry no unit")
    frame = subject.fed(subject.pixels().clone())
    with preserved_state():
        result = subject.step(frame, generator=subject.generators(None))
    expected = frame.unit if subject.step.unit_out == "same" else subject.step.unit_out
    if result.unit != expected and not (result.notes and torch.equal(result.decode(), frame.decode())):
        raise FaultError(f"it declares unit_out {subject.step.unit_out!r} and gave a frame in {result.unit}")
    return f"{frame.unit} to {result.unit}"


@CHECKS.check(remedy="leave pixels without a value out of statistics: nanmedian, nanmean, or a mask of isfinite", after="step-values")
def step_nan(subject: StepSubject) -> str:
    """A few NaN pixels leave the rest of the frame, and the other frames, alone."""
    pixels = subject.pixels()
    height, width = pixels.shape[-2:]
    damaged = pixels.clone()
    (damaged[0] if subject.batched else damaged)[..., height // 2, width // 2 : width // 2 + 4] = math.nan
    try:
        result = subject.run(damaged)
    except FrameError as error:
        return f"refused: {error.code}"
    share = torch.isnan(result).float().mean().item()
    if share > 0.25:
        raise FaultError(f"four NaN pixels made {share:.0%} of the {'batch' if subject.batched else 'frame'} NaN")
    if subject.batched and not _same(result[1:], subject.run(pixels)[1:]):
        raise FaultError("NaN in one frame changes its neighbours", "work on each frame by itself")
    return f"{share:.1%} NaN"


@CHECKS.check(remedy="keep lambdas and open files out of its attributes", after="step-shape")
def step_pickle(subject: StepSubject) -> str:
    """It survives pickling, as when it is handed to another process."""
    try:
        twin = pickle.loads(pickle.dumps(subject.step))
    except Exception as error:
        raise FaultError(f"it cannot be pickled: {describe_error(error)}") from error
    if not _same(subject.run(subject.pixels(), step=twin), subject.run(subject.pixels())):
        raise FaultError("a pickled copy gives other pixels", "have __getstate__ and __setstate__ keep everything")
    return "equal"


@CHECKS.check(remedy="use the option, or do not register it", after="step-declares")
def step_options(subject: StepSubject) -> str:
    """Each of its options changes something."""

    def fingerprint(options: dict[str, Any]) -> object:
        step = subject.build(options)
        return _plain(vars(step)) if hasattr(step, "__dict__") else repr(step), _result(lambda: subject.run(subject.pixels(), 1, step=step))

    return check_options_used(subject, fingerprint)


def _plain(attributes: dict[str, Any]) -> str:
    """Attributes in words, without addresses in memory."""
    return repr({key: value for key, value in attributes.items() if " at 0x" not in repr(value)})


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether two results are equal, NaN at the same places."""
    return first.shape == second.shape and bool(((first == second) | (torch.isnan(first) & torch.isnan(second))).all())


def _result(run: Callable[[], Tensor]) -> object:
    try:
        result = run()
        return tuple(result.shape), hashlib.sha256(result.contiguous().numpy().tobytes()).digest()
    except InputShapeError:
        return None


def _seed_others(seed: int) -> None:
    random.seed(seed)
    numpy.random.seed(seed)
