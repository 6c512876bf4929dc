"""Data: manifests, class folders, splits by target, the loader, and the baselines that stand beside every accuracy."""

from zoo.data.archive import FetchedFile, FetchPlan, FetchReport, fetch
from zoo.data.baselines import Baselines, fit_baselines
from zoo.data.dataset import LABELS, DataSet, open_data
from zoo.data.folders import read_folder
from zoo.data.groups import UNITS, group_rows
from zoo.data.loader import Batch, Loader, Skipped
from zoo.data.manifest import COLUMNS, SPLITS, Manifest, Row, summarise
from zoo.data.scenes import find_scene
from zoo.data.split import Balance, assign_folds, assign_splits, check_classes, check_splits, measure_balance

__all__ = [
    "COLUMNS",
    "LABELS",
    "SPLITS",
    "UNITS",
    "Balance",
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
    "assign_folds",
    "assign_splits",
    "check_classes",
    "check_splits",
    "fetch",
    "find_scene",
    "fit_baselines",
    "group_rows",
    "measure_balance",
    "open_data",
    "read_folder",
    "summarise",
]
