"""What happens after the last step: BatchNorm statistics, the last scores, the model directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from zoo.models.directory import WEIGHTS_NAME, load_tensors_into, make_card
from zoo.training.batches import clean_batches
from zoo.training.norm import has_running_statistics, measure_norm_statistics
from zoo.training.plan import Plan
from zoo.training.progress import Progress
from zoo.training.run import Run
from zoo.training.scores import Criterion, forward, validate
from zoo.training.state import Position, TrainingState


def finish_model(
    plan: Plan, run: Run, state: TrainingState, criterion: Criterion, progress: Progress, stop_if_asked: Callable[[], None]
) -> dict[str, float]:
    """Turn the trained weights into those that are kept, with BatchNorm statistics of their own, and score them once more.

    Afterwards the model is no longer what training would go on with, so no checkpoint may be written.

    Args:
        stop_if_asked: called before every batch; may raise.

    Returns: as `validate`.
    """
    if plan.config.train.keep == "best" and state.position.best:
        load_tensors_into(state.model, run.best / WEIGHTS_NAME)
    if has_running_statistics(state.model):
        with progress.stage("BatchNorm statistics", plan.batches_per_epoch * plan.batch_size) as advance:
            measure_norm_statistics(state.model, clean_batches(plan, stop_if_asked, advance), partial(forward, plan, state.model))
    return validate(plan, state.model, criterion, stop_if_asked)


def training_card(plan: Plan, position: Position, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return the card of the model as it is after ``position``, with these validation scores."""
    settings = plan.config.train
    training = {
        "data": plan.config.data.source,
        "frames": len(plan.train),
        "targets": len({row.target for row in plan.train}),
        "epochs": position.epoch,
        "steps": position.step,
        "kept": settings.keep if position.best else "last",
        "seed": settings.seed,
        "precision": plan.precision,
        "elapsed_s": position.elapsed_s,
        **scores,
    }
    return make_card(
        plan.entry,
        plan.options,
        input_shape=plan.input_shape,
        labels=plan.dataset.labels,
        pipeline=plan.pipeline,
        domain=plan.dataset.domain,
        products=plan.products,
        training=training,
        geometry=plan.pipeline.geometry,
        frame_size=plan.pipeline.frame_size,
    )
