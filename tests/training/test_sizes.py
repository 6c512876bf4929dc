"""Training on frames of several sizes and products: what is said, what is stored, and that prediction does the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from tiny_training import SIZE

import zoo
from zoo.errors import DataError, SettingsError
from zoo.training import TrainConfig, train
from zoo.training.planning import make_plan

Configure = Callable[..., TrainConfig]


@pytest.fixture
def mixed(sky: Path, tmp_path: Path) -> Path:
    """The tiny sky with one larger and one smaller frame in each class."""
    root = tmp_path / "mixed"
    shutil.copytree(sky, root)
    for label in ("galaxy", "NSC"):
        for place, size in enumerate([(2 * SIZE[0], 2 * SIZE[1]), (SIZE[0] - 5, SIZE[1])]):
            for target in range(4):
                path = root / label / f"{label}{target}_{place}.fits"
                path.unlink()
                noise = np.random.default_rng([target, place, label == "NSC"]).normal(100, 3, size)
                fits.PrimaryHDU(noise.astype(np.float32)).writeto(path)
    return root


@pytest.mark.parametrize("geometry", ["resize", "crop", "pad"])
def test_mixed_sizes_train_and_predict_by_one_rule(configure: Configure, mixed: Path, geometry: str) -> None:
    config = configure(data={"source": str(mixed), "geometry": geometry}, train={"epochs": 1}, model={"name": "plain"})
    plan = make_plan(config)
    (note,) = [line for line in plan.notes if "sizes" in line]
    height, width = plan.input_shape[1:]
    assert f"geometry {geometry} brings each to {height}x{width}" in note
    run = train(config)
    loaded = zoo.load(run.path)
    assert (loaded.card["geometry"], loaded.card["frame_size"]) == (geometry, list(SIZE))
    assert loaded.input_shape == ((1, 48, 96) if geometry == "pad" else (1, 32, 64) if geometry == "resize" else (1, *SIZE))
    rows = list(zoo.predict(loaded, [mixed / "galaxy"]))
    assert {row.status for row in rows} == {"ok"}
    as_trained = {SIZE, (48, 96)} if geometry == "pad" else {SIZE}  # what fills the model's shape is neither cut nor padded
    assert [row.adapted for row in rows] == [(row.height, row.width) not in as_trained for row in rows]
    assert zoo.evaluate(run.path).refused == ()


def test_refuse_stops_before_training_and_names_the_files(configure: Configure, mixed: Path) -> None:
    with pytest.raises(DataError, match=r"mixed: .*galaxy.*_0\.fits.*: got a frame of 48x96, expected one of 24x48 as in training"):
        make_plan(configure(data={"source": str(mixed), "geometry": "refuse"}))


def test_a_resumed_run_takes_the_same_shape(configure: Configure, mixed: Path) -> None:
    plan = make_plan(configure(data={"source": str(mixed), "geometry": "crop"}))
    again = make_plan(TrainConfig.from_mapping(plan.config.to_mapping()))
    assert (again.input_shape, again.pipeline, again.pipeline.geometry) == (plan.input_shape, plan.pipeline, "crop")


def test_geometry_is_checked_and_one_size_is_not_worth_a_note(configure: Configure) -> None:
    assert not [line for line in make_plan(configure()).notes if "sizes" in line]
    with pytest.raises(SettingsError, match=r"data.geometry must be one of resize, crop, pad, refuse, got 'stretch'"):
        configure(data={"geometry": "stretch"})


def test_products_are_known_from_the_files_where_a_list_is_silent(configure: Configure, sky: Path, tmp_path: Path) -> None:
    lines = ["path,label,target,split"]
    for number, path in enumerate(sorted(sky.glob("*/*.fits"))):
        product = "flt" if number % 2 else "raw"
        copy = tmp_path / "list" / f"{path.stem}_{product}.fits"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        lines.append(f"{copy.name},{path.parent.name},{path.stem.partition('_')[0]},train")
    source = tmp_path / "list" / "list.csv"
    source.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"products flt \(16\), raw \(16\), expected one; .*--allow-product"):
        make_plan(configure(data={"source": str(source)}))
    plan = make_plan(configure(data={"source": str(source), "allow_product": True}))
    assert plan.products == ("flt", "raw")
    assert "--allow-product: training on products flt 16, raw 16" in plan.notes
    assert json.loads(json.dumps(plan.config.to_mapping(), default=str))["data"]["geometry"] == "resize"
