"""Places in batches: frames written in place, in the order of the tasks, whichever thread is first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_run import Level, make_run, tiny_registry, write_frame
from torch import Tensor

import zoo
from zoo.errors import MemoryLimitError
from zoo.evaluation.inference import Classifier, classify, classify_in_place
from zoo.evaluation.places import Place, Places, Take, gather
from zoo.ops import buffers
from zoo.prediction import predict

SHAPE = (1, 4, 6)


def test_places_follow_the_order_of_tasks_not_of_threads() -> None:
    places, started = Places(SHAPE, 3), threading.Event()

    def task(number: int) -> list[Place]:
        with places.turn(number) as take:
            if number == 0:
                started.wait(10)  # the others ask before
            if number == 3:
                return []
            return take(2)

    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(task, number) for number in range(5)]
        started.set()
        found = [place for future in futures for place in future.result(10)]
    assert [place.index for place in found] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert len({id(place.batch) for place in found}) == 3
    assert found[0].image.shape == SHAPE


def test_a_task_that_fails_lets_the_next_one_go_on() -> None:
    places = Places(SHAPE, 2)
    with pytest.raises(ZeroDivisionError), places.turn(0):
        raise ZeroDivisionError
    with places.turn(1) as take:
        assert take(1)[0].index == 0


def test_gather_closes_gaps() -> None:
    batch = torch.arange(5.0).view(5, 1, 1, 1).expand(5, *SHAPE).contiguous()
    assert gather([Place(batch, 1), Place(batch, 2)]).data_ptr() == batch[1].data_ptr()
    assert gather([Place(batch, 0), Place(batch, 2), Place(batch, 4)])[:, 0, 0, 0].tolist() == [0.0, 2.0, 4.0]


def test_put_copies_only_what_lies_elsewhere() -> None:
    place = Place(torch.zeros(2, *SHAPE), 1)
    assert place.put(torch.ones(SHAPE)) is place
    assert place.batch.sum(dim=(1, 2, 3)).tolist() == [0.0, 24.0]
    assert place.put(place.image) is place


def test_without_memory_for_a_batch_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(shape: object, *, pinned: bool) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(buffers, "empty", fail)
    with (
        pytest.raises(MemoryLimitError, match="8 frames of 4x6 do not fit into memory; use a smaller --batch-size"),
        Places(SHAPE, 8).turn(0) as take,
    ):
        take(1)


@dataclass
class _Loaded:
    input_shape: tuple[int, int, int] = SHAPE


@dataclass
class _Sums:
    """Stands for a classifier: its logits are the sums of the frames; what it does is written down."""

    ahead: int = 0
    loaded: _Loaded = field(default_factory=_Loaded)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    log: list[str] = field(default_factory=list)

    def start(self, images: Tensor) -> object:
        sums = images.sum(dim=(1, 2, 3))[:, None].double().numpy()
        name = ",".join(f"{value:g}" for value in sums[:, 0] / 24)
        self.log.append(f"start {name}")

        def finish() -> NDArray[np.float64]:
            self.log.append(f"finish {name}")
            return sums

        return finish


def run(sums: _Sums, frames: list[list[float | None]], *, batch_size: int, workers: int) -> list[tuple[float | None, float | None]]:
    """Classify tasks of constant frames, ``None`` for one that is refused after its place was taken."""

    def read(task: list[float | None], take: Take) -> list[tuple[float | None, Place | None]]:
        places = take(len(task))
        for level, place in zip(task, places, strict=True):
            place.image.fill_(-1.0 if level is None else level)
        return [(level, None if level is None else place) for level, place in zip(task, places, strict=True)]

    found = classify_in_place(frames, read, sums, batch_size=batch_size, workers=workers)  # type: ignore[arg-type]
    return [(item, None if logits is None else logits.item() / 24) for item, logits in found]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_frame_gets_its_own_logits_in_order(batch_size: int, ahead: int, workers: int) -> None:
    frames: list[list[float | None]] = [[1, 2], [], [3, None, 4], [None], [5], [None, None, None, 6], [7]]
    sums = _Sums(ahead)
    flat = [level for task in frames for level in task]
    assert run(sums, frames, batch_size=batch_size, workers=workers) == [(level, level) for level in flat]
    starts = [entry for entry in sums.log if entry.startswith("start")]
    if batch_size == 3:  # the places are 1 2 3 | - 4 - | 5 - - | - 6 7
        assert starts == ["start 1,2,3", "start 4", "start 5", "start 6,7"]
    assert len(starts) == {1: 7, 3: 4, 8: 2}[batch_size]


def test_a_batch_is_started_before_the_results_of_the_last_are_waited_for() -> None:
    sums = _Sums(ahead=1)
    run(sums, [[1], [2], [3]], batch_size=1, workers=0)
    assert sums.log == ["start 1", "start 2", "finish 1", "start 3", "finish 2", "finish 3"]


def test_refused_items_alone_are_given_at_once() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    found = classify(tasks(), lambda number: [(number, None)], _Sums(ahead=1), batch_size=4, workers=0)  # type: ignore[arg-type]
    assert next(found) == (0, None)
    assert taken == [0]


def test_images_that_lie_elsewhere_are_copied_into_places() -> None:
    sums = _Sums()

    def read(level: int) -> list[tuple[int, Tensor | None]]:
        return [(level, torch.full(SHAPE, float(level)) if level % 2 else None)]

    found = classify(range(5), read, sums, batch_size=2, workers=2)  # type: ignore[arg-type]
    assert [(item, None if logits is None else logits.item() / 24) for item, logits in found] == [
        (0, None),
        (1, 1),
        (2, None),
        (3, 3),
        (4, None),
    ]
    assert sums.log[0] == "start 1,3"


def test_abandoned_results_leave_no_thread_waiting() -> None:
    def read(number: int, take: Take) -> list[tuple[int, Place | None]]:
        (place,) = take(1)
        place.image.fill_(1.0)
        return [(number, place)]

    found = classify_in_place(iter(range(10**9)), read, _Sums(), batch_size=1, workers=4)  # type: ignore[arg-type]
    assert next(found)[0] == 0
    found.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zoo-frames")]


def test_memory_of_batches_is_used_again() -> None:
    shape = (1, 512, 1024)
    sums = _Sums(loaded=_Loaded(shape))
    buffers.clear()
    addresses = set()

    def read(number: int, take: Take) -> list[tuple[int, Place | None]]:
        (place,) = take(1)
        place.image.fill_(number)
        addresses.add(place.batch.data_ptr())
        return [(number, place)]

    for _ in classify_in_place(range(20), read, sums, batch_size=1, workers=2):  # type: ignore[arg-type]
        pass
    assert len(addresses) <= 6  # of the batch at work, three tasks ahead, and one that a thread has not let go of yet
    buffers.clear()


@pytest.mark.parametrize("release", [False, True])
def test_weights_are_let_go_of_only_by_their_owner(tmp_path: Path, release: bool) -> None:
    with tiny_registry():
        loaded = zoo.load(make_run(tmp_path / "run"))
        assert isinstance(loaded.model, Level)
        file = write_frame(tmp_path / "a.fits", 0.8)
        (row,) = predict(loaded, [file], release=release)
    assert row.predicted == "NSC"
    assert loaded.model.gain.is_meta == release


def test_a_model_that_cannot_be_copied_keeps_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Level, memo: object) -> Level:
        raise TypeError("no copies")

    with tiny_registry():
        loaded = zoo.load(make_run(tmp_path / "run"))
        monkeypatch.setattr(Level, "__deepcopy__", refuse, raising=False)
        classifier = Classifier(loaded, notify=lambda _: None, release=True)
    assert np.isfinite(classifier(torch.full((1, 1, 32, 64), 0.8))).all()
