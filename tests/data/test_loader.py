"""The loader: same bits for any number of threads, exact resume, errors with their file, threads that end."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.data import Batch, DataSet, Loader, Manifest, Row
from zoo.errors import DataError, FrameError, UsageError, ZooError
from zoo.frames import Frame
from zoo.ops import buffers
from zoo.registry import Registry, use_registry
from zoo.steps import Pipeline


@dataclass
class Jitter:
    """Frame scope, random: adds one number per frame."""

    scope = "frame"
    unit_in, unit_out, random = "any", "same", True

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape

    def __call__(self, x: Frame, *, generator: torch.Generator | None = None, out: Tensor | None = None) -> Frame:
        return x.with_pixels(x.decode() + torch.rand((), generator=generator))


@dataclass
class Noise(Jitter):
    """Batch scope, random: adds noise of each frame's own generator."""

    scope = "batch"

    def __call__(self, x: Any, *, generator: Any = None, out: Tensor | None = None) -> Any:
        return x + torch.stack([torch.rand(x.shape[1:], generator=one) for one in generator])


@pytest.fixture(autouse=True)
def pipeline() -> Iterator[Pipeline]:
    module = ModuleType("chance")

    def register_steps(register: Any) -> None:
        register("wobble", lambda: Jitter(), scope="frame")
        register("noise", lambda: Noise(), scope="batch")

    module.register_steps = zoo.hookimpl(register_steps)  # type: ignore[attr-defined]
    with use_registry(Registry.from_plugins([module])):
        yield Pipeline(["wobble", "noise"])


def open_row(row: Row) -> Frame:
    number = int(row.path.partition(".")[0])
    time.sleep(0.002 * (number % 3))  # frames end in another order than they began
    if "bad" in row.path:
        raise FrameError("truncated", path=Path("/data") / row.path, got="10 bytes", expected="20")
    if "bug" in row.path:
        raise IndexError("off by one")
    if "gone" in row.path:
        raise FileNotFoundError(2, "No such file")
    return Frame(torch.full((1, 4, 9 if "wide" in row.path else 8), float(number)), None)


def dataset(*special: str, count: int = 10) -> DataSet:
    kinds = dict(word.split(":") for word in special)
    rows = [Row(path=f"{i}.{kinds.get(str(i), 'fits')}", hdu=1, label=("galaxy", "NSC")[i % 2], target=f"T{i}") for i in range(count)]
    return DataSet("sky", Manifest(tuple(rows), Path("/data")), [], open=open_row)


def load(data: DataSet, pipeline: Pipeline, **options: Any) -> list[Batch]:
    loader = Loader(data, data.select("all"), pipeline, **{"batch_size": 3, "seed": 7, "shuffle": True, "training": True, **options})
    return [replace(batch, images=batch.images.clone()) for batch in loader]


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and a.indices == b.indices for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 5}, {"workers": 3, "reuse": True}, {"prefetch": 1}, {"prefetch": 9}])
def test_loader_bits_do_not_depend_on_threads(pipeline: Pipeline, options: dict[str, Any]) -> None:
    assert equal(load(dataset(), pipeline, **options), load(dataset(), pipeline, workers=0))


def test_loader_visits_every_row_once_with_its_label(pipeline: Pipeline) -> None:
    batches = load(dataset(), pipeline, training=False)
    indices = [index for batch in batches for index in batch.indices]
    assert sorted(indices) == list(range(10)) != indices
    assert [len(batch.images) for batch in batches] == [3, 3, 3, 1]
    for batch in batches:
        assert batch.labels.dtype == torch.int64
        assert batch.labels.tolist() == [index % 2 for index in batch.indices]
        assert batch.images.shape[1:] == (1, 4, 8)
        assert batch.images[:, 0, 0, 0].tolist() == [float(index) for index in batch.indices]
        assert [row.path for row in batch.rows] == [f"{index}.fits" for index in batch.indices]


def test_loader_without_shuffle_keeps_the_order(pipeline: Pipeline) -> None:
    batches = load(dataset(), pipeline, shuffle=False, training=False, drop_last=True)
    assert [batch.indices for batch in batches] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]


def test_loader_draws_anew_in_every_epoch(pipeline: Pipeline) -> None:
    first, again, other = (load(dataset(), pipeline, epoch=epoch) for epoch in (0, 0, 1))
    assert equal(first, again)
    assert [batch.indices for batch in first] != [batch.indices for batch in other]
    still = [load(dataset(), pipeline, epoch=epoch, shuffle=False)[0].images for epoch in (0, 1)]
    assert not torch.equal(*still)


def test_loader_augmentation_follows_the_frame_not_its_place(pipeline: Pipeline) -> None:
    shuffled = {i: image for batch in load(dataset(), pipeline) for i, image in zip(batch.indices, batch.images, strict=True)}
    ordered = {
        i: image for b in load(dataset(), pipeline, shuffle=False, batch_size=4) for i, image in zip(b.indices, b.images, strict=True)
    }
    assert all(torch.equal(shuffled[index], ordered[index]) for index in range(10))


