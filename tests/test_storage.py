"""Atomic writes, JSON, hashes, seals and the cache root."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import storage
from zoo.errors import StorageError


def test_atomic_path_replaces_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "card.json"
    with storage.atomic_path(target) as temporary:
        temporary.write_text("one")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".json"
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(ZeroDivisionError), storage.atomic_path(target) as temporary:
        temporary.write_text(str(1 / 0))
    assert target.read_text() == "one"
    assert [file.name for file in target.parent.iterdir()] == ["card.json"]


def test_atomic_path_refuses_a_block_that_wrote_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing was written"), storage.atomic_path(tmp_path / "a"):
        pass


def test_atomic_path_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="got a folder"), storage.atomic_path(tmp_path):
        pass


def test_atomic_path_names_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be made"), storage.atomic_path(tmp_path / "file" / "below"):
        pass


def test_atomic_path_keeps_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("x")
    target.chmod(0o640)
    storage.write_text(target, "y")
    assert target.stat().st_mode & 0o777 == 0o640


def test_atomic_path_syncs_file_before_rename_and_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        events.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name.split("-")[0])
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> Path:
        events.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    storage.write_bytes(tmp_path / "a", b"x")
    assert events == ["sync .zoo", "rename", "sync " + tmp_path.name.split("-")[0]]


def test_write_bytes_reports_a_full_disk_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(tmp_path / "a", b"old")

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        storage.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_write_text_is_utf8_with_line_ends_kept(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "a", "5 µm\r\n")
    assert (tmp_path / "a").read_bytes() == "5 µm\r\n".encode()


def test_write_json_turns_nan_into_null(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "a.json", {"x": float("nan"), "y": (1.5, float("inf")), "p": Path("b/c"), 3: "é"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.5, None], "p": "b/c", "3": "é"}
    assert storage.read_json(tmp_path / "a.json")["y"] == [1.5, None]


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"{", "not JSON"), (b"\xff\xfe\x00", "not JSON")])
def test_read_json_names_the_file_and_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(StorageError, match=rf"a\.json: .*{reason}"):
        storage.read_json(tmp_path / "a.json")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert storage.sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
    with pytest.raises(StorageError, match="cannot be read"):
        storage.sha256(tmp_path / "absent")


def test_cache_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "c"))
    assert storage.cache_root() == tmp_path / "c"
    monkeypatch.delenv("ZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert storage.cache_root().name == "zoo"


def seal(folder: Path) -> Path:
    storage.write_bytes(folder / "a.bin", b"a")
    storage.write_bytes(folder / "sub" / "b.bin", b"b")
    storage.seal_directory(folder)
    return folder


def test_seal_directory_records_every_file(tmp_path: Path) -> None:
    sums = storage.read_json(seal(tmp_path / "m") / storage.SEAL_NAME)
    assert sums["schema"] == 1
    assert sums["files"] == {"a.bin": hashlib.sha256(b"a").hexdigest(), "sub/b.bin": hashlib.sha256(b"b").hexdigest()}
    storage.verify_directory(tmp_path / "m")


def test_seal_directory_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    stray = tmp_path / "m" / f"{storage.TEMPORARY_PREFIX}1-00-a.bin"
    storage.write_bytes(tmp_path / "m" / "a.bin", b"a")
    stray.write_bytes(b"half")
    storage.seal_directory(tmp_path / "m")
    assert not stray.exists()
    storage.verify_directory(tmp_path / "m")


def test_verify_directory_names_the_file_that_changed(tmp_path: Path) -> None:
    folder = seal(tmp_path / "m")
    (folder / "sub" / "b.bin").write_bytes(b"c")
    with pytest.raises(StorageError, match=r"b\.bin: SHA-256"):
        storage.verify_directory(folder)


def test_verify_directory_names_missing_and_added_files(tmp_path: Path) -> None:
    folder = seal(tmp_path / "m")
    (folder / "extra").write_bytes(b"")
    with pytest.raises(StorageError, match="extra: not recorded"):
        storage.verify_directory(folder)
    (folder / "a.bin").unlink()
    with pytest.raises(StorageError, match=r"a\.bin: .*missing"):
        storage.verify_directory(folder)


def test_verify_directory_refuses_a_folder_without_seal(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="did not end"):
        storage.verify_directory(tmp_path)


@pytest.mark.parametrize("record", [{"schema": 2, "files": {}}, [], {"schema": 1}])
def test_verify_directory_refuses_an_unknown_layout(tmp_path: Path, record: object) -> None:
    storage.write_json(tmp_path / storage.SEAL_NAME, record)
    with pytest.raises(StorageError, match="unknown layout"):
        storage.verify_directory(tmp_path)


def test_write_bytes_leaves_old_or_new_when_killed(tmp_path: Path) -> None:
    target = tmp_path / "state"
    storage.write_bytes(target, b"0" * 200_000)
    code = (
        "import sys; from zoo import storage\n"
        "print('go', flush=True)\n"
        "for i in range(10**9): storage.write_bytes(sys.argv[1], str(i % 10).encode() * 200_000)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    for _ in range(20):
        content = target.read_bytes()
        assert len(content) == 200_000
        assert len(set(content)) == 1
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(set(target.read_bytes())) == 1


def fill(folder: Path, content: str) -> None:
    with storage.sealed_directory(folder) as new:
        storage.write_text(new / "a", content)


def test_sealed_directory_replaces_the_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "last"
    fill(folder, "1")
    (folder / "extra").write_text("x")
    fill(folder, "2")
    storage.verify_directory(folder)
    assert (folder / "a").read_text() == "2"
    assert [entry.name for entry in folder.parent.iterdir()] == ["last"]


def test_sealed_directory_keeps_the_old_folder_after_an_error(tmp_path: Path) -> None:
    fill(tmp_path / "last", "1")
    with pytest.raises(ZeroDivisionError), storage.sealed_directory(tmp_path / "last") as new:
        storage.write_text(new / "a", str(1 / 0))
    storage.verify_directory(tmp_path / "last")
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize("cut_after", [0, 1, 2])
def test_sealed_directory_survives_a_power_cut_at_each_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_after: int) -> None:
    class PowerCutError(BaseException):
        pass

    fill(tmp_path / "last", "1")
    renames, rename = [], Path.rename

    def cut(self: Path, target: Path) -> Path:
        if len(renames) == cut_after:
            raise PowerCutError
        renames.append(self)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        patch.setattr("zoo.storage.shutil.rmtree", lambda *arguments, **options: None)
        try:
            fill(tmp_path / "last", "2")
        except PowerCutError:
            assert cut_after < 2
    assert storage.recover_directory(tmp_path / "last")
    storage.verify_directory(tmp_path / "last")
    assert (tmp_path / "last" / "a").read_text() == ("1" if cut_after == 0 else "2")
    fill(tmp_path / "last", "3")
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_sealed_directory_goes_back_when_the_second_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "last", "1")
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(StorageError, match="Input/output"):
        fill(tmp_path / "last", "2")
    assert (tmp_path / "last" / "a").read_text() == "1"


def test_recover_directory_ignores_what_is_incomplete(tmp_path: Path) -> None:
    (tmp_path / f"{storage.TEMPORARY_PREFIX}last.new").mkdir()
    assert not storage.recover_directory(tmp_path / "last")
