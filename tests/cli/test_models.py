"""``zoo models``: the list builds nothing, and one architecture is shown with its options and published weights."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import zoo
from zoo.cli import main
from zoo.errors import PluginError
from zoo.registry import Registry, use_registry


def run(*words: str) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    with use_registry(Registry.from_plugins([])):
        assert run("models", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)["results"]


def plugin(**metadata: Any) -> ModuleType:
    module = ModuleType("mine")
    module.register_models = zoo.hookimpl(  # type: ignore[attr-defined]
        lambda register: register("net", "mine:build", input_shape=(1, 8, 8), **metadata)
    )
    return module


def test_list_names_families_and_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in printed(capsys, "list")}
    assert rows["hrcn"]["parameters"] == 97_048_130
    assert (rows["vgg16_bn"]["family"], rows["vgg16_bn"]["parameters"]) == ("vgg", 134_276_034)
    assert rows["resnet152"]["reference"] == "https://arxiv.org/abs/1512.03385"
    assert {"hrcn", "alexnet", "vgg", "resnet"} <= {row["family"] for row in rows.values()}


def test_list_imports_neither_torch_nor_a_model() -> None:
    code = (
        "import sys\nfrom zoo.cli import main\ntry:\n    main(['models', 'list'])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print(sorted({'torch', 'numpy', 'zoo.plugins.vgg'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["name", "owner", "family", "parameters", "summary"]
    assert ["resnet18", "zoo", "resnet", "11171266"] in [line[:4] for line in lines]


def test_show_gives_options_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(capsys, "show", "resnet50", "--size", "512x1024", "--model-option", "zero_init_residual=true")
    assert facts["name"] == "resnet50[zero_init_residual=True]"
    assert (facts["input"], facts["parameters"], facts["macs"]) == ("1x512x1024", 23_505_858, 41_884_323_840)
    assert [option["option"] for option in facts["options"]] == ["zero_init_residual"]
    first, second = facts["weights"]
    assert (first["weights"], second["weights"]) == ("imagenet1k-v1", "imagenet1k-v2")
    assert first["url"] == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert first["sha256"] == "0676ba61"
    assert "ImageNet" in first["trained_on"]
    assert "torchvision" in first["licence"]


def test_show_takes_options_with_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(capsys, "show", "hrcn[padding=same]", "--size", "64x128")
    assert (facts["name"], facts["input"]) == ("hrcn[padding=same]", "1x64x128")
    with use_registry(Registry.from_plugins([])):
        assert run("models", "show", "hrcn[padding=same]", "--model-option", "padding=valid") == 2
    assert "hrcn[padding=same]: option 'padding' is given twice: 'same' and 'valid'" in capsys.readouterr().err


def test_show_prints_three_tables_and_leaves_out_the_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with use_registry(Registry.from_plugins([])):
        assert run("models", "show", "alexnet") == 0
        assert run("models", "show", "hrcn") == 0
    alexnet, hrcn = capsys.readouterr().out.split("fact\tvalue\n")[1:]
    assert [block.split("\t")[0] for block in alexnet.split("\n\n")] == ["name", "option", "weights"]
    assert [block.split("\t")[0] for block in hrcn.split("\n\n")] == ["name", "option"]
    assert "version" not in alexnet


def test_what_a_plugin_leaves_out_has_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with use_registry(Registry.from_plugins([plugin()])):
        assert run("models", "list", "--json") == 0
    row = next(row for row in json.loads(capsys.readouterr().out)["results"] if row["name"] == "net")
    assert (row["family"], row["parameters"]) == ("net", None)
    for wrong in (-1, "many", 1.5):
        failure = Registry.from_plugins([plugin(parameters=wrong)]).failures[0]
        assert isinstance(failure.error, PluginError)
        assert "parameters of 'net' must be their number" in failure.cause
