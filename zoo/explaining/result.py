"""What was found out about the errors of one evaluation, as it is stored and read back."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.errors import StorageError
from zoo.intervals import Interval

SCHEMA = 1
EXPLANATIONS_FOLDER = "explanations"
RESULT_NAME = "explanation.json"
FRAMES_NAME = "frames.csv"


@dataclass(frozen=True)
class FrameFacts:
    """One scored frame, and what may have to do with its error.

    Attributes:
        path, hdu, plane, target, label, predicted: as in the evaluation; ``label`` is the true class.
        probability: of the called class.
        loss: negative logarithm of the probability of the true class; of the logits with the stored temperature.
        signal_to_noise, filled: as `zoo.data.condition` measures them on the pixels of the file.
        offset_arcmin: how far the frame's centre lies from its target's.
        nearest_other, nearest_same: the nearest frames in feature space, of another class and of the same, both of other targets: their
            places in `Explanation.frames`, or ``None``.
        distance_other, distance_same: how far these are; see `zoo.explaining.neighbours.find_neighbours`.
        ratio: ``distance_other / distance_same``: below 1 the frame resembles the other class more.

    Numbers are NaN where they are not known.
    """

    path: str
    hdu: int | None
    plane: int | None
    target: str
    label: str
    predicted: str
    probability: float
    loss: float
    signal_to_noise: float
    filled: float
    offset_arcmin: float
    nearest_other: int | None
    distance_other: float
    nearest_same: int | None
    distance_same: float
    ratio: float

    @property
    def wrong(self) -> bool:
        """Whether it was called what it is not."""
        return self.predicted != self.label

    @property
    def name(self) -> str:
        """File name, HDU and plane."""
        places = [f"{word} {value}" for word, value in (("HDU", self.hdu), ("plane", self.plane)) if value is not None]
        return ", ".join([Path(self.path).name, *places])


@dataclass(frozen=True)
class Bin:
    """The frames whose fact lies between two values.

    Attributes:
        name: the two in words. lower, upper: smallest and largest value in it.
        n_frames, n_targets, n_wrong: what it holds.
        error_rate: share of wrong frames. interval: the same with its ends by target.
    """

    name: str
    lower: float
    upper: float
    n_frames: int
    n_targets: int
    n_wrong: int
    error_rate: float
    interval: Interval


@dataclass(frozen=True)
class ErrorTable:
    """The error rate against one fact.

    Attributes:
        fact: its name in `FrameFacts`. label, unit: in words; the unit is empty for a pure number.
        speaks_to: which of the reasons that the paper names the fact has to do with.
        rows: from the smallest values to the largest; empty where the fact is not known of enough frames.
        missing: frames of which it is not known.
        separation: chance that a wrong frame has a larger value than a right one, ties counting one half: 0.5 where the fact has nothing to
            do with the errors. With its interval by target.
    """

    fact: str
    label: str
    unit: str
    speaks_to: str
    rows: tuple[Bin, ...]
    missing: int
    separation: Interval


@dataclass(frozen=True)
class Image:
    """A picture of an entry.

    Attributes:
        file: its name in the folder. kind: ``frame``, ``gradcam``, ``cutout`` or ``nearest``.
        alt: what it shows, one sentence. width, height: pixels.
        scale: side of the block of the model's input that one of its pixels is the mean of.
    """

    file: str
    kind: str
    alt: str
    width: int
    height: int
    scale: int


@dataclass(frozen=True)
class Entry:
    """One frame of the gallery.

    Attributes:
        kind: ``wrong``, or ``right`` for one that stands beside them.
        frame: its place in `Explanation.frames`.
        path, hdu, plane, target, label, predicted, probability, loss, signal_to_noise, filled, offset_arcmin, ratio: as there.
        nearest: name of the nearest frame of another class, and nearest_target its target; empty where there is none.
        peak: row and column of the model's input where the evidence for the called class is strongest; ``None`` where no place speaks for
            it, or there is no Grad-CAM.
        box: row, column, height and width of the cut-out in the model's input, or ``None``.
        note: what a reader should know of the pictures.
        images: the whole frame, the same with its Grad-CAM, the cut-out around the peak, and the nearest frame of another class.
    """

    kind: str
    frame: int
    path: str
    hdu: int | None
    plane: int | None
    target: str
    label: str
    predicted: str
    probability: float
    loss: float
    signal_to_noise: float
    filled: float
    offset_arcmin: float
    ratio: float
    nearest: str
    nearest_target: str
    peak: tuple[float, float] | None
    box: tuple[int, int, int, int] | None
    note: str
    images: tuple[Image, ...]


@dataclass(frozen=True)
class Explanation:
    """The outcome of `zoo.explaining.explain_errors`.

    Attributes:
        run, model, data, split, domain, labels: as in the evaluation.
        temperature: with which the probabilities were made.
        features: the layer whose input the distances are of, and how many numbers that is; empty where there is none.
        map: the map that Grad-CAM uses, its cells, and what one of them sees; empty where there is none.
        tables: the error rate against each fact.
        gallery: the worst errors, then right frames for comparison.
        frames: every scored frame, in the order of the evaluation.
        notes: what a reader should know, one line each.
        pictures: file name -> bytes, of the images of the gallery.
        path: where it is stored, or ``None``.
    """

    run: Path
    model: str
    data: str
    split: str
    domain: str
    labels: tuple[str, ...]
    temperature: float
    features: str
    map: str
    tables: tuple[ErrorTable, ...]
    gallery: tuple[Entry, ...]
    frames: tuple[FrameFacts, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    path: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the frames and the bytes of the pictures as plain values; NaN stays NaN."""
        apart = ("frames", "pictures", "tables", "gallery")
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in apart}
        tables, gallery = [asdict(table) for table in self.tables], [asdict(entry) for entry in self.gallery]
        return {**plain, "n_frames": len(self.frames), "tables": tables, "gallery": gallery}

    def frames_csv(self) -> str:
        """Return one line per frame with the columns of `FrameFacts`; empty where a fact is not known."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        names = list(FrameFacts.__dataclass_fields__)
        writer.writerow(names)
        for frame in self.frames:
            values = [getattr(frame, name) for name in names]
            writer.writerow(["" if value is None or value != value else value for value in values])
        return out.getvalue()


def read_explanation(folder: str | os.PathLike[str]) -> Explanation:
    """Read what `explain_errors` stored; every file is checked against its hash first.

    Args:
        folder: one below ``explanations/`` of a run.

    Raises:
        StorageError: there is none, a file was changed since it was written, or it has a layout that this zoo does not know.
    """
    path = Path(folder)
    storage.verify_directory(path)
    facts = storage.read_json(path / RESULT_NAME)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise StorageError(f"{path / RESULT_NAME}: got an unknown layout, expected schema {SCHEMA}; a newer zoo may have written it")
    gallery = tuple(_entry(entry) for entry in facts["gallery"])
    names = [image.file for entry in gallery for image in entry.images]
    rows = csv.DictReader(io.StringIO((path / FRAMES_NAME).read_text(encoding="utf-8"), newline=""))
    return Explanation(
        run=Path(facts["run"]),
        **{name: str(facts[name]) for name in ("model", "data", "split", "domain", "features", "map")},
        labels=tuple(facts["labels"]),
        temperature=float(facts["temperature"]),
        tables=tuple(_table(table) for table in facts["tables"]),
        gallery=gallery,
        frames=tuple(_frame(row) for row in rows),
        notes=tuple(facts["notes"]),
        pictures={name: (path / name).read_bytes() for name in names},
        path=path,
    )


_TEXT = ("path", "target", "label", "predicted")
_PLACES = ("hdu", "plane", "nearest_other", "nearest_same")


def _frame(row: Mapping[str, str]) -> FrameFacts:
    def value(name: str, text: str) -> Any:
        if name in _TEXT:
            return text
        if name in _PLACES:
            return int(text) if text else None
        return float(text) if text else float("nan")

    return FrameFacts(**{name: value(name, row[name]) for name in FrameFacts.__dataclass_fields__})


def _numbers(given: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The fields of a dataclass from JSON, which has null for NaN."""
    wanted = kind.__annotations__
    return {name: float("nan") if given[name] is None and wanted[name] == "float" else given[name] for name in wanted if name in given}


def _table(given: Mapping[str, Any]) -> ErrorTable:
    rows = tuple(Bin(**{**_numbers(row, Bin), "interval": Interval(**_numbers(row["interval"], Interval))}) for row in given["rows"])
    return ErrorTable(**{**given, "rows": rows, "separation": Interval(**_numbers(given["separation"], Interval))})


def _entry(given: Mapping[str, Any]) -> Entry:
    places = {name: None if given[name] is None else tuple(given[name]) for name in ("peak", "box")}
    return Entry(**{**_numbers(given, Entry), **places, "images": tuple(Image(**image) for image in given["images"])})
