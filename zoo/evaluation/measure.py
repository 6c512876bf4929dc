"""`evaluate`: run a model over labelled frames and say how good it is, with what the number is worth."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor

import zoo
from zoo import storage
from zoo.data import DataSet, Row
from zoo.data.baselines import Baselines
from zoo.data.cache import CachedFrames, open_cache
from zoo.errors import DataError, UsageError, ZooError
from zoo.evaluation import metrics
from zoo.evaluation.inference import Classifier, FittedPipeline, classify, list_other_products, other_product, refusal_code
from zoo.evaluation.result import Baseline, Evaluation, FrameResult, group_frames, score_intervals
from zoo.evaluation.selection import Selection, select_data, split_seen
from zoo.evaluation.shortcut import score_shortcuts
from zoo.evaluation.stored import EVALUATIONS_FOLDER, FRAMES_NAME, RESULT_NAME, SCHEMA
from zoo.intervals import METHOD, accuracy_interval
from zoo.models import LoadedModel, count_parameters, load

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
    loaded = run if isinstance(run, LoadedModel) else load(run)
    classifier = Classifier(loaded, device=device, precision=precision, notify=notify)
    frames_per_pass = classifier.batch_size(batch_size)
    report = progress or (lambda stage, done, total: None)
    opening = partial(report, "opening the data")
    pipeline = FittedPipeline(loaded, geometry)
    chosen = select_data(
        loaded, data, split=split, root=root, labels=labels, target_regex=target_regex, hdu=hdu, plane=plane, progress=opening
    )
    cache = open_cache(frame_cache)
    cached = CachedFrames(cache, chosen.data, pipeline) if cache is not None else None
    reader = _Reader(chosen.data, pipeline, None if allow_product else frozenset(loaded.card["products"]), cached)
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
    result = _score(loaded, chosen, frames, workers, report)
    return _store(loaded, result, chosen, facts) if store and loaded.run is not None else result


@dataclass(frozen=True)
class _Reader:
    """Opens a row and runs the frame part of the pipeline; called in worker threads."""

    data: DataSet
    pipeline: FittedPipeline
    products: frozenset[str] | None
    cached: CachedFrames | None = None

    def __call__(self, row: Row) -> list[tuple[FrameResult, Tensor | None]]:
        path = str(self.data.manifest.path_of(row))
        result = FrameResult(
            path, row.hdu, row.plane, row.rootname, row.target, row.label, row.instrument, row.filter, row.product, row.exptime
        )
        try:
            key = self.cached.key(row) if self.cached else None
            image, facts = (self.cached.cache.load(key) if self.cached and key else None) or (None, {})
            frame = None
            if image is None:
                frame = self.data.open(row)
                facts = {name: getattr(frame.info, name) for name in ("rootname", "instrument", "filter", "product", "exptime")}
                facts["adapted"] = self.pipeline.adapts(frame)
            told = {name: getattr(row, name) or facts[name] for name in ("rootname", "instrument", "filter", "product")}
            exptime = facts["exptime"] if math.isnan(row.exptime) else row.exptime
            result = replace(result, **told, exptime=exptime, adapted=facts["adapted"])
            if message := other_product(result.product, self.products):
                return [(replace(result, status="refused", code="other-product", message=f"{path}: {message}"), None)]
            if frame is not None:
                image = self.pipeline.run_frame(frame)
                if self.cached:
                    self.cached.keep(row, key, image, facts)
            return [(result, image)]
        except (ZooError, OSError) as error:
            return [(replace(result, status="refused", code=refusal_code(error), message=str(error)), None)]


def _run(
    classifier: Classifier, reader: _Reader, chosen: Selection, batch_size: int, workers: int, report: Report
) -> Iterator[FrameResult]:
    """Give every row its result, in order."""
    results = classify(chosen.rows, reader, classifier, batch_size=batch_size, workers=workers)
    for done, (frame, logits) in enumerate(results, start=1):
        report("evaluating", done, len(chosen.rows))
        if logits is None:
            yield frame
        elif not np.isfinite(logits).all():
            yield replace(frame, status="refused", code="non-finite", message=f"{frame.path}: the model gave NaN or infinity")
        else:
            chances = classifier.loaded.probabilities(logits)
            yield replace(frame, predicted=classifier.loaded.labels[int(logits.argmax())], probabilities=tuple(chances.tolist()))


def _score(
    loaded: LoadedModel,
    chosen: Selection,
    frames: tuple[FrameResult, ...],
    workers: int,
    report: Report,
) -> Evaluation:
    """Compute the scores, intervals, groups and baselines."""
    shortcuts, frames = score_shortcuts(chosen.rows, frames, loaded.labels)
    rows = [row for row, frame in zip(chosen.rows, frames, strict=True) if frame.status == "ok"]
    ok = [frame for frame in frames if frame.status == "ok"]
    truth = np.array([loaded.labels.index(frame.label) for frame in ok], dtype=np.int64)
    chances = np.array([frame.probabilities for frame in ok], dtype=np.float64)
    targets = [frame.target for frame in ok]
    seen = split_seen(loaded, rows)
    new = [frame for frame in ok if frame.target not in seen]
    accuracy_new = accuracy_interval([f.predicted == f.label for f in new], [f.target for f in new]) if seen and new else None
    baselines, notes = _baselines(loaded, chosen.data, rows, truth, targets, workers, report)
    return Evaluation(
        run=loaded.run or loaded.path,
        model=loaded.name,
        domain=str(loaded.card["domain"]),
        data=chosen.data.name,
        split=chosen.split,
        data_domain=chosen.data.domain,
        labels=loaded.labels,
        metrics=metrics.score(truth, chances, targets, loaded.labels),
        intervals=score_intervals(truth, chances, targets, loaded.labels),
        groups=group_frames(ok),
        baselines=baselines,
        shortcuts=shortcuts,
        seen=seen,
        accuracy_new=accuracy_new,
        frames=frames,
        notes=(*chosen.data.notes, *chosen.notes, *_mixture(ok, loaded), *notes),
    )


def _mixture(frames: Sequence[FrameResult], loaded: LoadedModel) -> list[str]:
    """Say which frames are of products that the run was not trained on."""
    trained = loaded.card["products"]
    others = list_other_products(Counter(frame.product for frame in frames), trained)
    return [f"--allow-product: {others} frames; the run was trained on {', '.join(trained)}"] if others else []


def _baselines(
    loaded: LoadedModel, data: DataSet, rows: Sequence[Row], truth: np.ndarray, targets: Sequence[str], workers: int, report: Report
) -> tuple[list[Baseline], list[str]]:
    """Score the baselines that were fitted with the run on the same frames, and say why where that is not possible."""
    path = None if loaded.run is None else loaded.run / "baselines.json"
    if path is None or not path.is_file():
        return [], ["the run has no baselines to stand beside the accuracy"]
    done = itertools.count(1)
    try:
        baselines = Baselines.from_dict(storage.read_json(path))
        given = baselines.predict(data, rows, workers=max(workers, 1), progress=lambda _: report("baselines", next(done), len(rows)))
    except DataError as error:
        return [], [f"baselines: {error}"]
    results = []
    for name, chances in given.items():
        right = chances.argmax(axis=1) == truth
        balanced = metrics.balanced_accuracy(metrics.confusion_matrix(truth, chances.argmax(axis=1), len(loaded.labels)))
        interval = accuracy_interval(right, targets)
        results.append(Baseline(name, interval.estimate, balanced, interval))
    return results, []


def _store(loaded: LoadedModel, result: Evaluation, chosen: Selection, circumstances: Mapping[str, str | float]) -> Evaluation:
    """Write the result and its frames to a sealed folder, named after what they depend on."""
    weights = storage.sha256(loaded.path / storage.SEAL_NAME)
    rows = chosen.data.manifest.with_rows(chosen.rows).fingerprint()
    key = json.dumps([weights, rows, chosen.split, circumstances["precision"], circumstances["geometry"]])
    name = re.sub(r"[^A-Za-z0-9._]+", "-", chosen.data.name).strip("-.") or "data"
    folder = result.run / EVALUATIONS_FOLDER / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    stored = replace(result, path=folder)
    facts = {
        "schema": SCHEMA,
        "zoo": zoo.__version__,
        "method": METHOD,
        **circumstances,
        "model_sha256": weights,
        "rows_sha256": rows,
    }
    with storage.sealed_directory(folder) as new:
        storage.write_json(new / RESULT_NAME, {**facts, **stored.to_dict()})
        storage.write_text(new / FRAMES_NAME, stored.frames_csv())
    return stored
