"""Frames of other sizes: what is done to a frame that the steps of a run do not bring to the model's input shape as in training.

A model takes one shape. A frame of the size that the run was trained on goes through the run's own steps. For any other one of four rules,
the *geometry*, takes the place of the steps that change the size (``resize``, ``crop``, ``pad``); none of them stretches:

``resize``
    block mean by the smallest integer that makes the frame fit, then padding with its sky where it is smaller; the run's own steps do
    instead where they give the shape. The pixel scale may become another than in training.
``crop``
    the pixel scale of the training, the middle of the frame, and padding where it is smaller.
``pad``
    the pixel scale of the training and padding; a larger frame is refused.
``refuse``
    every frame of another size is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

from torch import Generator, Tensor

from zoo.data.dataset import COMPRESSED, DataSet, pipeline_for_sizes
from zoo.data.manifest import Row, summarise
from zoo.errors import DataError, FrameError, InputShapeError, UsageError
from zoo.frames import Frame, read_size
from zoo.settings import GEOMETRIES
from zoo.steps import Pipeline

GEOMETRY_STEPS = frozenset({"resize", "crop", "pad"})

Size = tuple[int, int]
Shape = tuple[int, int, int]

_SAMPLED = 16  # compressed files that are unpacked to learn their size


class AnySizePipeline(Pipeline):
    """The steps of a run, with a rule for frames that are not of the size it was trained on.

    Args:
        steps: as `zoo.Pipeline.to_list` gives them.
        input_shape: ``(1, H, W)`` that every frame gets.
        geometry: the rule: ``resize``, ``crop``, ``pad`` or ``refuse``, see `zoo.data.geometry`.
        frame_size: ``(H, W)`` of the training frames, pixels, without bias columns; ``None`` where it is not known: then a frame is as in
            training where the steps give the shape without padding or cutting it.

    Raises:
        UsageError: the rule is unknown. Otherwise as `zoo.Pipeline`.
    """

    def __init__(
        self, steps: Sequence[dict[str, Any]], input_shape: Shape, *, geometry: str = "resize", frame_size: Size | None = None
    ) -> None:
        super().__init__(steps)
        if geometry not in GEOMETRIES:
            raise UsageError(f"geometry must be one of {', '.join(GEOMETRIES)}, got {geometry!r}")
        self.input_shape, self.geometry, self.frame_size = input_shape, geometry, frame_size
        self._names = _plain_names(self)
        self._factor = self._block_factor(frame_size)
        # A pipeline takes a millisecond to build; lists have few sizes, but memory must not grow with those that have many.
        self._fitted = lru_cache(maxsize=64)(self._fit)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.to_list(), self.input_shape, self.geometry, self.frame_size)

    def size_of(self, frame: Frame) -> Size:
        """Return the height and width of a frame, without the bias columns that the pipeline cuts off."""
        return _size_of(frame, self._names)

    def adapts(self, frame: Frame) -> bool:
        """Return whether the frame is not treated as the training frames: averaged in other blocks, cut or padded to fit."""
        return not self.is_native(self.size_of(frame))

    def is_native(self, size: Size) -> bool:
        """Return whether frames of this size go through the run's own steps at the pixel scale of the training, neither cut nor padded."""
        if size == self.frame_size:
            return True
        shape: Shape = (1, *size)
        try:
            if self.output_shape(shape) != self.input_shape:
                return False
        except InputShapeError:
            return False
        if self.frame_size is not None and self._block_factor(size) != self._factor:
            return False
        for name, step in zip(self._names, self.frame_steps, strict=False):
            before, shape = shape, step.output_shape(shape)
            if name in ("pad", "crop") and shape != before:
                return False
        return True

    def for_size(self, size: Size) -> Pipeline:
        """Return the steps that frames of this size go through: these ones, or others by the rule.

        Raises: InputShapeError: the rule refuses the size, or does not help because another step changes it.
        """
        return self._fitted(size)

    def run_frame(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
        """Apply the frame part, fitted to the frame's size; see `zoo.Pipeline.run_frame`.

        Raises: InputShapeError: as `for_size`. FrameError: as the steps do.
        """
        fitted = self.for_size(self.size_of(frame))
        if fitted is self:
            return super().run_frame(frame, generator=generator, out=out)
        return fitted.run_frame(frame, generator=generator, out=out)

    def _fit(self, size: Size) -> Pipeline:
        """What `for_size` keeps."""
        if self.is_native(size):
            return self
        rule, told = self.geometry, f"a frame of {size[0]}x{size[1]}"
        wanted = f"{self.input_shape[1]}x{self.input_shape[2]}"
        if rule == "refuse":
            expected = f"one of {self.frame_size[0]}x{self.frame_size[1]} as in training" if self.frame_size else f"one that fits {wanted}"
            raise InputShapeError(f"got {told}, expected {expected}; --geometry resize, crop or pad takes other sizes")
        if rule == "resize":
            with suppress(InputShapeError):
                if self.output_shape((1, *size)) == self.input_shape:
                    return self
        fitted = Pipeline(self._steps_for(size))
        try:
            got = fitted.output_shape((1, *size))
        except InputShapeError as error:
            if rule == "pad":
                limit = f"{self.input_shape[1] * self._factor}x{self.input_shape[2] * self._factor}"
                raise InputShapeError(f"got {told}, expected at most {limit} to pad; --geometry resize or crop takes it") from error
            raise
        if got != self.input_shape:
            raise InputShapeError(f"{told} becomes {got} in '{fitted}', the model takes {self.input_shape}")
        return fitted

    def _steps_for(self, size: Size) -> list[dict[str, Any]]:
        """The steps with the rule's own geometry: block mean and cut where the pixels are linear, padding after all frame steps."""
        steps, count = self.to_list(), len(self.frame_steps)
        _, height, width = self.input_shape
        place = next((i for i, step in enumerate(self.frame_steps) if step.unit_out == "dimensionless"), count)
        place = min([place, *(self._names.index(name) for name in ("resize", "crop") if name in self._names)])

        def kept(first: int, last: int) -> list[dict[str, Any]]:
            return [step for step, name in zip(steps[first:last], self._names[first:last], strict=True) if name not in GEOMETRY_STEPS]

        before = kept(0, place)
        if self.geometry == "resize":
            fit = [{"step": "resize", "height": height, "width": width}]
        else:
            fit = [{"step": "resize", "factor": self._factor}] if self._factor > 1 else []
        if self.geometry == "crop":
            _, high, wide = Pipeline([*before, *fit]).output_shape((1, *size))
            fit.append({"step": "crop", "height": min(high, height), "width": min(wide, width)})
        return [*before, *fit, *kept(place, count), {"step": "pad", "height": height, "width": width}, *kept(count, len(steps))]

    def _block_factor(self, size: Size | None) -> int:
        """The side of the blocks that the run's own steps average in a frame of this size; without a size, in every frame."""
        factor, shape = 1, None if size is None else (1, *size)
        for name, spec, step in zip(self._names, self.specs, self.frame_steps, strict=False):
            # A step of that name from a plugin need not work in blocks.
            if name == "resize" and hasattr(step, "factor_for") and (shape is not None or spec.params.get("factor")):
                factor *= int(step.factor_for(shape or self.input_shape))
            shape = None if shape is None else step.output_shape(shape)
        return factor


def _plain_names(pipeline: Pipeline) -> list[str]:
    """Names of the steps, without their owners."""
    return [spec.name.rpartition(":")[2] for spec in pipeline.specs]


def _size_of(frame: Frame, steps: Sequence[str]) -> Size:
    """Height and width of a frame, without bias columns where one of the steps cuts them off."""
    if frame.layout is not None and "overscan" in steps:
        return frame.layout.science_shape
    return frame.shape[1], frame.shape[2]


def _rebuild(steps: list[dict[str, Any]], input_shape: Shape, geometry: str, frame_size: Size | None) -> AnySizePipeline:
    """Unpickle; `AnySizePipeline` takes its last two arguments by name."""
    return AnySizePipeline(steps, input_shape, geometry=geometry, frame_size=frame_size)


def fit_pipeline(
    dataset: DataSet, rows: Sequence[Row], steps: Sequence[dict[str, Any]], geometry: str, *, workers: int = 2
) -> tuple[AnySizePipeline, tuple[str, ...]]:
    """Settle the one shape that frames of several sizes get, and how they get it.

    The size that most frames have counts as that of the training. Given steps say the shape by what they make of it. Without them it is
    chosen: for ``resize`` the median height and width, rounded up to multiples of 32; for ``crop`` the size that most frames have; for
    ``pad`` the largest height and width. Frames of one size keep it.

    Args:
        dataset: opens the rows; the headers of files tell their sizes, those of at most 16 of the compressed ones; of made frames the first
            does.
        rows: the frames to train and validate on.
        steps: the user's; empty for the data set's own.
        geometry: the rule, see `zoo.data.geometry`.
        workers: threads that open files.

    Returns: the pipeline, and a line that says what becomes of the sizes where there are several.

    Raises:
        DataError: the rule refuses a size; names the files. FrameError: no frame can be read. UsageError: the rule is unknown.
        InputShapeError: a step cannot take the frames.
    """
    given = Pipeline.from_list(steps or dataset.pipeline)
    found = _find_sizes(dataset, rows, _plain_names(given), workers)
    typical = max(found, key=lambda size: len(found[size]))  # the first of equals
    if len(found) > 1 and not steps:
        every = [size for size, names in found.items() for _ in names]
        given = Pipeline.from_list(pipeline_for_sizes([typical] if geometry == "crop" else every, largest=geometry == "pad"))
    pipeline = AnySizePipeline(given.to_list(), given.output_shape((1, *typical)), geometry=geometry, frame_size=typical)
    counts = ", ".join(f"{size[0]}x{size[1]} {len(names)}" for size, names in sorted(found.items(), key=lambda item: -len(item[1])))
    for size, names in found.items():
        try:
            pipeline.for_size(size)
        except InputShapeError as error:
            raise DataError(f"{dataset.name}: {summarise(names, 3)}: {error} (sizes of the frames: {counts})") from error
    if all(pipeline.is_native(size) for size in found):
        return pipeline, ()
    height, width = pipeline.input_shape[1:]
    return pipeline, (f"frames of {len(found)} sizes ({counts}): geometry {geometry} brings each to {height}x{width}",)


def _find_sizes(dataset: DataSet, rows: Sequence[Row], steps: Sequence[str], workers: int) -> dict[Size, list[str]]:
    """Names of the frames of every size, in the order of the rows."""
    packed = [row for row in rows if row.path.casefold().endswith(COMPRESSED)]
    sampled = set(packed[:: max(1, len(packed) // _SAMPLED)])
    looked = [row for row in rows if row in sampled or not row.path.casefold().endswith(COMPRESSED)] if dataset.reads_files else []

    def size_of(row: Row) -> Size | None:
        with suppress(FrameError):  # a frame that cannot be read is left to whoever needs its pixels
            # Opening it would look at every DQ flag, or search its border: 53 ms for a chip and 760 ms for a mosaic instead of 0.3 ms.
            return read_size(dataset.manifest.path_of(row), row.hdu, row.plane, trimmed="overscan" in steps)
        return None

    found: dict[Size, list[str]] = {}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for row, size in zip(looked, pool.map(size_of, looked), strict=True):
            if size is not None:
                found.setdefault(size, []).append(row.name)
    return found or {_size_of(dataset.open(rows[0]), steps): [rows[0].name]}
