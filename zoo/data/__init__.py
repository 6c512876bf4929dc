"""Data: manifests, class folders, splits by target, the loader, and the baselines that stand beside every accuracy."""

from zoo.data.dataset import LABELS, DataSet, default_pipeline, open_data
from zoo.data.folders import read_folder
from zoo.data.manifest import COLUMNS, SPLITS, Manifest, Row
from zoo.data.split import assign_splits, check_classes, check_splits

__all__ = [
    "COLUMNS",
    "LABELS",
    "SPLITS",
    "DataSet",
    "Manifest",
    "Row",
    "assign_splits",
    "check_classes",
    "check_splits",
    "default_pipeline",
    "open_data",
    "read_folder",
]
