"""What a training run is told to do: one frozen dataclass per table of ``config.toml``, each key equal to its flag."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import SettingsError, UsageError
from zoo.settings import GEOMETRIES, add_options, check_keys, dump_toml, parse_bytes, read_toml

OPTIMIZERS = {"adamw": 1e-3, "sgd": 0.01}  # name -> learning rate when none is given
SCHEDULES = ("cosine", "constant", "step")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CLASS_WEIGHTS = ("none", "balanced")
KEEP = ("best", "last")

Table = TypeVar("Table")


@dataclass(frozen=True)
class ModelSettings:
    """``[model]``: the architecture (``--model``), its options (``--model-option key=value``), and where its weights start.

    Attributes:
        name, options: the architecture.
        pretrained: weights to start from: a name that the architecture registers, a file, a run, or a URL; ``None`` draws new ones.
        freeze_until: the last layer that keeps its weights; everything before it keeps them too. ``None`` trains all.
    """

    name: str = "hrcn"
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str | None = None
    freeze_until: str | None = None


@dataclass(frozen=True)
class DataSettings:
    """``[data]``: what to train on.

    Attributes:
        source: manifest CSV, folder of class folders, or the name of a registered data set (``--data``).
        root: where the files of a manifest are, or where a registered data set keeps its files.
        labels: classes in index order; empty for the data set's own.
        target_regex: class folders only: the part of a file name that names the target.
        options: options of a registered data set.
        allow_product: train although the frames are of different HST products.
        geometry: what happens to frames of other sizes than most: ``resize``, ``crop``, ``pad`` or ``refuse``, see `zoo.data.geometry`.
        baselines: fit the three baselines that a network has to beat; costs one reading of the training frames.
        frame_cache: bytes for preprocessed frames kept on disk (``20GB``), or ``off``, see `zoo.data.cache`.
    """

    source: str = "simulated"
    root: Path | None = None
    labels: tuple[str, ...] = ()
    target_regex: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    allow_product: bool = False
    geometry: str = "resize"
    baselines: bool = True
    frame_cache: str = "off"

    def __post_init__(self) -> None:
        parse_bytes(self.frame_cache)
        if self.geometry not in GEOMETRIES:
            raise SettingsError(f"data.geometry must be one of {', '.join(GEOMETRIES)}, got {self.geometry!r}")


@dataclass(frozen=True)
class TrainSettings:
    """``[train]``: how to train.

    Attributes:
        epochs: passes over the training frames.
        batch_size: frames per forward pass; ``None`` takes 2 million pixels' worth, at least 1 and at most 16. Fewer training frames than
            that make one smaller batch.
        accumulate: forward passes per optimizer step; ``None`` brings a chosen ``batch_size`` to 16 frames, and is 1 beside a given one.
        fit: the memory that training may take, as ``8GB``, or ``auto`` for what the machine has left; what is ``None`` or ``auto`` among
            ``batch_size``, ``accumulate``, ``optimizer``, ``precision``, ``stream`` and ``recompute`` is then chosen so that it is enough,
            see `zoo.training.memory`. ``None`` plans nothing.
        stream: the stem of the network runs in strips, see `zoo.models.stream_stem`; ``None`` is no, unless ``fit`` needs it.
        recompute: blocks keep their input only and are computed again in the backward pass, see `zoo.models.checkpoint_blocks`; likewise.
        optimizer: ``adamw`` or ``sgd`` (Nesterov); ``None`` is ``adamw``, unless ``fit`` needs ``sgd``.
        lr: peak learning rate; ``None`` takes the optimizer's own default.
        weight_decay: decoupled decay of weights, not of biases and normalisation.
        momentum: of ``sgd``; the first beta of ``adamw``.
        warmup: share of all optimizer steps in which the rate rises linearly to its peak.
        schedule: ``cosine`` (down to 0), ``constant``, or ``step`` (times ``gamma`` at each milestone), after the warm-up.
        milestones: of ``step``: numbers of epochs after which the rate falls; empty takes half and three quarters of the epochs.
        gamma: of ``step``: the factor.
        precision: ``fp32``; ``bf16`` or ``fp16`` (autocast; weights stay float32; fp16 with a scaled loss); or ``auto``: bf16 where the
            hardware has it.
        clip_norm: largest norm of the whole gradient; 0 does not clip.
        class_weights: ``none``, or ``balanced``: each class weighs the same in the loss.
        loss, loss_options: a registered loss (``--loss``) and its options (``--loss-option key=value``).
        ema: decay of the exponential moving average of the weights, which is then validated and saved as the model; 0 keeps none.
        keep: which weights become the model: of the ``last`` step, or of the epoch with the ``best`` validation loss.
        patience: epochs without a lower validation loss after which training stops; 0 trains all epochs.
        seed: of weights, order and augmentation.
        workers: threads that read frames; no result depends on it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    """

    epochs: int = 6
    batch_size: int | None = None
    accumulate: int | None = None
    fit: str | None = None
    stream: bool | None = None
    recompute: bool | None = None
    optimizer: str | None = None
    lr: float | None = None
    weight_decay: float = 0.05
    momentum: float = 0.9
    warmup: float = 0.1
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    precision: str = "auto"
    clip_norm: float = 1.0
    class_weights: str = "none"
    loss: str = "cross_entropy"
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    ema: float = 0.0
    keep: str = "last"
    patience: int = 0
    seed: int = 0
    workers: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.fit not in (None, "auto"):
            _check_amount(str(self.fit))
        if self.optimizer is None and self.fit is None:
            object.__setattr__(self, "optimizer", "adamw")
        for name, choices in (
            ("optimizer", (*OPTIMIZERS, *((None,) if self.fit else ()))),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("class_weights", CLASS_WEIGHTS),
            ("keep", KEEP),
        ):
            if getattr(self, name) not in choices:
                words = ", ".join(choice for choice in choices if choice)
                raise SettingsError(f"train.{name} must be one of {words}, got {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingsError(f"train.{name} must be >= 1, got {getattr(self, name)}")
        for name in ("weight_decay", "clip_norm", "patience", "workers", "seed"):
            if not getattr(self, name) >= 0:
                raise SettingsError(f"train.{name} must be >= 0, got {getattr(self, name)}")
        for name in ("momentum", "warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingsError(f"train.{name} must be >= 0 and < 1, got {getattr(self, name)}")
        if not 0 < self.gamma <= 1:
            raise SettingsError(f"train.gamma must be > 0 and <= 1, got {self.gamma}")
        self._check_milestones()
        if self.lr is None and self.optimizer is not None:
            object.__setattr__(self, "lr", OPTIMIZERS[self.optimizer])
        if self.lr is not None and not self.lr > 0:
            raise SettingsError(f"train.lr must be > 0, got {self.lr}")

    def _check_milestones(self) -> None:
        listed = ", ".join(map(str, self.milestones))
        if self.milestones and self.schedule != "step":
            raise SettingsError(f"train.milestones {listed} need train.schedule = 'step', got {self.schedule!r}; leave them out otherwise")
        if list(self.milestones) != sorted({epoch for epoch in self.milestones if epoch >= 1}):
            raise SettingsError(f"train.milestones must be numbers of epochs >= 1, each higher than the one before, got {listed}")


@dataclass(frozen=True)
class OutputSettings:
    """``[output]``: where the run goes.

    Attributes:
        path: the run directory; ``None`` takes the next free ``runs/<model>-<data>-NNN``.
        force: replace a run that is there.
        loggers: registered loggers that get every line of ``metrics.jsonl`` too, with their options: ``jsonl:path=/var/log/zoo.jsonl``.
    """

    path: Path | None = None
    force: bool = False
    loggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a run. ``pipeline`` is empty for the data set's own steps.

    Example: >>> zoo.train(zoo.TrainConfig.from_mapping({"model": {"name": "hrcn"}, "train": {"epochs": 1}}))
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    pipeline: tuple[Mapping[str, Any], ...] = ()
    train: TrainSettings = field(default_factory=TrainSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    @classmethod
    def from_mapping(cls, tables: Mapping[str, Any], *, where: str = "configuration") -> TrainConfig:
        """Build a configuration from nested tables; what is absent has its default.

        Args:
            tables: as TOML gives them; text is accepted for numbers and booleans, because environment variables hold nothing else. The
                name of the model may have options with it, see `spread_model`.
            where: the source, for messages.

        Raises:
            SettingsError: an unknown key (the nearest is suggested), or a value of the wrong type or outside its range. UsageError: as
                `spread_model`.
        """
        check_keys(tables, [entry.name for entry in fields(cls)], where=where)
        tables = spread_model(tables)
        pipeline = tables.get("pipeline", ())
        if isinstance(pipeline, (str, Mapping)) or not isinstance(pipeline, Sequence):
            raise SettingsError(f"{where}: pipeline must be an array of tables ([[pipeline]]), got {type(pipeline).__name__}")
        for step in pipeline:
            if not isinstance(step, Mapping) or not isinstance(step.get("step"), str):
                raise SettingsError(f'{where}: each [[pipeline]] needs step = "NAME", got {step!r}')
        return cls(
            model=_read_table(ModelSettings, tables.get("model", {}), f"{where}: [model]"),
            data=_read_table(DataSettings, tables.get("data", {}), f"{where}: [data]"),
            pipeline=tuple(dict(step) for step in pipeline),
            train=_read_table(TrainSettings, tables.get("train", {}), f"{where}: [train]"),
            output=_read_table(OutputSettings, tables.get("output", {}), f"{where}: [output]"),
        )

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read a TOML file. Raises: SettingsError: unreadable, no TOML, or as `from_mapping`."""
        return cls.from_mapping(read_toml(path), where=str(path))

    def to_mapping(self) -> dict[str, Any]:
        """Return the tables as plain values; `from_mapping` gives the same configuration back."""
        tables: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name == "pipeline":
                tables["pipeline"] = [dict(step) for step in value]
            else:
                tables[entry.name] = {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        return tables

    def to_toml(self) -> str:
        """Return the configuration as TOML, every key written out."""
        return dump_toml(self.to_mapping())

    def with_changes(self, **tables: Mapping[str, Any]) -> TrainConfig:
        """Return a copy in which some keys of some tables differ: ``config.with_changes(train={"epochs": 3})``."""
        return replace(self, **{name: replace(getattr(self, name), **dict(changes)) for name, changes in tables.items()})


# Key -> flag where the two are not one word; each key's environment variable is ZOO_ and the flag in capitals.
FLAGS = {
    "model.name": "model",
    "model.options": "model-option",
    "data.source": "data",
    "data.options": "data-option",
    "train.loss_options": "loss-option",
    "output.path": "output",
    "output.loggers": "logger",
}


def flag_names() -> dict[str, str]:
    """Return the flag of every key: ``{"train.batch_size": "batch-size", "model.name": "model", ...}``."""
    tables = {"model": ModelSettings, "data": DataSettings, "train": TrainSettings, "output": OutputSettings}
    keys = [f"{table}.{entry.name}" for table, kind in tables.items() for entry in fields(kind)]
    return {key: FLAGS.get(key, key.partition(".")[2].replace("_", "-")) for key in keys}


def environment_variables() -> dict[str, str]:
    """Return the key that each ``ZOO_*`` variable sets: ``{"ZOO_BATCH_SIZE": "train.batch_size", ...}``; tables of options have none."""
    return {f"ZOO_{flag.replace('-', '_').upper()}": key for key, flag in flag_names().items() if not key.endswith("options")}


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested tables over each other, later ones above; tables merge key by key, lists and values replace."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            merged[key] = merge_settings(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def spread_model(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``name = "hrcn[padding=same]"`` of ``[model]`` into a name and its options, so that a layer above can change either.

    Raises:
        UsageError: the name has another form, or an option is also in the options of the same table.
    """
    model = tables.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("name"), str) or not isinstance(model.get("options", {}), Mapping):
        return dict(tables)  # nothing to do, or wrong, which is told with the table
    name, options = add_options(model["name"], model.get("options", {}))
    return {**tables, "model": {**model, "name": name, **({"options": options} if options else {})}}


def nest_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"train.lr": 1}`` into ``{"train": {"lr": 1}}``."""
    tables: dict[str, Any] = {}
    for key, value in values.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    return tables


def _check_amount(text: str) -> None:
    try:
        if parse_bytes(text):
            return
    except UsageError:
        pass
    raise SettingsError(f"train.fit must be auto or an amount of memory such as 8GB, got {text!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _read_table(kind: type[Table], values: Any, where: str) -> Table:
    """Build one dataclass from one table."""
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where} must be a table, got {values!r}")
    hints = typing.get_type_hints(kind)
    check_keys(values, hints, where=where)
    return kind(**{key: _coerce(value, hints[key], f"{where} {key}") for key, value in values.items()})


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """Return ``value`` as the type of a field: int, float, str, bool, Path, tuple of str or int, mapping, or one of them or None."""
    if isinstance(hint, types.UnionType):
        return None if value is None else _coerce(value, next(part for part in typing.get_args(hint) if part is not type(None)), where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        words = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
        if typing.get_args(hint)[0] is int:
            if isinstance(words, Sequence):
                return tuple(_coerce(word, int, where) for word in words if word != "")
            raise SettingsError(f"{where} must be a list of whole numbers, got {value!r}")
        if isinstance(words, Sequence) and all(isinstance(word, str) for word in words):
            return tuple(word for word in words if word)
        raise SettingsError(f"{where} must be a list of names, got {value!r}")
    if origin is not None:
        if isinstance(value, Mapping):
            return dict(value)
        raise SettingsError(f"{where} must be a table, got {value!r}")
    if hint is bool:
        text = str(value).lower()
        if text in ("true", "1", "yes", "on"):
            return True
        if text in ("false", "0", "no", "off"):
            return False
    elif hint in (str, Path) and isinstance(value, (str, Path)):
        return hint(value)
    elif hint in (int, float) and not isinstance(value, bool) and isinstance(value, (int, float, str)):
        try:
            number = float(value)
            if hint is float and number == number:
                return number
            if number.is_integer():
                return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else int(number)
        except (ValueError, OverflowError):
            pass
    raise SettingsError(f"{where} must be {'a path' if hint is Path else hint.__name__}, got {value!r}")
