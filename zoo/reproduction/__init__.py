"""A paper's experiments, done again: its networks trained and measured, its tables printed with our values.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.reproduction.progress import Progress as Progress
    from zoo.reproduction.published import PAPER as PAPER
    from zoo.reproduction.recipe import Insight as Insight
    from zoo.reproduction.recipe import Network as Network
    from zoo.reproduction.recipe import Recipe as Recipe
    from zoo.reproduction.recipe import TestSet as TestSet
    from zoo.reproduction.recipe import find_recipe as find_recipe
    from zoo.reproduction.result import PaperTable as PaperTable
    from zoo.reproduction.result import Reproduction as Reproduction
    from zoo.reproduction.run import reproduce as reproduce

_HOME = {
    "Insight": "recipe",
    "Network": "recipe",
    "PAPER": "published",
    "PaperTable": "result",
    "Progress": "progress",
    "Recipe": "recipe",
    "Reproduction": "result",
    "TestSet": "recipe",
    "find_recipe": "recipe",
    "reproduce": "run",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
