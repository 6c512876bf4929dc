"""`zoo.reproduction`: parts are done once and known again, figures can be traced, published ones stand beside real frames only."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.errors import BusyError, CheckFailedError, InterruptedRunError, StorageError, UnknownNameError, UsageError
from zoo.models.places import model_hash
from zoo.reproduction import PAPER, Progress, Recipe, Reproduction, TestSet, find_recipe, reproduce
from zoo.reproduction.folder import Folder, check_space
from zoo.reproduction.work import needed_bytes

Make = Callable[..., Recipe]


class Spy(Progress):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, bool]] = []
        self.left: list[float | None] = []

    def part(self, number: int, total: int, title: str, left_s: float | None) -> None:
        self.left.append(left_s)

    def done(self, title: str, seconds: float, *, found: bool) -> None:
        self.parts.append((title, found))


def run(recipe: Recipe, output: Path, **arguments: Any) -> Reproduction:
    return reproduce(recipe=recipe, output=output, device="cpu", **arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Filled by the first test that needs it: fixtures of functions are not there for a fixture of the module."""
    return {"output": tmp_path_factory.mktemp("out") / "once"}


@pytest.fixture
def real(finished: dict[str, Any], make_recipe: Make, real_sky: Path) -> Reproduction:
    """One reproduction on frames that do not say that they are simulated."""
    if "result" not in finished:
        finished["spy"] = Spy()
        finished["result"] = run(make_recipe(real_sky), finished["output"], progress=finished["spy"])
    return finished["result"]  # type: ignore[no-any-return]


def test_every_part_is_done_in_order(real: Reproduction, finished: dict[str, Any]) -> None:
    spy = finished["spy"]
    assert [title for title, _ in spy.parts] == [
        "prepare the data", "train hrcn-seed0", "train alexnet-seed0",
        "evaluate hrcn-seed0, test set", "evaluate alexnet-seed0, test set",
        "evaluate hrcn-seed0, blurry set", "evaluate alexnet-seed0, blurry set",
        "cost of hrcn", "cost of alexnet",
    ]  # fmt: skip
    assert not any(found for _, found in spy.parts)
    assert spy.left[:2] == [None, None]
    assert all(left > 0 for left in spy.left[2:])
    assert not (real.path / "runs" / "hrcn-seed0" / "checkpoints").exists()
    assert zoo.load(real.path / "runs" / "hrcn-seed0").name == "tinynet"


def test_tables_are_those_of_the_evaluations(real: Reproduction) -> None:
    test = next(table for table in real.tables if table.key == "test")
    heads, rows = test.flat()
    assert heads == ["network", "model", "frames", "accuracy", "lower", "upper", "provenance", "published"]
    assert [row[0] for row in rows[:2]] == ["HR-CelestialNet", "AlexNet"]
    record = json.loads((real.path / "parts" / "test-alexnet-seed0.json").read_text())
    stored = json.loads((real.path / record["evaluation"] / "evaluation.json").read_text())
    assert rows[1][3] == stored["metrics"]["accuracy"]
    assert rows[1][4] == stored["intervals"]["accuracy"]["lower"]
    assert {row[0] for row in rows[2:]} == {"no network: metadata", "no network: thumbnail", "no network: statistics"}
    written = list(csv.reader(io.StringIO((real.path / "tables" / "test.csv").read_text())))
    assert written[0] == heads
    assert float(written[2][3]) == rows[1][3]


def test_published_values_stand_beside_real_frames(real: Reproduction) -> None:
    by_key = {table.key: table.flat() for table in real.tables}
    assert [row[-1] for row in by_key["test"][1][:2]] == [0.8909, "not published"]
    assert [row[-1] for row in by_key["blurry"][1][:2]] == [0.8448, "not published"]
    assert [row[-1] for row in by_key["hardware"][1]] == ["116.5 ms (hardware not published)", "not published"]
    assert not any("SIMULATED" in table.title for table in real.tables)


def test_simulated_tables_say_so_and_compare_nothing(make_recipe: Make, simulated_sky: Path, tmp_path: Path) -> None:
    result = run(make_recipe(simulated_sky), tmp_path / "out", only=["hrcn"])
    assert result.domain == "simulated"
    assert all(table.title.startswith("SIMULATED SKY: ") for table in result.tables)
    text = json.dumps(json.loads((result.path / "tables.json").read_text())["tables"])
    assert not any(word in text for word in ("ublished", "0.8909", "0.8448", "116.5", "7813", "1595"))


