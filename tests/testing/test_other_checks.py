"""Each fault planted in a loss, logger, data set or command is caught by the check that is there for it, and by no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from planted import ABOUT, build_net, examined, failed, plugin_with
from torch import Tensor, nn

import zoo
from zoo.data import DataSet, Manifest, Row
from zoo.errors import CheckFailedError, UsageError
from zoo.registry import Registry, use_registry
from zoo.testing import check_command, check_dataset, check_logger, check_loss, make_frame
from zoo.testing.targets import examine_entry

BUILTIN = Registry.from_plugins([])
# At their default size these two make whole chips.
SMALL = {"pad": {"height": 80, "width": 144}, "crop": {"height": 40, "width": 96}}
BUILTIN_NAMES = [(kind, name) for kind in ("steps", "losses", "loggers", "datasets", "commands") for name in BUILTIN.names(kind)]


@pytest.mark.parametrize(("kind", "name"), BUILTIN_NAMES, ids=lambda word: word)
def test_everything_that_ships_with_zoo_passes(kind: str, name: str) -> None:
    with use_registry(BUILTIN):
        assert failed(list(examine_entry(BUILTIN.get(kind, name), SMALL.get(name)))) == set()


# --- what a name says of itself ---


@pytest.mark.parametrize(
    ("metadata", "ids"),
    [
        ({"summary": ""}, {"entry-summary"}),
        ({"summary": "one\ntwo"}, {"entry-summary"}),
        ({"licence": " "}, {"entry-licence"}),
        ({"reference": ""}, {"model-reference"}),
        ({"reference": "see the paper"}, {"model-reference"}),
        ({"reference": "unpublished"}, set()),
        ({"reference": "arXiv:2312.04948"}, set()),
        ({"reference": "doi:10.1093/mnras/stad3754"}, set()),
        ({"weights": {"v1": {"url": "https://example.org/v1"}}}, {"model-weights"}),
        ({"weights": {"v1": {"url": "v1.pth", "sha256": "0" * 64, "licence": "MIT", "trained_on": "sky"}}}, {"model-weights"}),
        ({"weights": {"v1": {"url": "https://e.org/v", "sha256": "zz", "licence": "MIT", "trained_on": "sky"}}}, {"model-weights"}),
        ({"weights": {"v1": {"url": "https://e.org/v", "sha256": "0" * 64, "licence": "MIT", "trained_on": "sky"}}}, set()),
        ({"options": {"width": zoo.Option(int, 3)}}, {"entry-options", "entry-signature"}),
        ({"options": {"width": zoo.Option(str, "1", "x", choices=("1", 2))}}, {"entry-options", "entry-signature"}),
    ],
)
def test_metadata(metadata: dict[str, Any], ids: set[str]) -> None:
    assert failed(examined("models", build_net, **metadata)) == ids


@pytest.mark.parametrize(
    ("build", "ids", "words"),
    [
        ("no_such_module:build", {"entry-loads"}, "No module named 'no_such_module'"),
        (lambda *, num_classes, in_channels: None, {"entry-signature"}, "does not take input_shape"),
        (lambda *, num_classes, in_channels, input_shape, depth: None, {"entry-signature"}, "needs depth"),
        (lambda num_classes, in_channels, input_shape, /: None, {"entry-signature"}, "does not take num_classes"),
    ],
    ids=["reference", "missing", "unfilled", "positional"],
)
def test_builder(build: Any, ids: set[str], words: str) -> None:
    results = examined("models", build)
    assert failed(results) == ids
    assert any(words in result.got for result in results if result.status == "failed")


def test_default_of_another_type_is_caught_by_the_check_of_options() -> None:
    entry = replace(BUILTIN.get("losses", "focal"), options={"gamma": zoo.Option(float, "2", "how much less")})
    (fault,) = [result for result in examine_entry(entry, only=["entry-options"]) if result.status == "failed"]
    assert fault.got == "default '2' of option gamma is no float"


# --- losses ---


def loss_of(function: Callable[[Tensor, Tensor, Tensor | None], Any]) -> Callable[..., Any]:
    """The builder of a loss."""

    def build(*, class_weights: Tensor | None) -> Callable[[Tensor, Tensor], Any]:
        return lambda logits, labels: function(logits, labels, class_weights)

    return build


def entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, weights)


def naive(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    chosen = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    return -(chosen.log() * (1.0 if weights is None else weights[labels])).mean()


def refusing(*, class_weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    if class_weights is not None:
        raise UsageError("this loss has no class weights")
    return nn.CrossEntropyLoss()


@pytest.mark.parametrize(
    ("build", "ids"),
    [
        (loss_of(entropy), set()),
        (refusing, set()),
        (loss_of(lambda x, y, w: nn.functional.cross_entropy(x, y, w, reduction="none")), {"loss-scalar"}),
        (loss_of(lambda x, y, w: entropy(x, y, w).item()), {"loss-scalar"}),
        (loss_of(lambda x, y, w: entropy(x, y, w).detach()), {"loss-gradient"}),
        (loss_of(naive), {"loss-gradient"}),
        (loss_of(lambda x, y, w: -entropy(x, y, w)), {"loss-order"}),
        (loss_of(lambda x, y, w: entropy(x, y, None)), {"loss-weights"}),
    ],
    ids=["correct", "refuses-weights", "vector", "number", "detached", "overflow", "upside-down", "weights-ignored"],
)
def test_losses(build: Any, ids: set[str]) -> None:
    assert failed(examined("losses", build)) == ids


# --- loggers ---


class Lines:
    """A correct logger."""

    def __init__(self, run_dir: Path) -> None:
        self.path = Path(run_dir) / "lines.txt"
        self.path.write_text("")

    def log(self, record: Mapping[str, object]) -> None:
        with self.path.open("a") as stream:
            stream.write(f"{record.get('loss')}\n")

    def close(self) -> None:
        pass


class Pops(Lines):
    def log(self, record: Any) -> None:
        record.pop("step", None)


class Elsewhere(Lines):
    def log(self, record: Mapping[str, object]) -> None:
        Path("lines.txt").write_text("here")


class Once(Lines):
    def __init__(self, run_dir: Path) -> None:
        (Path(run_dir) / "made").mkdir()
        super().__init__(run_dir)


class NeedsLoss(Lines):
    def log(self, record: Mapping[str, Any]) -> None:
        super().log({"loss": f"{record['loss']:.3f}"})


class NeedsPackage(Lines):
    def __init__(self, run_dir: Path) -> None:
        raise UsageError("install it with pip install zoo-planted[extra]")


@pytest.mark.parametrize(
    ("logger", "ids"),
    [
        (Lines, set()),
        (NeedsPackage, set()),
        (Pops, {"logger-logs"}),
        (NeedsLoss, {"logger-logs"}),
        (Elsewhere, {"logger-place"}),
        (Once, {"logger-resumes"}),
    ],
)
def test_loggers(logger: type, ids: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert failed(examined("loggers", logger)) == ids


# --- data sets ---


def rows_of(*facts: tuple[str, str, str]) -> Callable[..., DataSet]:
    """The builder of a data set with these labels, targets and splits; every frame is the same small one."""

    def build(root: Path | None = None) -> DataSet:
        rows = tuple(Row(path=f"{n}.fits", label=label, target=target, split=split) for n, (label, target, split) in enumerate(facts))
        return DataSet("planted", Manifest(rows, Path(root or ".")), [{"step": "normalize"}], open=lambda row: make_frame())

    return build


def unreadable(root: Path | None = None) -> DataSet:
    return DataSet("planted", Manifest((Row(path="0.fits", label="galaxy", target="M1"),), Path(root or ".")), [{"step": "normalize"}])


@pytest.mark.parametrize(
    ("build", "ids"),
    [
        (rows_of(("galaxy", "M1", "train"), ("NSC", "M2", "test")), set()),
        (rows_of(), {"dataset-builds"}),
        (lambda root: "rows", {"dataset-builds"}),
        (rows_of(("quasar", "M1", "train")), {"dataset-rows"}),
        (rows_of(("galaxy", "M1", "train"), ("galaxy", "M1", "test")), {"dataset-rows"}),
        (unreadable, {"dataset-opens"}),
    ],
    ids=["correct", "empty", "no-data-set", "foreign-label", "leak", "unreadable"],
)
def test_datasets(build: Any, ids: set[str], tmp_path: Path) -> None:
    assert failed(examined("datasets", build, root=tmp_path)) == ids
    without = examined("datasets", build)
    assert failed(without) == set()
    assert {result.check for result in without if result.status == "skipped"} == {"dataset-builds", "dataset-rows", "dataset-opens"}


# --- commands ---


@click.command()
@click.option("--count", default=1, help="How many.")
def good(count: int) -> None:
    """Do it."""


@click.command()
@click.option("--count", default=1)
def bare(count: int) -> None:
    """Do it."""


@pytest.mark.parametrize(
    ("command", "words", "ids"),
    [
        (good, "Do it.", set()),
        (good, "Do something else.", {"command-help"}),
        (bare, "Do it.", {"command-options"}),
        (lambda: None, "Do it.", {"command-is-click"}),
    ],
    ids=["correct", "other-help", "bare-option", "function"],
)
def test_commands(command: Any, words: str, ids: set[str]) -> None:
    assert failed(examined("commands", command, help=words, summary="planted")) == ids


def test_functions_for_tests_of_plugins(tmp_path: Path) -> None:
    plugins = [
        plugin_with("losses", loss_of(entropy), **ABOUT),
        plugin_with("loggers", Lines, **ABOUT),
        plugin_with("datasets", rows_of(("galaxy", "M1", "train")), **ABOUT),
        plugin_with("commands", good, help="Do it.", **ABOUT),
    ]
    for number, plugin in enumerate(plugins):
        plugin.__name__ = f"plugin{number}"
    with use_registry(Registry.from_plugins(plugins)):
        check_loss("planted")
        check_logger("planted")
        check_dataset("planted", tmp_path)
        check_command("planted")
    upside_down = plugin_with("losses", loss_of(lambda x, y, w: -entropy(x, y, w)), **ABOUT)
    with use_registry(Registry.from_plugins([upside_down])), pytest.raises(CheckFailedError, match=r"\[loss-order\]"):
        check_loss("planted")
