"""`explain_errors`: what the wrong frames of an evaluation have in common, and where in them the evidence was."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import zoo
from zoo import storage
from zoo.errors import DataError, UsageError, ZooError
from zoo.evaluation.inference import Classifier, FittedPipeline, ordered
from zoo.evaluation.result import Evaluation, FrameResult
from zoo.explaining.cam import GradCam
from zoo.explaining.gallery import Painter, choose_right, choose_worst
from zoo.explaining.neighbours import FeatureTap, Neighbours, find_neighbours
from zoo.explaining.pictures import check_pictures
from zoo.explaining.result import EXPLANATIONS_FOLDER, FRAMES_NAME, RESULT_NAME, SCHEMA, Entry, Explanation, FrameFacts
from zoo.explaining.structure import Passing, follow, last_layer
from zoo.explaining.tables import tabulate_errors
from zoo.frames import Frame, read_frame
from zoo.models import LoadedModel, load

Report = Callable[[str, int, int], None]


def explain_errors(
    run: str | os.PathLike[str] | LoadedModel,
    evaluation: Evaluation,
    *,
    worst: int = 12,
    geometry: str | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    device: str = "auto",
    precision: str = "fp32",
    progress: Report | None = None,
    notify: Callable[[str], object] | None = None,
    store: bool = True,
) -> Explanation:
    """Find out what the errors of an evaluation have in common: facts of every frame, error rates against them, a gallery of the worst.

    Every scored frame goes through the network once more, for its features. Memory holds those (``N`` frames of ``D`` numbers, 26 MB for
    1,600 frames of HR-CelestialNet) and a batch, never the frames.

    Args:
        run: the one that was evaluated, or what `zoo.load` gave.
        evaluation: what `zoo.evaluate` returned.
        worst: wrong frames in the gallery at most; 0 for none. A right one of each class stands beside them.
        geometry, batch_size, workers, device, precision: as they were for `zoo.evaluate`.
        progress: called with the name of a stage, how many units of it are done, and how many there are.
        notify: as for `zoo.predict`.
        store: whether to write the result to ``explanations/`` of the run, under the name of the stored evaluation; one of that name is
            replaced. An evaluation that was not stored has no name, and nor has its explanation.

    Raises:
        DataError: a frame that was scored can no longer be read. StorageError: there is no such run, or it cannot be written.
        UsageError: an argument is out of range, the evaluation is of another run, or there is nothing to make pictures with.

    Example: >>> explain_errors("runs/latest", zoo.evaluate("runs/latest")).tables[0].rows[0].error_rate
    """
    if worst < 0 or workers < 0:
        raise UsageError(f"worst and workers must be >= 0, got {worst} and {workers}")
    check_pictures()
    loaded = run if isinstance(run, LoadedModel) else load(run)
    if (loaded.run or loaded.path).resolve() != evaluation.run.resolve():
        raise UsageError(f"got an evaluation of {evaluation.run}, expected one of {loaded.run or loaded.path}")
    report = progress or (lambda stage, done, total: None)
    classifier = Classifier(loaded, device=device, precision=precision, notify=notify)
    images = _Images(loaded, evaluation, FittedPipeline(loaded, geometry))
    layer = last_layer(follow(loaded.model, loaded.input_shape))
    notes: list[str] = []
    logits, features = _pass(classifier, images, layer, batch_size, workers, report, notes)
    neighbours = find_neighbours(features, [frame.label for frame in images.frames], [frame.target for frame in images.frames])
    frames = _facts(images.frames, logits / loaded.temperature, neighbours, loaded.labels)
    notes += _disagreements(images.frames, logits, loaded.labels)
    cam, why = _grad_cam(loaded, device)
    gallery, pictures = _paint(Painter(frames, loaded.labels, images.read, cam, why), worst, report)
    result = Explanation(
        run=evaluation.run,
        model=evaluation.model,
        data=evaluation.data,
        split=evaluation.split,
        domain=evaluation.domain,
        labels=evaluation.labels,
        temperature=loaded.temperature,
        features="" if layer is None or not features.size else f"what the layer {layer.module} takes, {features.shape[1]} numbers",
        map="" if cam is None else _describe_map(cam),
        tables=tabulate_errors(frames),
        gallery=gallery,
        frames=frames,
        notes=(*notes, *([why] if why else [])),
        pictures=pictures,
    )
    return _store(result, evaluation) if store and evaluation.path is not None else result


class _Images:
    """What the model takes of every scored frame, read again when it is asked for."""

    def __init__(self, loaded: LoadedModel, evaluation: Evaluation, pipeline: FittedPipeline) -> None:
        self._pipeline, self._batch_part, self._selection = pipeline, loaded.pipeline, evaluation.selection
        self._places = [place for place, frame in enumerate(evaluation.frames) if frame.status == "ok"]
        self.frames = [evaluation.frames[place] for place in self._places]

    def prepare(self, place: int) -> Tensor:
        """Return ``(1, H, W)`` of a frame after the frame part of the pipeline; called in threads."""
        frame = self.frames[place]
        try:
            return self._pipeline.run_frame(self._open(place))
        except (ZooError, OSError) as error:
            raise DataError(f"{frame.path}: was scored and can no longer be read: {error}; evaluate again") from error

    def read(self, place: int) -> Tensor:
        """Return ``(1, 1, H, W)`` of a frame after the whole pipeline."""
        return self._batch_part.run_batch(self.prepare(place)[None])

    def _open(self, place: int) -> Frame:
        if self._selection is None:
            frame = self.frames[place]
            return read_frame(frame.path, frame.hdu, frame.plane)
        return self._selection.data.open(self._selection.rows[self._places[place]])


def _pass(
    classifier: Classifier,
    images: _Images,
    layer: Passing | None,
    batch_size: int | None,
    workers: int,
    report: Report,
    notes: list[str],
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the logits ``(N, K)`` and the features ``(N, D)`` of every frame; no features, and a note, where the network has none."""
    size, total = classifier.batch_size(batch_size), len(images.frames)
    tap = _tap(classifier.model.model, layer)
    if tap is None:
        notes.append(f"{classifier.loaded.name} has no layer with weights that could be found, so there are no features to compare")
    logits: list[NDArray[np.float64]] = []
    waiting = ordered(range(total), images.prepare, workers=workers, ahead=size + workers)
    with tap or nullcontext():
        for start in range(0, total, size):
            logits.append(classifier(torch.stack(list(islice(waiting, size)))))
            report("comparing features", min(start + size, total), total)
    return np.concatenate(logits), np.zeros((total, 0), dtype=np.float32) if tap is None else tap.features()


