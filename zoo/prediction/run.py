"""`predict`: from files to rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.calibration import FlagRules, FrameRange, apply_prior, check_prior, judge, usable
from zoo.data.condition import measure_condition
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
    abstain: float | None = None,
    prior: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
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
        abstain: a level such as 0.95: every row gets the classes that the frame may be of, see `zoo.calibration.Calibration.sets`.
        prior: class -> how common it is where the frames come from; they add up to 1. Probabilities and classes follow it, see
            `zoo.calibration.apply_prior`; the sets of ``abstain`` do not.
        thresholds: of flags, such as ``{"low-signal": 3}``, instead of those of `zoo.calibration.FlagRules`.
        on_other: called with every file in a folder that is passed over, because its name is none of FITS files.
        notify: is told where the model cannot be prepared for inference and runs as it is; by default that is a warning.
        release: where ``run`` is what `zoo.load` gave: nobody else needs its weights, which are let go of once the model is prepared.

    Raises:
        StorageError: there is no such run. UsageError: an argument is out of range, or the device is not there. CheckFailedError: the run
            has too few calibration targets for ``abstain``.

    Example: >>> for row in zoo.predict("runs/latest", ["night1"]): print(row.path, row.hdu, row.predicted, row.probability)
    """
    if workers < 0:
        raise UsageError(f"workers must be >= 0, got {workers}")
    loaded = run if isinstance(run, LoadedModel) else load(run)
    outcome = _Outcome(loaded, abstain, prior)
    rules = FlagRules.parse(thresholds or {})
    own = release or not isinstance(run, LoadedModel)
    classifier = Classifier(loaded, device=device, precision=precision, notify=notify, release=own)
    products = None if allow_product else frozenset(loaded.card["products"])
    reader = _Reader(FittedPipeline(loaded, geometry), hdu, plane, products, rules, loaded.range, frozenset(loaded.card["products"]))
    return _rows(classifier, reader, outcome, expand(paths, on_other=on_other), classifier.batch_size(batch_size), workers)


@dataclass(frozen=True)
class _Reader:
    """Makes the rows and the model's inputs of one file; runs in worker threads."""

    pipeline: FittedPipeline
    hdu: int | None
    plane: int | None
    products: frozenset[str] | None
    rules: FlagRules
    range: FrameRange | None
    trained: frozenset[str]

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
            with part("condition"):
                adapted = self.pipeline.adapts(frame)
                flags = judge(
                    measure_condition(frame),
                    self.rules,
                    self.range,
                    adapted=adapted,
                    other_product=bool(other_product(info.product, self.trained)),
                    instrument=info.instrument,
                )
            return replace(row, adapted=adapted, flags=flags), place
        except Exception as error:
            return _refused(row, error), None


def _refused(row: Prediction, error: Exception) -> Prediction:
    """Turn whatever stopped one frame into its row: no single frame, and no third-party step, may stop the others."""
    text = str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
    return replace(row, status="refused", code=refusal_code(error), message=text)


class _Outcome:
    """Makes class, probabilities and set of classes from the logits of a frame.

    Raises:
        UsageError: ``prior`` does not fit the classes, or the run does not say theirs. CheckFailedError: as `predict`.
    """

    def __init__(self, loaded: LoadedModel, level: float | None, prior: Mapping[str, float] | None) -> None:
        self.loaded, self.level = loaded, level
        self.calibration = None if level is None else usable(loaded.calibration, level, loaded.run or loaded.path)
        self.prior = self.shares = None
        if prior is not None:
            check_prior(prior, loaded.labels)
            self.prior = np.array([prior[label] for label in loaded.labels])
            self.shares = loaded.class_shares()

    def __call__(self, row: Prediction, logits: NDArray[np.float64]) -> Prediction:
        """Complete the row of a frame with finite logits ``(K,)``."""
        chances = self.loaded.probabilities(logits)
        best = int(logits.argmax())
        if self.prior is not None and self.shares is not None:
            chances = apply_prior(chances, self.prior, self.shares)
            best = int(chances.argmax())
        named = dict(zip(self.loaded.labels, chances.tolist(), strict=True))
        classes: tuple[str, ...] = ()
        if self.calibration is not None and self.level is not None:
            (classes,) = self.calibration.sets(logits, self.level)
        return replace(row, predicted=self.loaded.labels[best], probabilities=named, classes=classes)


def _rows(
    classifier: Classifier, reader: _Reader, outcome: _Outcome, inputs: Iterable[Path | Prediction], batch_size: int, workers: int
) -> Iterator[Prediction]:
    """Run the model over what the reader gives."""
    for row, logits in classify_in_place(inputs, reader, classifier, batch_size=batch_size, workers=workers):
        if logits is None:
            yield row
        elif not bool((logits == logits).all()):
            yield replace(row, status="refused", code="non-finite", message="the model gave NaN or infinity for this frame", flags=())
        else:
            yield outcome(row, logits)
