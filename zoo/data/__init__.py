"""Data: manifests, class folders, splits by target, the loader, and the baselines that stand beside every accuracy."""

from zoo.data.archive import FetchedFile, FetchPlan, FetchReport, fetch
from zoo.data.baselines import Baselines, fit_baselines
from zoo.data.dataset import LABELS, DataSet, open_data
from zoo.data.folders import read_folder
from zoo.data.loader import Batch, Loader, Skipped
from zoo.data.manifest import COLUMNS, SPLITS, Manifest, Row, summarise
from zoo.data.split import assign_splits, check_classes, check_splits

__all__ = [
    "COLUMNS",
    "LABELS",
    "SPLITS",
    "Baselines",
    "Batch",
    "DataSet",
    "FetchPlan",
    "FetchReport",
    "FetchedFile",
    "Loader",
    "Manifest",
    "Row",
    "Skipped",
    "assign_splits",
    "check_classes",
    "check_splits",
    "fetch",
    "fit_baselines",
    "open_data",
    "read_folder",
    "summarise",
]
