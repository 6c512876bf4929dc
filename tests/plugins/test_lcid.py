"""The authors' data as data sets: their lists by name, and sets derived from them when a frame is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zoo.data import DataSet, Loader, open_data
from zoo.errors import DataError, UsageError
from zoo.plugins.simulated import dataset
from zoo.steps import Pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw frames of two targets per class, and a list of them in the authors' columns."""
    root = tmp_path_factory.mktemp("hst")
    made = dataset.build(root / "files", seed=5, train=1, val=0, test=1, exposures=1, workers=1)
    lines = [",ID,Instrument,OBSID,Filter,RA,DEC,HDU Index,Label"]
    lines += [
        f"{i},{r.target},{r.instrument},{r.rootname},{r.filter},{r.ra},{r.dec},{r.hdu},{r.label}" for i, r in enumerate(made.manifest)
    ]
    for name in ("LCID_test.csv", "blurry_validation.csv"):
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def opened(name: str, folder: Path, **options: object) -> DataSet:
    return open_data(name, root=folder, options=options)


def test_the_lists_are_opened_by_name(folder: Path) -> None:
    data = opened("lcid", folder)
    assert (data.name, data.domain, data.labels) == ("lcid", "simulated", ("galaxy", "NSC"))
    assert {row.split for row in data.manifest} == {"train", "test"}
    assert data.open(data.manifest.rows[0]).layout is not None
    assert data.pipeline[1] == {"step": "resize", "height": 2048, "width": 4096}
    blurry = opened("lcid:blurry", folder)
    assert {row.split for row in blurry.manifest} == {"test"}
    assert len(blurry.manifest) == len(data.manifest) == 8


def test_a_list_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine.csv"
    other.write_text((folder / "LCID_test.csv").read_text())
    data = opened("lcid", folder, list=str(other))
    assert not data.manifest.missing()
    assert len(opened("lcid", folder, list="LCID_test.csv").manifest) == 8
    with pytest.raises(DataError, match=r"lcid: got no list .*none\.csv, expected the authors' CSV; name its folder with --root"):
        opened("lcid", folder, list="none.csv")


def test_resized_frames_are_block_means(folder: Path) -> None:
    data = opened("lcid:resize", folder, height=128, width=256)
    plain = opened("lcid", folder)
    row = data.manifest.rows[0]
    frame = data.open(row)
    assert (frame.shape, frame.unit) == ((1, 128, 256), "electron")
    full = Pipeline(["overscan"]).run_frame(plain.open(row))
    torch.testing.assert_close(frame.decode()[0, 3, 5], full[0, 12:16, 20:24].mean(), rtol=1e-5, atol=1e-4)
    assert data.pipeline[1] == {"step": "resize", "height": 128, "width": 256}
    assert opened("lcid:resize", folder, height=100, width=1000).open(row).shape == (1, 86, 171)
    with pytest.raises(UsageError, match="height and width must be >= 1 pixel, got 0 and 256"):
        opened("lcid:resize", folder, height=0, width=256)


def test_csst_frames_have_its_noise_whatever_the_steps_of_a_run(folder: Path) -> None:
    data = opened("lcid:csst", folder, rays=0.0)
    row = data.manifest.rows[0]
    frame = data.open(row)
    assert frame.shape == (1, 512, 1024)
    assert torch.equal(frame.decode(), data.open(row).decode())
    assert not torch.equal(frame.decode(), opened("lcid:csst", folder, rays=0.0, seed=1).open(row).decode())
    same = Pipeline(["overscan", "csst:rays=0"]).run_frame(opened("lcid", folder).open(row))
    assert torch.equal(frame.decode(), same)
    run = Pipeline(["overscan", "resize:height=64,width=128", "normalize"])
    assert run.run_frame(frame).shape == (1, 64, 128)
    own = opened("lcid:csst", folder, grid="csst")
    assert own.pipeline[1] == {"step": "resize", "height": 1383, "width": 2767}
    assert own.open(row).shape == (1, 345, 691)


def test_a_derived_set_loads_in_batches(folder: Path) -> None:
    data = opened("lcid:resize", folder, height=64, width=128)
    loader = Loader(data, data.select("train"), Pipeline(data.pipeline), batch_size=2, training=True, workers=2)
    batch = next(iter(loader))
    assert batch.images.shape == (2, 1, 64, 128)
    assert 0 <= float(batch.images.min()) <= float(batch.images.max()) <= 1


def test_the_authors_lists_need_their_files(real_data: Path) -> None:
    with pytest.raises(DataError, match=r"1595 of 1595 frames are missing \(875 files\)"):
        open_data("lcid", root=real_data / "lcid")