def test_every_figure_can_be_traced(real: Reproduction) -> None:
    document = json.loads((real.path / "tables.json").read_text())
    assert document["schema"] == 1
    for table in document["tables"]:
        heads = table["columns"]
        assert any(head.startswith("provenance") for head in heads)
        for row in table["rows"]:
            for head, cell in zip(heads, row, strict=True):
                if head.startswith("provenance"):
                    assert cell in document["provenance"]
    hardware = next(table for table in document["tables"] if table["key"] == "hardware")
    assert [head for head in hardware["columns"] if head.startswith("provenance")] == [
        "provenance of parameters", "provenance of inference MiB", "provenance of ms per frame",
    ]  # fmt: skip
    accuracy = next(facts for facts in document["provenance"].values() if facts["what"] == "accuracy" and facts["set"] == "blurry")
    name, weights = next(iter(accuracy["weights"].items()))
    assert model_hash(real.path / "runs" / name / "model") == weights
    assert accuracy["set_steps"] == ["overscan", "blur:sigma=1"]
    assert accuracy["made_by"]["zoo"] == zoo.__version__
    assert accuracy["command"] == f"zoo reproduce {PAPER} --quick"


def test_finished_parts_are_not_done_again(real: Reproduction, finished: dict[str, Any], make_recipe: Make, real_sky: Path) -> None:
    spy = Spy()
    again = run(make_recipe(real_sky), finished["output"], progress=spy)
    assert all(found for title, found in spy.parts if title != "prepare the data")
    assert [table.to_dict() for table in again.tables] == [table.to_dict() for table in real.tables]
    assert [stage.seconds for stage in again.stages[1:]] == [stage.seconds for stage in real.stages[1:]]


def test_changed_weights_are_refused(make_recipe: Make, real_sky: Path, tmp_path: Path) -> None:
    recipe = make_recipe(real_sky)
    run(recipe, tmp_path / "out", only=["hrcn"])
    weights = tmp_path / "out" / "runs" / "hrcn-seed0" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(StorageError, match="the file was changed or damaged"):
        run(recipe, tmp_path / "out", only=["hrcn"])


def test_networks_and_seeds_can_be_added(make_recipe: Make, real_sky: Path, tmp_path: Path) -> None:
    recipe = make_recipe(real_sky)
    run(recipe, tmp_path / "out", only=["alexnet"])
    spy = Spy()
    result = run(recipe, tmp_path / "out", seeds=2, progress=spy)
    trained = {title: found for title, found in spy.parts if title.startswith("train")}
    assert trained == {"train hrcn-seed0": False, "train hrcn-seed1": False, "train alexnet-seed0": True, "train alexnet-seed1": False}
    heads, rows = next(table for table in result.tables if table.key == "test").flat()
    mean, lowest, highest = (rows[0][heads.index(head)] for head in ("accuracy", "lowest seed", "highest seed"))
    assert mean == pytest.approx((lowest + highest) / 2)
    assert len({row[heads.index("provenance")] for row in rows[:2]}) == 2


