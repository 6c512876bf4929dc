"""`stress`: the user's own frames made worse until the model changes its mind. No labels are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from zoo.errors import UsageError
from zoo.evaluation.inference import Classifier, FittedPipeline, other_product
from zoo.frames import Frame, read_frames
from zoo.models import LoadedModel, load
from zoo.prediction import Prediction, expand
from zoo.robustness.axes import choose_axes
from zoo.robustness.insertion import Rungs, build_rungs
from zoo.robustness.sweep import NON_FINITE, Refusal, Source, Swept, sweep


@dataclass(frozen=True)
class Response:
    """What one axis does to one frame.

    Attributes:
        levels: tried, the mildest first.
        predicted: the class at each; empty where the axis cannot be applied.
        probability: at each, of the class that the frame has as it is.
        changed: whether each changed what the model sees.
        flips_at: the first level at which the class is another; ``None`` where it is the same at all.
        becomes: the class there; empty where there is none.
        code, message: why the axis cannot be applied to the frame; empty where it can.
    """

    levels: tuple[float, ...]
    predicted: tuple[str, ...] = ()
    probability: tuple[float, ...] = ()
    changed: tuple[bool, ...] = ()
    flips_at: float | None = None
    becomes: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Stressed:
    """What became of one frame, or of one input that was refused.

    Attributes:
        path, hdu, plane, status, code, message, predicted, probabilities: of the frame as it is, as in `zoo.prediction.Prediction`.
        rootname, instrument, filter, product: from the headers; empty where unknown.
        axes: axis -> what it does; empty when refused.
    """

    path: str
    hdu: int | None = None
    plane: int | None = None
    status: str = "ok"
    code: str = ""
    message: str = ""
    predicted: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    rootname: str = ""
    instrument: str = ""
    filter: str = ""
    product: str = ""
    axes: dict[str, Response] = field(default_factory=dict)

    def row(self, labels: Sequence[str], axes: Sequence[str]) -> dict[str, object]:
        """Return the columns of `columns`, in that order; what is not known is ``None``."""
        flips: dict[str, object] = {}
        for name in axes:
            response = self.axes.get(name)
            flips[f"flip_{name}"] = response.flips_at if response else None
            flips[f"class_{name}"] = (response.becomes or None) if response else None
        left_out = "; ".join(f"{name} {response.code}" for name, response in self.axes.items() if response.code)
        return {
            "path": self.path,
            "hdu": self.hdu,
            "plane": self.plane,
            "status": self.status,
            "code": self.code or None,
            "predicted": self.predicted or None,
            "probability": self.probabilities.get(self.predicted),
            **{f"p_{name}": self.probabilities.get(name) for name in labels},
            **flips,
            "left_out": left_out or None,
            "rootname": self.rootname or None,
            "instrument": self.instrument or None,
            "filter": self.filter or None,
            "product": self.product or None,
            "message": self.message or None,
        }


def columns(labels: Sequence[str], axes: Sequence[str]) -> dict[str, type]:
    """Return the columns of a stress test in order, with the type of their values, which may also be ``None``.

    ``flip_AXIS`` is the level at which the class becomes ``class_AXIS``; both are ``None`` where it stays the same at every level, and
    where ``left_out`` names the axis with the reason why it cannot be applied.
    """
    types: dict[str, type] = {"hdu": int, "plane": int, "probability": float}
    types |= {f"p_{name}": float for name in labels} | {f"flip_{name}": float for name in axes}
    return {name: types.get(name, str) for name in Stressed("").row(labels, axes)}


def stress(
    run: str | os.PathLike[str] | LoadedModel,
    paths: Iterable[str | os.PathLike[str]],
    *,
    axes: Sequence[str] | None = None,
    levels: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
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
) -> Iterator[Stressed]:
    """Say at which level of each degradation a model changes its mind about frames, one row per frame, in the order of the input.

    A bad file is a row and never an error. Memory does not grow with the number of inputs.

    Args:
        run, paths, hdu, plane, geometry, batch_size, workers, device, precision, allow_product, on_other, notify: as for `zoo.predict`.
        axes, levels, seed: as for `zoo.robustness.measure_robustness`.

    Raises:
        StorageError: there is no such run. UnknownNameError, UsageError: an axis is unknown, or a level or an argument out of range.

    Example: >>> for row in stress("runs/latest", ["night1"]): print(row.path, row.predicted, row.axes["psf"].flips_at)
    """
    ladders = choose_axes(axes, levels)
    if workers < 0:
        raise UsageError(f"workers must be >= 0, got {workers}")
    loaded = run if isinstance(run, LoadedModel) else load(run)
    rungs = [build_rungs(loaded, ladder, geometry=geometry, seed=seed) for ladder in ladders]
    classifier = Classifier(loaded, device=device, precision=precision, notify=notify)
    pipeline, size = FittedPipeline(loaded, geometry), classifier.batch_size(batch_size)
    products = None if allow_product else frozenset(loaded.card["products"])
    sources = _sources(expand(paths, on_other=on_other), hdu, plane, products)
    swept = sweep(sources, pipeline, rungs, classifier, batch_size=size, workers=workers)
    return (_finish(known, outcome, rungs, loaded) for known, outcome in swept)


def _sources(
    inputs: Iterable[Path | Prediction], hdu: int | None, plane: int | None, products: frozenset[str] | None
) -> Iterator[tuple[Stressed, Source]]:
    """What is known of each frame of the inputs, and what gives it or refuses it."""
    for item in inputs:
        if isinstance(item, Prediction):
            yield Stressed(item.path), Refusal(item.code, item.message)
            continue
        try:
            frames = read_frames(item, hdu=hdu, plane=plane)  # their pixels are mapped, not read
        except Exception as error:  # no single file stops the others
            yield Stressed(str(item), hdu, plane), Refusal.of(error)
            continue
        for frame in frames:
            info = frame.info
            known = Stressed(
                str(item),
                info.hdu,
                info.plane,
                rootname=info.rootname,
                instrument=info.instrument,
                filter=info.filter,
                product=info.product,
            )
            message = other_product(info.product, products)
            yield known, Refusal("other-product", message) if message else partial(_same, frame)


def _same(frame: Frame) -> Frame:
    return frame


def _finish(known: Stressed, swept: Swept, rungs: Sequence[Rungs], loaded: LoadedModel) -> Stressed:
    """The row of a frame."""
    if swept.logits is None:
        refusal = swept.refusal or NON_FINITE
        return replace(known, status="refused", code=refusal.code, message=refusal.message)
    called = int(swept.logits.argmax())
    chances = dict(zip(loaded.labels, loaded.probabilities(swept.logits).tolist(), strict=True))
    axes = {one.axis.name: _respond(one, swept, called, loaded) for one in rungs}
    return replace(known, predicted=loaded.labels[called], probabilities=chances, axes=axes)


def _respond(rungs: Rungs, swept: Swept, called: int, loaded: LoadedModel) -> Response:
    """What one axis does to a frame that is of the class ``called`` as it is."""
    outcome = swept.axes[rungs.axis.name]
    if isinstance(outcome, Refusal):
        return Response(rungs.levels, code=outcome.code, message=outcome.message)
    classes = [int(logits.argmax()) for logits in outcome]
    flipped = next((place for place, index in enumerate(classes) if index != called), None)
    return Response(
        levels=rungs.levels,
        predicted=tuple(loaded.labels[index] for index in classes),
        probability=tuple(float(loaded.probabilities(logits)[called]) for logits in outcome),
        changed=tuple(swept.changed[rungs.axis.name]),
        flips_at=None if flipped is None else rungs.levels[flipped],
        becomes="" if flipped is None else loaded.labels[classes[flipped]],
    )