def test_loader_resumes_exactly(pipeline: Pipeline) -> None:
    assert equal(load(dataset(), pipeline, start=2), load(dataset(), pipeline)[2:])
    loader = Loader(dataset(), dataset().select("all"), pipeline, batch_size=3, start=2)
    assert len(loader) == 2
    assert load(dataset(), pipeline, start=9) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("special", "error", "message"),
    [
        ("4:bad", FrameError, r"/data/4\.bad: truncated: got 10 bytes"),
        ("4:gone", DataError, r"/data/4\.gone: HDU 1: FileNotFoundError: .*No such file"),
        ("4:bug", ZooError, r"/data/4\.bug: HDU 1: IndexError: off by one"),
        ("4:wide", DataError, r"/data/4\.wide: HDU 1: .*\(1, 4, 9\), expected \(1, 4, 8\)"),
    ],
)
def test_loader_names_the_file_of_an_error(pipeline: Pipeline, workers: int, special: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        load(dataset(special), pipeline, workers=workers)
    assert error is not ZooError or type(raised.value) is ZooError  # a defect of the code does not pass for bad data


def test_loader_raises_the_first_error_in_order(pipeline: Pipeline) -> None:
    with pytest.raises(FrameError, match=r"5\.bad"):
        load(dataset("5:bad", "6:bad", "8:bad"), pipeline, shuffle=False, workers=4)


@pytest.mark.parametrize("workers", [0, 3])
def test_loader_skips_bad_frames_and_reports_them(pipeline: Pipeline, workers: int) -> None:
    data = dataset("0:bad", "4:gone", "6:bad", "7:bad", "8:wide")
    loader = Loader(data, data.select("all"), pipeline, batch_size=3, seed=7, training=True, workers=workers, on_error="skip")
    batches = list(loader)
    assert [batch.indices for batch in batches] == [(1, 2), (3, 5), (9,)]
    assert [[skipped.index for skipped in batch.skipped] for batch in batches] == [[0], [4], []]
    assert [(skipped.index, skipped.row.path) for skipped in loader.skipped][2:] == [(6, "6.bad"), (7, "7.bad"), (8, "8.wide")]
    assert [batch.labels.tolist() for batch in batches] == [[1, 0], [1, 1], [1]]
    whole = {i: image for b in load(dataset(), pipeline, shuffle=False) for i, image in zip(b.indices, b.images, strict=True)}
    assert all(torch.equal(image, whole[i]) for b in batches for i, image in zip(b.indices, b.images, strict=True))


def test_loader_does_not_skip_defects_of_the_code(pipeline: Pipeline) -> None:
    with pytest.raises(ZooError, match="IndexError"):
        load(dataset("4:bug"), pipeline, on_error="skip")


def test_loader_reports_when_no_frame_can_be_read(pipeline: Pipeline) -> None:
    with pytest.raises(DataError, match="none of 2 frames can be read"):
        load(dataset("0:bad", "1:bad", count=2), pipeline, on_error="skip")


def test_loader_reuses_a_bounded_number_of_tensors() -> None:
    plain = Pipeline([])
    data = dataset(count=40)
    for reuse, expected in ((True, 3), (False, 20)):
        loader = Loader(data, data.select("all"), plain, batch_size=2, workers=3, reuse=reuse)
        held = [batch.images for batch in loader]
        assert len({images.data_ptr() for images in held}) == expected


@pytest.mark.parametrize("pinned", [False, True])
def test_loader_asks_for_pinned_batches(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    asked = []

    def empty(shape: tuple[int, ...], *, pinned: bool = False) -> Tensor:
        asked.append(pinned)
        return torch.empty(shape)

    monkeypatch.setattr(buffers, "empty", empty)
    data = dataset(count=2)
    assert len(list(Loader(data, data.select("all"), Pipeline([]), batch_size=1, workers=0, pinned=pinned))) == 2
    assert asked == [pinned, pinned]


def test_loader_writes_frames_straight_into_the_batch() -> None:
    places: list[int] = []

    def run_frame(frame: Frame, *, generator: Any = None, out: Tensor | None = None) -> Tensor:
        if out is None:
            return frame.decode()
        places.append(out.data_ptr())
        return frame.decode(out=out)

    fake = SimpleNamespace(run_frame=run_frame, run_batch=lambda batch, generators=None: batch)
    data = dataset(count=3)
    (batch,) = Loader(data, data.select("all"), fake, batch_size=3, workers=0)  # type: ignore[arg-type]
    assert places == [image.data_ptr() for image in batch.images]


def test_loader_prepares_no_more_than_prefetch(pipeline: Pipeline) -> None:
    opened: list[str] = []

    def opener(row: Row) -> Frame:
        opened.append(row.path)
        return open_row(row)

    data = DataSet("sky", dataset(count=40).manifest, [], open=opener)
    iterator = iter(Loader(data, data.select("all"), pipeline, batch_size=2, workers=2, prefetch=2, shape=(1, 4, 8)))
    next(iterator)
    time.sleep(0.1)
    assert len(opened) <= 2 * (1 + 2)
    iterator.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", ["close", "error", "drop"])
def test_loader_threads_end_with_the_iterator(pipeline: Pipeline, ending: str) -> None:
    def alive() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("zoo-loader")]

    data = dataset(*(["6:bad"] if ending == "error" else []), count=40)
    iterator = iter(Loader(data, data.select("all"), pipeline, batch_size=2))
    next(iterator)
    assert alive()
    if ending == "close":
        iterator.close()  # type: ignore[attr-defined]
    elif ending == "error":
        with pytest.raises(FrameError):
            list(iterator)
    else:
        del iterator
        gc.collect()
    assert not alive()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"workers": -1}, "workers must be >= 0"),
        ({"prefetch": 0}, "prefetch must be >= 1"),
        ({"start": -1}, "start must be >= 0"),
        ({"batch_size": 11, "drop_last": True}, "got 10 frames for batches of 11"),
    ],
)
def test_loader_refuses_bad_arguments(pipeline: Pipeline, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(dataset(), pipeline, **options)


def test_loader_refuses_no_rows_and_unknown_labels(pipeline: Pipeline) -> None:
    with pytest.raises(DataError, match="sky: got no frames to load"):
        Loader(dataset(), (), pipeline, batch_size=1)
    with pytest.raises(DataError, match="got label 'star'"):
        Loader(dataset(), (Row(path="a", label="star"),), pipeline, batch_size=1)
