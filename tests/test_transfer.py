"""One file over HTTP: what is asked of a server, how long it is waited for, and what is left to go on from."""

from __future__ import annotations

import contextlib
import email.utils
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_archives import FastClock
from local_server import Site, serve

from zoo import transfer as module
from zoo.errors import HttpStatusError, NetworkError, StorageError
from zoo.transfer import Host, Patience, StoppedError, ask_size, transfer

BODY = bytes(range(256)) * 40


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as running:
        running.files["/a"] = BODY
        yield running


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


def host_of(clock: FastClock, **patience: float) -> Host:
    return Host("host", patience=Patience(**patience), clock=clock)  # type: ignore[arg-type]


def test_record_lets_another_call_go_on_at_the_next_byte(site: Site, clock: FastClock, tmp_path: Path) -> None:
    path, record, url = tmp_path / "a.part", tmp_path / "a.part.json", f"{site.url}/a"
    site.cut["/a"] = 1
    with pytest.raises(NetworkError, match="1 attempts: the connection ended after 5,120 of 10,240 bytes"):
        transfer(url, path, host=host_of(clock, attempts=1), record=record)
    assert path.read_bytes() == BODY[:5120]
    facts = json.loads(record.read_text())
    assert (facts["url"], facts["size"]) == (url, len(BODY))
    assert transfer(url, path, host=host_of(clock), record=record) is True
    assert path.read_bytes() == BODY
    assert site.requests == [("/a", ""), ("/a", "bytes=5120-")]
    assert transfer(url, path, host=host_of(clock), record=record) is True
    assert len(site.requests) == 2


@pytest.mark.parametrize("change", ["body", "no ranges", "no tags", "record", "longer", "address"])
def test_what_cannot_be_continued_is_begun_anew(site: Site, clock: FastClock, tmp_path: Path, change: str) -> None:
    path, record, url = tmp_path / "a.part", tmp_path / "a.part.json", f"{site.url}/a"
    site.cut["/a"] = 1
    site.tags = change != "no tags"
    with pytest.raises(NetworkError):
        transfer(url, path, host=host_of(clock, attempts=1), record=record)
    if change == "body":
        site.files["/a"] = BODY[::-1]
    elif change == "no ranges":
        site.ranges = False
    elif change == "record":
        record.write_text('{"url": 1}')
    elif change == "longer":
        path.write_bytes(BODY + b"more")
    elif change == "address":
        site.files["/b"] = BODY
        url = f"{site.url}/b"
    assert transfer(url, path, host=host_of(clock), record=record) is False
    assert path.read_bytes() == site.files["/a"]
    assert site.requests[-1][1] == ("bytes=5120-" if change in ("body", "no ranges") else "")


