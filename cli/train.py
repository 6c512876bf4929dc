"""``zoo train``: settings from four places, then one run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo.cli.option_groups import GroupedCommand
from zoo.settings import GEOMETRIES
from zoo.training.config import CLASS_WEIGHTS, KEEP, OPTIMIZERS, PRECISIONS, SCHEDULES, DataSettings, TrainSettings

DEFAULTS, DATA_DEFAULTS = TrainSettings(), DataSettings()


GROUPS = {  # title -> the option that it begins with
    "Model": "model",
    "Data and steps": "data",
    "Batches and optimizer": "epochs",
    "Loss": "loss",
    "Weights that are kept": "ema",
    "Machine": "precision",
    "Run": "config_file",
}


@click.command(cls=GroupedCommand, groups=GROUPS)
@click.option(
    "--model", metavar="NAME", help="Architecture, with options as hrcn[padding=same]; 'zoo models list' shows them. [default: hrcn]"
)
@click.option("--model-option", "model_options", multiple=True, metavar="KEY=VALUE", help="Option of the architecture; may be repeated.")
@click.option("--pretrained", metavar="NAME|FILE|RUN|URL", help="Weights to start from; 'zoo models show' lists names. [default: new ones]")
@click.option("--freeze-until", metavar="LAYER", help="Keep the weights of this layer, as in features.3, and of all before it.")
@click.option("--data", metavar="SOURCE", help="Manifest CSV, folder of class folders, or a registered name. [default: simulated]")
@click.option("--data-option", "data_options", multiple=True, metavar="KEY=VALUE", help="Option of a registered data set; may be repeated.")
@click.option("--root", type=click.Path(path_type=Path), help="Where the files of a manifest are.")
@click.option("--labels", metavar="A,B", help="Classes in index order. [default: galaxy,NSC]")
@click.option("--target-regex", metavar="REGEX", help="Class folders: the part of a file name that names the target.")
@click.option("--allow-product", is_flag=True, default=None, help="Train on a mixture of HST products.")
@click.option(
    "--geometry",
    type=click.Choice(GEOMETRIES),
    help=f"What becomes of frames of other sizes than most. [default: {DATA_DEFAULTS.geometry}]",
)
@click.option("--frame-cache", metavar="SIZE", help="Disk space for preprocessed frames, as 20GB. [default: off]")
@click.option("--baselines/--no-baselines", default=None, help="Fit the three baselines that a network has to beat.")
@click.option("--step", "steps", multiple=True, metavar="SPEC", help="Step of the pipeline, as normalize:lower=1,upper=99; in order.")
@click.option(
    "--pipeline", "pipeline_file", type=click.Path(path_type=Path), help="TOML file with [[pipeline]], such as a run's config.toml."
)
@click.option("--epochs", type=int, help=f"Passes over the training frames. [default: {DEFAULTS.epochs}]")
@click.option("--fit", metavar="SIZE", help="Choose what is left open so that training takes at most 8GB, or auto: what is free.")
@click.option("--batch-size", type=int, help="Frames per forward pass. [default: 2 Mpixel's worth, 1 to 16]")
@click.option("--accumulate", type=int, help="Forward passes per optimizer step. [default: to 16 frames]")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="adamw, or sgd with Nesterov's momentum. [default: adamw]")
@click.option("--lr", type=float, help="Peak learning rate. [default: by optimizer]")
@click.option("--weight-decay", type=float, help=f"Decoupled decay of kernels and matrices. [default: {DEFAULTS.weight_decay}]")
@click.option("--momentum", type=float, help=f"Of sgd; the first beta of adamw. [default: {DEFAULTS.momentum}]")
@click.option("--clip-norm", type=float, help=f"Largest norm of the gradient; 0 does not clip. [default: {DEFAULTS.clip_norm}]")
@click.option("--warmup", type=float, metavar="SHARE", help=f"Share of the steps in which the rate rises. [default: {DEFAULTS.warmup}]")
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    help=f"After the warm-up: down to 0, constant, or lower after each milestone. [default: {DEFAULTS.schedule}]",
)
@click.option("--milestones", metavar="N,N", help="step: epochs after which the rate falls. [default: half and three quarters of them]")
@click.option("--gamma", type=float, help=f"step: factor at each milestone. [default: {DEFAULTS.gamma}]")
@click.option("--loss", metavar="NAME", help=f"cross_entropy, focal, or one of a plugin. [default: {DEFAULTS.loss}]")
@click.option(
    "--loss-option", "loss_options", multiple=True, metavar="KEY=VALUE", help="Option of the loss, as label_smoothing=0.1 or gamma=2."
)
@click.option(
    "--class-weights", type=click.Choice(CLASS_WEIGHTS), help=f"balanced: each class weighs the same. [default: {DEFAULTS.class_weights}]"
)
@click.option("--ema", type=float, metavar="DECAY", help="Keep a moving average of the weights, as 0.999; 0: none. [default: 0]")
@click.option(
    "--keep",
    type=click.Choice(KEEP),
    help=f"Which weights become the model: of the last step, or of the best epoch. [default: {DEFAULTS.keep}]",
)
@click.option("--patience", type=int, metavar="EPOCHS", help="Stop after so many without a lower validation loss; 0: never. [default: 0]")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help=f"auto: bf16 where the hardware has it, else fp32. [default: {DEFAULTS.precision}]",
)
@click.option("--stream/--no-stream", default=None, help="Run the stem in strips, which saves memory. [default: as --fit needs]")
@click.option("--recompute/--no-recompute", default=None, help="Compute blocks twice, which saves memory. [default: as --fit needs]")
@click.option("--device", metavar="NAME", help=f"auto, cpu, cuda or cuda:N. [default: {DEFAULTS.device}]")
@click.option("--workers", type=int, help=f"Threads that read frames. [default: {DEFAULTS.workers}]")
@click.option("--seed", type=int, help=f"Of weights, order and augmentation. [default: {DEFAULTS.seed}]")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="TOML file; each key equals a flag. [default: ./zoo.toml if there]"
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="RUN", help="Run directory. [default: runs/MODEL-DATA-NNN]")
@click.option("--force", is_flag=True, default=None, help="Replace a run that is there.")
@click.option("--logger", "loggers", multiple=True, metavar="SPEC", help="csv, tensorboard, jsonl:path=FILE, or one of a plugin.")
@click.option("--resume", is_flag=False, flag_value="latest", metavar="[RUN]", help="Go on with a stopped run. [default: runs/latest]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def train(as_json: bool, resume: str | None, **flags: Any) -> None:
    """Train a model and write a run directory.

    Without --data it trains on the embedded simulated sky. Settings come from the command line, then ZOO_* variables (ZOO_BATCH_SIZE=8),
    then --config or ./zoo.toml, then defaults. Ctrl-C finishes the step and saves; --resume goes on to the same bits.
    """
    from zoo.cli.output import emit_json, note, note_domain
    from zoo.cli.training_progress import TrainingProgress
    from zoo.errors import UsageError
    from zoo.storage import read_json
    from zoo.training import train as run_training
    from zoo.training.launch import Launch

    if resume is not None:
        given = [name for name, value in flags.items() if value not in (None, ())]
        if given:
            words = ", ".join("--" + _FLAGS.get(name, name).replace("_", "-") for name in given)
            raise UsageError(f"got --resume together with {words}; a resumed run keeps its own settings")
    config = None if resume is not None else _read_settings(flags)
    with TrainingProgress() as progress:
        run = run_training(config, resume=resume, progress=progress)
    if not Launch.from_environment().writes:
        return
    note_domain(read_json(run.model / "card.json")["domain"])
    note(f"run {run.path}; next: zoo evaluate {run.path}")
    if as_json:
        emit_json({"run": run.path, "model": run.label, **run.summary})
    else:
        click.echo(str(run.path))


_FLAGS = {
    "model_options": "model-option",
    "data_options": "data-option",
    "loss_options": "loss-option",
    "steps": "step",
    "pipeline_file": "pipeline",
    "config_file": "config",
    "loggers": "logger",
}
_OPTION_TABLES = {"model_options": "model.options", "data_options": "data.options", "loss_options": "train.loss_options"}


def _read_settings(flags: dict[str, Any]) -> Any:
    """Merge command line, environment and file into a TrainConfig."""
    from zoo.cli.output import note
    from zoo.settings import find_config, parse_assignments, read_environment, read_toml
    from zoo.training.config import TrainConfig, environment_variables, flag_names, merge_settings, nest_settings, spread_model

    file = find_config(flags["config_file"])
    below = read_toml(file) if file else {}
    if file:
        note(f"settings from {file}")
        TrainConfig.from_mapping(below, where=str(file))
    environment = nest_settings(read_environment(environment_variables()))
    TrainConfig.from_mapping(environment, where="environment")
    plain = {key: flags[flag.replace("-", "_")] for key, flag in flag_names().items() if flag.replace("-", "_") in flags}
    given = {key: value for key, value in plain.items() if value is not None}
    given |= {key: parse_assignments(flags[name]) for name, key in _OPTION_TABLES.items() if flags[name]}
    if flags["loggers"]:
        given["output.loggers"] = flags["loggers"]
    above = nest_settings(given)
    pipeline = _read_pipeline(flags["steps"], flags["pipeline_file"])
    if pipeline is not None:
        above["pipeline"] = pipeline
    return TrainConfig.from_mapping(merge_settings(*map(spread_model, (below, environment, above))), where="settings")


def _read_pipeline(specs: tuple[str, ...], file: Path | None) -> list[dict[str, Any]] | None:
    """Return the steps of --step or --pipeline; ``None`` for those of the data set."""
    from zoo.errors import SettingsError, UsageError
    from zoo.settings import read_toml
    from zoo.steps import StepSpec

    if specs and file:
        raise UsageError("got --step and --pipeline; pass one of the two")
    if file:
        steps = read_toml(file).get("pipeline")
        if not isinstance(steps, list):
            raise SettingsError(f"{file}: got no [[pipeline]], expected an array of steps")
        return steps
    parsed = [StepSpec.parse(text) for text in specs]
    return [{"step": spec.name, **spec.params} for spec in parsed] or None
