"""Fetches that were cut, stopped or killed: nothing looks whole, and the next call goes on at the next byte."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_archives import LINES, NAMES, Archives, exposure, get, manifest_of, names, serve_archives, statuses

from zoo.data import FetchPlan, Manifest
from zoo.data.archive import fetching as module
from zoo.errors import BusyError, StorageError
from zoo.transfer import Patience

A, B, C = NAMES


@pytest.fixture
def archives() -> Iterator[Archives]:
    with serve_archives() as running:
        running.add(*NAMES)
        yield running


def test_cut_connection_goes_on_at_the_next_byte(archives: Archives, tmp_path: Path) -> None:
    archives.s3.cut[archives.s3_path(A)] = 2
    report = get(archives, A, tmp_path)
    assert statuses(report) == {A: "fetched"}
    length = len(exposure(A))
    assert [wanted for _, wanted in archives.s3.requests] == ["", f"bytes={length // 2}-", f"bytes={length // 2 + length // 4}-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_next_call_goes_on_where_one_failed(archives: Archives, tmp_path: Path, ranges: bool) -> None:
    archives.s3.cut[archives.s3_path(A)] = 99
    del archives.mast.files[archives.mast_path(A)]
    report = get(archives, A, tmp_path, patience=Patience(attempts=1))
    assert (statuses(report), report.exit_code) == ({A: "failed"}, 7)
    assert names(tmp_path) == [f"{A}_raw.fits.part", f"{A}_raw.fits.part.json"]
    half = len(exposure(A)) // 2
    archives.s3.cut.clear()
    archives.s3.ranges = ranges
    plans: list[FetchPlan] = []
    report = get(archives, A, tmp_path, confirm=lambda plan: not plans.append(plan))
    assert (plans[0].begun_bytes, "it there already" in plans[0].summary()) == (half, True)
    assert statuses(report) == {A: "fetched"}
    assert archives.s3.requests[-1][1] == f"bytes={half}-"
    assert names(tmp_path) == [f"{A}_raw.fits"]
    assert (tmp_path / f"{A}_raw.fits").read_bytes() == exposure(A)


def test_part_that_an_earlier_call_spoilt_is_fetched_from_the_start(archives: Archives, tmp_path: Path) -> None:
    archives.s3.cut[archives.s3_path(A)] = 1
    del archives.mast.files[archives.mast_path(A)]
    get(archives, A, tmp_path, patience=Patience(attempts=1))
    part = tmp_path / f"{A}_raw.fits.part"
    part.write_bytes(bytes(part.stat().st_size))
    assert statuses(get(archives, A, tmp_path)) == {A: "fetched"}
    assert (tmp_path / f"{A}_raw.fits").read_bytes() == exposure(A)


def test_full_disk_is_told_before_and_while_fetching(archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 10**6))
        with pytest.raises(StorageError, match=r"got 1.0 MB of free disk space, expected 67.1 MB for 1 file; choose another folder"):
            get(archives, A, tmp_path / "hst")
    assert not (tmp_path / "hst").exists()
    (tmp_path / "hst" / f"{B}_raw.fits.part").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be written"):
        get(archives, [A, B, C], tmp_path / "hst", connections=1)


def test_two_processes_do_not_fetch_into_one_folder(archives: Archives, tmp_path: Path) -> None:
    with module._locked(tmp_path), pytest.raises(BusyError, match="another process fetches into this folder") as caught:
        get(archives, A, tmp_path)
    assert caught.value.exit_code == 75
    assert statuses(get(archives, A, tmp_path)) == {A: "fetched"}


def start(archives: Archives, to: Path, *words: str | Path) -> subprocess.Popen[str]:
    """``zoo data fetch`` in a process of its own, stopped by the server in the middle of every stalled file."""
    urls = ["--s3-url", archives.s3.url, "--mast-url", ""]
    command = [sys.executable, "-m", "zoo", "data", "fetch", *words, "--to", to, "--yes", *urls]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], path: Path, length: int) -> None:
    while not (path.is_file() and path.stat().st_size == length):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_ctrl_c_leaves_what_can_be_resumed(archives: Archives, tmp_path: Path) -> None:
    archives.s3.stalled.add(archives.s3_path(B))
    source, folder = manifest_of(tmp_path / "list.csv", *LINES), tmp_path / "hst"
    process = start(archives, folder, source)
    wait_for(process, folder / f"{A}_raw.fits", len(exposure(A)))
    wait_for(process, folder / f"{B}_raw.fits.part", len(exposure(B)) // 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert "zoo: stopped: 2 files: 1 fetched (31.7 kB), 1 not fetched; the same command goes on where this one was stopped" in err
    assert names(folder) == [f"{B}_raw.fits.part", f"{B}_raw.fits.part.json", f"{A}_raw.fits", "manifest.csv"]
    assert [row.path for row in Manifest.read_csv(folder / "manifest.csv").missing()] == [f"{B}_raw.fits"]
    archives.s3.release.set()
    archives.s3.stalled.clear()
    assert statuses(get(archives, source, folder)) == {A: "kept", B: "fetched"}
    assert archives.s3.requests[-1] == (archives.s3_path(B), f"bytes={len(exposure(B)) // 2}-")
    assert (folder / f"{B}_raw.fits").read_bytes() == exposure(B)


def test_killed_process_leaves_what_can_be_resumed(archives: Archives, tmp_path: Path) -> None:
    archives.s3.stalled.add(archives.s3_path(A))
    part, half = tmp_path / f"{A}_raw.fits.part", len(exposure(A)) // 2
    process = start(archives, tmp_path, A)
    wait_for(process, part, half)
    process.kill()
    process.communicate()
    assert names(tmp_path) == [part.name, f"{part.name}.json"]
    archives.s3.release.set()
    archives.s3.stalled.clear()
    assert statuses(get(archives, A, tmp_path)) == {A: "fetched"}
    assert archives.s3.requests[-1] == (archives.s3_path(A), f"bytes={half}-")
    assert (tmp_path / f"{A}_raw.fits").read_bytes() == exposure(A)