def _tap(model: nn.Module, layer: Passing | None) -> FeatureTap | None:
    """A tap on a layer of a prepared model, which may have left out one that does nothing for the logits."""
    try:
        return None if layer is None else FeatureTap(model, layer)
    except AttributeError:
        return None


def _facts(
    frames: Sequence[FrameResult], scaled: NDArray[np.float64], neighbours: Neighbours, labels: Sequence[str]
) -> tuple[FrameFacts, ...]:
    """Put together what is known of each frame; ``scaled``: logits over the temperature."""
    truth = np.array([labels.index(frame.label) for frame in frames])
    highest = scaled.max(axis=1, keepdims=True)
    losses = np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0] - scaled[np.arange(len(frames)), truth]
    ratios = neighbours.ratio
    return tuple(
        FrameFacts(
            path=frame.path,
            hdu=frame.hdu,
            plane=frame.plane,
            target=frame.target,
            label=frame.label,
            predicted=frame.predicted,
            probability=max(frame.probabilities),
            loss=float(losses[place]),
            signal_to_noise=frame.signal_to_noise,
            filled=frame.filled,
            offset_arcmin=frame.offset_arcmin,
            nearest_other=_place(neighbours.other[place]),
            distance_other=float(neighbours.to_other[place]),
            nearest_same=_place(neighbours.same[place]),
            distance_same=float(neighbours.to_same[place]),
            ratio=float(ratios[place]),
        )
        for place, frame in enumerate(frames)
    )


def _place(index: np.int64) -> int | None:
    return int(index) if index >= 0 else None


def _disagreements(frames: Sequence[FrameResult], logits: NDArray[np.float64], labels: Sequence[str]) -> list[str]:
    """Say how many frames are called otherwise than in the evaluation: of another precision or device, or of other weights."""
    others = sum(labels[index] != frame.predicted for index, frame in zip(logits.argmax(axis=1), frames, strict=True))
    if not others:
        return []
    return [f"{others} of {len(frames)} frames are called otherwise now than in the evaluation, whose calls stand here"]


def _grad_cam(loaded: LoadedModel, device: str) -> tuple[GradCam | None, str]:
    """The maps of the model, or why there are none."""
    try:
        return GradCam(loaded, device=device), ""
    except UsageError as error:
        return None, str(error)


def _paint(painter: Painter, worst: int, report: Report) -> tuple[tuple[Entry, ...], dict[str, bytes]]:
    """Make the gallery: the worst wrong frames, then right ones."""
    places = [*choose_worst(painter.frames, worst), *choose_right(painter.frames, painter.labels)] if worst else []
    entries: list[Entry] = []
    pictures: dict[str, bytes] = {}
    for number, place in enumerate(places, start=1):
        entry, made = painter.paint(place, number)
        entries.append(entry)
        pictures |= made
        report("pictures", number, len(places))
    return tuple(entries), pictures


def _describe_map(cam: GradCam) -> str:
    """The map of the Grad-CAM in words."""
    _, channels, rows, columns = cam.place.shape
    text = f"what the layer {cam.place.module} {'gives' if cam.place.given else 'takes'}, {channels} channels of {rows}x{columns} cells"
    if cam.place.field is None:
        return f"{text}, spread evenly over the frame, for it is not known where they lie"
    down, across = cam.place.field
    return f"{text}, {down.step:g}x{across.step:g} pixels apart, each of which sees {down.size:g}x{across.size:g} pixels"


def _store(result: Explanation, evaluation: Evaluation) -> Explanation:
    """Write the result, its frames and its pictures to a sealed folder named as that of the evaluation."""
    assert evaluation.path is not None
    folder = result.run / EXPLANATIONS_FOLDER / evaluation.path.name
    stored = replace(result, path=folder)
    with storage.sealed_directory(folder) as new:
        storage.write_json(new / RESULT_NAME, {"schema": SCHEMA, "zoo": zoo.__version__, **stored.to_dict()})
        storage.write_text(new / FRAMES_NAME, stored.frames_csv())
        for name, data in stored.pictures.items():
            storage.write_bytes(new / name, data)
    return stored
