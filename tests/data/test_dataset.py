"""Opening data: manifests, folders and registered names, and what becomes of missing files and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import zoo
from zoo.data import DataSet, Manifest, Row, open_data
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.frames import Frame
from zoo.registry import Registry, use_registry

Write = Callable[..., Path]


def build(root: Path | None, *, frames: int) -> DataSet:
    rows = tuple(Row(path=f"{i}.fits", label=("galaxy", "NSC")[i % 2], target=f"T{i // 2}{i % 2}") for i in range(frames))
    return DataSet("sky", Manifest(rows, root or Path()), [], domain="simulated", open=lambda row: Frame(torch.zeros(1, 4, 8), None))


@pytest.fixture
def registry() -> Iterator[Registry]:
    module = ModuleType("skies")

    def register_datasets(register: Callable[..., None]) -> None:
        register("sky", build, options={"frames": zoo.Option(int, 8, "how many")})

    module.register_datasets = zoo.hookimpl(register_datasets)  # type: ignore[attr-defined]
    with use_registry(Registry.from_plugins([module])) as registry:
        yield registry


@pytest.fixture
def folder(tmp_path: Path, write_fits: Write) -> Path:
    for index, name in enumerate(("galaxy/M82_a", "galaxy/M82_b", "galaxy/M81_a", "nsc/M5_a", "nsc/M3_a", "nsc/M3_b")):
        write_fits(tmp_path / "data" / f"{name}.fits", index)
    return tmp_path / "data"


def test_open_data_folder_is_split_by_target(folder: Path) -> None:
    data = open_data(folder)
    assert data.labels == ("galaxy", "NSC")
    assert (data.name, data.domain) == ("data", "files")
    assert {row.target for row in data.select("train")}.isdisjoint(row.target for row in data.select("test"))
    assert {row.label for row in data.select("train")} == {row.label for row in data.select("test")} == {"galaxy", "NSC"}
    frame = data.open(data.select("all")[0])
    assert frame.shape == (1, 8, 16)
    assert frame.decode()[0, 0, 1] == 5.0  # M81_a, written with value 2
    assert [data.class_index(row) for row in data.select("all")] == [0, 0, 0, 1, 1, 1]
    assert any(line.startswith("NSC: 3 frames of 2 targets") for line in data.notes)


def test_open_data_labels_give_the_index_order(folder: Path) -> None:
    data = open_data(str(folder), labels=("nsc", "Galaxy"))
    assert data.labels == ("nsc", "Galaxy")
    assert data.class_index(data.select("all")[0]) == 1
    with pytest.raises(DataError, match="got label 'x', expected one of nsc, Galaxy"):
        data.class_index(Row(path="a", label="x"))


def test_open_data_same_seed_same_split(folder: Path) -> None:
    splits = [[row.split for row in open_data(folder, seed=seed).select("all")] for seed in (1, 1, 2, 3, 4, 5)]
    assert splits[0] == splits[1]
    assert any(split != splits[0] for split in splits[2:])


def test_open_data_refuses_one_target_in_a_class(tmp_path: Path, write_fits: Write) -> None:
    for index, name in enumerate(("galaxy/M82_a", "galaxy/M82_b", "nsc/M5_a", "nsc/M3_a")):
        write_fits(tmp_path / f"{name}.fits", index)
    with pytest.raises(DataError, match=r"class galaxy: got 1 target \(M82\); frames are split by target"):
        open_data(tmp_path)
    assert {row.split for row in open_data(tmp_path, split=False).select("all")} == {""}


def test_open_data_folder_with_a_manifest_is_that_manifest(folder: Path) -> None:
    (folder / "manifest.csv").write_text("path,hdu,label,target,split\ngalaxy/M82_a.fits,0,galaxy,M82,train\nnsc/M5_a.fits,0,NSC,M5,test\n")
    data = open_data(folder)
    assert [(row.path, row.split) for row in data.select("all")] == [("galaxy/M82_a.fits", "train"), ("nsc/M5_a.fits", "test")]


@pytest.mark.parametrize("policy", ["drop", "keep", "refuse"])
def test_open_data_lists_missing_files(folder: Path, policy: str) -> None:
    lines = ["galaxy/M82_a.fits,0,galaxy,M82", "gone.fits,0,galaxy,M81", "nsc/M5_a.fits,0,NSC,M5"]
    (folder / "list.csv").write_text("\n".join(["path,hdu,label,target", *lines]))
    say = f"1 of 3 frames are missing (1 files): {folder / 'gone.fits'}"
    if policy == "refuse":
        with pytest.raises(DataError, match=r"1 of 3 frames are missing .*gone\.fits; say with --root"):
            open_data(folder / "list.csv", split=False, missing="refuse")
        return
    data = open_data(folder / "list.csv", split=False, missing=policy)  # type: ignore[arg-type]
    assert len(data.select("all")) == (2 if policy == "drop" else 3)
    assert data.notes == (say if policy == "keep" else f"left out: {say}",)


def test_open_data_refuses_when_every_file_is_missing(real_data: Path) -> None:
    with pytest.raises(DataError, match=r"1595 of 1595 frames are missing \(875 files\): .* and 870 more; say with --root"):
        open_data(real_data / "lcid" / "LCID_test.csv")


def test_open_data_default_pipeline_brings_frames_to_one_shape(tmp_path: Path, write_fits: Write) -> None:
    for index, shape in enumerate([(40, 70), (40, 70), (90, 100), (20, 20)]):
        label = ("galaxy", "nsc")[index % 2]
        write_fits(tmp_path / "mixed" / label / f"T{index}.fits", index, shape=shape)
        write_fits(tmp_path / "equal" / label / f"T{index}.fits", index, shape=(40, 70))
    for name, size in (("mixed", (64, 96)), ("equal", (40, 70))):
        steps = open_data(tmp_path / name, split=False).pipeline
        assert [step["step"] for step in steps] == ["overscan", "resize", "normalize", "pad", "flip"]
        assert {(step["height"], step["width"]) for step in steps if "height" in step} == {size}


def test_open_data_says_when_files_are_simulated(tmp_path: Path, write_fits: Write) -> None:
    write_fits(tmp_path / "nsc" / "a.fits", SIMULATE=True)
    assert open_data(tmp_path, split=False).domain == "simulated"


def test_open_data_builds_registered_sets(registry: Registry, tmp_path: Path) -> None:
    data = open_data("sky", options={"frames": "6"}, root=tmp_path)
    assert (len(data.manifest), data.domain, data.manifest.root) == (6, "simulated", tmp_path)
    assert {row.split for row in data.select("all")} == {"train", "test"}
    assert {row.label for row in open_data("sky", labels=("NSC",), split=False).select("all")} == {"NSC"}
    with pytest.raises(UnknownNameError, match="did you mean 'frames'"):
        open_data("sky", options={"frame": 6})


def test_open_data_path_wins_over_name_with_a_separator(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sky").mkdir()
    assert open_data("sky").name == "sky"
    with pytest.raises(DataError, match="got folders none"):
        open_data("./sky")


def test_open_data_names_what_is_not_there(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sky'"):
        open_data("skyy")
    for absent in (str(tmp_path / "none"), "none.csv"):
        with pytest.raises(DataError, match="got no such file or folder"):
            open_data(absent)


def test_open_data_refuses_arguments_that_do_not_fit(folder: Path) -> None:
    with pytest.raises(UsageError, match="only registered data sets have options"):
        open_data(folder, options={"frames": 3})
    with pytest.raises(UsageError, match="--root goes with a manifest"):
        open_data(folder, root=folder)
    (folder / "list.csv").write_text("path,label,target\ngalaxy/M82_a.fits,galaxy,M82\n")
    with pytest.raises(UsageError, match="a manifest names its targets itself"):
        open_data(folder / "list.csv", target_regex="x")


def test_open_data_refuses_a_leaking_manifest(folder: Path) -> None:
    lines = ["galaxy/M82_a.fits,0,galaxy,M82,train", "galaxy/M82_b.fits,0,galaxy,M82,test"]
    (folder / "list.csv").write_text("\n".join(["path,hdu,label,target,split", *lines]))
    with pytest.raises(DataError, match=r"targets in two splits: M82 \(train, test\)"):
        open_data(folder / "list.csv")


def test_dataset_opens_an_unfound_exposure_with_a_remedy(tmp_path: Path) -> None:
    data = DataSet("list", Manifest((), tmp_path), [])
    with pytest.raises(DataError, match=r"jabc01abq_raw\.fits is not below .*; say with --root"):
        data.open(Row(rootname="jabc01abq", hdu=1))
