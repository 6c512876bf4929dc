"""Which frames an evaluation uses, and which of their targets the run has seen before."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.data import DataSet, Manifest, Row, open_data
from zoo.errors import DataError, UsageError
from zoo.models import LoadedModel
from zoo.registry import get_registry
from zoo.training.config import TrainConfig

SAME_SKY_DEG = 1.0
"""Two targets of one name that are farther apart are different objects; names such as ANY and PARALLEL-FIELD are not unique."""


@dataclass(frozen=True)
class Selection:
    """The frames of one evaluation, the split that they are, and what was left out."""

    data: DataSet
    rows: tuple[Row, ...]
    split: str
    notes: tuple[str, ...] = ()


def select_data(
    loaded: LoadedModel,
    data: str | os.PathLike[str] | DataSet | None,
    *,
    split: str | None,
    root: str | os.PathLike[str] | None,
    labels: Sequence[str] | None,
    target_regex: str | None,
    hdu: int | None = None,
    plane: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Selection:
    """Open the data and choose the rows; see `zoo.evaluate`, and `zoo.data.open_data` for ``progress``.

    Raises:
        DataError: there are no such rows. UsageError: a class is none of the run's, or there is nothing to take by default.
    """
    classes = _classes(loaded, labels)
    if isinstance(data, DataSet):
        chosen = data
    elif data is None:
        if any(value is not None for value in (root, target_regex, hdu, plane)):
            raise UsageError("--root, --target-regex, --hdu and --plane say how to read --data; got one of them without it")
        chosen = _own_data(loaded, progress)
    else:
        chosen = open_data(
            data,
            root=root,
            labels=classes,
            target_regex=target_regex,
            hdu=hdu,
            plane=plane,
            split=False,
            missing="keep",
            progress=progress,
        )
    manifest = chosen.manifest.with_labels(classes)
    notes = manifest.notes[len(chosen.manifest.notes) :]
    name = split or ("test" if any(row.split for row in manifest.rows) else "all")
    rows = manifest.select(split=name)
    if not rows:
        counts = {word: sum(row.split == word for row in manifest.rows) for word in ("train", "val", "test", "")}
        held = ", ".join(f"{word or 'without split'} {count}" for word, count in counts.items() if count)
        raise DataError(
            f"{chosen.name}: got no frames in split {name!r}, expected at least one; it holds {held or 'none'}; choose with --split"
        )
    return Selection(replace(chosen, manifest=manifest), rows, name, notes)


def split_seen(loaded: LoadedModel, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the targets of ``rows`` that the run was trained or validated on, sorted; empty where the run holds no manifest.

    Targets match by name without case, unless both have coordinates and lie more than `SAME_SKY_DEG` apart.
    """
    path = None if loaded.run is None else loaded.run / "manifest.csv"
    if path is None or not path.is_file():
        return ()
    known: dict[str, list[Row]] = {}
    for row in Manifest.read_csv(path).rows:
        if row.split in ("train", "val"):
            known.setdefault(row.target.casefold(), []).append(row)
    return tuple(sorted({row.target for row in rows if any(_near(row, other) for other in known.get(row.target.casefold(), ()))}))


def _classes(loaded: LoadedModel, labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes to use in the run's own spelling and order."""
    if labels is None:
        return loaded.labels
    wanted = {label.casefold() for label in labels}
    unknown = wanted - {label.casefold() for label in loaded.labels}
    if unknown:
        raise UsageError(f"--labels names {', '.join(sorted(unknown))}, which the run does not know; it has {', '.join(loaded.labels)}")
    return tuple(label for label in loaded.labels if label.casefold() in wanted)


def _own_data(loaded: LoadedModel, progress: Callable[[int, int], None] | None) -> DataSet:
    """Return the data that the run was trained on, with the splits that it was trained with."""
    if loaded.run is None or not (loaded.run / "manifest.csv").is_file():
        raise UsageError(f"{loaded.path}: this model holds no list of the data it was trained on; say with --data what to evaluate it on")
    config = TrainConfig.read(loaded.run / "config.toml")
    recorded = Manifest.read_csv(loaded.run / "manifest.csv")
    source = config.data.source
    if source in get_registry().names("datasets"):
        data = open_data(source, root=config.data.root, options=config.data.options, split=False, missing="keep", progress=progress)
        splits = {_key(row): row.split for row in recorded.rows}
        rows = [replace(row, split=splits[_key(row)]) for row in data.manifest.rows if _key(row) in splits]
        lost = f"{len(recorded) - len(rows)} of {len(recorded)} frames of the run are no longer in {source}"
        if not rows:
            raise DataError(f"{loaded.run}: {lost}, which may be of another version; say with --data what to evaluate it on")
        return replace(data, manifest=data.manifest.with_rows(rows), notes=(*data.notes, *([lost] if len(rows) < len(recorded) else [])))
    return DataSet(Path(source).name, recorded, [], loaded.labels, domain=str(loaded.card["domain"]))


def _key(row: Row) -> tuple[str, int | None, int | None, str]:
    return Path(row.path).name or row.rootname, row.hdu, row.plane, row.target


def _near(one: Row, other: Row) -> bool:
    """Whether two rows of one target name may be the same object."""
    if any(math.isnan(value) for value in (one.ra, one.dec, other.ra, other.dec)):
        return True
    ra1, dec1, ra2, dec2 = (math.radians(value) for value in (one.ra, one.dec, other.ra, other.dec))
    haversine = math.sin((dec2 - dec1) / 2) ** 2 + math.cos(dec1) * math.cos(dec2) * math.sin((ra2 - ra1) / 2) ** 2
    return 2 * math.degrees(math.asin(min(1.0, math.sqrt(haversine)))) <= SAME_SKY_DEG
