"""The cache of preprocessed frames: the same pixels, never beyond the budget, whatever else happens to the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo import storage
from zoo.data import DataSet, Loader, Manifest, Row
from zoo.data.cache import HEADER_BYTES, CachedFrames, FrameCache, clear, describe, is_deterministic, usage
from zoo.data.geometry import AnySizePipeline
from zoo.frames import Frame
from zoo.steps import Pipeline

ENTRY = HEADER_BYTES + 4 * 8 * 16


@pytest.fixture
def data(tmp_path: Path, write_fits: Callable[..., Path]) -> DataSet:
    """Six files that were written long ago."""
    rows = []
    for number in range(6):
        path = write_fits(tmp_path / "in" / f"{number}.fits", number)
        os.utime(path, (1e9, 1e9))
        rows.append(Row(path.name, 0, ("galaxy", "NSC")[number % 2], f"T{number}"))
    return DataSet("files", Manifest(tuple(rows), tmp_path / "in"), [])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the frames that go through a pipeline."""
    calls: list[int] = []
    plain = Pipeline.run_frame

    def run_frame(self: Pipeline, frame: Frame, **arguments: object) -> Tensor:
        calls.append(1)
        return plain(self, frame, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "run_frame", run_frame)
    return calls


def read_all(data: DataSet, cache: FrameCache | None, steps: tuple[str, ...] = ("normalize",), workers: int = 0) -> Tensor:
    loader = Loader(data, data.select("all"), Pipeline(steps), batch_size=3, workers=workers, shape=(1, 8, 16), cache=cache)
    return torch.cat([batch.images for batch in loader])


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def test_frames_come_back_bit_for_bit_without_being_opened(tmp_path: Path, data: DataSet, opened: list[int]) -> None:
    wanted = read_all(data, None)
    opened.clear()
    cache = FrameCache(10**6, tmp_path / "cache")
    assert torch.equal(read_all(data, cache), wanted)
    assert len(opened) == 6
    assert torch.equal(read_all(data, cache, workers=2), wanted)
    assert torch.equal(read_all(data, FrameCache(10**6, tmp_path / "cache")), wanted)  # as another process would
    assert len(opened) == 6
    assert usage(tmp_path / "cache").entries == 6
    assert usage(tmp_path / "cache").bytes == bytes_in(tmp_path / "cache")


def test_other_steps_and_other_content_are_other_entries(tmp_path: Path, data: DataSet, write_fits: Callable[..., Path]) -> None:
    cache = FrameCache(10**6, tmp_path / "cache")
    read_all(data, cache)
    plain = read_all(data, cache, steps=())
    assert usage(tmp_path / "cache").entries == 12
    changed = tmp_path / "in" / "0.fits"
    changed.unlink()
    write_fits(changed, 1000)
    os.utime(changed, (1e9, 1e9))  # as old as before
    assert float(read_all(data, cache, steps=())[0, 0, 0, 0]) == float(plain[0, 0, 0, 0]) + 1000
    assert usage(tmp_path / "cache").entries == 13
    moved = DataSet("files", Manifest(data.select("all"), (tmp_path / "in").rename(tmp_path / "moved")), [])
    read_all(moved, cache, steps=())
    assert usage(tmp_path / "cache").entries == 13  # the same files elsewhere


def test_what_a_pipeline_depends_on_is_in_its_name() -> None:
    steps = [{"step": "normalize"}, {"step": "pad", "height": 8, "width": 16}, {"step": "flip"}]
    wide = AnySizePipeline(steps, (1, 8, 16), frame_size=(8, 16))
    assert describe(wide) == describe(AnySizePipeline(steps[:2], (1, 8, 16), frame_size=(8, 16)))  # flip works on batches
    names = {describe(wide), describe(Pipeline(steps)), describe(AnySizePipeline(steps, (1, 8, 16), geometry="crop", frame_size=(8, 16)))}
    assert len(names) == 3
    assert is_deterministic(wide, training=True)