def test_stopped_training_goes_on_to_the_same_weights(
    real: Reproduction, make_recipe: Make, real_sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.training import interrupt

    class Stopped(interrupt.Interrupt):
        def __enter__(self) -> Stopped:
            self.received = 2
            return self

        def __exit__(self, *what: object) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr("zoo.training.fit.Interrupt", Stopped)
        with pytest.raises(InterruptedRunError, match="the same command goes on") as caught:
            run(make_recipe(real_sky), tmp_path / "out", only=["hrcn"])
    assert caught.value.exit_code == 130
    assert (tmp_path / "out" / "runs" / "hrcn-seed0" / "checkpoints" / "last").is_dir()
    result = run(make_recipe(real_sky), tmp_path / "out", only=["hrcn"])
    seals = [base / "runs" / "hrcn-seed0" / "model" / "SHA256SUMS.json" for base in (result.path, real.path)]
    sums = [json.loads(seal.read_text())["files"]["model.safetensors"] for seal in seals]
    assert sums[0] == sums[1]


def test_another_recipe_is_refused_unless_forced(make_recipe: Make, real_sky: Path, tmp_path: Path) -> None:
    run(make_recipe(real_sky), tmp_path / "out", only=["hrcn"])
    with pytest.raises(UsageError, match="holds another reproduction: recipe quick instead of full"):
        run(make_recipe(real_sky, name="full"), tmp_path / "out")
    changed = make_recipe(real_sky)
    networks = tuple(replace(network, train={**network.train, "epochs": 3}) for network in changed.networks)
    changed = make_recipe(real_sky, networks=networks)
    with pytest.raises(UsageError, match="a run of another recipe"):
        run(changed, tmp_path / "out", only=["hrcn"])
    result = run(changed, tmp_path / "out", only=["hrcn"], force=True)
    assert not result.stages[1].found
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        run(make_recipe(real_sky), tmp_path / "mine", force=True)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    with Folder(tmp_path / "out").open({}), pytest.raises(BusyError, match="another process"), Folder(tmp_path / "out").open({}):
        pass


def test_targets_of_the_test_must_be_new(make_recipe: Make, real_sky: Path, tmp_path: Path) -> None:
    seen = (TestSet("test", "test", "all frames", source=str(real_sky)),)
    with pytest.raises(CheckFailedError, match=r"hrcn: got \d targets of sky that were trained on"):
        run(make_recipe(real_sky, sets=seen), tmp_path / "out", only=["hrcn"])


def test_set_without_its_list_is_left_out(make_recipe: Make, real_sky: Path, tmp_path: Path) -> None:
    sets = (TestSet("test", "test", "test frames"), TestSet("blurry", "LCID-Blurry", "list", source="lcid:blurry"))
    result = run(make_recipe(real_sky, sets=sets, root=None), tmp_path / "out", only=["hrcn"])
    assert [table.key for table in result.tables] == ["data", "test", "hardware"]
    assert result.notes[0].startswith("no table of LCID-Blurry: lcid:blurry: got no list")


def test_sets_are_limited_by_target(real: Reproduction) -> None:
    heads, rows = real.tables[0].flat()
    frames = {row[0]: row[heads.index("frames")] for row in rows}
    assert frames["test"] == 4 * frames["blurry"] / 2
    assert all(value == "not published" for value in (row[-1] for row in rows if row[0] in ("training", "validation")))


def test_wrong_arguments(make_recipe: Make, real_sky: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown network 'hrnc'; did you mean 'hrcn'"):
        run(make_recipe(real_sky), tmp_path / "out", only=["hrnc"])
    with pytest.raises(UnknownNameError, match="unknown paper"):
        reproduce("2312.04949", output=tmp_path / "out")
    with pytest.raises(UsageError, match="seeds must be >= 1, got 0"):
        run(make_recipe(real_sky), tmp_path / "out", seeds=0)
    with pytest.raises(UsageError, match="without --data"):
        reproduce(train_list=tmp_path / "list.csv", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_disk_space_is_asked_for_first(tmp_path: Path) -> None:
    assert needed_bytes({"a": 100, "b": 10}, {"a": 1, "b": 2}.__getitem__) == 4 * (110 + 500)
    with pytest.raises(StorageError, match=r"the runs need about 1000000000\.0 GB"):
        check_space(tmp_path / "new" / "folder", 10**18)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("listed", [True, False])
def test_recipes_can_be_planned(quick: bool, listed: bool, tmp_path: Path) -> None:
    recipe = find_recipe(quick=quick, data=tmp_path if listed else None)
    for network in recipe.networks:
        config = recipe.config(network, 3, tmp_path / "run", workers=1)
        assert config.train.seed == 3
        assert config.pipeline[1] == {"step": "resize", "height": network.size[0], "width": network.size[1]}
        assert config.data.baselines is False
    assert [test.key for test in recipe.sets] == ["test", "blurry", "csst"]
    families = {network.model.rstrip("0123456789") for network in recipe.networks}
    assert families == {"hrcn", "alexnet", "vgg", "resnet"}
    assert recipe.config(recipe.networks[0], 0, tmp_path).data.baselines
    scratch = find_recipe(quick=quick, from_scratch=True)
    assert not any(network.pretrained for network in scratch.networks)
    assert ("--from-scratch" in scratch.command) is not quick
