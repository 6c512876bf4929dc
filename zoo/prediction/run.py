"""`predict`: from files to rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.errors import UsageError, ZooError
from zoo.evaluation.inference import Classifier, FittedPipeline, classify_in_place, other_product, refusal_code
from zoo.evaluation.places import Place, Take
from zoo.frames import Frame, read_frames
from zoo.models import LoadedModel, load
from zoo.prediction.inputs import expand
from zoo.prediction.rows import Prediction
from zoo.stopwatch import part


def predict(
    run: str | os.PathLike[str] | LoadedModel,
    paths: Iterable[str | os.PathLike[str]],
    *,
    hdu: int | None = None,
    plane: int | None = None,
    geometry: str | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    device: str = "auto",
    precision: str = "fp32",
    allow_product: bool = False,
    on_other: Callable[[Path], object] | None = None,
    notify: Callable[[str], object] | None = None,
    release: bool = False,
) -> Iterator[Prediction]:
    """Classify files, one row per frame, in the order of the input.

    A bad file is a row and never an error. At most a batch and a few files are held at a time, so memory does not grow with the number of
    inputs, and ``paths`` may be endless.

    Args:
        run: a run, a model directory, ``"latest"``, or what `zoo.load` gave.
        paths: files; folders, searched with their sub-folders for FITS files; patterns such as ``"night1/*_raw.fits"`` (``**`` for any
            depth). A name that is given twice is classified twice.
        hdu: classify this HDU of every file instead of its science frames.
        plane: classify this plane of every file, counted from 0; a cube without it is refused.
        geometry: what happens to frames that are not of the size that the run was trained on: ``resize``, ``crop``, ``pad`` or ``refuse``,
            see `zoo.data.geometry`; by default what the run was trained with.
        batch_size: frames per pass of the model; by default as many as hold a million pixels together, at most 16.
        workers: threads that read and preprocess; 0 = the caller's.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, or ``bf16``.
        allow_product: also classify products that the run was not trained on, such as ``flt`` after training on ``raw``.
        on_other: called with every file in a folder that is passed over, because its name is none of FITS files.
        notify: is told where the model cannot be prepared for inference and runs as it is; by default that is a warning.
        release: where ``run`` is what `zoo.load` gave: nobody else needs its weights, which are let go of once the model is prepared.

    Raises:
        StorageError: there is no such run. UsageError: an argument is out of range, or the device is not there.

    Example: >>> for row in zoo.predict("runs/latest", ["night1"]): print(row.path, row.hdu, row.predicted, row.probability)
    """
    if workers < 0:
        raise UsageError(f"workers must be >= 0, got {workers}")
    loaded = run if isinstance(run, LoadedModel) else load(run)
    own = release or not isinstance(run, LoadedModel)
    classifier = Classifier(loaded, device=device, precision=precision, notify=notify, release=own)
    products = None if allow_product else frozenset(loaded.card["products"])
    reader = _Reader(FittedPipeline(loaded, geometry), hdu, plane, products)
    return _rows(classifier, reader, expand(paths, on_other=on_other), classifier.batch_size(batch_size), workers)


@dataclass(frozen=True)
class _Reader:
    """Makes the rows and the model's inputs of one file; runs in worker threads."""

    pipeline: FittedPipeline
    hdu: int | None
    plane: int | None
    products: frozenset[str] | None

    def __call__(self, item: Path | Prediction, take: Take) -> list[tuple[Prediction, Place | None]]:
        if isinstance(item, Prediction):
            return [(item, None)]
        try:
            with part("gate"):
                frames = read_frames(item, hdu=self.hdu, plane=self.plane)
        except Exception as error:
            return [(_refused(Prediction(str(item), self.hdu, self.plane), error), None)]
        return [self._prepare(item, frame, place) for frame, place in zip(frames, take(len(frames)), strict=True)]

    def _prepare(self, path: Path, frame: Frame, place: Place) -> tuple[Prediction, Place | None]:
        info = frame.info
        height, width = self.pipeline.size_of(frame)
        row = Prediction(
            str(path),
            info.hdu,
            info.plane,
            rootname=info.rootname,
            instrument=info.instrument,
            filter=info.filter,
            product=info.product,
            height=height,
            width=width,
        )
        if message := other_product(info.product, self.products):
            return replace(row, status="refused", code="other-product", message=message), None
        try:
            with part("normalize"):
                self.pipeline.run_frame(frame, out=place.image)
                return replace(row, adapted=self.pipeline.adapts(frame)), place
        except Exception as error:
            return _refused(row, error), None


def _refused(row: Prediction, error: Exception) -> Prediction:
    """Turn whatever stopped one frame into its row: no single frame, and no third-party step, may stop the others."""
    text = str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
    return replace(row, status="refused", code=refusal_code(error), message=text)


def _rows(
    classifier: Classifier, reader: _Reader, inputs: Iterable[Path | Prediction], batch_size: int, workers: int
) -> Iterator[Prediction]:
    """Run the model over what the reader gives."""
    loaded = classifier.loaded
    for row, logits in classify_in_place(inputs, reader, classifier, batch_size=batch_size, workers=workers):
        if logits is None:
            yield row
        elif not bool((logits == logits).all()):
            yield replace(row, status="refused", code="non-finite", message="the model gave NaN or infinity for this frame")
        else:
            named = dict(zip(loaded.labels, loaded.probabilities(logits).tolist(), strict=True))
            yield replace(row, predicted=loaded.labels[int(logits.argmax())], probabilities=named)
