"""A reproduction on the authors' lists: their names and columns, with simulated files behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from zoo.errors import CheckFailedError, DataError
from zoo.plugins.simulated import dataset
from zoo.reproduction import Recipe, Reproduction, find_recipe, reproduce
from zoo.reproduction.folder import Folder
from zoo.reproduction.sets import open_set, open_source, open_training

Make = Callable[..., Recipe]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw frames of three targets per class: two of each in the test list, one in the blurry list."""
    root = tmp_path_factory.mktemp("hst")
    made = dataset.build(root / "files", seed=5, train=2, val=0, test=1, exposures=1, workers=2)
    parts: dict[str, list[str]] = {"LCID_test.csv": [], "blurry_validation.csv": []}
    held: dict[str, list[str]] = {}
    for row in made.manifest:
        targets = held.setdefault(row.label, [])
        if row.target not in targets:
            targets.append(row.target)
        name = ("LCID_test.csv", "LCID_test.csv", "blurry_validation.csv")[targets.index(row.target)]
        cells = (row.target, row.instrument, row.rootname, row.filter, row.ra, row.dec, row.hdu, row.label)
        parts[name].append(",".join(map(str, (len(parts[name]), *cells))))
    for name, lines in parts.items():
        (root / name).write_text("\n".join([",ID,Instrument,OBSID,Filter,RA,DEC,HDU Index,Label", *lines]) + "\n")
    return root


def tiny(recipe: Recipe, make_recipe: Make) -> Recipe:
    """A recipe on lists with one tiny network of a second."""
    (network, _) = make_recipe(Path()).networks
    return replace(recipe, networks=(replace(network, size=(32, 64), train={**network.train, "epochs": 1}),))


def run(recipe: Recipe, output: Path) -> Reproduction:
    return reproduce(recipe=recipe, output=output, device="cpu")


def test_sets_are_those_of_the_lists(folder: Path, make_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny(find_recipe(quick=True, data=folder), make_recipe)
    result = run(replace(recipe, insight=replace(recipe.insight, networks=())), tmp_path / "out")
    tables = {table.key: table for table in result.tables}
    assert list(tables) == ["data", "test", "blurry", "csst", "hardware"]
    heads, rows = tables["data"].flat()
    frames = {row[0]: row[heads.index("frames")] for row in rows}
    assert frames == {"training": 4, "validation": 0, "test": 4, "blurry": 4, "csst": 4}
    assert "(lcid:blurry)" in tables["blurry"].title
    assert all(table.title.startswith("SIMULATED SKY") for table in result.tables)  # so says every file


def test_a_list_to_train_on_leaves_the_whole_list_to_the_test(folder: Path, make_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny(find_recipe(quick=True, data=folder, train_list=folder / "LCID_test.csv"), make_recipe)
    source = open_source(recipe)
    counts = {test.key: len(open_set(recipe, test, source).select("test")) for test in recipe.sets}
    assert counts == {"test": 8, "blurry": 4, "csst": 8}
    assert len(open_training(recipe, source).select("train")) == 4
    assert recipe.command.endswith("--data DIR --train-list LIST --quick")
    with pytest.raises(CheckFailedError, match="targets of lcid that were trained on"):
        run(recipe, tmp_path / "out")


def test_folder_without_the_list_is_told_before_anything_is_done(make_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny(find_recipe(quick=True, data=tmp_path), make_recipe)
    with pytest.raises(DataError, match=r"lcid: got no list .*LCID_test\.csv.*'zoo data fetch LCID_test\.csv --to DIR' gets the files"):
        run(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()
    with Folder(tmp_path / "out").open({"data": "another"}):  # nothing was begun, so the folder is free
        pass
