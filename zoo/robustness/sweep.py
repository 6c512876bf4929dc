"""The sweep: frames through every level of every axis. Each frame is read, and its light rendered, once; memory stays flat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data import find_scene
from zoo.errors import FrameError, ZooError
from zoo.evaluation.inference import Classifier, FittedPipeline, classify, refusal_code
from zoo.frames import Frame
from zoo.robustness.insertion import Rungs

Logits = NDArray[np.float64]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Refusal:
    """Why a frame, or an axis for a frame, was left out: a stable word, and what was got and what to do."""

    code: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """What an error says."""
        return cls(refusal_code(error), str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}")


Source = Callable[[], Frame] | Refusal
"""What opens a frame, which may raise; or why it is refused already."""

NON_FINITE = Refusal("non-finite", "the model gave NaN or infinity")


@dataclass
class Swept:
    """What the model says of one frame.

    Attributes:
        logits: ``(K,)`` of the frame as it is; ``None`` where it was refused.
        refusal: why it was refused, else ``None``.
        axes: axis -> ``(K,)`` at each level, or why the degradation cannot be applied to this frame.
        changed: axis -> whether each level changed what the model sees.
    """

    logits: Logits | None = None
    refusal: Refusal | None = None
    axes: dict[str, list[Logits] | Refusal] = field(default_factory=dict)
    changed: dict[str, list[bool]] = field(default_factory=dict)


def sweep(
    sources: Iterable[tuple[Key, Source]],
    pipeline: FittedPipeline,
    ladders: Sequence[Rungs],
    classifier: Classifier,
    *,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[Key, Swept]]:
    """Yield what becomes of each frame, in order.

    A level that leaves a frame as it is takes the answer for that frame and no pass of the model.

    Args:
        sources: a key for each frame and its source; taken one by one.
        pipeline: of the run. ladders: its degraded ones.
        classifier: runs the model on batches of ``batch_size``, which mix levels and frames.
        batch_size, workers: a task of a worker prepares at most a batch, and ``workers + 1`` of them are held at a time.
    """
    read = _Reader(pipeline)
    current: tuple[Key, Swept] | None = None
    for trial, logits in classify(_tasks(sources, ladders, batch_size), read, classifier, batch_size=batch_size, workers=workers):
        if trial.rungs is None:
            if current is not None:
                yield current
            current = trial.subject.key, _begin(trial, logits)
        elif current is not None:
            _add(current[1], trial, logits)
    if current is not None:
        yield current


class _Subject(Generic[Key]):
    """A frame that the first of its tasks reads and the last one forgets."""

    def __init__(self, key: Key, source: Source) -> None:
        self.key, self._source = key, source
        self._lock = threading.Lock()
        self._prepared: tuple[Frame, Tensor] | Refusal | None = None
        self._exposed: Frame | None = None

    def prepare(self, pipeline: FittedPipeline) -> tuple[Frame, Tensor] | Refusal:
        """The frame, and what the model takes of it as it is; or why there is none."""
        with self._lock:
            if isinstance(self._source, Refusal):
                return self._source
            if self._prepared is None:
                try:
                    frame = self._source()
                    self._prepared = frame, pipeline.run_frame(frame)
                except Exception as error:  # one frame, or a step of a third party, does not stop the others
                    self._prepared = Refusal.of(error)
        return self._prepared

    def expose(self, frame: Frame) -> Frame:
        """The frame with the exposure behind it where it is simulated, so that its light is rendered once and not for every level."""
        with self._lock:
            if self._exposed is None:
                scene = None
                with suppress(FrameError):  # no scene: the step says so, with its own name
                    scene = find_scene(frame)
                fits = scene is not None and scene.light is not None and tuple(scene.light.shape) == _size(frame)
                self._exposed = replace(frame, observation=scene) if fits else frame
        return self._exposed


@dataclass(frozen=True)
class _Task(Generic[Key]):
    """Some levels of one axis for one frame; without an axis, the frame as it is."""

    subject: _Subject[Key]
    rungs: Rungs | None = None
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class _Trial(Generic[Key]):
    """What a worker made of a level."""

    subject: _Subject[Key]
    rungs: Rungs | None = None
    refusal: Refusal | None = None
    changed: bool = True


@dataclass(frozen=True)
class _Reader:
    """Prepares the levels of a task; called in worker threads."""

    pipeline: FittedPipeline

    def __call__(self, task: _Task[Key]) -> list[tuple[_Trial[Key], Tensor | None]]:
        subject, rungs = task.subject, task.rungs
        prepared = subject.prepare(self.pipeline)
        if isinstance(prepared, Refusal):
            return [(_Trial(subject, refusal=prepared), None)] if rungs is None else []
        frame, image = prepared
        if rungs is None:
            return [(_Trial(subject), image)]
        trials: list[tuple[_Trial[Key], Tensor | None]] = []
        try:
            _need_overscan(frame, rungs)
            if rungs.exposes:
                frame = subject.expose(frame)
            for pipeline in rungs.pipelines[task.first : task.last]:
                degraded = pipeline.run_frame(frame)
                changed = not torch.equal(degraded, image)
                trials.append((_Trial(subject, rungs, changed=changed), degraded if changed else None))
        except Exception as error:
            return [(_Trial(subject, rungs, Refusal.of(error)), None)]
        return trials


def _tasks(sources: Iterable[tuple[Key, Source]], ladders: Sequence[Rungs], batch_size: int) -> Iterator[_Task[Key]]:
    for key, source in sources:
        subject = _Subject(key, source)
        yield _Task(subject)
        for rungs in () if isinstance(source, Refusal) else ladders:
            for first in range(0, len(rungs.levels), batch_size):
                yield _Task(subject, rungs, first, first + batch_size)


def _begin(trial: _Trial[Key], logits: Logits | None) -> Swept:
    """The outcome of a frame as it is."""
    if logits is None:
        return Swept(refusal=trial.refusal)
    return Swept(logits) if np.isfinite(logits).all() else Swept(refusal=NON_FINITE)


def _add(swept: Swept, trial: _Trial[Key], logits: Logits | None) -> None:
    """Note the next level of an axis; one that is refused refuses the whole axis, so that all levels have the same frames."""
    if swept.logits is None or trial.rungs is None:
        return
    name = trial.rungs.axis.name
    before = swept.axes.setdefault(name, [])
    if isinstance(before, Refusal):
        return
    value = logits if trial.changed else swept.logits
    if trial.refusal is not None or value is None or not np.isfinite(value).all():
        swept.axes[name] = trial.refusal or NON_FINITE
        swept.changed.pop(name, None)
        return
    before.append(value)
    swept.changed.setdefault(name, []).append(trial.changed)


def _need_overscan(frame: Frame, rungs: Rungs) -> None:
    """Refuse a raw frame where the run does not turn it into electrons: the frame as it is would be another one."""
    if frame.layout is None or rungs.raw:
        return
    raise FrameError(
        "no-electrons",
        path=frame.info.path,
        hdu=frame.info.hdu,
        got=f"a raw frame for {rungs.axis.step}, and a run whose steps have no 'overscan'",
        expected="electrons, in which noise is counted",
        remedy="use calibrated frames, or the axes rebin and blur",
    )


def _size(frame: Frame) -> tuple[int, int, int]:
    """``(1, H, W)`` of the frame without its bias columns."""
    return (1, *frame.layout.science_shape) if frame.layout is not None else frame.shape
