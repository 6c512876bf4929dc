"""Exposures from the Hubble archives: which ones a list asks for, where they are, and a folder of whole files."""

from zoo.data.archive.fetching import fetch
from zoo.data.archive.report import FetchedFile, FetchPlan, FetchReport

__all__ = ["FetchPlan", "FetchReport", "FetchedFile", "fetch"]
