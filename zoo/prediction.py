"""Files in, classes out: one row per frame, whatever the file is like, in the order of the input, in memory that does not grow with it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from zoo.data.manifest import walk_files
from zoo.errors import DataError, UsageError, ZooError
from zoo.evaluation.inference import Classifier, FittedPipeline, classify, other_product, refusal_code
from zoo.frames import Frame, read_frames
from zoo.models import LoadedModel, load

FITS_NAME = re.compile(r"\.(fits?|fts)(\.(gz|fz|bz2))?$|\.fz$", re.IGNORECASE)
FITS_NAMES = "*.fits, *.fit, *.fts, the same with .gz, .bz2 or .fz, and *.fz"


@dataclass(frozen=True)
class Prediction:
    """What became of one frame, or of one input that was refused.

    Attributes:
        path, hdu: the file and the index of its HDU; ``hdu`` is ``None`` where a whole file was refused.
        status: ``ok`` or ``refused``.
        code: why it was refused: a code of `zoo.frames.gate`, or ``other-product`` (see ``allow_product``), ``no-contrast`` (all
            pixels are equal or without a value), ``bad-size`` (no step brings it to the model's input shape), ``step-failed`` (a step
            raised), ``non-finite`` (the model gave NaN), ``no-frames`` (a folder without FITS files, or a pattern that matches nothing).
            Empty when ``ok``.
        label: the class of highest probability; empty when refused.
        probabilities: class -> probability in [0, 1]; empty when refused.
        rootname, instrument, filter, product: from the headers; empty where unknown.
        height, width: of the frame after its bias columns are cut off, pixels; 0 where unknown.
        adapted: whether the frame has another shape than the model's input, and was padded or cut to fit.
        message: for a refused input, what was got and what to do.
    """

    path: str
    hdu: int | None = None
    status: str = "ok"
    code: str = ""
    label: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    rootname: str = ""
    instrument: str = ""
    filter: str = ""
    product: str = ""
    height: int = 0
    width: int = 0
    adapted: bool = False
    message: str = ""

    @property
    def probability(self) -> float:
        """The probability of ``label``; NaN when refused."""
        return self.probabilities.get(self.label, float("nan"))

    def row(self, labels: Sequence[str]) -> dict[str, object]:
        """Return the columns of `columns`, in that order; what is not known is ``None``."""
        chances = {f"p_{name}": self.probabilities.get(name) for name in labels}
        ok = self.status == "ok"
        return {
            "path": self.path,
            "hdu": self.hdu,
            "status": self.status,
            "code": self.code or None,
            "label": self.label or None,
            "probability": self.probability if ok else None,
            **chances,
            "rootname": self.rootname or None,
            "instrument": self.instrument or None,
            "filter": self.filter or None,
            "product": self.product or None,
            "height": self.height or None,
            "width": self.width or None,
            "adapted": self.adapted if ok else None,
            "message": self.message or None,
        }


def columns(labels: Sequence[str]) -> list[str]:
    """Return the column names of predictions of these classes."""
    return list(Prediction("").row(labels))


def predict(
    run: str | os.PathLike[str] | LoadedModel,
    paths: Iterable[str | os.PathLike[str]],
    *,
    hdu: int | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    device: str = "auto",
    precision: str = "fp32",
    allow_product: bool = False,
) -> Iterator[Prediction]:
    """Classify files, one row per frame, in the order of the input.

    A bad file is a row and never an error. At most a batch and a few files are held at a time, so memory does not grow with the number of
    inputs, and ``paths`` may be endless.

    Args:
        run: a run, a model directory, ``"latest"``, or what `zoo.load` gave.
        paths: files; folders, searched with their sub-folders for FITS files; patterns such as ``"night1/*_raw.fits"`` (``**`` for any
            depth). A name that is given twice is classified twice.
        hdu: classify this HDU of every file instead of its science frames.
        batch_size: frames per pass of the model; by default as many as hold a million pixels together, at most 16.
        workers: threads that read and preprocess; 0 = the caller's.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, or ``bf16``.
        allow_product: also classify products that the run was not trained on, such as ``flt`` after training on ``raw``.

    Raises:
        StorageError: there is no such run. UsageError: an argument is out of range, or the device is not there.

    Example: >>> for row in zoo.predict("runs/latest", ["night1"]): print(row.path, row.hdu, row.label, row.probability)
    """
    if workers < 0:
        raise UsageError(f"workers must be >= 0, got {workers}")
    loaded = run if isinstance(run, LoadedModel) else load(run)
    classifier = Classifier(loaded, device=device, precision=precision)
    reader = _Reader(FittedPipeline(loaded), hdu, None if allow_product else frozenset(loaded.card["products"]))
    return _rows(classifier, reader, paths, classifier.batch_size(batch_size), workers)


def expand(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path | Prediction]:
    """Yield every file that the inputs mean, and one refused row for a folder or pattern that means none.

    Args:
        paths: files, folders and patterns, as `predict` takes them. A file that does not exist is passed on, to be refused when it is read.
    """
    for given in paths:
        text = os.fspath(given)
        found = False
        for file in _files(text):
            found = True
            yield file
        if not found:
            yield Prediction(text, status="refused", code="no-frames", message=_nothing(text))


def check_inputs(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise DataError for the first folder without FITS files or pattern without a match; files are not looked at."""
    for given in paths:
        text = os.fspath(given)
        if next(_files(text), None) is None:
            raise DataError(_nothing(text))


