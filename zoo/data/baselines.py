"""Three models without a network that stand beside every accuracy: a network has to beat them to have learned anything of the sky.

``metadata`` sees no pixel: if it does well, camera, filter or position give the class away. ``thumbnail`` sees 16 x 16 pixels,
``statistics`` ten numbers. Each is a ridge logistic regression, fitted on the training rows, its penalty chosen by holding targets out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import DataSet
from zoo.data.features import CATEGORIES, NUMBERS, STATISTICS, Features, measure
from zoo.data.logistic import Array, Logistic
from zoo.data.manifest import Row
from zoo.errors import DataError

NAMES = ("metadata", "thumbnail", "statistics")
SCHEMA = 1


@dataclass(frozen=True)
class Baselines:
    """Three fitted baselines.

    Attributes:
        labels: class names in index order.
        categories: for every name of ``CATEGORIES``, the values seen in training; others count as none of them.
        models: one regression per name of ``NAMES``.
    """

    labels: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    models: Mapping[str, Logistic]

    def predict(
        self, dataset: DataSet, rows: Sequence[Row], *, workers: int = 2, progress: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """Probabilities ``(N, classes)`` of each baseline.

        Raises:
            DataError: no rows, or a frame cannot be read.
        """
        features = measure(dataset, rows, workers=workers, progress=progress)
        return {name: self.models[name].predict(_columns(name, features, self.categories)) for name in NAMES}

    def score(
        self, dataset: DataSet, rows: Sequence[Row], *, workers: int = 2, progress: Callable[[int], None] | None = None
    ) -> dict[str, dict[str, float]]:
        """Accuracy and balanced accuracy (mean recall of the classes present) of each baseline.

        Raises:
            DataError: no rows, a frame cannot be read, or a label is none of the classes.
        """
        truth = _class_indices(self.labels, rows)
        scores = {}
        for name, chance in self.predict(dataset, rows, workers=workers, progress=progress).items():
            correct = chance.argmax(axis=1) == truth
            recalls = [float(correct[truth == k].mean()) for k in np.unique(truth)]
            scores[name] = {"accuracy": float(correct.mean()), "balanced_accuracy": float(np.mean(recalls))}
        return scores

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema": SCHEMA,
            "labels": list(self.labels),
            "categories": {name: list(values) for name, values in self.categories.items()},
            "numbers": list(NUMBERS),
            "statistics": list(STATISTICS),
            "models": {name: model.to_dict() for name, model in self.models.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Baselines:
        """The inverse of :meth:`to_dict`.

        Raises:
            DataError: the values are of another schema, or incomplete.
        """
        if stored.get("schema") != SCHEMA or stored.get("numbers") != list(NUMBERS) or stored.get("statistics") != list(STATISTICS):
            raise DataError(
                f"got baselines of schema {stored.get('schema')!r}, expected {SCHEMA} with the features of this version; fit them again"
            )
        try:
            categories = {name: tuple(map(str, stored["categories"][name])) for name in CATEGORIES}
            models = {name: Logistic.from_dict(stored["models"][name]) for name in NAMES}
            return cls(tuple(map(str, stored["labels"])), categories, models)
        except (KeyError, TypeError, ValueError) as err:
            raise DataError(f"got incomplete baselines ({type(err).__name__}: {err}), expected what zoo wrote; fit them again") from err


def fit_baselines(
    dataset: DataSet, rows: Sequence[Row], *, seed: int = 0, workers: int = 2, progress: Callable[[int], None] | None = None
) -> Baselines:
    """Fit the three baselines.

    Args:
        dataset: opens the rows and names the classes. rows: the training rows. seed: of the folds that choose the penalty.
        workers: threads that measure frames. progress: called with 1 after every frame.

    Raises:
        DataError: no rows, a frame cannot be read, or a label is none of the classes.
    """
    labels = _class_indices(dataset.labels, rows)
    features = measure(dataset, rows, workers=workers, progress=progress)
    targets = [row.target for row in rows]
    seen = {name: tuple(sorted({values[place] for values in features.categories})) for place, name in enumerate(CATEGORIES)}
    models = {name: Logistic.fit(_columns(name, features, seen), labels, targets, classes=len(dataset.labels), seed=seed) for name in NAMES}
    return Baselines(dataset.labels, seen, models)


def _columns(name: str, features: Features, categories: Mapping[str, Sequence[str]]) -> Array:
    """Features of one baseline, ``(N, D)``; categories become one column per value."""
    if name == "thumbnail":
        return features.thumbnails
    if name == "statistics":
        return features.statistics
    one_hot = [
        [float(values[place] == value) for values in features.categories]
        for place, key in enumerate(CATEGORIES)
        for value in categories[key]
    ]
    return np.column_stack([features.numbers, *np.array(one_hot)])


def _class_indices(labels: Sequence[str], rows: Sequence[Row]) -> NDArray[np.int64]:
    """Class index of every row."""
    for row in rows:
        if row.label not in labels:
            raise DataError(f"{row.name}: got label {row.label!r}, expected one of {', '.join(labels)}")
    return np.array([labels.index(row.label) for row in rows], dtype=np.int64)
