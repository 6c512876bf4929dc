"""Downloads from a server on this machine: whole and verified under their name, or nothing at all."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Site, serve

from zoo import download as module
from zoo.download import download
from zoo.errors import NetworkError, StorageError, UsageError

BODY = bytes(range(256)) * 40
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "RETRY_DELAY_S", 0.0)
    with serve() as running:
        running.files["/net-abc.pth"] = BODY
        yield running


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_download_is_verified_named_and_asked_for_once(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = download(f"{site.url}/net-abc.pth", tmp_path / "new", sha256=DIGEST, progress=lambda *counts: seen.append(counts))
    assert first.path.read_bytes() == BODY
    assert first.path.name.endswith("-net-abc.pth")
    assert (first.sha256, first.cached) == (DIGEST, False)
    assert seen[-1] == (len(BODY), len(BODY))
    again = download(f"{site.url}/net-abc.pth", tmp_path / "new", sha256=DIGEST[:8].upper())
    assert (again.path, again.sha256, again.cached) == (first.path, DIGEST, True)
    assert len(site.requests) == 1


def test_damaged_file_in_the_cache_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    url = f"{site.url}/net-abc.pth"
    path = download(url, tmp_path).path
    path.write_bytes(BODY[:-1] + b"x")
    assert download(url, tmp_path).cached is False
    assert path.read_bytes() == BODY
    path.with_name(f"{path.name}.json").write_text("{")
    assert download(url, tmp_path, sha256=DIGEST).cached is False
    assert len(site.requests) == 3


def test_same_name_from_two_places_is_two_files(site: Site, tmp_path: Path) -> None:
    site.files["/other/net-abc.pth"] = b"other"
    first, second = download(f"{site.url}/net-abc.pth", tmp_path), download(f"{site.url}/other/net-abc.pth?download=1", tmp_path)
    assert first.path != second.path
    assert second.path.read_bytes() == b"other"


def test_wrong_hash_leaves_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"SHA-256 is {DIGEST}, expected 00000000"):
        download(f"{site.url}/net-abc.pth", tmp_path, sha256="0" * 8)
    assert names(tmp_path) == []


def test_missing_file_is_not_asked_for_twice(site: Site, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="answered 404") as caught:
        download(f"{site.url}/absent.pth", tmp_path)
    assert caught.value.exit_code == 7
    assert len(site.requests) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize(("tags", "second"), [(True, "bytes=5120-"), (False, "")])
def test_broken_connection_is_resumed_where_the_server_can(site: Site, tmp_path: Path, tags: bool, second: str) -> None:
    site.tags, site.cut["/net-abc.pth"] = tags, 1
    assert download(f"{site.url}/net-abc.pth", tmp_path, sha256=DIGEST).path.read_bytes() == BODY
    assert [wanted for _, wanted in site.requests] == ["", second]


def test_connection_that_keeps_breaking_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.tags, site.cut["/net-abc.pth"] = False, 99
    with pytest.raises(NetworkError, match=r"3 attempts: the connection ended after 5,120 of 10,240 bytes; .*pass the file"):
        download(f"{site.url}/net-abc.pth", tmp_path)
    assert len(site.requests) == 3
    assert names(tmp_path) == []


def test_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.refusals["/net-abc.pth"] = [503, 429]
    assert download(f"{site.url}/net-abc.pth", tmp_path).sha256 == DIGEST


def test_silent_server_is_given_up(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    site.slow["/net-abc.pth"] = 0.4
    with pytest.raises(NetworkError, match="3 attempts: timed out"):
        download(f"{site.url}/net-abc.pth", tmp_path)
    assert names(tmp_path) == []


def test_nobody_there_is_a_network_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_DELAY_S", 0.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NetworkError, match="refused"):
            download(f"http://127.0.0.1:{unused.getsockname()[1]}/x.pth", tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "x.pth", "https:///x"])
def test_other_schemes_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected http"):
        download(url, tmp_path)


@pytest.mark.parametrize("digest", ["abc", "g" * 64, "0" * 65])
def test_malformed_hash_is_refused(digest: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="8 to 64 hexadecimal digits"):
        download("http://127.0.0.1/x", tmp_path, sha256=digest)


def test_unwritable_folder_is_a_storage_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="folder cannot be made"):
        download(f"{site.url}/net-abc.pth", tmp_path / "file" / "weights")