def test_nothing_is_taken_over_without_a_record(site: Site, clock: FastClock, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"stray")
    assert transfer(f"{site.url}/a", tmp_path / "a", host=host_of(clock)) is False
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 0-5119/10240"}, {"Content-Range": "bytes 5120-1/9"}, {"ETag": '"other"'}, {}])
def test_wrong_part_is_not_appended(
    site: Site, clock: FastClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    asked = []

    def urlopen(request: module.urllib.request.Request, timeout: float) -> object:  # type: ignore[name-defined]
        asked.append(request.get_header("Range"))
        response = real(request, timeout=timeout)
        if asked[-1]:
            given = {"Content-Range": "bytes 5120-10239/10240", **headers} if headers else {}
            for key in ("Content-Range", "ETag"):
                del response.headers[key]
            for key, value in given.items():
                response.headers[key] = value
        return response

    real = module.urllib.request.urlopen
    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
    site.cut["/a"] = 1
    transfer(f"{site.url}/a", tmp_path / "a", host=host_of(clock))
    assert (tmp_path / "a").read_bytes() == BODY
    assert asked == [None, "bytes=5120-", None]


def test_range_beyond_the_end_begins_anew(site: Site, clock: FastClock, tmp_path: Path) -> None:
    site.cut["/a"] = 1
    site.refusals["/a"] = []
    path, record = tmp_path / "a", tmp_path / "a.json"
    with pytest.raises(NetworkError):
        transfer(f"{site.url}/a", path, host=host_of(clock, attempts=1), record=record)
    site.refusals["/a"] = [416]
    assert transfer(f"{site.url}/a", path, host=host_of(clock), record=record) is False
    assert path.read_bytes() == BODY
    assert [wanted for _, wanted in site.requests] == ["", "bytes=5120-", ""]


def test_delays_double_and_leave_out_up_to_half(site: Site, clock: FastClock, tmp_path: Path) -> None:
    site.refusals["/a"] = [500, 502, 503, 504]
    transfer(f"{site.url}/a", tmp_path / "a", host=host_of(clock, attempts=5, delay_s=8.0, longest_s=20.0))
    assert len(clock.waits) == 4
    for waited, most in zip(clock.waits, (8, 16, 20, 20), strict=True):
        assert most / 2 <= waited <= most
    assert (tmp_path / "a").read_bytes() == BODY


def test_progress_begins_the_count_of_attempts_again(site: Site, clock: FastClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    site.cut["/a"] = 3
    transfer(f"{site.url}/a", tmp_path / "a", host=host_of(clock, attempts=2))
    assert [wanted for _, wanted in site.requests] == ["", "bytes=5120-", "bytes=7680-", "bytes=8960-"]


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_closes_the_host_for_everybody(site: Site, clock: FastClock, tmp_path: Path, date: bool) -> None:
    site.refusals["/a"] = [429]
    site.retry_after = "40"
    if date:  # the fake server sends Date as every server does
        site.retry_after = email.utils.formatdate(email.utils.mktime_tz(email.utils.parsedate_tz(_date_of(site)) or ()) + 40, usegmt=True)
    host = host_of(clock, delay_s=1.0)
    transfer(f"{site.url}/a", tmp_path / "a", host=host)
    assert sum(clock.waits) == pytest.approx(40, abs=2)
    assert len(site.requests) == 2


def _date_of(site: Site) -> str:
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(f"{site.url}/a", method="HEAD")) as response:
        return str(response.headers["Date"])


def test_server_that_wants_a_long_pause_is_not_waited_for(site: Site, clock: FastClock, tmp_path: Path) -> None:
    site.refusals["/a"], site.retry_after = [503], "3600"
    host = host_of(clock)
    with pytest.raises(NetworkError, match=r"503 .* asked to be left alone for 3,600 s; try again then"):
        transfer(f"{site.url}/a", tmp_path / "a", host=host)
    with pytest.raises(NetworkError, match="host: not asked again, it asked to be left alone"):
        transfer(f"{site.url}/a", tmp_path / "a", host=host)
    assert len(site.requests) == 1


def test_host_is_given_up_after_three_failures_in_a_row(site: Site, clock: FastClock, tmp_path: Path) -> None:
    site.refusals["/a"] = [503, 503, 200, 503, 503, 503]
    host = host_of(clock, attempts=1)
    for _ in range(2):
        with pytest.raises(NetworkError, match="not fetched in 1 attempts"):
            transfer(f"{site.url}/a", tmp_path / "a", host=host)
    site.refusals["/a"].pop(0)
    assert ask_size(f"{site.url}/a", host=host) == len(BODY)
    for _ in range(3):
        with pytest.raises(NetworkError, match="not fetched in 1 attempts"):
            transfer(f"{site.url}/a", tmp_path / "a", host=host)
    with pytest.raises(NetworkError, match="not asked again, 3 requests in a row failed: the server answered 503"):
        ask_size(f"{site.url}/a", host=host)


def test_size_by_head(site: Site, clock: FastClock) -> None:
    assert ask_size(f"{site.url}/a", host=host_of(clock)) == len(BODY)
    site.lengths["/a"] = None
    assert ask_size(f"{site.url}/a", host=host_of(clock)) is None
    with pytest.raises(HttpStatusError, match="404") as caught:
        ask_size(f"{site.url}/b", host=host_of(clock))
    assert (caught.value.status, caught.value.exit_code) == (404, 7)
    assert site.requests == []


def test_crawling_server_is_dropped(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FastClock(step=20.0)  # each block of bytes seems to take that long
    monkeypatch.setattr(module, "LOWEST_BYTES_PER_S", 10**9)
    site.files["/a"] = BODY * 40
    with pytest.raises(NetworkError, match=r"the server sent [\d,]+ bytes in \d+ s"):
        transfer(f"{site.url}/a", tmp_path / "a", host=host_of(clock, attempts=2))


def test_stopped_clock_ends_a_transfer_that_can_be_resumed(site: Site, clock: FastClock, tmp_path: Path) -> None:
    path, record = tmp_path / "a", tmp_path / "a.json"
    site.files["/a"] = BODY * 400  # more than is read at once
    with pytest.raises(StoppedError):
        transfer(f"{site.url}/a", path, host=host_of(clock), record=record, progress=lambda done, total: clock.stop())
    with pytest.raises(StoppedError):
        transfer(f"{site.url}/a", path, host=host_of(clock), record=record)
    assert transfer(f"{site.url}/a", path, host=host_of(FastClock()), record=record) is True
    assert path.read_bytes() == BODY * 400


def test_connections_of_a_host_are_limited(site: Site, tmp_path: Path) -> None:
    site.slow["/a"] = 0.02
    host = Host("host", connections=2)
    threads = [threading.Thread(target=transfer, args=(f"{site.url}/a", tmp_path / str(n)), kwargs={"host": host}) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.requests) == 6
    assert site.most <= 2
    assert all(agent.startswith("celestial-zoo/") for agent in site.agents)


def test_disk_that_cannot_be_written_is_no_network_error(site: Site, clock: FastClock, tmp_path: Path) -> None:
    with contextlib.suppress(OSError):
        (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        transfer(f"{site.url}/a", tmp_path / "a", host=host_of(clock))
    assert len(site.requests) == 1
