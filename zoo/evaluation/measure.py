"""`evaluate`: run a model over labelled frames and say how good it is, with what the number is worth."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import zoo
from zoo import storage
from zoo.calibration import FlagRules, FrameRange, judge, softmax
from zoo.data import DataSet, Row
from zoo.data.baselines import Baselines
from zoo.data.cache import CachedFrames, open_cache
from zoo.data.condition import Condition
from zoo.errors import DataError, UsageError, ZooError
from zoo.evaluation import metrics
from zoo.evaluation.breakdown import group_frames, name_few
from zoo.evaluation.facts import FACTS, read_facts, tell_facts
from zoo.evaluation.inference import Classifier, FittedPipeline, classify_in_place, list_other_products, other_product, refusal_code
from zoo.evaluation.places import Place, Take
from zoo.evaluation.reliability import measure_reliability
from zoo.evaluation.result import Evaluation, FrameResult
from zoo.evaluation.rivals import find_gain, score_baselines
from zoo.evaluation.score_intervals import score_intervals
from zoo.evaluation.selection import Selection, select_data, split_seen
from zoo.evaluation.shortcut import score_shortcuts
from zoo.evaluation.stored import EVALUATIONS_FOLDER, FRAMES_NAME, RESULT_NAME, SCHEMA
from zoo.intervals import DEFAULT, LEVEL, METHODS, accuracy_interval, check_request, simulated_coverage
from zoo.models import LoadedModel, count_parameters, load
from zoo.models.places import model_hash

Report = Callable[[str, int, int], None]


def evaluate(
    run: str | os.PathLike[str] | LoadedModel,
    data: str | os.PathLike[str] | DataSet | None = None,
    *,
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
    store: bool = True,
    frame_cache: int | str = "off",
    interval: str = DEFAULT,
    progress: Report | None = None,
    notify: Callable[[str], object] | None = None,
) -> Evaluation:
    """Measure a run on labelled frames.

    Args:
        run: a run, a model directory, ``"latest"``, or what `zoo.load` gave.
        data: a manifest, a folder of class folders, a registered name or a `DataSet`; by default the data that the run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``; by default ``test`` where the data have splits, else ``all``.
        root: where the files of a manifest are.
        labels: the classes to use, among those of the run; by default all of them. Frames of others are left out.
        target_regex: class folders only, the part of a file name that names the target.
        hdu, plane: of every file of class folders, instead of its science frames; of the rows of a manifest that name none themselves.
        geometry: what happens to frames of other sizes than in training, as for `zoo.predict`.
        batch_size, workers, device, precision: as for `zoo.predict`.
        allow_product: also score frames of products that the run was not trained on; otherwise they are refused.
        store: whether to write the result to ``evaluations/`` of the run; one of the same model and frames is replaced.
        frame_cache: bytes, or a text such as ``20GB``, for preprocessed frames kept on disk, see `zoo.data.cache`.
        interval: method of the intervals: ``jackknife``, ``bootstrap`` or ``frame``, see `zoo.intervals.METHODS`.
        progress: called with the name of a stage, how many units of it are done, and how many there are.
        notify: as for `zoo.predict`.

    Returns: scores of the frames that could be read; `Evaluation.refused` holds the others.

    Raises:
        DataError: there are no frames in that split, or none can be read. StorageError: there is no such run, or it cannot be written.
        UsageError: an argument is out of range, a class is none of the run's, or a model directory has no data of its own.

    Example: >>> zoo.evaluate("runs/latest", "simulated:shifted").intervals["accuracy"].lower
    """
    if workers < 0:
        raise UsageError(f"workers must be >= 0, got {workers}")
    check_request(LEVEL, interval)
    loaded = run if isinstance(run, LoadedModel) else load(run)
    own = not isinstance(run, LoadedModel)
    classifier = Classifier(loaded, device=device, precision=precision, notify=notify, release=own)
    frames_per_pass = classifier.batch_size(batch_size)
    report = progress or (lambda stage, done, total: None)
    opening = partial(report, "opening the data")
    pipeline = FittedPipeline(loaded, geometry)
    chosen = select_data(
        loaded, data, split=split, root=root, labels=labels, target_regex=target_regex, hdu=hdu, plane=plane, progress=opening
    )
    cache = open_cache(frame_cache)
    cached = CachedFrames(cache, chosen.data, pipeline) if cache is not None else None
    reader = _Reader(chosen.data, pipeline, frozenset(loaded.card["products"]), allow_product, loaded.range, cached)
    started = time.perf_counter()
    frames = tuple(_run(classifier, reader, chosen, frames_per_pass, workers, report))
    facts: dict[str, str | float] = {
        "precision": precision,
        "geometry": pipeline.geometry,
        "device": str(classifier.device),
        "parameters": count_parameters(loaded.model),
        "time_s": time.perf_counter() - started,  # to read, preprocess and classify every frame
    }
    if not any(frame.status == "ok" for frame in frames):
        raise DataError(f"{chosen.data.name}: none of {len(frames)} frames could be read; the first: {frames[0].message}")
    result = _score(loaded, chosen, frames, workers, interval, report)
    return _store(loaded, result, chosen, facts) if store and loaded.run is not None else result


@dataclass(frozen=True)
class _Reader:
    """Opens a row and runs the frame part of the pipeline; called in worker threads."""

    data: DataSet
    pipeline: FittedPipeline
    products: frozenset[str]
    allow_product: bool
    frame_range: FrameRange | None
    cached: CachedFrames | None = None

    def __call__(self, row: Row, take: Take) -> list[tuple[FrameResult, Place | None]]:
        path = str(self.data.manifest.path_of(row))
        result = FrameResult(
            path, row.hdu, row.plane, row.rootname, row.target, row.label, row.instrument, row.filter, row.product, row.exptime
        )
        try:
            key = self.cached.key(row) if self.cached else None
            image, facts = self._load(key)
            frame = None
            if image is None:
                frame = self.data.open(row)
                facts = {**read_facts(self.data, row, frame), "adapted": self.pipeline.adapts(frame)}
            result = replace(result, **tell_facts(row, facts), adapted=facts["adapted"])
            message = other_product(result.product, self.products)
            result = replace(result, flags=self._judge(result, facts["condition"], other=bool(message)))
            if message and not self.allow_product:
                return [(replace(result, status="refused", code="other-product", message=f"{path}: {message}"), None)]
            (place,) = take(1)
            if image is not None:
                return [(result, place.put(image))]
            if frame is not None:
                image = self.pipeline.run_frame(frame, out=place.image)
                if self.cached:
                    self.cached.keep(row, key, image, facts)
            return [(result, place)]
        except (ZooError, OSError) as error:
            return [(replace(result, status="refused", code=refusal_code(error), message=str(error)), None)]

    def _judge(self, frame: FrameResult, condition: Mapping[str, float], *, other: bool) -> tuple[str, ...]:
        """The flags that `zoo.predict` would raise."""
        known = Condition(**condition)
        return judge(known, FlagRules(), self.frame_range, adapted=frame.adapted, other_product=other, instrument=frame.instrument)

    def _load(self, key: str | None) -> tuple[Tensor | None, Mapping[str, Any]]:
        """The image and the facts that the cache holds; nothing where one of the facts is lacking, which an older zoo did not keep."""
        found = self.cached.cache.load(key) if self.cached and key else None
        return found if found is not None and found[1].keys() >= FACTS else (None, {})


def _run(
    classifier: Classifier, reader: _Reader, chosen: Selection, batch_size: int, workers: int, report: Report
) -> Iterator[FrameResult]:
    """Give every row its result, in order."""
    results = classify_in_place(chosen.rows, reader, classifier, batch_size=batch_size, workers=workers)
    for done, (frame, logits) in enumerate(results, start=1):
        report("evaluating", done, len(chosen.rows))
        if logits is None:
            yield frame
        elif not np.isfinite(logits).all():
            yield replace(frame, status="refused", code="non-finite", message=f"{frame.path}: the model gave NaN or infinity")
        else:
            chances = classifier.loaded.probabilities(logits)
            called = classifier.loaded.labels[int(logits.argmax())]
            yield replace(frame, predicted=called, probabilities=tuple(chances.tolist()), logits=tuple(logits.tolist()))


def _score(
    loaded: LoadedModel,
    chosen: Selection,
    frames: tuple[FrameResult, ...],
    workers: int,
    method: str,
    report: Report,
) -> Evaluation:
    """Compute the scores, intervals, groups and baselines."""
    shortcuts, frames, said = score_shortcuts(chosen.rows, frames, loaded.labels)
    rows = [row for row, frame in zip(chosen.rows, frames, strict=True) if frame.status == "ok"]
    ok = [frame for frame in frames if frame.status == "ok"]
    truth = np.array([loaded.labels.index(frame.label) for frame in ok], dtype=np.int64)
    chances = np.array([frame.probabilities for frame in ok], dtype=np.float64)
    right = chances.argmax(axis=1) == truth
    targets = [frame.target for frame in ok]
    seen = split_seen(loaded, rows)
    new = [frame for frame in ok if frame.target not in seen]
    accuracy_new = None
    if seen and new:
        accuracy_new = accuracy_interval([f.predicted == f.label for f in new], [f.target for f in new], method=method)
    guesses, notes = _baselines(loaded, chosen.data, rows, workers, report)
    scores = metrics.score(truth, chances, targets, loaded.labels)
    calibration = loaded.calibration
    return Evaluation(
        run=loaded.run or loaded.path,
        model=loaded.name,
        domain=str(loaded.card["domain"]),
        data=chosen.data.name,
        split=chosen.split,
        data_domain=chosen.data.domain,
        labels=loaded.labels,
        metrics=scores,
        intervals=score_intervals(truth, chances, targets, loaded.labels, method=method),
        groups=group_frames(ok, method=method),
        baselines=score_baselines(guesses, right, truth, targets, len(loaded.labels), method=method),
        shortcuts=shortcuts,
        seen=seen,
        accuracy_new=accuracy_new,
        frames=frames,
        notes=(
            *chosen.data.notes,
            *chosen.notes,
            *_mixture(ok, loaded),
            *_calibrated_on(set(targets) - set(seen), loaded),
            *name_few([frame.label for frame in ok], targets),
            *notes,
        ),
        gain=find_gain(right, truth, targets, shortcuts=said, baselines=guesses),
        calibration=measure_reliability(
            truth,
            softmax(np.array([frame.logits for frame in ok], dtype=np.float64)),
            chances,
            targets,
            temperature=loaded.temperature,
            fitted_targets=0 if calibration is None else calibration.n_targets,
            method=method,
        ),
        coverage=simulated_coverage(list(Counter(targets).values()), scores.accuracy, method=method),
        selection=chosen,
    )


def _mixture(frames: Sequence[FrameResult], loaded: LoadedModel) -> list[str]:
    """Say which frames are of products that the run was not trained on."""
    trained = loaded.card["products"]
    others = list_other_products(Counter(frame.product for frame in frames), trained)
    return [f"--allow-product: {others} frames; the run was trained on {', '.join(trained)}"] if others else []


def _calibrated_on(targets: Collection[str], loaded: LoadedModel) -> list[str]:
    """Say how many of the targets that training has not seen have chosen the temperature."""
    used = set() if loaded.calibration is None else {target.casefold() for target in loaded.calibration.targets}
    shared = sum(target.casefold() in used for target in targets)
    if not shared:
        return []
    told = f"the temperature was fitted on {shared} of {len(targets)} targets that training has not seen"
    return [f"{told}: log loss, Brier score and calibration error are no test of the probabilities there"]


def _baselines(
    loaded: LoadedModel, data: DataSet, rows: Sequence[Row], workers: int, report: Report
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Return the class that each baseline of the run says of the same frames, and say why where that is not possible."""
    path = None if loaded.run is None else loaded.run / "baselines.json"
    if path is None or not path.is_file():
        return {}, ["the run has no baselines to stand beside the accuracy"]
    done = itertools.count(1)
    try:
        baselines = Baselines.from_dict(storage.read_json(path))
        given = baselines.predict(data, rows, workers=max(workers, 1), progress=lambda _: report("baselines", next(done), len(rows)))
    except DataError as error:
        return {}, [f"baselines: {error}"]
    return {name: chances.argmax(axis=1).astype(np.int64) for name, chances in given.items()}, []


def _store(loaded: LoadedModel, result: Evaluation, chosen: Selection, circumstances: Mapping[str, str | float]) -> Evaluation:
    """Write the result and its frames to a sealed folder, named after what they depend on."""
    weights = model_hash(loaded.path)
    rows = chosen.data.manifest.with_rows(chosen.rows).fingerprint()
    key = json.dumps([weights, rows, chosen.split, circumstances["precision"], circumstances["geometry"]])
    name = re.sub(r"[^A-Za-z0-9._]+", "-", chosen.data.name).strip("-.") or "data"
    folder = result.run / EVALUATIONS_FOLDER / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    stored = replace(result, path=folder)
    facts = {
        "schema": SCHEMA,
        "zoo": zoo.__version__,
        "method": METHODS[result.intervals["accuracy"].method],
        **circumstances,
        "model_sha256": weights,
        "rows_sha256": rows,
    }
    with storage.sealed_directory(folder) as new:
        storage.write_json(new / RESULT_NAME, {**facts, **stored.to_dict()})
        storage.write_text(new / FRAMES_NAME, stored.frames_csv())
    return stored