@pytest.mark.parametrize("damage", ["pixel", "header", "facts", "cut", "empty"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, data: DataSet, opened: list[int], damage: str) -> None:
    cache = FrameCache(10**6, tmp_path / "cache")
    wanted = read_all(data, cache)
    for path in (tmp_path / "cache").rglob("*.frame"):
        content = bytearray(path.read_bytes())
        content[{"pixel": HEADER_BYTES + 7, "header": 20, "facts": content.index(b"facts") + 1}.get(damage, 0)] ^= 4
        path.write_bytes(content[: {"cut": HEADER_BYTES + 5, "empty": 0}.get(damage, len(content))])
    opened.clear()
    assert torch.equal(read_all(data, cache), wanted)
    assert len(opened) == 6
    assert torch.equal(read_all(data, cache), wanted)
    assert len(opened) == 6


def test_the_oldest_frames_go_but_none_of_this_process(tmp_path: Path, data: DataSet, opened: list[int]) -> None:
    folder = tmp_path / "cache"
    rows = data.select("all")
    first = CachedFrames(FrameCache(4 * ENTRY, folder), data, Pipeline(["normalize"]))
    for row in rows:
        first.read(row)
    kept = {row.target for row in rows if first.cache.load(first.key(row) or "")}
    assert kept  # those that were read first stay, or a second pass would find none
    assert "T5" not in kept
    assert bytes_in(folder) <= 4 * ENTRY
    for path in folder.rglob("*.frame"):
        os.utime(path, (1e9, 1e9))
    later = CachedFrames(FrameCache(4 * ENTRY, folder), data, Pipeline(["normalize"]))
    later.read(rows[5])
    assert later.cache.load(later.key(rows[5]) or "") is not None
    assert bytes_in(folder) <= 4 * ENTRY
    FrameCache(ENTRY, folder)  # a smaller budget is kept at once
    assert bytes_in(folder) <= ENTRY


def test_files_of_processes_that_died_count_and_go(tmp_path: Path, data: DataSet) -> None:
    folder = tmp_path / "cache"
    FrameCache(10**6, folder)
    (folder / "ab").mkdir()
    left = folder / "ab" / f"{storage.TEMPORARY_PREFIX}1-x.frame"
    left.write_bytes(bytes(3 * ENTRY))
    cache = FrameCache(4 * ENTRY, folder)
    read_all(data, cache)
    assert left.exists()  # it may be being written
    assert bytes_in(folder) <= 4 * ENTRY
    os.utime(left, (time.time() - 7200,) * 2)
    read_all(data, FrameCache(4 * ENTRY, folder))
    assert not left.exists()


def test_a_disk_that_cannot_be_written_costs_one_warning(tmp_path: Path, data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = read_all(data, None)
    cache = FrameCache(10**6, tmp_path / "cache")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FrameCache, "_book", full)
    with pytest.warns(UserWarning, match="not cached any more.*No space left") as told:
        assert torch.equal(read_all(data, cache), wanted)
    assert len(told) == 1


WORK = """
import sys
from pathlib import Path
import torch
from zoo.data import DataSet, Loader, Manifest, Row
from zoo.data.cache import FrameCache
from zoo.steps import Pipeline

folder, budget, root = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
rows = tuple(Row(f"{n}.fits", 0, "galaxy", f"T{n}") for n in range(6))
data = DataSet("files", Manifest(rows, root), [])
for turn in range(25):
    cache = FrameCache(budget, folder)
    loader = Loader(data, rows, Pipeline(["normalize"]), batch_size=3, workers=2, shape=(1, 8, 16), cache=cache)
    total = sum(float(batch.images.double().sum()) for batch in loader)
    there = sum(p.stat().st_size for p in folder.rglob("*.frame") if p.exists())
    assert there <= budget, there
print(repr(total))
"""


def test_processes_share_a_cache_that_is_too_small(tmp_path: Path, data: DataSet) -> None:
    wanted = repr(sum(float(part.double().sum()) for part in read_all(data, None).split(3)))
    words = [sys.executable, "-c", WORK, str(tmp_path / "cache"), str(3 * ENTRY), str(tmp_path / "in")]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert out.strip() == wanted
    assert bytes_in(tmp_path / "cache") <= 3 * ENTRY
    assert not list((tmp_path / "cache").rglob(f"{storage.TEMPORARY_PREFIX}*"))


def test_clear_empties_the_folder(tmp_path: Path, data: DataSet) -> None:
    assert clear(tmp_path / "nowhere").entries == 0
    read_all(data, FrameCache(10**6, tmp_path / "cache"))
    assert clear(tmp_path / "cache").entries == 6
    assert bytes_in(tmp_path / "cache") == 0
