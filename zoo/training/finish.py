"""What happens after the last step: BatchNorm statistics, the last scores, the model directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from zoo import storage
from zoo.calibration import CALIBRATION_NAME, RANGE_NAME, calibrate, measure_range, spread_rows
from zoo.errors import DataError
from zoo.models.directory import WEIGHTS_NAME, load_tensors_into, make_card
from zoo.training.batches import clean_batches
from zoo.training.norm import has_running_statistics, measure_norm_statistics
from zoo.training.plan import Criterion, Plan
from zoo.training.progress import Progress
from zoo.training.run import BASELINES_NAME, Run
from zoo.training.scores import Outputs, forward, validate
from zoo.training.state import Position, TrainingState


def finish_model(
    plan: Plan,
    run: Run,
    state: TrainingState,
    criterion: Criterion,
    progress: Progress,
    stop_if_asked: Callable[[], None],
    outputs: Outputs,
) -> dict[str, float]:
    """Turn the trained weights into those that are kept, with BatchNorm statistics of their own, and score them once more.

    Afterwards the model is no longer what training would go on with, so no checkpoint may be written.

    Args:
        stop_if_asked: called before every batch; may raise.
        outputs: receives the logits of the validation frames.

    Returns: as `validate`.
    """
    model, frozen, settings = state.evaluated, state.frozen_modules, plan.config.train
    if settings.keep == "best" and state.position.best:
        load_tensors_into(model, run.best / WEIGHTS_NAME)
    if has_running_statistics(model, frozen=frozen):
        with progress.stage("BatchNorm statistics", plan.batches_per_epoch * plan.batch_size) as advance:
            batches = clean_batches(plan, stop_if_asked, advance)
            used = measure_norm_statistics(model, batches, partial(forward, plan, model), frozen=frozen)
        if used < plan.batches_per_epoch:
            left = plan.batches_per_epoch - used
            progress.note(f"{left} of {plan.batches_per_epoch} batches gave no finite BatchNorm statistics and were left out of them")
    val = validate(plan, model, criterion, progress, stop_if_asked, outputs)
    if val:
        best = state.position.best if settings.keep == "best" else {}
        progress.finished({"epoch": best.get("epoch", state.position.epoch), "kept": "best" if best else "last", **val})
    _compare_with_baselines(run, val, progress)
    return val


def _compare_with_baselines(run: Run, val: Mapping[str, float], progress: Progress) -> None:
    """Say so where the network does worse on the validation frames than the best method without one."""
    stored = run.path / BASELINES_NAME
    scores = storage.read_json(stored)["val"] if val and stored.is_file() else {}
    better = {name: score["accuracy"] for name, score in scores.items() if (score["accuracy"] or 0.0) > val["val_accuracy"]}
    if better:
        name = max(better, key=lambda key: better[key])
        progress.note(
            f"the baseline {name} is right on {better[name]:.1%} of the validation frames and the model on {val['val_accuracy']:.1%}: "
            "what it has learned, simple figures tell better; try more epochs, another --lr or more frames"
        )


def training_card(plan: Plan, run: Run, position: Position, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return the card of the model as it is after ``position``, with these validation scores."""
    settings = plan.config.train
    training = {
        "data": plan.config.data.source,
        "frames": len(plan.train),
        "targets": len({row.target for row in plan.train}),
        "epochs": position.epoch,
        "steps": position.step,
        "skipped_steps": position.skipped,
        "kept": settings.keep if position.best else "last",
        "loss": plan.loss_label,
        "ema": settings.ema,
        "class_shares": class_shares(plan),
        "pretrained": dict(run.pretrained) or None,
        "freeze_until": plan.config.model.freeze_until,
        "seed": settings.seed,
        "precision": plan.precision,
        "elapsed_s": position.elapsed_s,
        **scores,
    }
    if plan.memory:
        training |= {"fit": plan.memory.fit, "restarts": len(plan.memory.history), "bit_reproducible": plan.memory.bit_reproducible}
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


def class_shares(plan: Plan) -> dict[str, float]:
    """Return how common each class was to the loss: its share of the training frames, or all alike where the loss weighs them so."""
    labels = plan.dataset.labels
    if plan.config.train.class_weights == "balanced":
        return {label: 1 / len(labels) for label in labels}
    counts = Counter(row.label for row in plan.train)
    return {label: counts[label] / len(plan.train) for label in labels}


def learn_of_model(plan: Plan, outputs: Outputs, progress: Progress) -> dict[str, Any]:
    """Return the files that stand beside the weights: the calibration on the validation frames, the range of the training frames.

    Args:
        outputs: of the final weights on the validation frames.

    Returns: contents by name; without validation frames, or with targets too few for a range, less of them.
    """
    files: dict[str, Any] = {}
    if outputs.rows:
        truth = [plan.dataset.class_index(row) for row in outputs.rows]
        targets = [row.target for row in outputs.rows]
        with suppress(DataError):  # where no logits are finite, which was noted above
            calibration = calibrate(outputs.all().numpy(), truth, targets, plan.dataset.labels, data=plan.dataset.name)
            files[CALIBRATION_NAME] = calibration.to_dict()
    rows = spread_rows(plan.train)
    with progress.stage("range of the training frames", len(rows)) as advance:
        frame_range = measure_range(plan.dataset, rows, workers=plan.config.train.workers, progress=advance)
    if frame_range:
        files[RANGE_NAME] = frame_range.to_dict()
    return files
