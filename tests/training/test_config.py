"""Configurations: TOML both ways, unknown keys, ranges, flags and environment variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from zoo.errors import SettingsError, UsageError
from zoo.settings import OTHER_VARIABLES
from zoo.training import TrainConfig
from zoo.training.config import environment_variables, flag_names, merge_settings, nest_settings, spread_model

FULL: dict[str, Any] = {
    "model": {"name": "hrcn", "options": {"padding": "same"}, "pretrained": "runs/a", "freeze_until": "features.block2"},
    "data": {"source": "list.csv", "root": "/data", "labels": ["galaxy", "NSC"], "target_regex": "^([A-Z]+)", "allow_product": True},
    "pipeline": [{"step": "overscan"}, {"step": "normalize", "lower": 1.0}],
    "train": {
        "epochs": 3,
        "optimizer": "sgd",
        "lr": 0.1,
        "schedule": "step",
        "milestones": [1, 2],
        "gamma": 0.5,
        "class_weights": "balanced",
        "loss": "focal",
        "loss_options": {"gamma": 2.0},
        "ema": 0.99,
        "patience": 4,
        "precision": "fp16",
        "seed": 2**40,
    },
    "output": {"path": "runs/a", "force": True, "loggers": ["csv", "jsonl:path=all.jsonl"]},
}


def test_name_of_the_model_may_have_options() -> None:
    model = TrainConfig.from_mapping({"model": {"name": "hrcn[padding=same]", "options": {"width": 3}}}).model
    assert (model.name, model.options) == ("hrcn", {"padding": "same", "width": 3})
    above = [{"model": {"name": "hrcn[padding=same]"}}, {"model": {"options": {"padding": "valid"}}}]
    for layers, padding in ((above, "valid"), (above[::-1], "same")):  # each layer beats the one below, in either notation
        merged = merge_settings(*map(spread_model, layers))
        assert merged == {"model": {"name": "hrcn", "options": {"padding": padding}}}
    with pytest.raises(UsageError, match="option 'padding' is given twice: 'same' and 'valid'"):
        TrainConfig.from_mapping({"model": {"name": "hrcn[padding=same]", "options": {"padding": "valid"}}})
    with pytest.raises(UsageError, match=r"expected NAME or NAME\[KEY=VALUE"):
        TrainConfig.from_mapping({"model": {"name": "hrcn[padding=same"}})


def test_config_survives_toml(tmp_path: Path) -> None:
    config = TrainConfig.from_mapping(FULL)
    (tmp_path / "run.toml").write_text(config.to_toml())
    assert TrainConfig.read(tmp_path / "run.toml") == config
    assert config.data.root == Path("/data")
    assert config.train.seed == 2**40
    (tmp_path / "run.toml").write_text(TrainConfig().to_toml())
    assert TrainConfig.read(tmp_path / "run.toml") == TrainConfig()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"trian": {}}, "did you mean 'train'"),
        ({"train": {"batchsize": 3}}, r"\[train\]: unknown key 'batchsize'; did you mean 'batch_size'"),
        ({"model": {"option": {}}}, "did you mean 'options'"),
        ({"train": {"epochs": "many"}}, r"\[train\] epochs must be int, got 'many'"),
        ({"train": {"epochs": 2.5}}, "epochs must be int, got 2.5"),
        ({"train": {"epochs": True}}, "epochs must be int, got True"),
        ({"train": {"lr": float("nan")}}, "lr must be float"),
        ({"train": {"epochs": 0}}, r"train\.epochs must be >= 1"),
        ({"train": {"lr": 0.0}}, r"train\.lr must be > 0"),
        ({"train": {"warmup": 1}}, r"train\.warmup must be >= 0 and < 1"),
        ({"train": {"optimizer": "lion"}}, "must be one of adamw, sgd, got 'lion'"),
        ({"train": {"ema": 1.0}}, r"train\.ema must be >= 0 and < 1, got 1.0"),
        ({"train": {"ema": -0.1}}, r"train\.ema must be"),
        ({"train": {"patience": -1}}, r"train\.patience must be >= 0, got -1"),
        ({"train": {"gamma": 0}}, r"train\.gamma must be > 0 and <= 1, got 0"),
        ({"train": {"gamma": 2.0}}, r"train\.gamma must be"),
        ({"train": {"milestones": [3]}}, r"train\.milestones 3 need train\.schedule = 'step', got 'cosine'"),
        ({"train": {"schedule": "step", "milestones": [3, 3]}}, "each higher than the one before, got 3, 3"),
        ({"train": {"schedule": "step", "milestones": [0, 3]}}, "numbers of epochs >= 1"),
        ({"train": {"schedule": "step", "milestones": [1.5]}}, "milestones must be int, got 1.5"),
        ({"train": {"schedule": "step", "milestones": 3}}, "milestones must be a list of whole numbers, got 3"),
        ({"train": {"loss_options": "gamma=2"}}, "loss_options must be a table"),
        ({"train": {"precision": "fp8"}}, "must be one of auto, fp32, bf16, fp16, got 'fp8'"),
        ({"train": 3}, r"\[train\] must be a table"),
        ({"data": {"labels": 3}}, "labels must be a list of names"),
        ({"model": {"options": "a=b"}}, "options must be a table"),
        ({"output": {"force": "maybe"}}, "force must be bool"),
        ({"pipeline": {"step": "overscan"}}, "must be an array of tables"),
        ({"pipeline": [{"name": "overscan"}]}, 'needs step = "NAME"'),
    ],
)
def test_config_names_what_is_wrong(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainConfig.from_mapping(tables)


def test_config_takes_text_for_every_type() -> None:
    config = TrainConfig.from_mapping(
        {"train": {"epochs": "3", "lr": "1e-2"}, "data": {"labels": "a, b,", "baselines": "no"}, "output": {"path": "x"}}
    )
    assert (config.train.epochs, config.train.lr, config.data.labels, config.data.baselines) == (3, 0.01, ("a", "b"), False)
    steps = {text: TrainConfig.from_mapping({"train": {"schedule": "step", "milestones": text}}) for text in ("2, 5", "2", "")}
    assert [config.train.milestones for config in steps.values()] == [(2, 5), (2,), ()]


def test_config_takes_the_learning_rate_of_its_optimizer() -> None:
    rates = {name: TrainConfig.from_mapping({"train": {"optimizer": name}}).train.lr for name in ("adamw", "sgd")}
    assert rates["adamw"] != rates["sgd"]
    assert TrainConfig().with_changes(train={"epochs": 7}).train.epochs == 7


def test_every_key_has_a_flag_and_a_variable() -> None:
    from zoo.cli.train import train

    flags = {name.lstrip("-") for parameter in train.params if isinstance(parameter, click.Option) for name in parameter.opts}
    assert set(flag_names().values()) <= flags
    assert flags - set(flag_names().values()) == {"config", "step", "pipeline", "resume", "json", "o"}
    variables = environment_variables()
    assert variables["ZOO_BATCH_SIZE"] == "train.batch_size"
    assert variables["ZOO_DATA"] == "data.source"
    assert not [key for key in variables.values() if key.endswith("options")]
    assert not set(variables) & OTHER_VARIABLES


def test_choices_of_the_flags_are_those_of_the_keys() -> None:
    from zoo.cli.train import train

    tables = {flag: key.partition(".")[0] for key, flag in flag_names().items()}
    for parameter in train.params:
        if isinstance(parameter.type, click.Choice):
            for choice in parameter.type.choices:
                TrainConfig.from_mapping({tables[str(parameter.name).replace("_", "-")]: {parameter.name: choice}})


def test_every_key_flag_and_default_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    for key, flag in flag_names().items():
        row = next((row for row in rows if f"`{key}`" in row[1]), None)
        assert row is not None, key
        assert re.search(rf"`--{flag}[ `]", row[2]), key
        default = TrainConfig().to_mapping()[key.partition(".")[0]][key.partition(".")[2]]
        if isinstance(default, int | float | str) and key != "train.lr":
            text = str(default).lower() if isinstance(default, bool) else f"{default:g}" if not isinstance(default, str) else f"`{default}`"
            assert row[3].removesuffix(".0") == text, key


def test_help_shows_every_option_in_a_group() -> None:
    from click.testing import CliRunner

    from zoo.cli.train import GROUPS, train

    text = CliRunner().invoke(train, ["--help"], terminal_width=140).output
    titles = [line.removesuffix(":") for line in text.splitlines() if re.match(r"^[A-Z].*:$", line)]
    assert titles == list(GROUPS)
    for parameter in train.params:
        assert any(f"{name} " in text or f"{name}\n" in text or f"{name}," in text for name in parameter.opts), parameter.name


def test_merge_settings_lays_tables_over_each_other() -> None:
    merged = merge_settings(
        {"train": {"lr": 1, "epochs": 2}, "pipeline": [1]}, {"train": {"lr": 3}}, nest_settings({"model.name": "x"}), {"pipeline": [2]}
    )
    assert merged == {"train": {"lr": 3, "epochs": 2}, "pipeline": [2], "model": {"name": "x"}}