def _files(text: str) -> Iterator[Path]:
    """Yield the files that one input means."""
    path = Path(text)
    if path.is_dir():
        yield from (file for file in walk_files(path) if FITS_NAME.search(file.name))
    elif glob.has_magic(text) and not path.exists():
        for match in sorted(glob.iglob(text, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
            yield from _files(match) if Path(match).is_dir() else [Path(match)]
    else:
        yield path


def _nothing(text: str) -> str:
    if Path(text).is_dir():
        return f"{text}: got a folder without FITS files, expected {FITS_NAMES} in it or below it"
    return f"{text}: no file matches this pattern"


@dataclass(frozen=True)
class _Reader:
    """Makes the rows and the model's inputs of one file; runs in worker threads."""

    pipeline: FittedPipeline
    hdu: int | None
    products: frozenset[str] | None

    def __call__(self, item: Path | Prediction) -> list[tuple[Prediction, Tensor | None]]:
        if isinstance(item, Prediction):
            return [(item, None)]
        try:
            frames = read_frames(item, hdu=self.hdu)
        except Exception as error:
            return [(_refused(Prediction(str(item), self.hdu), error), None)]
        return [self._prepare(item, frame) for frame in frames]

    def _prepare(self, path: Path, frame: Frame) -> tuple[Prediction, Tensor | None]:
        info = frame.info
        height, width = self.pipeline.size_of(frame)
        row = Prediction(
            str(path), info.hdu, "ok", rootname=info.rootname, instrument=info.instrument, filter=info.filter, product=info.product,
            height=height, width=width,
        )  # fmt: skip
        if message := other_product(info.product, self.products):
            return replace(row, status="refused", code="other-product", message=message), None
        try:
            return replace(row, adapted=self.pipeline.adapts(frame)), self.pipeline.run_frame(frame)
        except Exception as error:
            return _refused(row, error), None


def _refused(row: Prediction, error: Exception) -> Prediction:
    """Turn whatever stopped one frame into its row: no single frame, and no third-party step, may stop the others."""
    text = str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
    return replace(row, status="refused", code=refusal_code(error), message=text)


def _rows(
    classifier: Classifier, reader: _Reader, paths: Iterable[str | os.PathLike[str]], batch_size: int, workers: int
) -> Iterator[Prediction]:
    """Run the model over what the reader gives."""
    labels = classifier.loaded.labels
    for row, chances in classify(expand(paths), reader, classifier, batch_size=batch_size, workers=workers):
        if chances is None:
            yield row
        elif not bool((chances == chances).all()):
            yield replace(row, status="refused", code="non-finite", message="the model gave NaN or infinity for this frame")
        else:
            named = dict(zip(labels, chances.tolist(), strict=True))
            yield replace(row, label=labels[int(chances.argmax())], probabilities=named)
