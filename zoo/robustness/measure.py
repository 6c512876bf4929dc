"""`measure_robustness`: how accuracy falls when frames get worse, with intervals by target."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from zoo.data import DataSet, Row
from zoo.errors import UsageError
from zoo.evaluation import Evaluation, evaluate
from zoo.evaluation.inference import Classifier, FittedPipeline
from zoo.evaluation.paired import difference_interval, target_sums
from zoo.evaluation.result import FrameResult
from zoo.intervals import Interval, accuracy_interval
from zoo.models import LoadedModel, load
from zoo.robustness.axes import choose_axes
from zoo.robustness.insertion import Rungs, build_rungs
from zoo.robustness.result import Curve, LeftOut, Point, Robustness, find_crossing
from zoo.robustness.sampling import pick_frames
from zoo.robustness.stored import store_robustness
from zoo.robustness.sweep import Refusal, Swept, sweep

Report = Callable[[str, int, int], None]
Degraded = list[tuple[FrameResult, Swept]]


def measure_robustness(
    run: str | os.PathLike[str] | LoadedModel,
    data: str | os.PathLike[str] | DataSet | None = None,
    *,
    axes: Sequence[str] | None = None,
    levels: Mapping[str, Sequence[float]] | None = None,
    frames: int | None = None,
    seed: int = 0,
    split: str | None = None,
    root: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | None = None,
    target_regex: str | None = None,
    hdu: int | None = None,
    plane: int | None = None,
    geometry: str | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    device: str = "auto",
    precision: str = "fp32",
    allow_product: bool = False,
    evaluation: Evaluation | None = None,
    store: bool = True,
    progress: Report | None = None,
    notify: Callable[[str], object] | None = None,
) -> Robustness:
    """Measure a run on frames that are made worse, axis by axis and level by level, always the same frames.

    Each degradation is put into the run's own pipeline, behind the steps that give electrons. Every level is compared with the same frames
    as they are.

    Args:
        run, data, split, root, labels, target_regex, hdu, plane, geometry, batch_size, workers, device, precision, allow_product, notify:
            as for `zoo.evaluate`.
        axes: some of `zoo.robustness.AXES`; by default all of them.
        levels: own levels, by axis.
        frames: degrade so many frames, a share of every class and target, instead of all that can be scored.
        seed: of the noise that is drawn, which depends on the frame's pixels besides.
        evaluation: what `zoo.evaluate` has just returned for ``run``: its frames are degraded, and ``data`` to ``plane`` are not looked at.
            Without it they are evaluated first.
        store: whether to write the result to ``robustness/`` of the run, under the name of the evaluation.
        progress: called with the name of a stage, how many frames of it are done, and how many there are.

    Returns: a curve per axis. A frame to which an axis cannot be applied is in no point of its curve, and named there.

    Raises:
        UnknownNameError, UsageError: an axis is unknown, or a level or an argument out of range. DataError: no frame could be scored.
        StorageError: the run cannot be read or written.

    Example: >>> [(curve.axis, curve.lost5.level) for curve in measure_robustness("runs/latest", frames=20).curves]
    """
    ladders = choose_axes(axes, levels)
    if frames is not None and frames < 1:
        raise UsageError(f"got {frames} frames to degrade, expected at least 1")
    loaded = run if isinstance(run, LoadedModel) else load(run)
    rungs = [build_rungs(loaded, ladder, geometry=geometry, seed=seed) for ladder in ladders]
    report = progress or (lambda stage, done, total: None)
    if evaluation is None:
        evaluation = evaluate(
            loaded,
            data,
            split=split,
            root=root,
            labels=labels,
            target_regex=target_regex,
            hdu=hdu,
            plane=plane,
            geometry=geometry,
            batch_size=batch_size,
            workers=workers,
            device=device,
            precision=precision,
            allow_product=allow_product,
            store=store,
            progress=progress,
            notify=notify,
        )
    opened, pairs = _scored(evaluation)
    picked = [pairs[place] for place in pick_frames([row for row, _ in pairs], frames)]
    n_levels = sum(len(one.levels) for one in rungs)
    if notify is not None:
        notify(
            f"robustness: {len(picked)} frames as they are and at {n_levels} levels of {', '.join(one.axis.name for one in rungs)}: "
            f"at most {len(picked) * (1 + n_levels)} passes of the model"
        )
    classifier = Classifier(loaded, device=device, precision=precision, notify=lambda _: None)  # the evaluation has told it already
    pipeline = FittedPipeline(loaded, geometry)
    started = time.perf_counter()
    degraded: Degraded = []
    sources = (((row, frame), partial(opened.open, row)) for row, frame in picked)
    swept = sweep(sources, pipeline, rungs, classifier, batch_size=classifier.batch_size(batch_size), workers=workers)
    for done, ((_, frame), outcome) in enumerate(swept, start=1):
        report("degrading", done, len(picked))
        degraded.append((frame, outcome))
    result = Robustness(
        run=evaluation.run,
        model=evaluation.model,
        domain=evaluation.domain,
        data=evaluation.data,
        split=evaluation.split,
        data_domain=evaluation.data_domain,
        labels=evaluation.labels,
        seen=evaluation.seen,
        evaluation=evaluation.path.name if evaluation.path is not None else "",
        n_frames=len(picked),
        n_available=len(pairs),
        seed=seed,
        precision=precision,
        geometry=pipeline.geometry,
        device=str(classifier.device),
        passes=_count_passes(degraded),
        time_s=time.perf_counter() - started,
        curves=tuple(_curve(one, degraded, loaded) for one in rungs),
    )
    result = replace(result, notes=tuple(_notes(result)))
    return store_robustness(result, degraded, rungs, loaded) if store and result.evaluation else result


def _scored(evaluation: Evaluation) -> tuple[DataSet, list[tuple[Row, FrameResult]]]:
    """The data of an evaluation and the frames that it scored, with their rows.

    Raises: UsageError: it was read back, so its data are not open.
    """
    chosen = evaluation.selection
    if chosen is None:
        raise UsageError(f"got an evaluation of {evaluation.data} whose data are not open, expected what zoo.evaluate has just returned")
    return chosen.data, [(row, frame) for row, frame in zip(chosen.rows, evaluation.frames, strict=True) if frame.status == "ok"]


def _curve(rungs: Rungs, degraded: Degraded, loaded: LoadedModel) -> Curve:
    """Score the frames that have every level of an axis, and name the others."""
    axis = rungs.axis
    left_out, used = [], []
    for frame, swept in degraded:
        outcome = swept.refusal or swept.axes[axis.name]
        if isinstance(outcome, Refusal):
            left_out.append(LeftOut(frame.path, frame.hdu, frame.plane, outcome.code, outcome.message))
        else:
            used.append((frame, swept, outcome))
    points: list[Point] = []
    if used:
        truth = np.array([loaded.labels.index(frame.label) for frame, _, _ in used], dtype=np.int64)
        targets = [frame.target for frame, _, _ in used]
        as_is = np.array([swept.logits for _, swept, _ in used], dtype=np.float64)
        scorer = _Scorer(truth, targets, as_is, loaded)
        points.append(scorer.point(axis.start, as_is, 0))
        for place, level in enumerate(rungs.levels):
            logits = np.array([outcome[place] for _, _, outcome in used], dtype=np.float64)
            points.append(scorer.point(level, logits, sum(swept.changed[axis.name][place] for _, swept, _ in used)))
    return Curve(
        axis=axis.name,
        label=axis.label,
        unit=axis.unit,
        step=axis.step,
        physical=axis.physical,
        points=tuple(points),
        lost5=find_crossing(points),
        marks=dict(axis.marks),
        left_out=tuple(left_out),
    )


@dataclass(frozen=True, eq=False)
class _Scorer:
    """Scores logits of the same frames at any level.

    Attributes:
        truth: ``(N,)`` class indices. targets: of each frame. as_is: ``(N, K)`` logits without a degradation. loaded: the model.
    """

    truth: NDArray[np.int64]
    targets: list[str]
    as_is: NDArray[np.float64]
    loaded: LoadedModel

    def point(self, level: float, logits: NDArray[np.float64], n_changed: int) -> Point:
        """Score ``(N, K)`` logits at a level."""
        called, before = logits.argmax(axis=1), self.as_is.argmax(axis=1)
        chances = self.loaded.probabilities(logits)
        return Point(
            level=level,
            accuracy=accuracy_interval(called == self.truth, self.targets),
            drop=_drop(before == self.truth, called == self.truth, self.targets),
            n_frames=len(self.truth),
            n_targets=len(set(self.targets)),
            n_changed=n_changed,
            n_flipped=int((called != before).sum()),
            probability=float(chances[np.arange(len(self.truth)), self.truth].mean()),
        )


def _drop(before: NDArray[np.bool_], after: NDArray[np.bool_], targets: Sequence[str]) -> Interval:
    """The loss of accuracy, paired, with its interval; exactly 0 where every frame is as right as before."""
    if (before == after).all():
        return Interval(0.0, 0.0, 0.0, len(set(targets)))
    sums, counts = target_sums(before, after, targets)
    return difference_interval(sums, counts)


def _count_passes(degraded: Degraded) -> int:
    """Images that went through the model, of the axes that are in the curves."""
    return sum(1 + sum(sum(changed) for changed in swept.changed.values()) for _, swept in degraded if swept.refusal is None)


def _notes(result: Robustness) -> list[str]:
    """What a reader of the curves should know."""
    notes = []
    if result.n_frames < result.n_available:
        notes.append(f"{result.n_frames} of {result.n_available} frames, a share of every class and target")
    alike: dict[tuple[object, ...], list[Curve]] = {}  # what a frame lacks for one axis it often lacks for others too
    for curve in result.curves:
        alike.setdefault(tuple((frame.path, frame.hdu, frame.plane, frame.code) for frame in curve.left_out), []).append(curve)
    for curves in alike.values():
        axes, left_out = ", ".join(curve.axis for curve in curves), curves[0].left_out
        if left_out:
            counts = ", ".join(f"{code} {count}" for code, count in Counter(frame.code for frame in left_out).most_common())
            notes.append(f"{axes}: {len(left_out)} of {result.n_frames} frames left out ({counts}): {left_out[0].message}")
    for curve in result.curves:
        idle = ", ".join(f"{point.level:g}" for point in curve.points[1:] if not point.n_changed)
        if idle:
            notes.append(f"{curve.axis}: {idle} {curve.unit}: changes no frame, for all of them are as bad already")
    return notes
