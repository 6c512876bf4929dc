"""Exposures from the Hubble archives: which ones a list asks for, where they are, a folder of whole files, and lists of known objects."""

from zoo.data.archive.building import Built, build
from zoo.data.archive.fetching import fetch
from zoo.data.archive.report import FetchedFile, FetchPlan, FetchReport

__all__ = ["Built", "FetchPlan", "FetchReport", "FetchedFile", "build", "fetch"]
