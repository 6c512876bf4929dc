"""A degradation inside a run's own pipeline: behind the steps that give electrons, before all that change pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from zoo.evaluation.inference import FittedPipeline
from zoo.models import LoadedModel
from zoo.robustness.axes import Axis, Ladder
from zoo.steps import Pipeline


@dataclass(frozen=True)
class Rungs:
    """The pipelines of one axis, one per level.

    Attributes:
        axis, levels: as `zoo.robustness.axes.choose_axes` gives them.
        pipelines: the run's own with the step at each level.
        raw: whether a raw Hubble frame can go through them: not where the run itself has no ``overscan``, which they then have alone.
    """

    axis: Axis
    levels: tuple[float, ...]
    pipelines: tuple[FittedPipeline, ...]
    raw: bool

    @property
    def exposes(self) -> bool:
        """Whether a step counts electrons, so that it takes the light behind a simulated frame."""
        return any(step.unit_in == "electron" for step in self.pipelines[0].frame_steps)


def build_rungs(loaded: LoadedModel, ladder: Ladder, *, geometry: str | None, seed: int) -> Rungs:
    """Return the pipelines of one axis.

    Args:
        loaded: the run. ladder: the axis and its levels. geometry: as for `zoo.evaluate`. seed: of what the step draws.

    Raises:
        PipelineError: a step of the run stands in the way. UsageError: the geometry is unknown.
    """
    axis, levels = ladder
    pipelines = tuple(
        FittedPipeline(replace(loaded, pipeline=Pipeline(insert(loaded.pipeline, axis.spec(level, seed), axis.electrons))), geometry)
        for level in levels
    )
    added = len(pipelines[0].specs) - len(loaded.pipeline.specs) - 1
    return Rungs(axis, levels, pipelines, raw=not added)


def insert(pipeline: Pipeline, spec: dict[str, Any], electrons: bool) -> list[dict[str, Any]]:
    """Return the steps of a pipeline with one more.

    It stands behind the leading steps that take the detector's own numbers (``overscan``) and behind degradations that the run was trained
    with, which it makes worse. Where it counts electrons and nothing before gives them, ``overscan`` comes first: it lets calibrated
    frames, which are in electrons already, pass.

    Args:
        pipeline: the run's. spec: the step to add. electrons: whether it takes electrons.
    """
    steps, place = pipeline.to_list(), 0
    for step in pipeline.frame_steps:
        if step.unit_in != "DN" and not (step.unit_in == "electron" and step.random == "always"):
            break
        place += 1
    lacking = electrons and not any(step.unit_out == "electron" for step in pipeline.frame_steps[:place])
    return [*steps[:place], *([{"step": "overscan"}] if lacking else []), spec, *steps[place:]]
