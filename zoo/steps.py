"""Steps and pipelines: what is done to a frame between the file and the model, in one order, stored with every model.

A pipeline has a frame part, which turns one :class:`zoo.frames.Frame` into one ``(1, H, W)`` float32, and a batch part, which works on
``(N, 1, H, W)``. Each step declares the unit it takes and gives, and the pipeline is checked before any frame is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Generator, Tensor

from zoo.errors import InputShapeError, PipelineError
from zoo.frames import Frame
from zoo.registry import Registry, get_registry

Shape = tuple[int, int, int]

_PHYSICAL = ("DN", "electron")


@runtime_checkable
class Step(Protocol):
    """What ``build(**options)`` of a registered step returns.

    Attributes:
        scope: ``frame`` or ``batch``.
        unit_in: ``DN``: pixels as the detector gave them, so nothing but other such steps may stand before; ``electron``; ``physical``: any
            linear unit; ``any``.
        unit_out: ``DN``, ``electron``, ``dimensionless``, or ``same`` as it came in.
        random: whether it draws. ``True``: only in training; the step is left out where there is no generator (evaluation, prediction).
            ``"always"``: it is part of what the frame is; without a generator the pipeline gives it one that depends on the frame's pixels
            and on the option ``seed`` of the step, so that a frame gets the same noise whenever and wherever it is read.

    A step may also have ``sizes_only = True``: it brings frames to a size, does nothing else, and returns one that has it as it is. The
    step before it can then write straight into the result of the pipeline.
    """

    scope: str
    unit_in: str
    unit_out: str
    random: bool | Literal["always"]

    def output_shape(self, shape: Shape) -> Shape:
        """The ``(1, H, W)`` that a frame of ``shape`` has afterwards. Raises InputShapeError if the step cannot take it."""

    def __call__(self, x: Any, *, generator: Any = None, out: Tensor | None = None) -> Any:
        """Apply the step; the input is never modified.

        Args:
            x: frame scope: a Frame. Batch scope: ``(N, 1, H, W)`` float.
            generator: ``None``, or a ``torch.Generator`` (batch scope: a sequence of them, one per frame), the only source of chance.
            out: where the result may be written; a step that does not use it is correct too.
        Returns: a Frame, or the batch.
        """


@dataclass(frozen=True)
class StepSpec:
    """The name of a step and the options that were given for it, not yet checked."""

    name: str
    params: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> StepSpec:
        """Read ``name`` or ``name:option=value,option=value``, as the command line has it; an owner may stand before: ``owner:name``.

        Raises: PipelineError: if an option has no ``=``, no name, or is given twice.
        """
        # The colon before the first "=" ends the name: owners and values may hold others.
        colon = text.rfind(":", 0, text.index("=")) if "=" in text else len(text)
        head, tail = text[: max(colon, 0)].strip(), text[colon + 1 :]
        if not head:
            raise PipelineError(f"cannot read step {text!r}; write it as name:option=value,option=value")
        params: dict[str, object] = {}
        for part in tail.split(",") if tail else []:
            key, equals, value = (word.strip() for word in part.partition("="))
            if not equals or not key or key in params:
                fault = "given twice" if key in params else "not option=value"
                raise PipelineError(f"cannot read step {text!r}: {part!r} is {fault}; write it as name:option=value,option=value")
            params[key] = value
        return cls(head.strip(), params)


Spec = StepSpec | str | Mapping[str, object]


class Pipeline:
    """An ordered list of steps, checked against each other.

    Args:
        specs: :class:`StepSpec`, text as :meth:`StepSpec.parse` reads it, or mappings ``{"step": name, **options}`` as TOML has them.
        registry: where the names are looked up; the process-wide one by default.
    Raises:
        PipelineError: a mapping without ``step``, a frame step after a batch step, a step whose unit the ones before do not give, or a
            built object that is no step.
        UnknownNameError, UsageError, PluginError: an unknown step or option, a bad value, or a step that cannot be imported.
    Example:
        >>> str(Pipeline(["overscan", "resize:factor=2", "normalize:lower=1,upper=99.5"]))
        'overscan | resize(factor=2) | normalize(upper=99.5)'
    """

    def __init__(self, specs: Iterable[Spec], registry: Registry | None = None) -> None:
        registry = registry or get_registry()
        resolved, steps, labels = [], [], []
        for spec in specs:
            wanted = _as_spec(spec)
            entry = registry.get("steps", wanted.name)
            params = entry.parse_options(wanted.params)
            if "step" in params:
                raise PipelineError(f"step {wanted.name!r} has an option named 'step', which pipelines use themselves; rename the option")
            step = entry.load()(**params)
            if not isinstance(step, Step):
                raise PipelineError(
                    f"step {wanted.name!r} of {entry.owner!r} built a {type(step).__name__}, expected what zoo.steps.Step says"
                )
            resolved.append(StepSpec(wanted.name, params))
            steps.append(step)
            changed = [f"{key}={value}" for key, value in params.items() if value != entry.options[key].default]
            labels.append(f"{wanted.name}({', '.join(changed)})" if changed else wanted.name)
        _check_order(resolved, steps)
        self.specs: tuple[StepSpec, ...] = tuple(resolved)
        self.frame_steps: tuple[Step, ...] = tuple(step for step in steps if step.scope == "frame")
        self.batch_steps: tuple[Step, ...] = tuple(step for step in steps if step.scope == "batch")
        self._label = " | ".join(labels)

    @classmethod
    def from_list(cls, steps: Sequence[Mapping[str, object]], registry: Registry | None = None) -> Pipeline:
        """The pipeline that :meth:`to_list` wrote."""
        return cls(steps, registry)

    def to_list(self) -> list[dict[str, Any]]:
        """``{"step": name, **options}`` of every step, all options resolved; JSON and TOML can hold it."""
        return [{"step": spec.name, **spec.params} for spec in self.specs]

    def fingerprint(self) -> str:
        """Hex SHA-256 of :meth:`to_list`: equal for pipelines that do the same, however they were written."""
        text = json.dumps(self.to_list(), sort_keys=True, separators=(",", ":"), allow_nan=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def __str__(self) -> str:
        return self._label

    def __repr__(self) -> str:
        return f"Pipeline({self._label!r})"

    def __eq__(self, other: object) -> bool:
        return self.to_list() == other.to_list() if isinstance(other, Pipeline) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> tuple[Any, ...]:
        return Pipeline, (self.to_list(),)

    def output_shape(self, shape: Shape) -> Shape:
        """The ``(1, H, W)`` that a frame of ``shape`` has after all steps.

        Raises: InputShapeError: if a step cannot take what it would get.
        """
        for step in (*self.frame_steps, *self.batch_steps):
            shape = step.output_shape(shape)
        return shape

    def run_frame(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
        """Apply the frame part.

        Args:
            frame: any frame; it is not modified.
            generator: for random steps; without it they do nothing, or draw the same for the same frame where they always draw.
            out: ``(1, H, W)`` float32, such as ``batch[i]``, that receives the result.
        Returns: ``(1, H, W)`` float32: ``out`` if given.
        Raises: InputShapeError: if a step cannot take the frame, or ``out`` has another shape than the result. FrameError: as the steps do.
        """
        frame = self.apply(frame, generator=generator, out=out)
        if out is None:
            return frame.decode()
        if tuple(out.shape) != frame.shape:
            raise InputShapeError(f"{self._label or 'an empty pipeline'} gives a frame of {frame.shape}, expected {tuple(out.shape)}")
        return out if frame.pixels is out else frame.decode(out=out)

    def apply(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Frame:
        """Apply the frame part and return a frame, which knows its unit and where it comes from; what `overscan` left pending stays so.

        Args:
            frame, generator: as for `run_frame`. out: where the last step that changes the frame may write.
        """
        active = [place for place, step in enumerate(self.frame_steps) if generator is not None or step.random in (False, "always")]
        own = self._own_generators(frame) if generator is None else {}
        for number, place in enumerate(active):
            step = self.frame_steps[place]
            draws = own.get(place, generator) if step.random else None
            later = [self.frame_steps[other] for other in active[number + 1 :]]
            last = out is not None and frame.pixels is not out and _is_last(step, later, frame.shape)
            frame = step(frame, generator=draws, out=out if last else None)
        return frame

    def _own_generators(self, frame: Frame) -> dict[int, Generator]:
        """A generator for each step that draws in evaluation too, by its place among the frame steps."""
        places = [place for place, step in enumerate(self.frame_steps) if step.random == "always"]
        if not places:
            return {}
        pixels = frame.sha256()
        own = {}
        for number, place in enumerate(places):
            # Not of the other options: the same noise at every strength makes a curve over strengths smooth.
            words = f"{pixels}\x1f{number}\x1f{self.specs[place].params.get('seed', 0)}"
            seed = int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big")
            own[place] = Generator().manual_seed(seed)
        return own

    def run_batch(self, batch: Tensor, *, generators: Sequence[Generator] | None = None) -> Tensor:
        """Apply the batch part.

        Args:
            batch: ``(N, 1, H, W)`` float; it is not modified.
            generators: one per frame, for random steps, which do nothing without them.
        Returns: the batch, the same tensor where no step changes it.
        Raises: InputShapeError: if the number of generators is not N.
        """
        if generators is not None and len(generators) != len(batch):
            raise InputShapeError(f"a batch of {len(batch)} frames needs as many generators, got {len(generators)}")
        for step in self.batch_steps:
            if generators is not None or not step.random:
                batch = step(batch, generator=generators if step.random else None)
        return batch


def _is_last(step: Step, later: Sequence[Step], shape: Shape) -> bool:
    """Whether what a step makes of a frame of ``shape`` is what the steps after it give as well."""
    if not all(getattr(other, "sizes_only", False) for other in later):
        return False
    made = step.output_shape(shape) if later else shape
    return all(other.output_shape(made) == made for other in later)


def default_pipeline(input_shape: Sequence[int]) -> list[dict[str, Any]]:
    """Steps that bring a frame of any size to ``input_shape`` without stretching it, and its brightness to [0, 1].

    Bias and gain first, then block mean by an integer if the frame is larger, limits, and padding with the sky if it is smaller. The limits
    are percentiles of each frame, so brightness, exposure time and unit do not matter. The lower one keeps the noise of the sky visible, on
    which faint nebulosity and the outer parts of galaxies show; the upper one leaves the brightest 0.5 % of the pixels, cores of stars and
    cosmic rays, at 1, so that they do not set the scale. The asinh stretch is linear for the faintest 3 % of that range and logarithmic
    above: with astropy's 10 % the outer parts of bright galaxies and the faint stars of clusters are lost next to their cores. Padding
    stands after the limits, or a small frame in a large field would get the limits of its padding.

    Args:
        input_shape: ``(1, H, W)`` that the model takes.
    Returns: mappings for :class:`Pipeline`.
    Raises: PipelineError: if ``input_shape`` is not ``(1, H, W)``.
    """
    if len(input_shape) != 3 or input_shape[0] != 1 or min(input_shape) < 1:
        raise PipelineError(f"a pipeline gives frames of shape (1, H, W), got input_shape {tuple(input_shape)}")
    _, height, width = input_shape
    return [
        {"step": "overscan"},
        {"step": "resize", "height": height, "width": width},
        {"step": "normalize", "limits": "percentile", "lower": 1.0, "upper": 99.5, "stretch": "asinh", "a": 0.03},
        {"step": "pad", "height": height, "width": width},
    ]


def _as_spec(spec: Spec) -> StepSpec:
    if isinstance(spec, StepSpec):
        return spec
    if isinstance(spec, str):
        return StepSpec.parse(spec)
    name = spec.get("step")
    if not isinstance(name, str):
        raise PipelineError(f"a step is a mapping with its name under 'step', got {dict(spec)!r}")
    return StepSpec(name, {key: value for key, value in spec.items() if key != "step"})


def _check_order(specs: Sequence[StepSpec], steps: Sequence[Step]) -> None:
    """Refuse an order in which a step would get pixels that mean something else than it takes."""
    unit, untouched, batch = "DN", True, ""
    for spec, step in zip(specs, steps, strict=True):
        if step.scope == "batch":
            batch = batch or spec.name
        elif batch:
            raise PipelineError(f"{spec.name!r} works on single frames and cannot follow {batch!r}, which works on batches; put it before")
        if step.unit_in == "DN" and not (untouched and unit == "DN"):
            raise PipelineError(f"{spec.name!r} needs the pixels as the detector gave them; put it first")
        if step.unit_in == "electron" and unit != "electron":
            remedy = "put 'overscan' before it" if unit == "DN" else "put it before 'normalize'"
            raise PipelineError(f"{spec.name!r} needs electrons and would get {unit}; {remedy}")
        if step.unit_in == "physical" and unit not in _PHYSICAL:
            raise PipelineError(
                f"{spec.name!r} needs linear pixels and cannot follow a step that gives {unit} ones; put it before 'normalize'"
            )
        untouched = untouched and step.unit_in == "DN"
        unit = unit if step.unit_out == "same" else step.unit_out
